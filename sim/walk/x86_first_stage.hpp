// A naive walker of x86-64 tables of 4 and 5 levels: VT-d first stage (specification 4.1, 3.6 and 9.7), AMD guest
// tables ("v2", IOMMU specification 2.2.6) and the processor's own (SDM volume 3, 4.5).
//
// Every entry on the path must have P; R/W and U/S are ANDed and XD is ORed along it. Level 3 and 4 entries may not
// have PS. A large page's address begins above bit 12, which is PAT there. Bits 62:52 are ignored. Fault codes are
// those of VT-d, scalable mode: 70h entry not readable (73h: in the root), 71h P=0, 72h reserved, 80h not canonical,
// 81h U/S, 82h XD, 85h R/W.
#pragma once

#include "sim/walk/walk.hpp"

namespace sim::walk {

/// What IOVA bits above the translated ones must be.
enum class AddressForm : u8 { SignExtended, ZeroExtended };
/// What bit 63 means: depends on NXE and on the unit.
enum class ExecuteDisable : u8 { Ignored, Honoured, Reserved };

struct FirstStage {
  PhysAddr top_table{};
  unsigned levels = 4;              // 4 or 5
  unsigned host_address_bits = 52;  // address bits from here to 51 are reserved
  AddressForm form = AddressForm::SignExtended;
  bool pages_1g = true;
  ExecuteDisable execute_disable = ExecuteDisable::Ignored;
  Requester requester = Requester::User;
  AccessedDirty accessed_dirty = AccessedDirty::Leave;
  u64 encryption_mask = 0;  // AMD's C-bit: taken out of every address

  [[nodiscard]] unsigned width() const { return 12 + 9 * levels; }
};

[[nodiscard]] WalkResult walk(const ReadWord& read, const FirstStage& tables, u64 iova, Access access);
Enumeration enumerate_leaves(const ReadWord& read, const FirstStage& tables, const VisitLeaf& visit);

}  // namespace sim::walk

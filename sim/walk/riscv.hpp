// A naive walker of RISC-V tables: Sv39, Sv48, Sv57 as the IOMMU's first stage and Sv39x4, Sv48x4, Sv57x4 as its second
// (privileged specification, "Sv39" ff. and "Two-Stage Address Translation"; RISC-V IOMMU specification).
//
// R = W = X = 0 is a table, anything with R or X a page at any level. Faults, as an implementation without freedom
// would: V=0, W without R, bits 60:54, PBMT or N where the extension is absent or the value reserved, D, A, U, PBMT or
// N in a table entry, a table at the last level, a page that is not aligned to its size, A=0, D=0 on a write (unless
// hardware sets them: SADE, GADE). The second stage has a root of 16 KiB, two more address bits, no sign, and every
// access to it counts as a user's. Svnapot: N at level 0 with PPN 3:0 = 1000 is one of 16 equal entries of a 64-KiB
// page. Fault codes are the causes of fault records: 1, 5, 7 access fault (execute, read, write), 12, 13, 15 page
// fault, 20, 21, 23 guest page fault, 259 when the device context cannot say such a thing.
#pragma once

#include "sim/walk/walk.hpp"

namespace sim::walk {

enum class RiscvStage : u8 { First, Second };

struct RiscvTables {
  PhysAddr top_table{};
  unsigned levels = 4;  // 3, 4, 5: Sv39, Sv48, Sv57
  RiscvStage stage = RiscvStage::First;
  bool svnapot = true;
  bool svpbmt = true;
  bool supervisor_user_access = false;  // SUM
  unsigned physical_address_bits = 56;  // an access beyond is an access fault
  Requester requester = Requester::User;
  AccessedDirty accessed_dirty = AccessedDirty::Leave;

  [[nodiscard]] unsigned width() const { return 12 + 9 * levels + (stage == RiscvStage::Second ? 2 : 0); }
};

[[nodiscard]] WalkResult walk(const ReadWord& read, const RiscvTables& tables, u64 iova, Access access);
Enumeration enumerate_leaves(const ReadWord& read, const RiscvTables& tables, const VisitLeaf& visit);

}  // namespace sim::walk

// A naive walker of Arm VMSAv8-64 tables, stage 1 and stage 2, granules of 4, 16 and 64 KiB: Arm Architecture Reference
// Manual, D8 (64-bit descriptors, without D128 and LPA2), as an SMMUv3 walks them.
//
// Descriptor bits 1:0: 00 and 10 are invalid; at the last level only 11 is a page; above it 01 is a block where the
// granule has one of that size, 11 a table. Everything else that does not decode is a translation fault. Faults come in
// the manual's order: translation, address size, access flag, permission.
// With the 64-KiB granule bits 15:12 are OA[51:48]; set while the output is configured narrower than 52 bits they make
// an address size fault. Hierarchical APTable, UXNTable and PXNTable (stage 1) are honoured; NSTable is ignored. The
// contiguous bit is a hint: a walk uses the one descriptor that it read. Enumerating makes one leaf of a group and
// finds a group that is not whole, not aligned, or whose members differ in more than AF, the software bits and what DBM
// makes of bit 7. RES0 bits are ignored as hardware does, or refused when asked.
// The manual's level n is level 3 - n here. Fault codes are SMMUv3 events: 0x04 C_BAD_STE, 0x0a C_BAD_CD, 0x0b
// F_WALK_EABT, 0x10 F_TRANSLATION, 0x11 F_ADDR_SIZE, 0x12 F_ACCESS, 0x13 F_PERMISSION; 0 for a refused RES0 bit.
#pragma once

#include "sim/walk/walk.hpp"

namespace sim::walk {

enum class ArmStage : u8 { One, Two };
/// Which half of the addresses: the lower (TTBR0, all bits above the input are 0) or the upper (TTBR1, all are 1).
enum class ArmHalf : u8 { Lower, Upper };
/// What hardware does itself (HTTU): nothing, the access flag (HA), or that and the dirty state (HA and HD).
enum class ArmUpdate : u8 { Nothing, AccessFlag, DirtyState };
enum class Res0 : u8 { Ignored, Refused };

struct ArmTables {
  PhysAddr top_table{};
  ArmStage stage = ArmStage::One;
  unsigned granule_lg2 = 12;      // 12, 14, 16
  unsigned input_bits = 48;       // 64 - TnSZ
  unsigned output_bits = 48;      // 32, 36, 40, 42, 44, 48; 52 with the 64-KiB granule
  ArmHalf half = ArmHalf::Lower;  // stage 1
  std::optional<unsigned> start_level =
      std::nullopt;  // stage 2: the manual's level that SL0 names; concatenates up to 16 tables
  Requester requester = Requester::User;
  ArmUpdate update = ArmUpdate::Nothing;
  Res0 res0 = Res0::Ignored;
};

[[nodiscard]] WalkResult walk(const ReadWord& read, const ArmTables& tables, u64 iova, Access access);
Enumeration enumerate_leaves(const ReadWord& read, const ArmTables& tables, const VisitLeaf& visit);

}  // namespace sim::walk

// A naive walker of no unit's tables: VT-d second-stage entries (specification 9.8) in a geometry that a test chooses,
// small enough to try everything that there is.
//
// R = W = 0 is not present; PS makes a page where the level may have one and is reserved elsewhere above level 0; R and
// W are ANDed along the path. Reserved besides: TM (62), address bits from the host's width up and inside a page, SNP
// as the test says. Tables stand on 4-KiB boundaries whatever their size. Fault codes are those of VT-d, scalable mode:
// 78h entry not readable, 7Ah reserved, 83h beyond the width, 85h and 86h write and read not permitted.
#pragma once

#include "sim/walk/vtd_second_stage.hpp"
#include "sim/walk/walk.hpp"

namespace sim::walk {

struct OddTables {
  PhysAddr top_table{};
  unsigned granule_lg2 = 12;  // 12 or more
  unsigned index_bits = 2;    // 1 to 9: 2^index_bits entries in a table
  unsigned levels = 3;        // 1 to 6
  u32 page_levels = 0b111;    // bit n: a page may stand at level n; level 0 always
  unsigned host_address_bits = 48;
  SnoopBit snoop = SnoopBit::AllowedInLeaf;
  AccessedDirty accessed_dirty = AccessedDirty::Leave;

  [[nodiscard]] unsigned width() const { return granule_lg2 + index_bits * levels; }
};

[[nodiscard]] WalkResult walk(const ReadWord& read, const OddTables& tables, u64 iova, Access access);
Enumeration enumerate_leaves(const ReadWord& read, const OddTables& tables, const VisitLeaf& visit);

/// VT-d second-stage tables proper are one such geometry. The walker of vtd_second_stage.hpp must say the same.
[[nodiscard]] OddTables geometry_of(const SecondStage& stage);
[[nodiscard]] WalkResult walk(const ReadWord& read, const SecondStage& tables, u64 iova, Access access);
Enumeration enumerate_leaves(const ReadWord& read, const SecondStage& tables, const VisitLeaf& visit);

}  // namespace sim::walk

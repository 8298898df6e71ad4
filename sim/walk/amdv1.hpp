// A naive walker of AMD host tables ("v1"): AMD I/O Virtualization Technology Specification, 2.2.3.
//
// An entry says by NextLevel what it is: 1 to 6 a table of that level, which may be more than one below (the address
// bits of the skipped levels must then be zero); 0 a page of the entry's own size; 7 a page whose size stands in its
// address: n ones from the lowest address bit up make it 2^(n + 1) granules, and all entries that it covers are the
// same word. IR and IW are ANDed along the path, beginning with the device-table entry.
//
// The manual's level n is level n - 1 here. Refused as reserved: 58:52 (60:52 in a table entry), pages at level 6,
// sizes that do not lie between the entry's own and the next level's, address bits inside a page, tables not below
// their entry. Ignored: 63, 8:7, 4:1; A (bit 5) and D (bit 6) are set by hardware where the device-table entry asks for
// it (HAD = 3). Fault codes are event types: 1 ILLEGAL_DTE, 2 IO_PAGE_FAULT, 4 PAGE_TAB_HW_ERR.
#pragma once

#include "sim/walk/walk.hpp"

namespace sim::walk {

struct Amdv1Tables {
  PhysAddr top_table{};
  unsigned mode = 4;                // 1 to 6 levels
  unsigned granule_lg2 = 12;        // 11: the address field then counts 2 KiB; a table is 4 KiB all the same
  unsigned host_address_bits = 52;  // address bits from here up are reserved
  Permissions device = everything;  // IR and IW of the device-table entry
  AccessedDirty accessed_dirty = AccessedDirty::Leave;
  u64 encryption_mask = 0;  // the C-bit: taken out of every address

  [[nodiscard]] unsigned width() const { return granule_lg2 + 9 * mode < 64 ? granule_lg2 + 9 * mode : 64; }
};

[[nodiscard]] WalkResult walk(const ReadWord& read, const Amdv1Tables& tables, u64 iova, Access access);
Enumeration enumerate_leaves(const ReadWord& read, const Amdv1Tables& tables, const VisitLeaf& visit);

}  // namespace sim::walk

// PASID directory and table of one device (VT-d 5.0, 3.4.3, 9.4 to 9.6): one table, the one of the 64 PASIDs among
// which RID_PASID is, the PASID of requests without PASID; no other PASID is used.
//
// RID_PASID stands in the context entry of each device and is read from there wherever it is needed, as directory and
// size are: an entry that an earlier kernel made keeps its value, and no two sources can disagree.
// read_pasid_tables() is for structures that somebody else wrote: every pointer is checked to be RAM, and nothing but
// exactly this shape is accepted. Threads: values. Failure: see there.
#pragma once

#include <optional>
#include <span>

#include "holdfast/memory/direct_map.hpp"
#include "holdfast/memory/touch_meter.hpp"
#include "holdfast/vtd/entry_format.hpp"

namespace holdfast::vtd {

struct PasidTables {
  PasidDirectory directory;
  PhysAddr table;
  u32 rid_pasid = 0;

  [[nodiscard]] Block directory_block() const { return {directory.base, order_for(directory.size_bytes())}; }
  [[nodiscard]] Block table_block() const { return {table, 0}; }
  /// The entry of requests without PASID, four pieces.
  [[nodiscard]] std::span<Quad> rid_entry(const DirectMap& map) const {
    return {map.at<Quad>(table) + table_index(rid_pasid) * pieces_per_pasid_entry, pieces_per_pasid_entry};
  }
  /// True when the two have a page in common.
  [[nodiscard]] bool overlaps(const PasidTables& other) const;
  [[nodiscard]] bool contains(PhysAddr page) const;
};

/// Follows a context entry to its PASID tables. Errors: OutOfRange (RID_PASID beyond the directory), Corrupt (not an
/// entry as we make them, a pointer outside RAM, a directory with another table than the one of RID_PASID).
Result<PasidTables> read_pasid_tables(const DirectMap& map, TouchMeter& touches, std::span<const Quad> context);

}  // namespace holdfast::vtd

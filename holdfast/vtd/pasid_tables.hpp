// PASID directory and table of one device (VT-d 5.0, 3.4.3, 9.5, 9.6): one table, for PASIDs 0 to 63, of which only the
// PASID of requests without PASID is used.
//
// read_pasid_tables() is for structures that somebody else wrote: every pointer is checked to be RAM, and nothing but
// exactly this shape is accepted. Threads: values. Failure: Corrupt.
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

  [[nodiscard]] Block directory_block() const { return {directory.base, order_for(directory.size_bytes())}; }
  [[nodiscard]] Block table_block() const { return {table, 0}; }
  /// The entry of requests without PASID, four pieces.
  [[nodiscard]] std::span<Quad> rid_entry(const DirectMap& map) const {
    return {map.at<Quad>(table) + u64{rid_pasid} * pieces_per_pasid_entry, pieces_per_pasid_entry};
  }
  /// True when the two have a page in common.
  [[nodiscard]] bool overlaps(const PasidTables& other) const;
  [[nodiscard]] bool contains(PhysAddr page) const;
};

/// Follows a context entry to its PASID tables. Errors: Corrupt (not an entry as we make them, a pointer outside RAM, a
/// directory with more than the one table).
Result<PasidTables> read_pasid_tables(const DirectMap& map, TouchMeter& touches, std::span<const Quad> context);

}  // namespace holdfast::vtd

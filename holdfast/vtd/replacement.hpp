// How one present translation entry becomes another while hardware translates through it. Pure.
//
// Hardware fetches an entry piece by piece, each piece at a moment of its own, and may keep what it fetched until an
// invalidation; when that is complete no fetch from before it is under way. So what a store must keep whole is the
// entry before it with the entry after it, in any mixture of pieces, and between two stores stands an invalidation of
// the tag that was in effect until the second.
//
//   within the second stage  Pointer, type and id share the first piece: one store, the old entry or the new.
//   to or from pass-through  It has no pointer, so it is like a second stage, whatever stands on the other side.
//   from one stage to        The pointer of a first stage has the second piece to itself, which a second stage does not
//   the other                look at: it is written before the type asks for it, cleared when the type no longer does.
//   within the first stage   The id is in the first piece and the pointer in the second, so the change goes by way of
//                            an id that nobody else has:
//                            1. the id becomes the private one   the old table under it; the old id is forgotten
//                            2. the pointer becomes the new one  the new table under it; the private id is forgotten
//                            3. the id becomes the new one       the new table under its own; the private id is
//                                                                forgotten, and free again
//
// At no moment is an entry not present or made of parts that do not belong together: the device translates all the
// time, through the old table or the new. At no moment does one domain's table stand beside the other's id, in memory
// or in a mixture: no tag that another device uses is ever filled from a foreign table. Under the private id old and
// new meet, for this one device and until step 3, as the old and the new translation of a device do in any replacement.
#pragma once

#include "holdfast/vtd/entry_format.hpp"

namespace holdfast::vtd {

class Replacement {
 public:
  struct Step {
    unsigned piece = 0;
    Quad value;
    Quad undo;               // what stood there before
    iommu::CacheTag before;  // in effect until the step; hardware forgets it after
    iommu::CacheTag after;
  };
  static constexpr u64 max_steps = 3;

  [[nodiscard]] static bool needs_private_id(const iommu::EntrySpec& from, const iommu::EntrySpec& to) {
    return from.format == pt::Format::X86FirstStage && to.format == pt::Format::X86FirstStage;
  }
  /// @p private_id is nobody's; not looked at where none is needed.
  Replacement(const EntryEncoding& encoding, const iommu::EntrySpec& from, const iommu::EntrySpec& to,
              DomainId private_id);

  [[nodiscard]] std::span<const Step> steps() const { return {x_steps.data(), x_count}; }

 private:
  void add(unsigned piece, const EntryPieces& value, const iommu::CacheTag& after);

  EntryPieces x_entry;    // as it stands after the steps so far
  iommu::CacheTag x_tag;  // in effect then
  std::array<Step, max_steps> x_steps{};
  u64 x_count = 0;
};

}  // namespace holdfast::vtd

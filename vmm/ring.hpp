// Index arithmetic of descriptor rings whose size is a power of two.
#pragma once

#include <algorithm>

#include "holdfast/base/types.hpp"

namespace vmm {

using namespace holdfast;

template <u32 Entries>
struct Ring {
  static_assert(Entries >= 2 && (Entries & (Entries - 1)) == 0);

  [[nodiscard]] static constexpr u32 advance(u32 index, u32 steps = 1) { return (index + steps) & (Entries - 1); }
  [[nodiscard]] static constexpr u32 before(u32 index) { return (index - 1) & (Entries - 1); }
  [[nodiscard]] static constexpr bool valid(u32 index) { return index < Entries; }
  /// Entries from @p from up to, not including, @p to.
  [[nodiscard]] static constexpr u32 distance(u32 from, u32 to) { return (to - from) & (Entries - 1); }
  /// One entry always stays free, so that full and empty differ.
  [[nodiscard]] static constexpr bool full(u32 next, u32 done) { return advance(next) == done; }
  /// How many entries from @p index on lie together in memory, at most @p most.
  [[nodiscard]] static constexpr u32 run(u32 index, u32 most) { return std::min(most, Entries - index); }
};

/// How far a position in a cyclic buffer went on, when that was less than once around.
[[nodiscard]] constexpr u64 moved(u64 from, u64 to, u64 size) { return to >= from ? to - from : to + size - from; }

}  // namespace vmm

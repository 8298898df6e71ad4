// How a range of pages is cut into blocks: naturally aligned powers of two, the largest that fits each time, order 10
// at most. Preserving and restoring a range must cut alike, so there is one place that cuts.
#pragma once

#include <algorithm>
#include <bit>
#include <optional>

#include "holdfast/base/checked.hpp"

namespace holdfast::kho {

/// Not empty, whole pages, no wrap.
[[nodiscard]] constexpr bool is_page_range(PhysRange range) {
  const auto last = checked_last(range.start.value, range.size_bytes);
  return last.has_value() && range.start.is_aligned(page_size_bytes) && range.size_bytes % page_size_bytes == 0;
}

/// The first block of a page range.
[[nodiscard]] constexpr Block first_block(PhysRange range) {
  const u64 frame = Pfn(range.start).value;
  const auto aligned = frame == 0 ? max_order : static_cast<unsigned>(std::countr_zero(frame));
  const auto fitting = static_cast<unsigned>(std::bit_width(range.size_bytes >> page_lg2)) - 1;
  return {range.start, std::min({aligned, fitting, max_order})};
}

/// Calls f(Block) for each block in rising order until it answers false; the part of the range before the block that
/// did.
template <class F>
constexpr PhysRange cut_while(PhysRange range, F&& f) {
  PhysRange rest = range;
  while (rest.size_bytes != 0) {
    const Block block = first_block(rest);
    if (!f(block)) break;
    rest = {rest.start + block.size_bytes(), rest.size_bytes - block.size_bytes()};
  }
  return {range.start, range.size_bytes - rest.size_bytes};
}

template <class F>
constexpr void cut(PhysRange range, F&& f) {
  cut_while(range, [&](Block block) { return f(block), true; });
}

}  // namespace holdfast::kho

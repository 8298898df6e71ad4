// How far a kernel reaches: which addresses its page map covers, for RAM and for registers alike.
#pragma once

#include <algorithm>
#include <span>

#include "holdfast/base/boot_info.hpp"

namespace metal {

using namespace holdfast;  // NOLINT: a world of the library

inline constexpr u64 gib = u64{1} << 30;
/// No more than this, counted from address 0: RAM beyond it is left out of the memory map.
inline constexpr u64 reach_bytes = 16 * gib;

/// End of what the page map covers: all RAM, and the registers below 4 GiB in any case. Not all of the reach, because
/// tables are written in the blackout. Registers beyond it read as all ones.
/// @p ram_end is within the reach.
[[nodiscard]] constexpr u64 mapped_bytes(u64 ram_end) {
  constexpr u64 registers_end = 4 * gib;
  return std::clamp((ram_end + gib - 1) / gib * gib, registers_end, reach_bytes);
}
[[nodiscard]] constexpr u64 mapped_bytes(std::span<const MemoryRange> memory_map) {
  if (memory_map.empty()) return mapped_bytes(0);
  const PhysRange& last = memory_map.back().range;
  return mapped_bytes(last.start.value + last.size_bytes);
}

}  // namespace metal

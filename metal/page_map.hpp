// The kernel's own address space: identity for the image and registers, and a direct map of RAM at an address that the
// generation before did not use.
//
// Page 0 is not mapped at its own address: a null pointer faults. 2 MiB pages; where there is no RAM they are uncached.
// RAM and registers beyond `reach_bytes` cannot be used, and the memory map leaves them out.
#pragma once

#include <span>

#include "holdfast/base/boot_info.hpp"
#include "metal/cpu.hpp"

namespace metal {

inline constexpr u64 gib = u64{1} << 30;
/// Sixteen GiB of addresses from 0 up.
inline constexpr u64 reach_bytes = 16 * gib;

class PageMap {
 public:
  /// Builds the tables and switches to them. Once per kernel; the tables live in the image.
  static void install(std::span<const MemoryRange> memory_map, u32 generation);
  /// Virtual address of physical address 0 in the direct map of @p generation.
  [[nodiscard]] static std::byte* direct_map(u32 generation);
};

}  // namespace metal

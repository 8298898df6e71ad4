// The kernel's own address space: identity for the image and registers, and a direct map of RAM at an address that the
// generation before did not use.
//
// Page 0 is not mapped at its own address: a null pointer faults. 2 MiB pages; where there is no RAM they are uncached.
// What it covers ends at mapped_bytes() (metal/reach.hpp), for RAM and for registers.
#pragma once

#include "metal/reach.hpp"

namespace metal {

class PageMap {
 public:
  /// Builds the tables and switches to them. Once per kernel; the tables live in the image. The page below the stack
  /// (entry.S) is then not mapped at its own address: a stack that overflows faults.
  static void install(std::span<const MemoryRange> memory_map, u32 generation);
  /// Virtual address of physical address 0 in the direct map of @p generation.
  [[nodiscard]] static std::byte* direct_map(u32 generation);
  /// End of the addresses that are mapped one to one; what install() was given.
  [[nodiscard]] static u64 end();
};

}  // namespace metal

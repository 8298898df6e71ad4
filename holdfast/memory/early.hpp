// EarlyAllocator: memory before there is a frame table. It hands out pieces of one range (scratch), upwards, zeroed,
// and never takes one back. In the traced build each call first asks World::may_allocate().
//
// Threads: one. Failure: NoMemory when the range is used up.
#pragma once

#include "holdfast/memory/direct_map.hpp"

namespace holdfast {

class EarlyAllocator {
 public:
  /// @p range is RAM and nobody else's.
  EarlyAllocator(const DirectMap& map, PhysRange range);

  /// @p align is a power of two. Errors: Invalid (size 0), NoMemory.
  Result<PhysAddr> allocate(u64 size_bytes, u64 align);

  /// Bytes from the start of the range that are given out, padding included.
  [[nodiscard]] u64 used() const { return x_used; }
  [[nodiscard]] PhysRange range() const { return x_range; }

 private:
  const DirectMap* x_map;
  PhysRange x_range;
  u64 x_used = 0;
};

}  // namespace holdfast

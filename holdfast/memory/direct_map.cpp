// The direct map. See direct_map.hpp.
#include "holdfast/memory/direct_map.hpp"

namespace holdfast {

DirectMap::DirectMap(World& world, std::span<const MemoryRange> memory_map)
    : x_world(&world), x_base(world.direct_map()), x_memory_map(memory_map) {
  for (const MemoryRange& entry : memory_map)
    if (entry.range.start + entry.range.size_bytes > x_end) x_end = entry.range.start + entry.range.size_bytes;
}

bool DirectMap::is_ram(PhysAddr address, u64 size) const {
  if (size == 0) return false;
  // Neighbouring ranges of different kinds are one piece of RAM.
  for (const MemoryRange& entry : x_memory_map) {
    if (!entry.range.contains(address, 1)) continue;
    const u64 here = entry.range.size_bytes - (address - entry.range.start);
    if (size <= here) return true;
    address += here;
    size -= here;
  }
  return false;
}

}  // namespace holdfast

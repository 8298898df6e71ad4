// Early allocation out of scratch. See early.hpp.
#include "holdfast/memory/early.hpp"

#include <cstring>

namespace holdfast {

EarlyAllocator::EarlyAllocator(const DirectMap& map, PhysRange range) : x_map(&map), x_range(range) {
  verify_invariant(map.is_ram(range.start, range.size_bytes), "early memory is not RAM");
}

Result<PhysAddr> EarlyAllocator::allocate(u64 size_bytes, u64 align) {
  if (size_bytes == 0) return Code::Invalid;
  if constexpr (traced)
    if (!x_map->world().may_allocate()) return Code::NoMemory;
  const auto start = checked_align_up(x_range.start.value + x_used, align);
  if (!start) return Code::NoMemory;
  const u64 offset = *start - x_range.start.value;
  if (offset > x_range.size_bytes || size_bytes > x_range.size_bytes - offset) return Code::NoMemory;
  x_used = offset + size_bytes;
  const PhysAddr address(*start);
  std::memset(x_map->bytes(address), 0, size_bytes);
  return address;
}

}  // namespace holdfast

// Choosing scratch at cold boot.
#include "holdfast/kho/scratch.hpp"

#include <algorithm>

#include "holdfast/base/checked.hpp"

namespace holdfast::kho {

namespace {

constexpr u64 smallest_scratch_bytes = u64{2} << 20;
constexpr u64 scratch_alignment = page_size_bytes << max_order;  // whole buddy blocks stay outside

}  // namespace

u64 default_scratch_bytes(std::span<const MemoryRange> memory_map) {
  u64 ram_bytes = 0;
  for (const MemoryRange& part : memory_map)
    if (part.kind == MemoryKind::Ram) ram_bytes += part.range.size_bytes;
  return std::max(smallest_scratch_bytes, align_down(ram_bytes / 64, page_size_bytes));
}

Result<PhysRange> choose_scratch(std::span<const MemoryRange> memory_map, u64 size_bytes) {
  const auto size = checked_align_up(size_bytes, page_size_bytes);
  if (!size || *size == 0) return Code::NoMemory;
  for (auto part = memory_map.rbegin(); part != memory_map.rend(); ++part) {
    if (part->kind != MemoryKind::Ram || part->range.size_bytes < *size) continue;
    const PhysAddr lowest = std::max(part->range.start, PhysAddr(page_size_bytes));  // page 0 is never handed out
    const u64 end = part->range.start.value + part->range.size_bytes;
    for (const u64 alignment : {scratch_alignment, page_size_bytes}) {
      const PhysRange candidate{PhysAddr(align_down(end - *size, alignment)), *size};
      if (candidate.start >= lowest) return candidate;
    }
  }
  return Code::NoMemory;
}

}  // namespace holdfast::kho

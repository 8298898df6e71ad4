// A memory map under construction: sorted, disjoint, of a fixed capacity.
#pragma once

#include <array>
#include <span>

#include "holdfast/base/boot_info.hpp"
#include "holdfast/base/result.hpp"

namespace metal {

using namespace holdfast;  // NOLINT: a world of the library

template <u32 capacity>
class MemoryMap {
 public:
  /// Adds a range. Where it overlaps what is there, the stronger kind wins: Reserved over Ram.
  /// Errors: TooBig (more pieces than there is room for), Invalid (the range wraps).
  Status add(const PhysRange& range, MemoryKind kind) {
    if (range.size_bytes == 0) return {};
    if (range.start.value + range.size_bytes < range.start.value) return Code::Invalid;
    if (kind == MemoryKind::Ram) return add_gaps(range);
    MemoryMap cut;
    for (const MemoryRange& part : ranges()) TRY(cut.push_outside(part, range));
    TRY(cut.insert({range, kind}));
    *this = cut;
    return {};
  }
  [[nodiscard]] std::span<const MemoryRange> ranges() const { return {x_ranges.data(), x_count}; }

 private:
  /// Those pieces of @p range, as RAM, that nothing covers yet.
  Status add_gaps(PhysRange range) {
    const MemoryMap before = *this;
    for (const MemoryRange& part : before.ranges()) {
      if (!part.range.overlaps(range)) continue;
      if (range.start < part.range.start) TRY(insert({{range.start, part.range.start - range.start}, MemoryKind::Ram}));
      const PhysAddr end = range.start + range.size_bytes;
      const PhysAddr part_end = part.range.start + part.range.size_bytes;
      if (end <= part_end) return {};
      range = {part_end, end - part_end};
    }
    return insert({range, MemoryKind::Ram});
  }
  Status push_outside(const MemoryRange& part, const PhysRange& taken) {
    if (!part.range.overlaps(taken)) return insert(part);
    const PhysAddr part_end = part.range.start + part.range.size_bytes;
    const PhysAddr taken_end = taken.start + taken.size_bytes;
    if (part.range.start < taken.start) TRY(insert({{part.range.start, taken.start - part.range.start}, part.kind}));
    if (taken_end < part_end) TRY(insert({{taken_end, part_end - taken_end}, part.kind}));
    return {};
  }
  Status insert(const MemoryRange& range) {
    if (x_count == capacity) return Code::TooBig;
    u32 at = x_count++;
    for (; at > 0 && x_ranges[at - 1].range.start > range.range.start; --at) x_ranges[at] = x_ranges[at - 1];
    x_ranges[at] = range;
    return {};
  }

  std::array<MemoryRange, capacity> x_ranges{};
  u32 x_count = 0;
};

}  // namespace metal

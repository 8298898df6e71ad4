// Stamps: how verification remembers, in the frame table, which pages are tables of which tree, and at which level.
//
// Threads: the owner of the verification serialises. Failure: none.
#pragma once

#include "holdfast/memory/memory.hpp"
#include "holdfast/pt/format.hpp"

namespace holdfast::pt {

/// Value of Frame::mark for a table at @p level of the tree verified as @p generation.
[[nodiscard]] constexpr u32 stamp_of(u32 generation, unsigned level) { return generation << 3 | level; }
[[nodiscard]] constexpr u32 generation_of(u32 stamp) { return stamp >> 3; }
[[nodiscard]] constexpr unsigned level_of(u32 stamp) { return stamp & 7; }

[[nodiscard]] inline bool is_stamped(const FrameTable& frames, PhysAddr page, u32 generation, unsigned level) {
  const Frame* frame = page.is_aligned(page_size_bytes) ? frames.find(page) : nullptr;
  return frame != nullptr && frame->mark == stamp_of(generation, level);
}

/// Follow function (walk.hpp) for a verified tree: reads what is stamped, and nothing else.
struct FollowStamped {
  Memory& memory;
  u32 generation;

  const u64* operator()(PhysAddr page, unsigned level) const {
    if (!is_stamped(memory.frames, page, generation, level)) return nullptr;
    memory.touches.table();
    return memory.map.at<u64>(page);
  }
};

}  // namespace holdfast::pt

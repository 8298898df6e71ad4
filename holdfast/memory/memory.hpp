// Memory: one kernel's memory, handed to every module by reference.
//
// Bring-up: construct; place_frames() from early memory; mark() what is taken and mark_incoming() / mark_kept() what
// the previous kernel left; open(). Reserved ranges, page 0 and the own image are taken out by place_frames() itself.
// After open() the buddy owns every frame that was still unclaimed, and buddy and heap work.
//
// The memory map in @p boot must outlive it. Threads: bring-up single-threaded, then as the parts say.
#pragma once

#include "holdfast/memory/buddy.hpp"
#include "holdfast/memory/direct_map.hpp"
#include "holdfast/memory/early.hpp"
#include "holdfast/memory/frame_table.hpp"
#include "holdfast/memory/heap.hpp"
#include "holdfast/memory/touch_meter.hpp"

namespace holdfast {

struct Memory {
  Memory(World& world, const BootInfo& boot);
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  /// Bytes that place_frames() takes from early memory, alignment included. For choosing the size of scratch.
  [[nodiscard]] static u64 frames_size_bytes(const DirectMap& map);

  /// Errors: NoMemory.
  Status place_frames(EarlyAllocator& early);
  void mark(PhysRange range, FrameState state) { frames.mark(range, state); }
  /// Errors: Corrupt; see FrameTable.
  Status mark_incoming(Block block) { return frames.mark_incoming(block); }
  Status mark_kept(PhysAddr page) { return frames.mark_kept(page); }
  /// Once.
  void open();

  /// Kept -> free, after the last finish.
  void release_kept(PhysAddr page);
  /// Head of an incoming block -> free, unseen: nobody will restore it. Error: NotFound.
  Status release_incoming(PhysAddr head);

  World& world;
  DirectMap map;
  FrameTable frames;
  Buddy buddy;
  Heap heap;
  TouchMeter touches;

 private:
  PhysRange x_own_image;
};

}  // namespace holdfast

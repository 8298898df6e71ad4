// Bring-up of memory. See memory.hpp.
#include "holdfast/memory/memory.hpp"

namespace holdfast {

Memory::Memory(World& the_world, const BootInfo& boot)
    : world(the_world),
      map(the_world, boot.memory_map),
      buddy(the_world, map, frames),
      heap(the_world, map, buddy),
      x_own_image(boot.own_image) {}

u64 Memory::frames_size_bytes(const DirectMap& map) {
  // Both pieces are page aligned; the start of early memory may not be.
  const u64 words = Buddy::word_count(FrameTable::frame_count(map)) * sizeof(u64);
  return (div_ceil(FrameTable::size_bytes(map), page_size_bytes) + div_ceil(words, page_size_bytes) + 2) *
         page_size_bytes;
}

Status Memory::place_frames(EarlyAllocator& early) {
  const u64 count = FrameTable::frame_count(map);
  const u64 words = Buddy::word_count(count);
  TRY_ASSIGN(const PhysAddr frames_at, early.allocate(FrameTable::size_bytes(map), page_size_bytes));
  TRY_ASSIGN(const PhysAddr words_at, early.allocate(words * sizeof(u64), page_size_bytes));
  frames.place(map, {map.at<Frame>(frames_at), count});
  buddy.place({map.at<u64>(words_at), words}, count);
  frames.mark(x_own_image, FrameState::Reserved);
  return {};
}

void Memory::open() {
  const u64 count = frames.count();
  for (u64 first = 0; first < count;) {
    if (frames.at(Pfn(first).address()).state != FrameState::Unclaimed) {
      ++first;
      continue;
    }
    u64 past = first + 1;
    while (past < count && frames.at(Pfn(past).address()).state == FrameState::Unclaimed) ++past;
    buddy.donate(Pfn(first), past - first);
    first = past;
  }
}

void Memory::release_kept(PhysAddr page) {
  verify_invariant(frames.at(page).state == FrameState::Kept, "released a page that was not kept");
  buddy.donate(Pfn(page), 1);
}

Status Memory::release_incoming(PhysAddr head) {
  TRY_ASSIGN(const Block block, frames.take_incoming(head));
  buddy.release(block.start, block.order);
  return {};
}

}  // namespace holdfast

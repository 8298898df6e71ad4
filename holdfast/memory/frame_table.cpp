// Frame descriptors. See frame_table.hpp.
#include "holdfast/memory/frame_table.hpp"

#include <algorithm>

namespace holdfast {

namespace {

struct FrameSpan {
  u64 first;
  u64 past;
};

/// The frames that lie wholly inside @p range.
FrameSpan whole_frames(PhysRange range) {
  const u64 first = div_ceil(range.start.value, page_size_bytes);
  const u64 past = (range.start.value + range.size_bytes) / page_size_bytes;
  return {first, std::max(first, past)};
}

}  // namespace

u64 FrameTable::size_bytes(const DirectMap& map) { return frame_count(map) * sizeof(Frame); }

void FrameTable::place(const DirectMap& map, std::span<Frame> frames) {
  verify_invariant(frames.size() == frame_count(map), "frame table of the wrong size");
  x_frames = frames;
  for (const MemoryRange& entry : map.memory_map()) {
    if (entry.kind != MemoryKind::Ram) continue;
    const auto [first, past] = whole_frames(entry.range);
    for (Frame& frame : x_frames.subspan(first, past - first)) frame.state = FrameState::Unclaimed;
  }
  if (!x_frames.empty()) x_frames[0].state = FrameState::Reserved;
}

void FrameTable::mark(PhysRange range, FrameState state) {
  verify_invariant(state == FrameState::Reserved || state == FrameState::Scratch, "frames cannot be marked like this");
  if (range.size_bytes == 0) return;
  const u64 first = range.start.value / page_size_bytes;
  if (first >= x_frames.size()) return;
  const u64 last = (range.start.value + (range.size_bytes - 1)) / page_size_bytes;
  for (Frame& frame : x_frames.subspan(first, std::min(last, x_frames.size() - 1) - first + 1)) {
    verify_invariant(frame.state == FrameState::Unclaimed || frame.state == FrameState::Reserved ||
                         frame.state == FrameState::Scratch,
                     "marked a frame that is owned already");
    frame.state = state;
  }
}

Status FrameTable::check_unclaimed(Block block) const {
  if (block.order > max_order || !block.start.is_aligned(block.size_bytes())) return Code::Corrupt;
  const u64 first = Pfn(block.start).value;
  const u64 count = u64{1} << block.order;
  if (first >= x_frames.size() || count > x_frames.size() - first) return Code::Corrupt;
  for (const Frame& frame : x_frames.subspan(first, count))
    if (frame.state != FrameState::Unclaimed) return Code::Corrupt;
  return {};
}

Status FrameTable::mark_incoming(Block block) {
  TRY(check_unclaimed(block));
  const auto frames = x_frames.subspan(Pfn(block.start).value, u64{1} << block.order);
  for (Frame& frame : frames) frame.state = FrameState::Tail;
  frames[0].state = FrameState::Incoming;
  frames[0].order = static_cast<u8>(block.order);
  return {};
}

Status FrameTable::mark_kept(PhysAddr page) {
  TRY(check_unclaimed({page, 0}));
  at(page).state = FrameState::Kept;
  return {};
}

std::optional<Block> FrameTable::find_incoming(PhysAddr address) const {
  const u64 pfn = Pfn(address).value;
  if (pfn >= x_frames.size()) return std::nullopt;
  for (unsigned order = 0; order <= max_order; ++order) {
    const u64 head = align_down(pfn, u64{1} << order);
    const Frame& frame = x_frames[head];
    if (frame.state == FrameState::Tail) continue;
    // The nearest head below decides: blocks do not overlap.
    if (frame.state != FrameState::Incoming || head + (u64{1} << frame.order) <= pfn) return std::nullopt;
    return Block{Pfn(head).address(), frame.order};
  }
  return std::nullopt;
}

Frame* FrameTable::find_incoming_head(PhysAddr head) const {
  Frame* frame = head.is_aligned(page_size_bytes) ? find(head) : nullptr;
  return frame != nullptr && frame->state == FrameState::Incoming ? frame : nullptr;
}

Result<Block> FrameTable::take_incoming(PhysAddr head) {
  Frame* frame = find_incoming_head(head);
  if (frame == nullptr) return Code::NotFound;
  *frame = {.state = FrameState::Allocated, .order = frame->order};
  return Block{head, frame->order};
}

std::size_t FrameTable::take_incoming(std::span<const PhysAddr> heads, unsigned order) {
  constexpr std::size_t ahead = 24;  // about as many misses as a CPU can wait for at once
  for (std::size_t i = 0; i < heads.size(); ++i) {
    if (i + ahead < heads.size()) __builtin_prefetch(find(heads[i + ahead]), 1);
    Frame* frame = find_incoming_head(heads[i]);
    if (frame == nullptr || frame->order != order) return i;
    *frame = {.state = FrameState::Allocated, .order = frame->order};
  }
  return heads.size();
}

bool FrameTable::any_mark(PhysRange range) const {
  const u64 first = Pfn(range.start).value;
  const u64 count = div_ceil(range.start.value + range.size_bytes, page_size_bytes) - first;
  verify_invariant(first <= x_frames.size() && count <= x_frames.size() - first, "no frames for this range");
  u32 marks = 0;
  for (const Frame& frame : x_frames.subspan(first, count)) marks |= frame.mark;
  return marks != 0;
}

}  // namespace holdfast

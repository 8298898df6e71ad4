// FrameTable: one descriptor per page frame, from frame 0 to the end of RAM. Frames in holes read Reserved.
//
// The first frame of a block (the head) carries its state and order; the others read Tail. Before open() every frame of
// usable RAM is Unclaimed; nobody owns it yet.
//
// Threads: heads belong to the owner of the block; free ones to the buddy allocator, under its lock.
#pragma once

#include <optional>
#include <span>

#include "holdfast/memory/direct_map.hpp"

namespace holdfast {

enum class FrameState : u8 {
  Reserved = 0,  // hole, firmware, own image, page 0: never allocated
  Unclaimed,     // RAM that nobody has claimed yet; open() gives it to the buddy
  Scratch,       // for early allocations of this kernel and the next; never holds anything preserved
  Free,          // head of a free block
  Allocated,     // head of a block that somebody owns
  Tail,          // inside a block
  Incoming,      // head of a block that the previous kernel preserved and nobody restored yet
  Kept,          // page of the incoming map itself, kept until the last finish
};

struct Frame {
  FrameState state = FrameState::Reserved;
  u8 order = 0;  // heads only
  u16 live = 0;  // items of the table in this page that are not empty; its owner counts them, or does not
  u32 mark = 0;  // which verification met this table page, and at which level (pt/verify.hpp); 0: nobody speaks for it
  u64 link = 0;  // the owner's list of frames: tables waiting for a flush, reserved pages, tables of one verification
};
static_assert(sizeof(Frame) == 16);

class FrameTable {
 public:
  /// Bytes that place() needs.
  [[nodiscard]] static u64 size_bytes(const DirectMap& map);
  [[nodiscard]] static u64 frame_count(const DirectMap& map) { return div_ceil(map.end().value, page_size_bytes); }

  /// @p frames has frame_count() zeroed elements. Usable RAM becomes Unclaimed, page 0 excepted.
  void place(const DirectMap& map, std::span<Frame> frames);

  [[nodiscard]] u64 count() const { return x_frames.size(); }
  /// Of a trusted address; panics beyond RAM.
  [[nodiscard]] Frame& at(PhysAddr address) const {
    verify_invariant(Pfn(address).value < x_frames.size(), "no frame for this address");
    return x_frames[Pfn(address).value];
  }
  /// Of any address; null beyond RAM.
  [[nodiscard]] Frame* find(PhysAddr address) const {
    return Pfn(address).value < x_frames.size() ? &x_frames[Pfn(address).value] : nullptr;
  }

  /// Every frame that @p range touches gets @p state, Reserved or Scratch. Panics when one of them is owned already.
  /// Parts beyond RAM are ignored.
  void mark(PhysRange range, FrameState state);
  /// Head becomes Incoming, the rest Tail. Errors: Corrupt (misaligned, order above 10, outside RAM, or any page of it
  /// is reserved, scratch or part of another block); nothing changes then.
  Status mark_incoming(Block block);
  /// One page becomes Kept. Errors: as mark_incoming().
  Status mark_kept(PhysAddr page);

  /// The incoming block that contains @p address.
  [[nodiscard]] std::optional<Block> find_incoming(PhysAddr address) const;
  /// Head of an incoming block -> Allocated, once. Error: NotFound.
  Result<Block> take_incoming(PhysAddr head);
  /// The same for blocks of 2^@p order pages that begin at @p heads, up to the first that is none: how many were taken.
  [[nodiscard]] std::size_t take_incoming(std::span<const PhysAddr> heads, unsigned order);

  /// Some page of @p range, which is RAM, has a mark.
  [[nodiscard]] bool any_mark(PhysRange range) const;
  /// A fresh number for Frame::mark users, never 0; at most 2^28 of them.
  [[nodiscard]] u32 next_generation() { return ++x_generation; }

 private:
  [[nodiscard]] Status check_unclaimed(Block block) const;
  [[nodiscard]] Frame* find_incoming_head(PhysAddr head) const;

  std::span<Frame> x_frames;
  u32 x_generation = 0;
};

}  // namespace holdfast

// Buddy allocator. See buddy.hpp.
#include "holdfast/memory/buddy.hpp"

#include <algorithm>
#include <cstring>

namespace holdfast {

namespace {

constexpr unsigned poison_max_order = 6;
constexpr int poison = 0x5a;

/// The other half of the block that is twice as large.
u64 neighbour_of(u64 pfn, unsigned order) {
  return pfn ^ u64 { 1 } << order;
}

u64 blocks_of(u64 frame_count, unsigned order) { return div_ceil(frame_count, u64{1} << order); }

}  // namespace

Buddy::Buddy(World& world, const DirectMap& map, FrameTable& frames)
    : x_world(world), x_map(map), x_frames(frames), x_lock(world, LockRank::Allocator) {}

u64 Buddy::word_count(u64 frame_count) {
  u64 total = 0;
  for (unsigned order = 0; order <= max_order; ++order) total += BitTree::word_count(blocks_of(frame_count, order));
  return total;
}

void Buddy::place(std::span<u64> words, u64 frame_count) {
  const Guard guard(x_lock);
  for (unsigned order = 0; order <= max_order; ++order) {
    const u64 bits = blocks_of(frame_count, order);
    const u64 used = BitTree::word_count(bits);
    x_free[order].place(words.first(used), bits);
    words = words.subspan(used);
  }
}

void Buddy::insert(u64 pfn, unsigned order) {
  Frame& head = x_frames.at(Pfn(pfn).address());
  head = {.state = FrameState::Free, .order = static_cast<u8>(order)};
  x_free[order].set(pfn >> order);
  ++x_count[order];
}

void Buddy::remove(u64 pfn, unsigned order) {
  x_frames.at(Pfn(pfn).address()).state = FrameState::Tail;
  x_free[order].clear(pfn >> order);
  --x_count[order];
}

bool Buddy::has_free_neighbour(u64 pfn, unsigned order) const {
  if (order == max_order) return false;
  const Frame* frame = x_frames.find(Pfn(neighbour_of(pfn, order)).address());
  return frame != nullptr && frame->state == FrameState::Free && frame->order == order;
}

void Buddy::insert_coalesced(u64 pfn, unsigned order) {
  for (; has_free_neighbour(pfn, order); ++order) {
    const u64 neighbour = neighbour_of(pfn, order);
    remove(neighbour, order);
    x_frames.at(Pfn(pfn).address()).state = FrameState::Tail;
    pfn = std::min(pfn, neighbour);
  }
  insert(pfn, order);
}

unsigned Buddy::smallest_from(unsigned order) const {
  while (order <= max_order && x_count[order] == 0) ++order;
  return order;
}

PhysAddr Buddy::take(unsigned from, unsigned order) {
  const u64 pfn = x_free[from].first() << from;
  remove(pfn, from);
  while (from-- > order) insert(pfn + (u64{1} << from), from);
  x_frames.at(Pfn(pfn).address()) = {.state = FrameState::Allocated, .order = static_cast<u8>(order)};
  return Pfn(pfn).address();
}

Result<PhysAddr> Buddy::allocate(unsigned order) {
  if (order > max_order) return Code::TooBig;
  if constexpr (traced)
    if (!x_world.may_allocate()) return Code::NoMemory;
  const Guard guard(x_lock);
  const unsigned from = smallest_from(order);
  if (from > max_order) return Code::NoMemory;
  return take(from, order);
}

Result<Block> Buddy::allocate_up_to(unsigned largest, unsigned smallest) {
  if (largest > max_order) return Code::TooBig;
  if constexpr (traced)
    if (!x_world.may_allocate()) return Code::NoMemory;
  const Guard guard(x_lock);
  if (const unsigned from = smallest_from(largest); from <= max_order) return Block{take(from, largest), largest};
  for (unsigned order = largest; order-- > smallest;)
    if (x_count[order] != 0) return Block{take(order, order), order};
  return Code::NoMemory;
}

Result<PhysAddr> Buddy::allocate_zeroed(unsigned order) {
  TRY_ASSIGN(const PhysAddr start, allocate(order));
  std::memset(x_map.bytes(start), 0, page_size_bytes << order);
  return start;
}

void Buddy::check_release(PhysAddr start, unsigned order) const {
  const Frame& head = x_frames.at(start);
  verify_invariant(start.is_aligned(page_size_bytes), "released an address inside a page");
  verify_invariant(head.state == FrameState::Allocated, "released a block that is not allocated");
  verify_invariant(head.order == order, "released a block with the wrong order");
  if constexpr (traced)
    if (order <= poison_max_order) std::memset(x_map.bytes(start), poison, page_size_bytes << order);
}

void Buddy::release(PhysAddr start, unsigned order) {
  check_release(start, order);
  const Guard guard(x_lock);
  insert_coalesced(Pfn(start).value, order);
}

void Buddy::release(std::span<const PhysAddr> starts, unsigned order) {
  const Guard guard(x_lock);
  while (!starts.empty()) {
    const std::size_t now = std::min(starts.size(), batch);
    release_batch(starts.first(now), order);
    starts = starts.subspan(now);
  }
}

void Buddy::release_batch(std::span<const PhysAddr> starts, unsigned order) {
  std::array<u64, batch> blocks;  // nobody's: neither allocated nor free
  for (std::size_t i = 0; i < starts.size(); ++i) {
    blocks[i] = Pfn(starts[i]).value;
    __builtin_prefetch(x_frames.find(starts[i]), 1);
    prefetch_neighbour(blocks[i], order);
  }
  for (const PhysAddr start : starts) {
    check_release(start, order);
    x_frames.at(start).state = FrameState::Tail;
  }
  for (std::span<u64> rest(blocks.data(), starts.size()); !rest.empty(); ++order)
    rest = rest.first(coalesce_each(rest, order));
}

std::size_t Buddy::coalesce_each(std::span<u64> blocks, unsigned order) {
  std::size_t grown = 0;
  for (const u64 pfn : blocks) {
    if (!has_free_neighbour(pfn, order)) {
      insert(pfn, order);
      continue;
    }
    const u64 neighbour = neighbour_of(pfn, order);
    remove(neighbour, order);
    blocks[grown] = std::min(pfn, neighbour);
    prefetch_neighbour(blocks[grown++], order + 1);
  }
  return grown;
}

void Buddy::prefetch_neighbour(u64 pfn, unsigned order) const {
  __builtin_prefetch(x_frames.find(Pfn(neighbour_of(pfn, order)).address()), 1);
}

void Buddy::donate(Pfn first, u64 count) {
  const Guard guard(x_lock);
  for (u64 pfn = first.value; pfn < first.value + count;) {
    const u64 left = first.value + count - pfn;
    const auto alignment = static_cast<unsigned>(std::countr_zero(pfn));
    const auto fits = static_cast<unsigned>(std::bit_width(left) - 1);
    const unsigned order = std::min({alignment, fits, max_order});
    for (u64 i = 0; i < u64{1} << order; ++i) x_frames.at(Pfn(pfn + i).address()) = {.state = FrameState::Tail};
    insert_coalesced(pfn, order);
    pfn += u64{1} << order;
  }
}

u64 Buddy::free_frames() const {
  const auto blocks = free_blocks();
  u64 total = 0;
  for (unsigned order = 0; order <= max_order; ++order) total += blocks[order] << order;
  return total;
}

std::array<u64, max_order + 1> Buddy::free_blocks() const {
  const Guard guard(x_lock);
  return x_count;
}

}  // namespace holdfast

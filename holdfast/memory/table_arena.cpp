// Page-table pages of one domain. See table_arena.hpp.
#include "holdfast/memory/table_arena.hpp"

#include <algorithm>
#include <bit>

#include "holdfast/memory/memory.hpp"

namespace holdfast {

namespace {

constexpr u64 all_free = ~u64{0};

}  // namespace

TableArena::TableArena(Memory& memory, TableMode mode)
    : x_memory(memory), x_mode(mode), x_blocks(memory.heap), x_free(memory.heap) {
  static_assert(pages_per_block == 64, "one bit per page in one word");
}

TableArena::~TableArena() {
  cancel_reserved();
  verify_invariant(x_mode == TableMode::Arena || x_pages == 0, "page-table pages were left behind");
  for (const Block& block : x_blocks) x_memory.buddy.release(block.start, block.order);
}

std::size_t TableArena::find_block(PhysAddr page) const {
  const auto contains = [&](std::size_t i) {
    return PhysRange{x_blocks[i].start, x_blocks[i].size_bytes()}.contains(page, 1);
  };
  if (x_last < x_blocks.size() && contains(x_last)) return x_last;
  const auto above = std::upper_bound(x_blocks.begin(), x_blocks.end(), page,
                                      [](PhysAddr address, const Block& block) { return address < block.start; });
  if (above == x_blocks.begin()) return x_blocks.size();
  const auto index = static_cast<std::size_t>(above - x_blocks.begin()) - 1;
  if (!contains(index)) return x_blocks.size();
  return x_last = index;
}

u64 TableArena::unused_pages() const {
  return x_mode == TableMode::Page ? x_spare_pages : x_blocks.size() * pages_per_block - x_pages;
}

Status TableArena::add_blocks(u64 count) {
  // Larger arrays stand beside the old ones until nothing can fail any more: a failure leaves no trace.
  const std::size_t size = x_blocks.size() + count;
  const bool grows = size > x_blocks.capacity();
  Vec<Block> blocks(x_memory.heap);
  Vec<u64> free(x_memory.heap);
  if (grows) {
    TRY(blocks.reserve(size));
    TRY(free.reserve(size));
  }
  u64 chain = 0;
  for (u64 i = 0; i < count; ++i) {
    const auto start = x_memory.buddy.allocate(block_order);
    if (!start.ok()) {
      while (chain != 0)
        x_memory.buddy.release(PhysAddr(std::exchange(chain, x_memory.frames.at(PhysAddr(chain)).link)), block_order);
      return start.error();
    }
    x_memory.frames.at(*start).link = std::exchange(chain, start->value);
  }
  if (grows) {
    for (const Block& block : x_blocks) MUST(blocks.push_back(block), "room was reserved");
    for (const u64 pages : x_free) MUST(free.push_back(pages), "room was reserved");
    x_blocks = std::move(blocks);
    x_free = std::move(free);
  }
  while (chain != 0) {
    const PhysAddr start(chain);
    chain = std::exchange(x_memory.frames.at(start).link, 0);
    insert_block(start);
  }
  x_blocks.shrink_to_fit();
  x_free.shrink_to_fit();
  return {};
}

void TableArena::insert_block(PhysAddr start) {
  const auto above = std::upper_bound(x_blocks.begin(), x_blocks.end(), start,
                                      [](PhysAddr address, const Block& block) { return address < block.start; });
  const auto index = static_cast<std::size_t>(above - x_blocks.begin());
  MUST(x_blocks.insert(index, {start, block_order}), "room was reserved");
  MUST(x_free.insert(index, all_free), "room was reserved");
  x_hint = std::min(x_hint, index);
}

void TableArena::drop_block(std::size_t index) {
  const Block block = x_blocks[index];
  x_blocks.erase(index);
  x_free.erase(index);
  x_hint = std::min(x_hint, index);
  x_memory.buddy.release(block.start, block.order);
}

Status TableArena::add_spares(u64 count) {
  for (u64 i = 0; i < count; ++i) {
    const auto page = x_memory.buddy.allocate(0);
    if (!page.ok()) {
      drop_surplus();
      return page.error();
    }
    x_memory.frames.at(*page).link = x_spare.value;
    x_spare = *page;
    ++x_spare_pages;
  }
  return {};
}

PhysAddr TableArena::take_spare() {
  const PhysAddr page = x_spare;
  Frame& frame = x_memory.frames.at(page);
  x_spare = PhysAddr(std::exchange(frame.link, 0));
  --x_spare_pages;
  return page;
}

void TableArena::drop_surplus() {
  if (x_mode == TableMode::Page) {
    while (x_spare_pages > x_reserved) x_memory.buddy.release(take_spare(), 0);
    return;
  }
  for (std::size_t i = x_blocks.size(); i-- != 0;)
    if (x_free[i] == all_free && unused_pages() - pages_per_block >= x_reserved) drop_block(i);
}

Status TableArena::reserve(u64 pages) {
  const u64 wanted = x_reserved + pages;
  const u64 missing = wanted - std::min(wanted, unused_pages());
  if (missing != 0)
    TRY(x_mode == TableMode::Page ? add_spares(missing) : add_blocks(div_ceil(missing, pages_per_block)));
  x_reserved = wanted;
  return {};
}

PhysAddr TableArena::allocate_reserved() {
  verify_invariant(x_reserved != 0, "took a table page that was not reserved");
  --x_reserved;
  ++x_pages;
  if (x_mode == TableMode::Page) return take_spare();
  while (x_free[x_hint] == 0) ++x_hint;
  const auto bit = static_cast<unsigned>(std::countr_zero(x_free[x_hint]));
  x_free[x_hint] &= ~(u64{1} << bit);
  return x_blocks[x_hint].start + bit * page_size_bytes;
}

void TableArena::cancel_reserved() {
  x_reserved = 0;
  drop_surplus();
}

Result<PhysAddr> TableArena::allocate() {
  TRY(reserve(1));
  return allocate_reserved();
}

void TableArena::release(PhysAddr page) {
  --x_pages;
  if (x_mode == TableMode::Page) return x_memory.buddy.release(page, 0);
  const std::size_t index = find_block(page);
  verify_invariant(index < x_blocks.size() && page.is_aligned(page_size_bytes), "released a page of another arena");
  const u64 bit = u64{1} << ((page - x_blocks[index].start) >> page_lg2);
  verify_invariant((x_free[index] & bit) == 0, "released a table page twice");
  x_free[index] |= bit;
  x_hint = std::min(x_hint, index);
  if (x_free[index] == all_free && unused_pages() - pages_per_block >= x_reserved) drop_block(index);
}

Status TableArena::preserve(BlockSink& sink) {
  for (std::size_t i = 0; i < x_blocks.size(); ++i) {
    const Status status = sink.preserve(x_blocks[i]);
    if (status.ok()) continue;
    while (i-- != 0) sink.unpreserve(x_blocks[i]);
    return status;
  }
  return {};
}

void TableArena::unpreserve(BlockSink& sink) {
  for (const Block& block : x_blocks) sink.unpreserve(block);
}

}  // namespace holdfast

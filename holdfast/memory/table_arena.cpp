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
  const auto contains = [&](std::size_t i) { return PhysRange{x_blocks[i].start, x_blocks[i].size_bytes()}.contains(page, 1); };
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

Status TableArena::add_block() {
  TRY(x_blocks.reserve(x_blocks.size() + 1));
  TRY(x_free.reserve(x_free.size() + 1));
  TRY_ASSIGN(const PhysAddr start, x_memory.buddy.allocate(block_order));
  const auto above = std::upper_bound(x_blocks.begin(), x_blocks.end(), start,
                                      [](PhysAddr address, const Block& block) { return address < block.start; });
  const auto index = static_cast<std::size_t>(above - x_blocks.begin());
  MUST(x_blocks.insert(index, {start, block_order}), "room was reserved");
  MUST(x_free.insert(index, all_free), "room was reserved");
  x_hint = std::min(x_hint, index);
  return {};
}

void TableArena::drop_block(std::size_t index) {
  const Block block = x_blocks[index];
  x_blocks.erase(index);
  x_free.erase(index);
  x_hint = std::min(x_hint, index);
  x_memory.buddy.release(block.start, block.order);
}

Status TableArena::add_spare() {
  TRY_ASSIGN(const PhysAddr page, x_memory.buddy.allocate(0));
  x_memory.frames.at(page).link = x_spare.value;
  x_spare = page;
  ++x_spare_pages;
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
  while (unused_pages() < x_reserved + pages) {
    const Status added = x_mode == TableMode::Page ? add_spare() : add_block();
    if (added.ok()) continue;
    drop_surplus();
    return added;
  }
  x_reserved += pages;
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

// Page-table pages of one domain. See table_arena.hpp.
#include "holdfast/memory/table_arena.hpp"

#include <algorithm>
#include <bit>

#include "holdfast/memory/memory.hpp"

namespace holdfast {

TableArena::TableArena(Memory& memory, TableMode mode, unsigned table_order)
    : x_memory(memory), x_mode(mode), x_table_order(table_order), x_blocks(memory.heap), x_rooms(memory.heap) {}

TableArena::~TableArena() {
  verify_invariant(x_mode == TableMode::Arena || x_tables == 0, "page-table pages were left behind");
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

/// @p tables is 0 for a top of its own size.
Status TableArena::add_block(unsigned order, u32 tables) {
  Status room_for_one = x_blocks.reserve(x_blocks.size() + 1);
  if (room_for_one.ok()) room_for_one = x_rooms.reserve(x_rooms.size() + 1);
  const Result<PhysAddr> start =
      room_for_one.ok() ? x_memory.buddy.allocate(order) : Result<PhysAddr>(room_for_one.error());
  if (start.ok()) insert_block({*start, order}, tables);
  x_blocks.shrink_to_fit();  // a failure leaves no trace
  x_rooms.shrink_to_fit();
  return start.code() == Code::Ok ? Status() : Status(start.code());
}

void TableArena::insert_block(Block block, u32 tables) {
  const auto above = std::upper_bound(x_blocks.begin(), x_blocks.end(), block.start,
                                      [](PhysAddr address, const Block& known) { return address < known.start; });
  const auto index = static_cast<std::size_t>(above - x_blocks.begin());
  Room room;
  room.tables = tables;
  for (u32 i = 0; i < tables; ++i) room.free[i / 64] |= u64{1} << i % 64;
  MUST(x_blocks.insert(index, block), "room was reserved");
  MUST(x_rooms.insert(index, room), "room was reserved");
  x_unused += tables;
  x_hint = std::min(x_hint, index);
}

/// Blocks about as large as what is there already: their number grows with the logarithm, and then by 2 MiB.
Status TableArena::add_blocks(u64 missing) {
  while (missing != 0) {
    const u64 wanted = std::max(missing, (x_tables + x_unused) / 2) << x_table_order;
    unsigned order = std::min<unsigned>(static_cast<unsigned>(std::bit_width(wanted)) - 1, max_block_order);
    Status status = add_block(order, 1u << (order - x_table_order));
    while (!status.ok() && order > x_table_order) {
      --order;
      status = add_block(order, 1u << (order - x_table_order));
    }
    if (!status.ok()) {
      drop_empty_blocks();  // those of this call: others have been given back when they became empty
      return status;
    }
    missing -= std::min<u64>(missing, u64{1} << (order - x_table_order));
  }
  return {};
}

void TableArena::drop_block(std::size_t index) {
  const Block block = x_blocks[index];
  x_unused -= x_rooms[index].tables - x_rooms[index].used;
  x_blocks.erase(index);
  x_rooms.erase(index);
  x_hint = std::min(x_hint, index);
  x_memory.buddy.release(block.start, block.order);
}

void TableArena::drop_empty_blocks() {
  for (std::size_t i = x_blocks.size(); i-- != 0;)
    if (x_rooms[i].tables != 0 && x_rooms[i].used == 0) drop_block(i);
}

PhysAddr TableArena::take_from_blocks() {
  while (x_rooms[x_hint].used == x_rooms[x_hint].tables) ++x_hint;
  Room& room = x_rooms[x_hint];
  std::size_t word = 0;
  while (room.free[word] == 0) ++word;
  const u64 index = word * 64 + static_cast<unsigned>(std::countr_zero(room.free[word]));
  room.free[word] &= room.free[word] - 1;
  ++room.used;
  --x_unused;
  return x_blocks[x_hint].start + (index << (page_lg2 + x_table_order));
}

Result<TablePages> TableArena::take(u64 count) {
  TablePages pages(x_memory.frames);
  if (x_mode == TableMode::Page) {
    for (u64 i = 0; i < count; ++i) {
      const auto page = x_memory.buddy.allocate(x_table_order);
      if (!page.ok()) {
        while (!pages.empty()) x_memory.buddy.release(pages.pop(), x_table_order);
        return page.error();
      }
      pages.push(*page);
    }
  } else {
    if (count > x_unused) TRY(add_blocks(count - x_unused));
    for (u64 i = 0; i < count; ++i) pages.push(take_from_blocks());
  }
  x_tables += count;
  return pages;
}

void TableArena::give_back(TablePages&& pages) {
  while (!pages.empty()) release(pages.pop());
}

void TableArena::release(PhysAddr table) {
  --x_tables;
  if (x_mode == TableMode::Page) return x_memory.buddy.release(table, x_table_order);
  const std::size_t index = find_block(table);
  verify_invariant(index < x_blocks.size() && table.is_aligned(page_size_bytes << x_table_order),
                   "released a page of another arena");
  Room& room = x_rooms[index];
  const u64 at = (table - x_blocks[index].start) >> (page_lg2 + x_table_order);
  const u64 bit = u64{1} << at % 64;
  verify_invariant(at < room.tables && (room.free[at / 64] & bit) == 0, "released a table page twice");
  room.free[at / 64] |= bit;
  --room.used;
  ++x_unused;
  x_hint = std::min(x_hint, index);
  if (room.used == 0) drop_block(index);
}

void TableArena::release(std::span<const PhysAddr> tables) {
  for (const PhysAddr table : tables) release(table);
}

Result<PhysAddr> TableArena::take_top(unsigned order) {
  if (order == x_table_order) {
    TRY_ASSIGN(TablePages pages, take(1));
    return pages.pop();
  }
  if (x_mode == TableMode::Page) {
    TRY_ASSIGN(const PhysAddr top, x_memory.buddy.allocate(order));
    ++x_tables;
    return top;
  }
  TRY(add_block(order, 0));
  ++x_tables;
  const auto top = std::find_if(x_rooms.begin(), x_rooms.end(), [](const Room& room) { return room.tables == 0; });
  return x_blocks[static_cast<std::size_t>(top - x_rooms.begin())].start;
}

void TableArena::release_top(PhysAddr top, unsigned order) {
  if (order == x_table_order) return release(top);
  --x_tables;
  if (x_mode == TableMode::Page) return x_memory.buddy.release(top, order);
  drop_block(find_block(top));
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

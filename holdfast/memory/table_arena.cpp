// The memory of one domain's page tables. See table_arena.hpp.
#include "holdfast/memory/table_arena.hpp"

#include <algorithm>
#include <bit>

#include "holdfast/memory/memory.hpp"

namespace holdfast {

namespace {

/// Blocks on their way into an arena, chained through the frames of their heads, the highest first.
class NewBlocks {
 public:
  explicit NewBlocks(Memory& memory) : x_memory(memory) {}
  NewBlocks(const NewBlocks&) = delete;
  NewBlocks& operator=(const NewBlocks&) = delete;
  /// Gives back what nobody kept.
  ~NewBlocks() {
    while (x_highest != 0) {
      const PhysAddr start(x_highest);
      const Frame& head = x_memory.frames.at(start);
      x_highest = head.link;
      x_memory.buddy.release(start, head.order);
    }
  }

  void insert(PhysAddr start) {
    u64* above = &x_highest;  // blocks mostly come by rising address
    while (*above > start.value) above = &x_memory.frames.at(PhysAddr(*above)).link;
    x_memory.frames.at(start).link = std::exchange(*above, start.value);
    ++x_count;
  }
  [[nodiscard]] PhysAddr highest() const { return PhysAddr(x_highest); }
  [[nodiscard]] std::size_t count() const { return x_count; }
  void keep() { x_highest = 0; }

 private:
  Memory& x_memory;
  u64 x_highest = 0;  // 0 ends the chain: page 0 is never given out
  std::size_t x_count = 0;
};

}  // namespace

TableArena::TableArena(Memory& memory, TableMode mode, unsigned table_order)
    : x_memory(memory), x_mode(mode), x_table_order(table_order), x_blocks(memory.heap, memory.frames, table_order) {
  verify_invariant(table_order <= TableBlocks::max_block_order, "tables larger than a block");
}

TableArena::~TableArena() {
  verify_invariant(x_mode == TableMode::Arena || x_tables == 0, "page-table pages were left behind");
  for (const Block& block : blocks()) x_memory.buddy.release(block.start, block.order);
}

Status TableArena::add_blocks(u64 missing) {
  NewBlocks blocks(x_memory);
  // None is larger than the one before it: then at least one table of each is drawn.
  unsigned largest = TableBlocks::max_block_order;
  for (u64 added = 0; added < missing;) {
    const u64 wanted = std::max(missing - added, (x_blocks.table_count() + added) / 2);
    const auto wanted_order = x_table_order + static_cast<unsigned>(std::bit_width(wanted)) - 1;
    TRY_ASSIGN(const Block block, x_memory.buddy.allocate_up_to(std::min(wanted_order, largest), x_table_order));
    blocks.insert(block.start);
    added += u64{1} << (block.order - x_table_order);
    largest = block.order;
  }
  TRY(x_blocks.add(blocks.highest(), blocks.count(), TableBlocks::Holds::Tables));
  blocks.keep();
  return {};
}

Result<TablePages> TableArena::take_pages(u64 count) {
  TablePages pages(x_memory.frames);
  while (pages.count() != count) {
    const auto page = x_memory.buddy.allocate(x_table_order);
    if (!page.ok()) {
      while (!pages.empty()) x_memory.buddy.release(pages.pop(), x_table_order);
      return page.error();
    }
    pages.push_back(*page);
  }
  return pages;
}

Result<TablePages> TableArena::take(u64 count) {
  if (x_mode == TableMode::Page) {
    auto pages = take_pages(count);
    if (pages.ok()) x_tables += count;
    return pages;
  }
  if (count > x_blocks.unused_count()) TRY(add_blocks(count - x_blocks.unused_count()));
  TablePages pages(x_memory.frames);
  x_blocks.draw(count, pages);
  x_tables += count;
  return pages;
}

void TableArena::give_back(TablePages&& pages) {
  while (!pages.empty()) release(pages.pop());
}

void TableArena::release(PhysAddr table) {
  --x_tables;
  if (x_mode == TableMode::Page) return x_memory.buddy.release(table, x_table_order);
  if (const auto block = x_blocks.release(table)) x_memory.buddy.release(block->start, block->order);
}

void TableArena::release(std::span<const PhysAddr> tables) {
  if (x_mode == TableMode::Arena) {
    for (const PhysAddr table : tables) release(table);
    return;
  }
  x_tables -= tables.size();
  x_memory.buddy.release(tables, x_table_order);
}

Result<PhysAddr> TableArena::take_top(unsigned order) {
  verify_invariant(order >= x_table_order, "a top table smaller than the others");
  if (order == x_table_order) {
    TRY_ASSIGN(TablePages pages, take(1));
    return pages.pop();
  }
  TRY_ASSIGN(const PhysAddr top, x_memory.buddy.allocate(order));
  if (x_mode == TableMode::Arena) {
    NewBlocks block(x_memory);
    block.insert(top);
    TRY(x_blocks.add(top, 1, TableBlocks::Holds::Top));
    block.keep();
  }
  ++x_tables;
  return top;
}

void TableArena::release_top(PhysAddr top, unsigned order) {
  if (order == x_table_order) return release(top);
  if (x_mode == TableMode::Arena) {
    const std::size_t index = x_blocks.find(top);
    verify_invariant(index != TableBlocks::none && blocks()[index] == Block{top, order}, "released no top table");
    return release(top);
  }
  --x_tables;
  x_memory.buddy.release(top, order);
}

Status TableArena::preserve(BlockSink& sink) {
  const std::span<const Block> all = blocks();
  for (std::size_t i = 0; i < all.size(); ++i) {
    const Status status = sink.preserve(all[i]);
    if (status.ok()) continue;
    while (i-- != 0) sink.unpreserve(all[i]);
    return status;
  }
  return {};
}

void TableArena::unpreserve(BlockSink& sink) {
  for (const Block& block : blocks()) sink.unpreserve(block);
}

}  // namespace holdfast

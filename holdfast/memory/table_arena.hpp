// TableArena: the page-table pages of one domain.
//
// Arena mode: pages come out of 64-page blocks that hold nothing else, so that preserving, restoring and freeing a
// domain depends on the number of blocks. Page mode: each page stands alone, as in Linux; the pages of a domain are
// then found by walking its tables, and for_each_block() and preserve() have nothing to say.
//
// reserve() first, allocate_reserved() after: what changes a table cannot run out of memory half way.
// Contents of a page are undefined. A block that becomes empty is given back at once.
// Threads: the owner's. Failure: NoMemory, and then nothing has changed.
#pragma once

#include "holdfast/memory/block_sink.hpp"
#include "holdfast/memory/frame_table.hpp"
#include "holdfast/memory/vec.hpp"

namespace holdfast {

struct Memory;

enum class TableMode : u8 { Arena, Page };

class TableArena {
 public:
  static constexpr u32 block_order = 6;
  static constexpr u64 pages_per_block = u64{1} << block_order;

  TableArena(Memory& memory, TableMode mode);
  TableArena(const TableArena&) = delete;
  TableArena& operator=(const TableArena&) = delete;
  /// Arena mode: gives back every block, whatever is allocated in it. Page mode: every page must have been released.
  ~TableArena();

  [[nodiscard]] TableMode mode() const { return x_mode; }
  /// Pages allocated.
  [[nodiscard]] u64 pages() const { return x_pages; }
  /// Pages reserved and not taken yet.
  [[nodiscard]] u64 reserved() const { return x_reserved; }
  /// Arena mode: the blocks, by rising address. Page mode: none.
  [[nodiscard]] std::span<const Block> blocks() const { return x_blocks.span(); }
  template <class F>
  void for_each_block(F&& f) const {
    for (const Block& block : blocks()) f(block);
  }
  /// True when @p page is in a block of this arena (arena mode).
  [[nodiscard]] bool owns(PhysAddr page) const { return find_block(page) < x_blocks.size(); }

  /// The next @p pages calls of allocate_reserved() cannot fail. Reservations add up.
  Status reserve(u64 pages);
  PhysAddr allocate_reserved();
  /// Gives up what is still reserved.
  void cancel_reserved();
  Result<PhysAddr> allocate();
  void release(PhysAddr page);

  /// Arena mode: every block, all or none.
  Status preserve(BlockSink& sink);
  void unpreserve(BlockSink& sink);

 private:
  [[nodiscard]] std::size_t find_block(PhysAddr page) const;
  /// Pages of our blocks that nobody has; page mode: pages set aside by reserve().
  [[nodiscard]] u64 unused_pages() const;
  Status add_blocks(u64 count);
  void insert_block(PhysAddr start);
  Status add_spares(u64 count);
  PhysAddr take_spare();
  void drop_block(std::size_t index);
  void drop_surplus();

  Memory& x_memory;
  TableMode x_mode;
  Vec<Block> x_blocks;
  Vec<u64> x_free;                 // beside x_blocks: bit n set, page n of the block is free
  std::size_t x_hint = 0;          // no block before it has a free page
  mutable std::size_t x_last = 0;  // block that find_block() found last
  u64 x_pages = 0;
  u64 x_reserved = 0;
  u64 x_spare_pages = 0;  // page mode: length of the chain
  PhysAddr x_spare;       // page mode: reserved pages, chained through Frame::link; 0 ends the chain
};

}  // namespace holdfast

// TableArena: the page-table pages of one domain.
//
// Arena mode: tables come out of blocks that hold nothing else, so that preserving, restoring and freeing a domain
// depends on the number of blocks. Blocks grow with the domain, from one table to 2 MiB. Page mode: each table stands
// alone, as in Linux; the tables of a domain are then found by walking, and blocks() and preserve() have nothing to say.
//
// take() first, use after: what changes a table cannot run out of memory half way. Contents of a table are undefined.
// A block that becomes empty is given back at once. Threads: the owner's. Failure: NoMemory, and nothing has changed.
#pragma once

#include <array>

#include "holdfast/memory/block_sink.hpp"
#include "holdfast/memory/table_pages.hpp"
#include "holdfast/memory/vec.hpp"

namespace holdfast {

struct Memory;

enum class TableMode : u8 { Arena, Page };

class TableArena {
 public:
  static constexpr unsigned max_block_order = 9;  // 2 MiB

  /// Every table is 2^table_order pages, the top excepted.
  TableArena(Memory& memory, TableMode mode, unsigned table_order = 0);
  TableArena(const TableArena&) = delete;
  TableArena& operator=(const TableArena&) = delete;
  /// Arena mode: gives back every block, whatever is allocated in it. Page mode: every table must have been released.
  ~TableArena();

  [[nodiscard]] TableMode mode() const { return x_mode; }
  [[nodiscard]] unsigned table_order() const { return x_table_order; }
  /// Tables handed out and not released, tops included.
  [[nodiscard]] u64 tables() const { return x_tables; }
  /// Arena mode: the blocks, by rising address. Page mode: none.
  [[nodiscard]] std::span<const Block> blocks() const { return x_blocks.span(); }
  /// True when @p page is in a block of this arena (arena mode).
  [[nodiscard]] bool owns(PhysAddr page) const { return find_block(page) < x_blocks.size(); }

  /// @p count tables.
  Result<TablePages> take(u64 count);
  void give_back(TablePages&& pages);
  void release(PhysAddr table);
  void release(std::span<const PhysAddr> tables);

  /// A top of 2^order pages, at least a table. If it is larger it has a block of its own.
  Result<PhysAddr> take_top(unsigned order);
  void release_top(PhysAddr top, unsigned order);

  /// Arena mode: every block, all or none.
  Status preserve(BlockSink& sink);
  void unpreserve(BlockSink& sink);

 private:
  /// What a block holds; a block with one bit of room that is never free is a top.
  struct Room {
    std::array<u64, (u64{1} << max_block_order) / 64> free{};  // bit n: table n of the block
    u32 used = 0;
    u32 tables = 0;
  };

  [[nodiscard]] std::size_t find_block(PhysAddr page) const;
  Status add_block(unsigned order, u32 tables);
  void insert_block(Block block, u32 tables);
  Status add_blocks(u64 missing);
  void drop_block(std::size_t index);
  void drop_empty_blocks();
  [[nodiscard]] PhysAddr take_from_blocks();

  Memory& x_memory;
  TableMode x_mode;
  unsigned x_table_order;
  Vec<Block> x_blocks;
  Vec<Room> x_rooms;               // beside x_blocks
  std::size_t x_hint = 0;          // no block before it has a free table
  mutable std::size_t x_last = 0;  // block that find_block() found last
  u64 x_tables = 0;
  u64 x_unused = 0;  // tables of our blocks that nobody has
};

}  // namespace holdfast

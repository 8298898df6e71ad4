// TableArena: the memory of one domain's page tables. A table is 2^table_order pages.
//
// Arena mode: tables come out of blocks that hold nothing else, so that preserving, restoring and freeing a domain
// depends on the number of blocks. A block is about half as large as what the domain has already: a domain with one
// table costs one table, one with many has blocks of 2 MiB; where the allocator has no block that large, the largest it
// has. A block whose last table is given back goes back at once, and the lowest unused table is taken first: what is
// taken depends on what is there, never on how it came about.
// Page mode: each table stands alone, as in Linux; those of a domain are then found by walking them, and blocks(),
// owns(), preserve() and unpreserve() have nothing to say.
//
// take() first, write after: what changes a table cannot run out of memory half way. Contents are undefined, and
// Frame::live as well. Between take() and give_back() a table is chained through Frame::link, which is its owner's once
// it is popped.
// Threads: the owner's. Failure: NoMemory, and then nothing has changed: the same frames are free.
#pragma once

#include "holdfast/memory/block_sink.hpp"
#include "holdfast/memory/frame_table.hpp"
#include "holdfast/memory/table_blocks.hpp"
#include "holdfast/memory/table_pages.hpp"

namespace holdfast {

struct Memory;

enum class TableMode : u8 { Arena, Page };

class TableArena {
 public:
  TableArena(Memory& memory, TableMode mode, unsigned table_order = 0);
  TableArena(const TableArena&) = delete;
  TableArena& operator=(const TableArena&) = delete;
  /// Arena mode: gives back every block, whatever is taken of it. Page mode: every table must have been released.
  ~TableArena();

  [[nodiscard]] TableMode mode() const { return x_mode; }
  [[nodiscard]] unsigned table_order() const { return x_table_order; }
  /// Tables taken and not given back, the top included.
  [[nodiscard]] u64 tables() const { return x_tables; }
  /// Arena mode: the blocks, by rising address. Page mode: none.
  [[nodiscard]] std::span<const Block> blocks() const { return x_blocks.span(); }
  /// True when @p page is in a block of this arena (arena mode).
  [[nodiscard]] bool owns(PhysAddr page) const { return x_blocks.find(page) != TableBlocks::none; }

  /// @p count tables, all or none.
  Result<TablePages> take(u64 count);
  /// Tables that take() gave; @p pages is empty afterwards.
  void give_back(TablePages&& pages);
  void release(PhysAddr table);
  void release(std::span<const PhysAddr> tables);

  /// A table of 2^@p order pages, at least as large as the others: a block of its own, preserved like the others.
  Result<PhysAddr> take_top(unsigned order);
  void release_top(PhysAddr top, unsigned order);

  /// Arena mode: every block, all or none.
  Status preserve(BlockSink& sink);
  void unpreserve(BlockSink& sink);

 private:
  [[nodiscard]] Status add_blocks(u64 missing);
  [[nodiscard]] Result<TablePages> take_pages(u64 count);

  Memory& x_memory;
  TableMode x_mode;
  unsigned x_table_order;
  u64 x_tables = 0;
  TableBlocks x_blocks;
};

}  // namespace holdfast

// TableBlocks: the blocks of one arena, by rising address, and which of their tables are unused. Bookkeeping only:
// where blocks come from and go to is TableArena's.
//
// Every block has at least one table in use, as soon as those are drawn for which it was added.
// Threads: the owner's. Failure: add() alone, NoMemory.
#pragma once

#include <array>
#include <optional>

#include "holdfast/memory/table_pages.hpp"
#include "holdfast/memory/vec.hpp"

namespace holdfast {

class TableBlocks {
 public:
  static constexpr unsigned max_block_order = 9;  // 2 MiB; a top may be larger
  static constexpr std::size_t none = ~std::size_t{0};
  /// What is in new blocks: unused tables, or one top each, in use.
  enum class Holds : u8 { Tables, Top };

  TableBlocks(Heap& heap, const FrameTable& frames, unsigned table_order)
      : x_frames(frames), x_table_lg2(table_order + page_lg2), x_blocks(heap), x_use(heap), x_unused(heap) {}

  [[nodiscard]] std::span<const Block> span() const { return x_blocks.span(); }
  /// Tables that fit into the blocks, and those of them that nobody has.
  [[nodiscard]] u64 table_count() const { return x_table_count; }
  [[nodiscard]] u64 unused_count() const { return x_unused_count; }
  /// The block that contains @p page, or none.
  [[nodiscard]] std::size_t find(PhysAddr page) const;

  /// Blocks chained through the Frame::link of their heads, from @p highest on downwards; their orders are those of
  /// their frames. Error: NoMemory, and then nothing is changed.
  Status add(PhysAddr highest, std::size_t count, Holds holds);
  /// The lowest @p count unused tables, which must be there.
  void draw(u64 count, TablePages& to);
  /// The table is unused from now on. When its whole block is, the block is taken out and answered: its owner frees it.
  [[nodiscard]] std::optional<Block> release(PhysAddr table);

 private:
  struct Use {
    u16 tables;  // in this block
    u16 unused;
  };
  static constexpr u64 max_tables = u64{1} << max_block_order;
  using Bits = std::array<u64, max_tables / 64>;  // bit n of all: table n is unused

  [[nodiscard]] Status make_room(std::size_t count);
  void place(std::size_t index, Block block, Holds holds);
  void draw_from(std::size_t index, u64 count, TablePages& to);
  Block remove(std::size_t index);

  const FrameTable& x_frames;
  unsigned x_table_lg2;
  Vec<Block> x_blocks;
  Vec<Use> x_use;      // beside x_blocks
  Vec<Bits> x_unused;  // beside x_blocks
  u64 x_table_count = 0;
  u64 x_unused_count = 0;
  std::size_t x_hint = 0;          // no block before it has an unused table
  mutable std::size_t x_last = 0;  // block that find() found last
};

}  // namespace holdfast

// Gather: what hardware may still remember of a table that was changed, and the table pages that may be reused only
// after it has forgotten.
//
//   Gather gather;
//   TRY(table.map(..., gather));  or unmap, cut, read_dirty
//   unit.invalidate(did, gather);   // returns when hardware has forgotten
//   gather.complete(table);
//
// Two policies. Merging keeps one covering range: one invalidation, which may cover more than was changed. NoGaps keeps
// up to max_ranges disjoint ranges and never covers what was not changed (a hypervisor that shadows the table walks all
// of it); when there is no room for one more it has the ranges so far invalidated in the middle of the operation.
//
// The levels say which caches must forget: a unit that keeps leaves of different sizes apart needs leaf_levels, one
// with paging-structure caches needs table_levels. Dropping a Gather that is not empty panics; it can be moved.
// Threads: the owner's. Failure: none.
#pragma once

#include <array>
#include <span>

#include "holdfast/pt/types.hpp"

namespace holdfast::pt {

class Gather;
class Table;

/// Invalidates the ranges of a NoGaps gather that is full.
class GatherFlusher {
 public:
  /// Returns when hardware has forgotten gather.ranges(). The tables of the gather stay with it.
  virtual void flush(const Gather& gather) = 0;

 protected:
  ~GatherFlusher() = default;
};

class [[nodiscard]] Gather {
 public:
  static constexpr u32 max_ranges = 8;

  /// Merging.
  Gather() = default;
  /// NoGaps.
  explicit Gather(GatherFlusher& flusher) : x_flusher(&flusher) {}
  Gather(Gather&& other) noexcept;
  Gather& operator=(Gather&&) = delete;
  Gather(const Gather&) = delete;
  Gather& operator=(const Gather&) = delete;
  ~Gather() { verify_invariant(empty(), "a gather was dropped before it was completed"); }

  /// Nothing to invalidate, nothing to free.
  [[nodiscard]] bool empty() const { return x_count == 0 && x_tables == 0; }
  /// Ranges to invalidate, as devices see them; merging: none or one, NoGaps: disjoint, not touching, by rising IOVA.
  /// All 2^64 bytes read as 2^64 - 1.
  [[nodiscard]] std::span<const IovaRange> ranges() const { return {x_ranges.at, x_count}; }
  /// True when table pages were taken out: paging-structure caches must forget the ranges too.
  [[nodiscard]] bool tables_changed() const { return x_table_levels != 0; }
  /// Bit n: leaves at level n were changed or removed.
  [[nodiscard]] u8 leaf_levels() const { return x_leaf_levels; }
  /// Bit n: items at level n that led to a table were changed or removed. Bit 0 is never set.
  [[nodiscard]] u8 table_levels() const { return x_table_levels; }
  [[nodiscard]] u64 table_count() const { return x_tables; }

  /// Hardware has forgotten: the table pages are freed, the gather is empty again. @p table is the one that was
  /// changed.
  void complete(Table& table) {
    if (x_tables != 0) free_tables(table);
    x_count = 0;
    x_leaf_levels = 0;
    x_table_levels = 0;
  }

  // For implementations of Table.

  struct Levels {
    u8 leaves = 0;
    u8 tables = 0;
  };
  void add_range(IovaRange range, Levels levels) {
    x_leaf_levels |= levels.leaves;
    x_table_levels |= levels.tables;
    if (x_count == 0) {
      x_ranges.at[0] = range;
      x_count = 1;
    } else {
      add_further(range);
    }
  }
  /// @p page is out of the tree. It is chained through its frame, never through its words: hardware may still read
  /// them.
  void add_table(const Table& table, FrameTable& frames, PhysAddr page);

 private:
  void free_tables(Table& table);
  void add_further(IovaRange range);
  void add_disjoint(IovaRange range);

  union Ranges {  // only the first x_count are alive: a gather per call must cost nothing
    Ranges() {}   // NOLINT
    IovaRange at[max_ranges];
  };

  Ranges x_ranges;
  u32 x_count = 0;
  u8 x_leaf_levels = 0;
  u8 x_table_levels = 0;
  GatherFlusher* x_flusher = nullptr;  // null: merging
  u64 x_tables = 0;
  PhysAddr x_first;                // of the chain, when x_tables != 0
  FrameTable* x_frames = nullptr;  // where the chain is
  const Table* x_owner = nullptr;  // whose tables wait here
};

}  // namespace holdfast::pt

// Gather: what hardware may still remember of a table that was changed, and the table pages that may be reused only
// after it has forgotten.
//
//   Gather gather;
//   TRY(table.map(..., gather));  or unmap
//   unit.invalidate(did, gather);   // returns when hardware has forgotten
//   gather.complete(table);
//
// One covering range is kept, so an invalidation may cover more than was changed. Dropping a Gather that is not empty
// panics. Threads: the owner's. Failure: none.
#pragma once

#include <array>
#include <span>

#include "holdfast/pt/types.hpp"

namespace holdfast::pt {

class Table;

class [[nodiscard]] Gather {
 public:
  Gather() = default;
  Gather(Gather&& other) noexcept;
  Gather& operator=(Gather&&) = delete;
  Gather(const Gather&) = delete;
  Gather& operator=(const Gather&) = delete;
  ~Gather() { verify_invariant(empty(), "a gather was dropped before it was completed"); }

  /// Nothing to invalidate, nothing to free.
  [[nodiscard]] bool empty() const { return x_count == 0 && x_tables == 0; }
  /// Ranges to invalidate: none or one.
  [[nodiscard]] std::span<const IovaRange> ranges() const { return {x_ranges.data(), x_count}; }
  /// True when table pages were taken out: paging-structure caches must forget the ranges too.
  [[nodiscard]] bool tables_changed() const { return x_tables != 0; }
  [[nodiscard]] u64 table_count() const { return x_tables; }

  /// Hardware has forgotten: the table pages are freed, the gather is empty again. @p table is the one that was
  /// changed.
  void complete(Table& table);

  // For implementations of Table.

  void add_range(IovaRange range);
  /// @p page is out of the tree. It is chained through its frame, never through its words: hardware may still read
  /// them.
  void add_table(const Table& table, FrameTable& frames, PhysAddr page);

 private:
  std::array<IovaRange, 1> x_ranges{};
  std::size_t x_count = 0;
  u64 x_tables = 0;
  PhysAddr x_first;                // of the chain, when x_tables != 0
  FrameTable* x_frames = nullptr;  // where the chain is
  const Table* x_owner = nullptr;  // whose tables wait here
};

}  // namespace holdfast::pt

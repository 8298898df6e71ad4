// The engine: RadixTable<F>, a live table of format F. The contract is Table's (table.hpp).
//
// map() walks the range twice with the same code for choosing leaves: first it looks for collisions and counts the
// tables that are missing, exactly; then, with that many pages reserved, it writes, and nothing can fail. A table that
// is not linked yet is filled with plain stores and linked by one hw_store; everything else that hardware can reach is
// written by hw_store, entry by entry.
#pragma once

#include "holdfast/pt/digest.hpp"
#include "holdfast/pt/run_cursor.hpp"
#include "holdfast/pt/table.hpp"
#include "holdfast/pt/walk.hpp"

namespace holdfast::pt {

template <PageTableFormat F>
class RadixTable final : public Table {
 public:
  static Result<Table*> create(Memory& memory, const TableConfig& config);

  Status map(Iova iova, std::span<const PhysRange> runs, Prot prot, Gather& gather, Iova* first_collision) override;
  Result<u64> unmap(Iova iova, u64 length, Gather& gather) override;

  Result<Translation> lookup(Iova iova) const override;
  Visit visit_leaves(LeafVisitor& visitor) const override;
  Visit visit_tables(TableVisitor& visitor) const override;

  PhysAddr top() const override { return x_top; }
  const TableConfig& config() const override { return x_config; }
  u64 table_count() const override { return x_tables; }
  const TableArena& arena() const override { return x_arena; }

  Result<SavedTable> preserve(BlockSink& sink) override;
  void unpreserve(BlockSink& sink) override;
  bool preserved() const override { return x_preserved; }

 private:
  friend class holdfast::Heap;

  /// Whether hardware can already reach a table that is being written.
  enum class Reach : u8 { Private, Live };
  struct Plan {
    u64 tables = 0;
    Iova collision;
  };

  RadixTable(Memory& memory, const TableConfig& config)
      : x_memory(memory), x_config(config), x_arena(memory, config.mode) {}
  ~RadixTable() = default;

  static Status check(const TableConfig& config);
  void free_table(PhysAddr page) override;
  void dispose() override;

  [[nodiscard]] unsigned top_level() const { return x_config.levels - 1u; }
  [[nodiscard]] u64 last_iova() const { return (u64{1} << x_config.iova_bits) - 1; }
  [[nodiscard]] u64* words(PhysAddr page) const {
    x_memory.touches.table();
    return x_memory.map.at<u64>(page);
  }
  [[nodiscard]] auto follow() const {
    return [this](PhysAddr page, unsigned) -> const u64* { return words(page); };
  }
  void store(u64* where, u64 entry, Reach reach) {
    if (reach == Reach::Private)
      *where = entry;
    else
      hw_store(x_memory.world, where, entry);
  }

  // engine_map.hpp
  [[nodiscard]] Status check_runs(Iova iova, std::span<const PhysRange> runs, u64& total) const;
  [[nodiscard]] bool leaf_fits(unsigned level, u64 iova, u64 bytes, const RunCursor& runs) const;
  Status plan(const u64* table, unsigned level, u64 iova, u64 last, RunCursor& runs, Plan& plan) const;
  Status plan_pages(const u64* table, u64 iova, u64 last, RunCursor& runs, Plan& plan) const;
  [[nodiscard]] bool find_any_leaf(PhysAddr page, unsigned level, u64 base, Iova& found) const;
  void write(u64* table, unsigned level, u64 iova, u64 last, RunCursor& runs, Prot prot, Reach reach, Gather& gather);
  void write_pages(u64* table, u64 iova, u64 last, RunCursor& runs, Prot prot, Reach reach);
  void write_new_table(u64* slot, unsigned level, u64 iova, u64 last, RunCursor& runs, Prot prot, Reach reach,
                       Gather& gather);
  void write_leaf(u64* slot, unsigned level, u64 iova, RunCursor& runs, Prot prot, Reach reach, Gather& gather);

  // engine_unmap.hpp
  struct Erasure {
    Gather& gather;
    u64 bytes = 0;
  };
  [[nodiscard]] bool erase(u64* table, unsigned level, u64 iova, u64 last, Erasure& erasure);
  [[nodiscard]] bool erase_child(u64* slot, unsigned level, u64 iova, u64 last, Erasure& erasure);
  [[nodiscard]] static bool is_full(const u64* table);
  void retire(PhysAddr page, Gather& gather);

  Status preserve_pages(BlockSink& sink);
  void unpreserve_pages(BlockSink& sink, u64 count);
  [[nodiscard]] u64 checksum() const;

  Memory& x_memory;
  TableConfig x_config;
  TableArena x_arena;
  PhysAddr x_top;
  u64 x_tables = 0;   // in the tree
  u64 x_retired = 0;  // out of the tree, in a gather
  bool x_preserved = false;
};

template <PageTableFormat F>
Status RadixTable<F>::check(const TableConfig& config) {
  if (config.levels < F::min_levels || config.levels > F::max_levels) return Code::Invalid;
  if (!is_valid_width(config.levels, config.iova_bits)) return Code::Invalid;
  if (config.phys_bits < 32 || config.phys_bits > F::max_phys_bits) return Code::Invalid;
  if ((config.page_sizes & ~F::leaf_sizes) != 0 || (config.page_sizes & page_size_bytes) == 0) return Code::Invalid;
  return {};
}

template <PageTableFormat F>
Result<Table*> RadixTable<F>::create(Memory& memory, const TableConfig& config) {
  TRY(check(config));
  TRY_ASSIGN(auto* table, memory.heap.create<RadixTable>(memory, config));
  auto top = table->x_arena.allocate();
  if (!top.ok()) {
    memory.heap.destroy(table);
    return top.error();
  }
  table->x_top = *top;
  table->x_tables = 1;
  std::fill_n(table->words(*top), entries_per_table, u64{0});
  return static_cast<Table*>(table);
}

template <PageTableFormat F>
void RadixTable<F>::dispose() {
  verify_invariant(!x_preserved, "destroyed a table that is preserved");
  verify_invariant(x_retired == 0, "destroyed a table before its gathers were completed");
  if (x_config.mode == TableMode::Page) {
    struct Release final : TableVisitor {
      explicit Release(TableArena& arena) : x_pages(arena) {}
      Visit table(PhysAddr page, unsigned) override { return x_pages.release(page), Visit::Continue; }
      TableArena& x_pages;
    } release(x_arena);
    visit_tables_below<F, Order::ChildrenFirst>(x_top, top_level(), release, follow());
  }
  x_memory.heap.destroy(this);
}

template <PageTableFormat F>
Result<Translation> RadixTable<F>::lookup(Iova iova) const {
  if (iova.value > last_iova()) return Code::OutOfRange;
  return find_leaf<F>(x_top, top_level(), iova.value, follow());
}

template <PageTableFormat F>
Visit RadixTable<F>::visit_leaves(LeafVisitor& visitor) const {
  return visit_leaves_below<F>(x_top, top_level(), 0, visitor, follow());
}

template <PageTableFormat F>
Visit RadixTable<F>::visit_tables(TableVisitor& visitor) const {
  return visit_tables_below<F, Order::ParentsFirst>(x_top, top_level(), visitor, follow());
}

template <PageTableFormat F>
u64 RadixTable<F>::checksum() const {
  u64 sum = 0;
  collect([&](PhysAddr page, unsigned level) { sum += table_digest(page, level, words(page), F::hardware_bits); });
  return sum;
}

template <PageTableFormat F>
Status RadixTable<F>::preserve_pages(BlockSink& sink) {
  struct Preserve final : TableVisitor {
    explicit Preserve(BlockSink& set) : x_set(set) {}
    Visit table(PhysAddr page, unsigned) override {
      status = x_set.preserve({page, 0});
      if (!status.ok()) return Visit::Stop;
      ++count;
      return Visit::Continue;
    }
    BlockSink& x_set;
    Status status;
    u64 count = 0;
  } preserve(sink);
  if (visit_tables(preserve) == Visit::Stop) unpreserve_pages(sink, preserve.count);
  return preserve.status;
}

template <PageTableFormat F>
void RadixTable<F>::unpreserve_pages(BlockSink& sink, u64 count) {
  collect([&](PhysAddr page, unsigned) {
    if (count == 0) return;
    --count;
    sink.unpreserve({page, 0});
  });
}

template <PageTableFormat F>
Result<SavedTable> RadixTable<F>::preserve(BlockSink& sink) {
  if (x_preserved || x_retired != 0) return Code::Busy;
  TRY(x_config.mode == TableMode::Page ? preserve_pages(sink) : x_arena.preserve(sink));
  x_preserved = true;
  return SavedTable{.top = x_top,
                    .top_level = static_cast<u8>(top_level()),
                    .iova_bits = x_config.iova_bits,
                    .sign_extend = 0,
                    .table_count = x_tables,
                    .checksum = checksum()};
}

template <PageTableFormat F>
void RadixTable<F>::unpreserve(BlockSink& sink) {
  verify_invariant(x_preserved, "unpreserved a table that is not preserved");
  if (x_config.mode == TableMode::Page)
    unpreserve_pages(sink, x_tables);
  else
    x_arena.unpreserve(sink);
  x_preserved = false;
}

}  // namespace holdfast::pt

#include "holdfast/pt/engine_map.hpp"    // IWYU pragma: export
#include "holdfast/pt/engine_unmap.hpp"  // IWYU pragma: export

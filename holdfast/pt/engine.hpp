// The engine: RadixTable<F, P>, a live table of format F under concurrency policy P. The contract is Table's.
//
// Reading order: this file, then engine_find.hpp, engine_map.hpp, engine_unmap.hpp, engine_cut.hpp, engine_dirty.hpp,
// engine_top.hpp. walk.hpp holds what live and incoming tables share.
//
// Concurrency
//
//   Exclusive. One thread at a time changes the table; readers of ranges that are not being changed may run beside it,
//   as hardware does. Frame::live of every table but the top says how many of its items are not empty, so a covered
//   table that is full leaves the tree without being looked at.
//
//   Shared, which is Linux's contract. The caller holds range locks: two threads never change addresses of one range at
//   the same time, and lookup() and read_dirty() of a range exclude changes of it. Threads of disjoint ranges share the
//   tables above them. An empty slot is taken by compare-and-exchange; who comes second gives its tables back and goes
//   on in the other's. A table is taken out only by a change that covers all it maps, so nobody else can be inside.
//   Where tables are not coherent, the winner flushes the slot and then sets the format's software bit; who meets a
//   table item without that bit flushes the slot itself before relying on it. The top and its height are one word; it
//   grows under the table's spinlock, and hardware is told before anybody can map into the new part.
//   Leaves are plain 8-byte stores: only the owner of the range writes them.
//
// map() goes over the range twice with the same code for choosing leaves: first it looks for collisions and counts the
// tables that are missing; then, with that many pages in hand, it writes, and nothing can fail. A table that is not
// linked yet is filled with plain stores and linked by one store; everything else that hardware can reach is written by
// hw_store or, in runs, by a kernel that keeps items whole.
#pragma once

#include "holdfast/pt/digest.hpp"
#include "holdfast/pt/policy.hpp"
#include "holdfast/pt/run_cursor.hpp"
#include "holdfast/pt/table.hpp"
#include "holdfast/pt/walk.hpp"

namespace holdfast::pt {

/// Index of the lowest set bit; 64 when there is none.
[[nodiscard]] inline unsigned low_bit(u64 value) { return static_cast<unsigned>(std::countr_zero(value)); }
/// log2 of a power of two.
[[nodiscard]] inline unsigned only_bit(u64 value) { return static_cast<unsigned>(__builtin_ctzll(value)); }
/// floor(log2(value)), value != 0.
[[nodiscard]] inline unsigned floor_lg2(u64 value) { return static_cast<unsigned>(std::bit_width(value)) - 1; }

template <PageTableFormat F, class P>
class RadixTable final : public Table {
 public:
  static Result<Table*> create(Memory& memory, const TableConfig& config, TopObserver* observer);

  Status map(Iova iova, std::span<const PhysRange> runs, Prot prot, Gather& gather, Iova* first_collision) override;
  Result<u64> unmap(Iova iova, u64 length, Gather& gather) override;
  Status cut(Iova boundary, Gather& gather) override;
  Status read_dirty(IovaRange range, DirtyRead how, const DirtyBitmap* bitmap, Gather& gather) override;

  void lookup(std::span<const Iova> iovas, std::span<Translation> to) const override;
  Visit visit_leaves(LeafVisitor& visitor) const override;
  Visit visit_tables(TableVisitor& visitor) const override;

  Tree tree() const override;
  const TableConfig& config() const override { return x_config; }
  u64 table_count() const override { return P::read(x_tables); }
  const TableArena& arena() const override { return x_arena; }

  Status preserve(BlockSink& sink) override;
  void unpreserve(BlockSink& sink) override;
  bool preserved() const override { return P::read(x_preserved); }
  SavedTable saved() const override;

 private:
  friend class holdfast::Heap;

  /// Whether hardware can already reach a table that is being written.
  enum class Reach : u8 { Private, Live };
  /// Leaves of 2^size_lg2 bytes are at one level: sizes grow from level to level.
  [[nodiscard]] static unsigned level_of_leaf(unsigned size_lg2) { return (size_lg2 - F::granule_lg2) / F::index_bits; }
  /// Leaves of one size, one after the other; bytes 0: none.
  struct LeafRun {
    unsigned size_lg2 = 0;
    u64 bytes = 0;
  };
  struct Plan {
    unsigned top_level;  // of the tree as it is; what is above has yet to be made, and leads to it by item 0
    PhysAddr top;
    u64 tables = 0;
    u64 collision = 0;
  };
  struct Writing {
    u64 attributes;
    TablePages& pages;
    Gather& gather;
  };

  RadixTable(Memory& memory, const TableConfig& config, TopObserver* observer);
  ~RadixTable() = default;

  static Status check(const TableConfig& config, const TopObserver* observer);
  void free_table(PhysAddr page) override;
  void dispose() override;

  // The top: a page address with its level in the low bits, so that both change at once.
  [[nodiscard]] static u64 pack(PhysAddr top, unsigned level) { return top.value | level; }
  [[nodiscard]] Tree tree_of(u64 packed_top) const;

  [[nodiscard]] u64* words(PhysAddr page) const {
    x_memory.touches.table();
    return words_uncounted(page);
  }
  [[nodiscard]] u64* words_uncounted(PhysAddr page) const { return reinterpret_cast<u64*>(x_base + page.value); }
  /// An item as the format knows it, without the bits of encryption.
  [[nodiscard]] u64 load(const u64* slot) const { return hw_load(slot) & x_unencrypted; }
  /// Bit i: item i from @p slot on, of a table at level 0, is one of several of its leaf. @p count is at most 64.
  [[nodiscard]] u64 find_several(const u64* slot, unsigned count) const {
    if constexpr (has_single_pages_only<F>)
      return 0;
    else
      return x_kernels->match(slot, count, F::several_items.mask, F::several_items.value);
  }
  [[nodiscard]] auto follow() const {
    return [this](PhysAddr page, unsigned) -> const u64* { return words(page); };
  }

  // engine_find.hpp
  struct Descent;
  [[nodiscard]] u64* find_slot(u64 inside, unsigned level, PhysAddr& page) const;
  [[nodiscard]] [[gnu::noinline]] u64* find_flushed_slot(u64 inside, unsigned level, PhysAddr& page) const;
  [[nodiscard]] Found find(Iova iova) const override;
  [[nodiscard]] [[gnu::noinline]] Found find_elsewhere(Iova iova) const;

  [[nodiscard]] u64 table_item(PhysAddr page, unsigned level) const {
    return F::table(page, level) | x_config.encryption | x_table_bits;
  }
  void flush(const u64* first, u64 count) const {
    if (!x_config.coherent) x_memory.world.flush_cache(first, count * sizeof(u64));
  }
  void store(u64* slot, u64 item, Reach reach) {
    if (reach == Reach::Private) {
      *slot = item;
    } else {
      hw_store(x_memory.world, slot, item);
      flush(slot, 1);
    }
  }
  /// words[i] = first + i * step.
  void fill(u64* slot, u64 count, u64 first, u64 step, Reach reach);
  void count_items(PhysAddr page, u64 added) {
    if constexpr (P::counts_items) {
      u16& live = x_memory.frames.at(page).live;
      live = static_cast<u16>(live + added);
    }
  }
  /// Where tables are not coherent, and threads share them.
  [[nodiscard]] bool must_look_at_flushed_bits() const {
    return !P::counts_items && F::flushed_bit != 0 && !x_config.coherent;
  }
  /// Relies on a Table item that another thread may have just linked: it must be in memory.
  void rely_on(u64* slot, u64 item) const {
    if (must_look_at_flushed_bits() && (item & F::flushed_bit) == 0) flush(slot, 1);
  }

  // engine_map.hpp
  [[nodiscard]] Status check_runs(std::span<const PhysRange> runs, u64& total) const;
  [[nodiscard]] Result<u64> attributes_of(Prot prot) const;
  [[nodiscard]] [[gnu::noinline]] Status map_checked(Iova iova, std::span<const PhysRange> runs, u64 attributes,
                                                     Gather& gather, Iova* first_collision);
  [[nodiscard]] Status map_runs(Iova iova, u64 iova_last, std::span<const PhysRange> runs, u64 attributes,
                                Gather& gather, Iova* first_collision);
  [[nodiscard]] bool may_be_leaf(u64 inside, unsigned size_lg2) const;
  [[nodiscard]] bool map_leaf(u64 inside, PhysAddr address, unsigned size_lg2, u64 attributes);
  [[nodiscard]] bool map_in_one_table(Iova iova, const PhysRange& run, u64 attributes);
  [[nodiscard]] LeafRun leaves_at(unsigned level, u64 inside, u64 last, const PhysRange& run) const;
  Status plan(const u64* table, unsigned level, const Tree& tree, u64 inside, u64 last, RunCursor& runs,
              Plan& plan) const;
  Status plan_leaves(const u64* table, unsigned level, const Tree& tree, u64 inside, u64 bytes, Plan& plan) const;
  [[nodiscard]] bool find_any_leaf(const Tree& tree, PhysAddr page, unsigned level, u64 base, u64& found) const;
  void write(PhysAddr page, unsigned level, const Tree& tree, u64 inside, u64 last, RunCursor& runs, Writing& writing,
             Reach reach);
  void write_leaves(PhysAddr page, unsigned level, const Tree& tree, u64 inside, const LeafRun& leaves, RunCursor& runs,
                    Writing& writing, Reach reach);
  void store_leaves(u64* slot, unsigned level, const LeafRun& leaves, PhysAddr address, u64 attributes, Reach reach);
  void replace_tables(u64* slot, unsigned level, const Tree& tree, u64 inside, const LeafRun& leaves, PhysAddr address,
                      Writing& writing);
  [[nodiscard]] bool write_new_table(PhysAddr parent, u64* slot, unsigned level, const Tree& tree, u64 inside, u64 last,
                                     RunCursor& runs, Writing& writing, Reach reach);
  [[nodiscard]] PhysAddr take_table(TablePages& pages);
  void recycle(PhysAddr page, unsigned level, const Tree& tree, TablePages& pages);

  // engine_unmap.hpp
  struct Erasure {
    Gather& gather;
    Gather::Levels levels;
    u64 bytes = 0;
  };
  [[nodiscard]] [[gnu::noinline]] Result<u64> unmap_range(Iova iova, u64 length, Gather& gather);
  [[nodiscard]] bool unmap_leaf(Iova iova, unsigned size_lg2, Gather& gather);
  [[nodiscard]] static bool covers_item(u64 inside, u64 last, unsigned level);
  [[nodiscard]] bool erase(PhysAddr page, unsigned level, const Tree& tree, u64 inside, u64 last, Erasure& erasure);
  [[nodiscard]] u64 count_single_pages(const u64* slot, u64 wanted) const;
  [[nodiscard]] u64 erase_pages(PhysAddr page, const Tree& tree, u64 inside, u64 last, Erasure& erasure);
  [[nodiscard]] bool erase_child(PhysAddr page, u64* slot, unsigned level, const Tree& tree, u64 inside, u64 last,
                                 Erasure& erasure);
  [[nodiscard]] bool is_full(PhysAddr page, unsigned level, u8& leaf_levels) const;
  void retire(PhysAddr page, Gather& gather);
  [[nodiscard]] u8 retire_subtree(PhysAddr page, unsigned level, Gather& gather);

  // engine_cut.hpp
  struct Crossing;
  struct Piece;
  [[nodiscard]] bool find_crossing(u64 boundary, const Tree& tree, Crossing& crossing) const;
  [[nodiscard]] Result<Piece> next_piece(const Crossing& crossing, const Tree& tree, u64 inside, u64& tables) const;
  [[nodiscard]] PhysAddr build_piece(const Crossing& crossing, const Tree& tree, const Piece& piece, Writing& writing);
  [[nodiscard]] bool exchange_piece(const Crossing& crossing, const Tree& tree, const Piece& piece, Writing& writing);

  // engine_dirty.hpp
  struct DirtyScan;
  void make_dirty(u64* item, const DirtyBits& bits);
  void clean(u64* slot, u64 which, DirtyScan& scan);
  void scan_dirty(PhysAddr page, unsigned level, const Tree& tree, u64 inside, u64 last, DirtyScan& scan);
  void scan_dirty_pages(u64* slot, unsigned count, const Tree& tree, u64 inside, DirtyScan& scan);
  void scan_dirty_leaf(u64* slot, unsigned level, unsigned size_lg2, const Tree& tree, u64 inside, u64 last,
                       DirtyScan& scan);

  // engine_top.hpp
  [[nodiscard]] Status take_tables(u64 count, TablePages& pages);
  void give_back(TablePages& pages);
  [[nodiscard]] unsigned top_level_for(u64 first, u64 last, std::span<const PhysRange> runs, const Tree& now) const;
  [[nodiscard]] Tree grown_for(u64 first, u64 last, std::span<const PhysRange> runs, const Tree& now) const;
  void grow(const Tree& now, Tree& grown, TablePages& pages);
  void abandon_growth(const Tree& tree, unsigned old_level, TablePages& pages);
  [[nodiscard]] bool publish(u64 before, const Tree& grown);

  Status preserve_pages(BlockSink& sink);
  void unpreserve_pages(BlockSink& sink, u64 count);

  Memory& x_memory;
  std::byte* x_base;
  const WordKernels* x_kernels;
  TableConfig x_config;
  u64 x_unencrypted;     // the bits of an item that do not mark encrypted memory
  u64 x_sizes[6] = {};   // leaf sizes that may be used, by level
  u64 x_table_bits = 0;  // of every Table item: flushed, where nobody else can meet it before it is
  TopObserver* x_observer;
  typename P::Lock x_lock;  // of x_arena, and of growing
  TableArena x_arena;
  u64 x_top = 0;
  u64 x_tables = 0;   // in the tree
  u64 x_retired = 0;  // out of the tree, in a gather
  bool x_preserved = false;
  // What the tree covers in one piece: IOVAs from x_first on, inside 0 .. x_last_inside. Of a sign-extended tree only
  // the lower half; where the top grows, never more than it has.
  u64 x_first = 0;
  u64 x_last_inside = 0;
  u64 x_phys_last = 0;
};

template <PageTableFormat F, class P>
RadixTable<F, P>::RadixTable(Memory& memory, const TableConfig& config, TopObserver* observer)
    : x_memory(memory),
      x_base(memory.map.bytes(PhysAddr(0))),
      x_kernels(&memory.world.word_kernels()),
      x_config(config),
      x_unencrypted(~config.encryption),
      x_observer(observer),
      x_lock(memory.world, LockRank::PageTable),
      x_arena(memory, config.mode, table_order<F>),
      x_phys_last(low_bits(config.phys_bits)) {
  for (unsigned level = 0; level < F::max_levels; ++level) x_sizes[level] = F::leaf_sizes(level) & config.page_sizes;
  if (P::counts_items && !config.coherent) x_table_bits = F::flushed_bit;
}

template <PageTableFormat F, class P>
Status RadixTable<F, P>::check(const TableConfig& config, const TopObserver* observer) {
  if (config.levels == 0 || config.levels > F::max_levels) return Code::Invalid;
  if (config.phys_bits < min_phys_bits || config.phys_bits > F::max_phys_bits) return Code::Invalid;
  u64 sizes = 0;
  for (unsigned level = 0; level < F::max_levels; ++level) sizes |= F::leaf_sizes(level);
  if ((config.page_sizes & ~sizes) != 0 || (config.page_sizes >> F::granule_lg2 & 1) == 0) return Code::Invalid;
  if (!only(config.features, F::features) || (!config.coherent && F::flushed_bit == 0)) return Code::Invalid;
  if (!can_encrypt<F>(config.encryption, config.phys_bits)) return Code::Invalid;
  if (config.dynamic_top) {
    // What it has to begin with decodes whole tables; what it may grow to is any width.
    const bool valid =
        F::dynamic_top && observer != nullptr && config.extent == IovaExtent::Lower &&
        reaches<F>(F::max_levels, config.iova_bits) &&
        F::is_valid_shape(config.levels, std::min<unsigned>(config.iova_bits, item_lg2<F>(config.levels)));
    return valid ? Status() : Status(Code::Invalid);
  }
  return is_valid_tree<F>(config.levels, config.iova_bits, config.extent, config.phys_bits) ? Status()
                                                                                            : Status(Code::Invalid);
}

template <PageTableFormat F, class P>
Result<Table*> RadixTable<F, P>::create(Memory& memory, const TableConfig& config, TopObserver* observer) {
  TRY(check(config, observer));
  TRY_ASSIGN(auto* table, (memory.heap.create<RadixTable>(memory, config, observer)));
  const Tree shape = table->tree_of(pack(PhysAddr(0), config.levels - 1u));
  const unsigned order = top_order<F>(shape.top_level, shape.iova_bits);
  const auto top = table->x_arena.take_top(order);
  if (!top.ok()) {
    memory.heap.destroy(table);
    return top.error();
  }
  std::fill_n(table->words(*top), (page_size_bytes << order) / sizeof(u64), u64{0});
  table->flush(table->words(*top), (page_size_bytes << order) / sizeof(u64));
  memory.frames.at(*top).live = 0;
  table->x_top = pack(*top, config.levels - 1u);
  table->x_tables = 1;
  table->x_first = config.extent == IovaExtent::Upper ? ~shape.mask() : 0;
  table->x_last_inside = config.extent == IovaExtent::SignExtended ? shape.mask() >> 1 : shape.mask();
  return static_cast<Table*>(table);
}

template <PageTableFormat F, class P>
Tree RadixTable<F, P>::tree_of(u64 packed_top) const {
  const auto level = static_cast<u8>(packed_top & 7);
  Tree tree{PhysAddr(packed_top & ~u64{7}), level, x_config.iova_bits, x_config.extent, x_config.encryption};
  if (x_config.dynamic_top)
    tree.iova_bits = static_cast<u8>(std::min<unsigned>(x_config.iova_bits, item_lg2<F>(level + 1u)));
  return tree;
}

template <PageTableFormat F, class P>
Tree RadixTable<F, P>::tree() const {
  return tree_of(P::read(x_top));
}

template <PageTableFormat F, class P>
void RadixTable<F, P>::dispose() {
  verify_invariant(!x_preserved, "destroyed a table that is preserved");
  verify_invariant(x_retired == 0, "destroyed a table before its gathers were completed");
  if (x_config.mode == TableMode::Page) {
    struct Release final : TableVisitor {
      explicit Release(TableArena& arena) : x_pages(arena) {}
      Visit tables(std::span<const PhysAddr> pages, unsigned) override {
        return x_pages.release(pages), Visit::Continue;
      }
      TableArena& x_pages;
    } release(x_arena);
    const Tree all = tree();
    visit_lower_tables<F, Order::ChildrenFirst>(all, release, follow());
    x_arena.release_top(all.top, top_order<F>(all.top_level, all.iova_bits));
  }
  x_memory.heap.destroy(this);
}

template <PageTableFormat F, class P>
void RadixTable<F, P>::fill(u64* slot, u64 count, u64 first, u64 step, Reach reach) {
  constexpr u64 worth_a_call = 8;
  if (reach == Reach::Live && (traced || count < worth_a_call)) {
    for (u64 i = 0; i < count; ++i) hw_store(x_memory.world, &slot[i], first + i * step);
  } else {
    x_kernels->fill(slot, count, first, step);
  }
  if (reach == Reach::Live) flush(slot, count);
}

template <PageTableFormat F, class P>
Visit RadixTable<F, P>::visit_leaves(LeafVisitor& visitor) const {
  return pt::visit_leaves<F>(tree(), visitor, follow());
}

template <PageTableFormat F, class P>
Visit RadixTable<F, P>::visit_tables(TableVisitor& visitor) const {
  const Tree all = tree();
  if (visitor.tables({&all.top, 1}, all.top_level) == Visit::Stop) return Visit::Stop;
  return visit_lower_tables<F, Order::ParentsFirst>(all, visitor, follow());
}

template <PageTableFormat F, class P>
SavedTable RadixTable<F, P>::saved() const {
  const Tree all = tree();
  u64 sum = 0;
  collect([&](PhysAddr page, unsigned level) {
    sum += table_digest<F>(page, level, {words(page), table_words<F>(all, level)});
  });
  return {.top = all.top,
          .top_level = all.top_level,
          .iova_bits = all.iova_bits,
          .extent = all.extent,
          .table_count = P::read(x_tables),
          .checksum = sum,
          .encryption = all.encryption};
}

template <PageTableFormat F, class P>
Status RadixTable<F, P>::preserve_pages(BlockSink& sink) {
  const Tree all = tree();
  const Block top{all.top, top_order<F>(all.top_level, all.iova_bits)};
  TRY(sink.preserve(top));
  struct Preserve final : TableVisitor {
    explicit Preserve(BlockSink& set) : x_set(set) {}
    Visit tables(std::span<const PhysAddr> pages, unsigned) override {
      status = x_set.preserve(pages, table_order<F>);
      if (!status.ok()) return Visit::Stop;
      count += pages.size();
      return Visit::Continue;
    }
    BlockSink& x_set;
    Status status;
    u64 count = 0;
  } preserve(sink);
  if (visit_lower_tables<F, Order::ParentsFirst>(all, preserve, follow()) == Visit::Continue) return {};
  unpreserve_pages(sink, preserve.count);
  return preserve.status;
}

/// The top, and the first @p count of the others.
template <PageTableFormat F, class P>
void RadixTable<F, P>::unpreserve_pages(BlockSink& sink, u64 count) {
  struct Unpreserve final : TableVisitor {
    Unpreserve(BlockSink& set, u64 most) : x_set(set), x_left(most) {}
    Visit tables(std::span<const PhysAddr> pages, unsigned) override {
      const std::size_t now = std::min<std::size_t>(x_left, pages.size());
      x_set.unpreserve(pages.first(now), table_order<F>);
      x_left -= now;
      return x_left != 0 ? Visit::Continue : Visit::Stop;
    }
    BlockSink& x_set;
    u64 x_left;
  } unpreserve(sink, count);
  const Tree all = tree();
  if (count != 0) visit_lower_tables<F, Order::ParentsFirst>(all, unpreserve, follow());
  sink.unpreserve({all.top, top_order<F>(all.top_level, all.iova_bits)});
}

template <PageTableFormat F, class P>
Status RadixTable<F, P>::preserve(BlockSink& sink) {
  if (x_preserved || x_retired != 0) return Code::Busy;
  TRY(x_config.mode == TableMode::Page ? preserve_pages(sink) : x_arena.preserve(sink));
  P::write(x_preserved, true);
  return {};
}

template <PageTableFormat F, class P>
void RadixTable<F, P>::unpreserve(BlockSink& sink) {
  verify_invariant(x_preserved, "unpreserved a table that is not preserved");
  if (x_config.mode == TableMode::Page)
    unpreserve_pages(sink, x_tables - 1);
  else
    x_arena.unpreserve(sink);
  P::write(x_preserved, false);
}

}  // namespace holdfast::pt

#include "holdfast/pt/engine_cut.hpp"    // IWYU pragma: export
#include "holdfast/pt/engine_dirty.hpp"  // IWYU pragma: export
#include "holdfast/pt/engine_find.hpp"   // IWYU pragma: export
#include "holdfast/pt/engine_map.hpp"    // IWYU pragma: export
#include "holdfast/pt/engine_top.hpp"    // IWYU pragma: export
#include "holdfast/pt/engine_unmap.hpp"  // IWYU pragma: export

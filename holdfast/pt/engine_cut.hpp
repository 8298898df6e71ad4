// Cutting, part of the engine (engine.hpp includes this): a leaf that crosses the boundary is replaced by smaller ones
// of the same translations. What replaces an item is built in private and exchanged for it by one compare-and-exchange,
// because hardware may set accessed and dirty bits in the old item until then.
#pragma once

#include "holdfast/pt/engine.hpp"

namespace holdfast::pt {

/// A part of the leaf and what it becomes.
template <PageTableFormat F, class P>
struct RadixTable<F, P>::Piece {
  enum Kind : u8 { Leaf, Table };
  u64 begin;
  u64 last;
  unsigned size_lg2;
  Kind kind;
};

/// The leaf that crosses a boundary.
template <PageTableFormat F, class P>
struct RadixTable<F, P>::Crossing {
  u64* first = nullptr;  // its first item
  unsigned level = 0;
  u64 begin = 0;  // its addresses
  u64 last = 0;
  u64 boundary = 0;
  PhysAddr target;

  /// Leaves that replace it end before the boundary or at its own end.
  [[nodiscard]] u64 limit(u64 at) const { return at < boundary ? boundary - 1 : last; }
  [[nodiscard]] PhysRange run(u64 at, u64 to) const { return {target + (at - begin), to - at + 1}; }
};

template <PageTableFormat F, class P>
bool RadixTable<F, P>::find_crossing(u64 boundary, const Tree& tree, Crossing& crossing) const {
  PhysAddr page = tree.top;
  for (unsigned level = tree.top_level;; --level) {
    const u64 index = index_of<F>(boundary, level, tree.top_level);
    u64* table = words(page);
    const u64 item = load(&table[index]);
    const EntryKind kind = F::kind(item, level);
    if (kind == EntryKind::Empty) return false;
    if (kind == EntryKind::Table) {
      page = F::table_address(item);
      continue;
    }
    const unsigned size_lg2 = F::leaf_size_lg2(item, level);
    const u64 begin = boundary & ~low_bits(size_lg2);
    crossing = {&table[index & ~(items_of_leaf<F>(level, size_lg2) - 1)],
                level,
                begin,
                begin | low_bits(size_lg2),
                boundary,
                F::leaf_address(item, level)};
    return begin != boundary;
  }
}

/// What replaces the leaf from @p inside on: one leaf of this level where one fits, else a table in place of one item;
/// @p tables is raised by the tables that takes, or a few more. Error: NotSupported.
template <PageTableFormat F, class P>
auto RadixTable<F, P>::next_piece(const Crossing& crossing, const Tree& tree, u64 inside, u64& tables) const
    -> Result<Piece> {
  const u64 limit = crossing.limit(inside);
  const PhysRange run = crossing.run(inside, limit);
  const LeafRun leaves = leaves_at(crossing.level, inside, limit, run);
  if (leaves.bytes != 0) return Piece{inside, inside | low_bits(leaves.size_lg2), leaves.size_lg2, Piece::Leaf};
  if (crossing.level == 0) return Code::NotSupported;
  Plan counted;
  const u64 end = item_last<F>(inside, crossing.level);
  for (u64 at = inside;;) {
    const u64 to = std::min(end, crossing.limit(at));
    const PhysRange part = crossing.run(at, to);
    RunCursor cursor({&part, 1});
    TRY(plan(nullptr, crossing.level - 1, tree, at, to, cursor, counted));
    if (to == end) break;
    at = to + 1;
  }
  tables += counted.tables + 1;
  return Piece{inside, end, item_lg2<F>(crossing.level), Piece::Table};
}

/// A private table that maps @p piece as the leaf did.
template <PageTableFormat F, class P>
PhysAddr RadixTable<F, P>::build_piece(const Crossing& crossing, const Tree& tree, const Piece& piece,
                                       Writing& writing) {
  const PhysAddr child = take_table(writing.pages);
  std::fill_n(words(child), items_per_table<F>, u64{0});
  for (u64 from = piece.begin;;) {
    const u64 to = std::min(piece.last, crossing.limit(from));
    const PhysRange part = crossing.run(from, to);
    RunCursor cursor({&part, 1});
    write(child, crossing.level - 1, tree, from, to, cursor, writing, Reach::Private);
    if (to == piece.last) break;
    from = to + 1;
  }
  flush(words(child), items_per_table<F>);
  return child;
}

/// The items of @p piece are exchanged, each for what replaces it. Answers whether hardware had marked one of them.
template <PageTableFormat F, class P>
bool RadixTable<F, P>::exchange_piece(const Crossing& crossing, const Tree& tree, const Piece& piece,
                                      Writing& writing) {
  const DirtyBits dirty = F::dirty_bits(x_config.features);
  u64* slot = crossing.first + ((piece.begin - crossing.begin) >> item_lg2<F>(crossing.level));
  const u64 items = (piece.last - piece.begin + 1) >> item_lg2<F>(crossing.level);
  bool any_dirty = false;
  for (u64 i = 0; i < items;) {
    const u64 raw = hw_load(&slot[i]);
    const u64 old = raw & ~x_config.encryption;
    writing.attributes = F::attributes(old, crossing.level) | (raw & x_config.encryption);
    PhysAddr child;
    u64 next = 0;
    if (piece.kind == Piece::Leaf) {
      const PhysAddr target = crossing.run(piece.begin, piece.last).start;
      next = F::leaf(target, crossing.level, piece.size_lg2, writing.attributes) + i * F::next_in_leaf(crossing.level);
    } else {
      child = build_piece(crossing, tree, piece, writing);
      next = table_item(child, crossing.level) | (x_config.coherent ? 0 : F::flushed_bit);
    }
    if (hw_exchange(x_memory.world, &slot[i], raw, next)) {
      flush(&slot[i], 1);
      any_dirty = any_dirty || (dirty.known() && dirty.is_dirty(old));
      ++i;
    } else if (piece.kind == Piece::Table) {  // hardware has marked the old item meanwhile: build it again
      recycle(child, crossing.level - 1, tree, writing.pages);
    }
  }
  return any_dirty;
}

template <PageTableFormat F, class P>
Status RadixTable<F, P>::cut(Iova boundary, Gather& gather) {
  if (preserved()) return Code::Busy;
  if (!boundary.is_aligned(u64{1} << F::granule_lg2)) return Code::Invalid;
  const Tree tree = this->tree();
  if (!tree.covers(boundary.value, boundary.value)) {
    const bool may_grow_there = x_config.dynamic_top && boundary.value <= low_bits(x_config.iova_bits);
    return may_grow_there ? Status() : Status(Code::OutOfRange);
  }
  Crossing crossing;
  if (!find_crossing(tree.from(boundary), tree, crossing)) return {};
  if (!F::allows_exchange(x_config.features)) return Code::NotSupported;

  u64 tables = 0;
  for (u64 at = crossing.begin;;) {
    TRY_ASSIGN(const Piece piece, next_piece(crossing, tree, at, tables));
    if (piece.last == crossing.last) break;
    at = piece.last + 1;
  }
  TablePages pages;
  TRY(take_tables(tables, pages));

  Writing writing{0, pages, gather};
  bool dirty = false;
  u64 unused = 0;
  for (u64 at = crossing.begin;;) {
    const Piece piece = next_piece(crossing, tree, at, unused).value();  // the first pass has seen that it can be had
    dirty = exchange_piece(crossing, tree, piece, writing) || dirty;
    if (piece.last == crossing.last) break;
    at = piece.last + 1;
  }
  give_back(pages);
  if (dirty) {  // a leaf is dirty as a whole, so every part of it is
    DirtyScan marking{DirtyScan::Change::MakeDirty, nullptr, nullptr, F::dirty_bits(x_config.features)};
    scan_dirty(tree.top, tree.top_level, tree, crossing.begin, crossing.last, marking);
  }
  const auto bit = static_cast<u8>(1u << crossing.level);
  gather.add_range({tree.to(crossing.begin), crossing.last - crossing.begin + 1},
                   {.leaves = bit, .tables = static_cast<u8>(tables != 0 ? bit : 0)});
  return {};
}

}  // namespace holdfast::pt

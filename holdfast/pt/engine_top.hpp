// Table memory and the growing top, part of the engine (engine.hpp includes this).
//
// A grown tree is prepared in private: tables above the old top, each leading to the one below from item 0. Planning
// goes through it as if it were real; only when nothing can fail any more does hardware get to see it.
#pragma once

#include "holdfast/pt/engine.hpp"

namespace holdfast::pt {

template <PageTableFormat F, class P>
Status RadixTable<F, P>::take_tables(u64 count, TablePages& pages) {
  if (count == 0) return {};
  typename P::Guard guard(x_lock);
  TRY_ASSIGN(pages, x_arena.take(count));
  return {};
}

template <PageTableFormat F, class P>
void RadixTable<F, P>::give_back(TablePages& pages) {
  if (pages.empty()) return;
  typename P::Guard guard(x_lock);
  x_arena.give_back(std::move(pages));
}

/// Levels that [first, last] needs, or that its first leaf does.
template <PageTableFormat F, class P>
unsigned RadixTable<F, P>::top_level_for(u64 first, u64 last, std::span<const PhysRange> runs, const Tree& now) const {
  unsigned level = now.top_level;
  const RunCursor cursor(runs);
  for (; level + 1 < F::max_levels && item_lg2<F>(level + 1) < x_config.iova_bits; ++level) {
    const bool inside = last >> item_lg2<F>(level + 1) == 0;
    if (inside && leaves_at(level + 1, first, last, cursor.here()).bytes == 0) break;
  }
  return level;
}

/// Makes @p tree high enough for [first, last], in private. Error: NoMemory, and then nothing is changed.
template <PageTableFormat F, class P>
Status RadixTable<F, P>::grow(u64 first, u64 last, std::span<const PhysRange> runs, Tree& tree) {
  const unsigned level = top_level_for(first, last, runs, tree);
  if (level == tree.top_level || last > low_bits(x_config.iova_bits)) return {};
  TablePages pages;
  TRY(take_tables(level - tree.top_level, pages));
  u64 packed = pack(tree.top, tree.top_level);
  for (unsigned above = tree.top_level + 1u; above <= level; ++above) {
    const PhysAddr page = pages.pop();
    u64* table = words(page);
    std::fill_n(table, items_per_table<F>, u64{0});
    table[0] = table_item(PhysAddr(packed & ~u64{7}), above) | (x_config.coherent ? 0 : F::flushed_bit);
    flush(table, items_per_table<F>);
    x_memory.frames.at(page).live = 1;
    packed = pack(page, above);
  }
  tree = tree_of(packed);
  return {};
}

/// Takes the tables that grow() put above @p old_level out of @p tree again.
template <PageTableFormat F, class P>
void RadixTable<F, P>::abandon_growth(const Tree& tree, unsigned old_level, TablePages& pages) {
  PhysAddr page = tree.top;
  for (unsigned level = tree.top_level; level > old_level; --level) {
    const PhysAddr below = F::table_address(load(words(page)));
    typename P::Guard guard(x_lock);
    x_arena.release(page);
    page = below;
  }
  give_back(pages);
}

/// Shows hardware the grown tree; false when another thread has changed the top since it read @p before.
template <PageTableFormat F, class P>
bool RadixTable<F, P>::publish(u64 before, const Tree& grown) {
  typename P::Guard guard(x_lock);
  if (P::read(x_top) != before) return false;
  x_observer->top_changed(grown.top, grown.top_level + 1u);
  P::write(x_top, pack(grown.top, grown.top_level));
  P::write(x_last_inside, grown.mask());  // after the top: who sees it sees the top as well
  P::add(x_tables, grown.top_level - (before & 7));
  return true;
}

}  // namespace holdfast::pt

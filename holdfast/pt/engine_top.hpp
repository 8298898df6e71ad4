// Table memory and the growing top, part of the engine (engine.hpp includes this).
//
// A grown tree has tables above the old top, each leading to the one below from item 0. Planning goes through them as
// if they were there. So all tables of a change are taken at once, and what fails has taken none: to give some back may
// need memory, for a smaller list of blocks. Then they are made in private, and hardware gets to see them.
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

/// @p now as high as [first, last] needs it; what is above it has yet to be made.
template <PageTableFormat F, class P>
Tree RadixTable<F, P>::grown_for(u64 first, u64 last, std::span<const PhysRange> runs, const Tree& now) const {
  if (!x_config.dynamic_top || last > low_bits(x_config.iova_bits)) return now;
  const unsigned level = top_level_for(first, last, runs, now);
  return level == now.top_level ? now : tree_of(pack(PhysAddr(0), level));
}

/// Makes the tables of @p grown above @p now, in private, out of @p pages.
template <PageTableFormat F, class P>
void RadixTable<F, P>::grow(const Tree& now, Tree& grown, TablePages& pages) {
  grown.top = now.top;
  for (unsigned above = now.top_level + 1u; above <= grown.top_level; ++above) {
    const PhysAddr page = pages.pop();
    u64* table = words(page);
    std::fill_n(table, items_per_table<F>, u64{0});
    table[0] = table_item(grown.top, above) | (x_config.coherent ? 0 : F::flushed_bit);
    flush(table, items_per_table<F>);
    x_memory.frames.at(page).live = 1;
    grown.top = page;
  }
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

// Unmapping, part of the engine (engine.hpp includes this). Whole leaves only; a hole ends it. A table that the range
// covers leaves the tree and waits in the gather; where it is full, one store in its parent takes all its leaves out at
// once.
#pragma once

#include "holdfast/pt/engine.hpp"

namespace holdfast::pt {

template <PageTableFormat F, class P>
void RadixTable<F, P>::retire(PhysAddr page, Gather& gather) {
  gather.add_table(*this, x_memory.frames, page);
  P::add(x_tables, -u64{1});
  P::add(x_retired, 1);
}

/// The table at @p page and all below it. Answers the levels of the items that led to them: hardware may remember each.
template <PageTableFormat F, class P>
u8 RadixTable<F, P>::retire_subtree(PhysAddr page, unsigned level, Gather& gather) {
  u8 levels = static_cast<u8>(2u << level);
  if (level != 0) {
    struct Retire final : TableVisitor {
      Retire(RadixTable& owner, Gather& into) : x_owner(owner), x_into(into) {}
      Visit tables(std::span<const PhysAddr> pages, unsigned at) override {
        for (const PhysAddr one : pages) x_owner.retire(one, x_into);
        met |= static_cast<u8>(2u << at);
        return Visit::Continue;
      }
      RadixTable& x_owner;
      Gather& x_into;
      u8 met = 0;
    } retiring(*this, gather);
    visit_tables_below<F, Order::ParentsFirst>(tree(), page, level, retiring, follow());
    levels |= retiring.met;
  }
  retire(page, gather);
  return levels;
}

template <PageTableFormat F, class P>
void RadixTable<F, P>::free_table(PhysAddr page) {
  verify_invariant(P::read(x_retired) != 0, "a gather freed a table that is not retired");
  P::add(x_retired, -u64{1});
  typename P::Guard guard(x_lock);
  x_arena.release(page);
}

/// True when every address below the table is mapped; @p leaf_levels gets the levels of its leaves. Shared tables are
/// read for that, so only the lowest ones are worth asking.
template <PageTableFormat F, class P>
bool RadixTable<F, P>::is_full(PhysAddr page, unsigned level, u8& leaf_levels) const {
  if constexpr (P::counts_items) {
    if (x_memory.frames.at(page).live != items_per_table<F>) return false;
  } else {
    if (level != 0 || x_kernels->find_clear(words(page), items_per_table<F>) != items_per_table<F>) return false;
  }
  if (level == 0) {
    leaf_levels |= 1;
    return true;
  }
  const u64* table = words(page);
  for (u64 i = 0; i < items_per_table<F>; ++i) {
    const u64 item = load(&table[i]);
    if (F::kind(item, level) == EntryKind::Leaf)
      leaf_levels |= static_cast<u8>(1u << level);
    else if (!is_full(F::table_address(item), level - 1, leaf_levels))
      return false;
  }
  return true;
}

/// True when [inside, last] has all that the item at @p level maps, where it begins.
template <PageTableFormat F, class P>
bool RadixTable<F, P>::covers_item(u64 inside, u64 last, unsigned level) {
  return (inside & (item_size<F>(level) - 1)) == 0 && item_last<F>(inside, level) <= last;
}

/// The Table item in @p slot; false when a hole ended it.
template <PageTableFormat F, class P>
bool RadixTable<F, P>::erase_child(PhysAddr page, u64* slot, unsigned level, const Tree& tree, u64 inside, u64 last,
                                   Erasure& erasure) {
  const PhysAddr child = F::table_address(load(slot));
  const u64 end = item_last<F>(inside, level);
  if (!covers_item(inside, last, level)) return erase(child, level - 1, tree, inside, std::min(last, end), erasure);
  if (is_full(child, level - 1, erasure.levels.leaves))
    erasure.bytes += item_size<F>(level);
  else if (!erase(child, level - 1, tree, inside, end, erasure))
    return false;
  store(slot, 0, Reach::Live);
  count_items(page, -u64{1});
  erasure.levels.tables |= retire_subtree(child, level - 1, erasure.gather);
  return true;
}

/// How many smallest pages of one item each stand side by side from @p slot on, of @p wanted.
template <PageTableFormat F, class P>
u64 RadixTable<F, P>::count_single_pages(const u64* slot, u64 wanted) const {
  const u64 present = wanted == 1 ? u64{hw_load(slot) != 0} : x_kernels->find_clear(slot, wanted);
  if constexpr (!has_single_pages_only<F>)
    for (u64 i = 0; i < present; i += 64)
      if (const u64 several = find_several(slot + i, static_cast<unsigned>(std::min<u64>(present - i, 64)));
          several != 0)
        return i + low_bit(several);
  return present;
}

/// Erases smallest pages of one item each, side by side from @p inside on, as far as there are; answers the bytes.
template <PageTableFormat F, class P>
u64 RadixTable<F, P>::erase_pages(PhysAddr page, const Tree& tree, u64 inside, u64 last, Erasure& erasure) {
  u64* slot = &words(page)[index_of<F>(inside, 0, tree.top_level)];
  const u64 count = count_single_pages(slot, ((last - inside) >> F::granule_lg2) + 1);
  if (count == 0) return 0;
  fill(slot, count, 0, 0, Reach::Live);
  count_items(page, -count);
  erasure.bytes += count << F::granule_lg2;
  erasure.levels.leaves |= 1;
  return count << F::granule_lg2;
}

/// Erases [inside, last] below the table at @p page; false when it met a hole, or began inside a leaf.
template <PageTableFormat F, class P>
bool RadixTable<F, P>::erase(PhysAddr page, unsigned level, const Tree& tree, u64 inside, u64 last, Erasure& erasure) {
  for (;;) {
    if (level == 0) {
      const u64 bytes = erase_pages(page, tree, inside, last, erasure);
      if (bytes != 0 && last - inside == bytes - 1) return true;
      inside += bytes;
    }
    u64* slot = &words(page)[index_of<F>(inside, level, tree.top_level)];
    const u64 item = load(slot);
    u64 end = item_last<F>(inside, level);
    switch (F::kind(item, level)) {
      case EntryKind::Empty: return false;
      case EntryKind::Table:
        if (!erase_child(page, slot, level, tree, inside, last, erasure)) return false;
        break;
      case EntryKind::Leaf: {
        const unsigned size_lg2 = F::leaf_size_lg2(item, level);
        const u64 size = u64{1} << size_lg2;
        if ((inside & (size - 1)) != 0) return false;
        const u64 items = items_of_leaf<F>(level, size_lg2);
        fill(slot, items, 0, 0, Reach::Live);
        count_items(page, -items);
        erasure.bytes += size;
        erasure.levels.leaves |= static_cast<u8>(1u << level);
        end = inside | (size - 1);
        break;
      }
    }
    if (end >= last) return true;
    inside = end + 1;
  }
}

/// The commonest case: [iova, iova + 2^size_lg2) is one leaf. False, and nothing is done, when it is another.
template <PageTableFormat F, class P>
[[gnu::always_inline]] inline bool RadixTable<F, P>::unmap_leaf(Iova iova, unsigned size_lg2, Gather& gather) {
  const u64 inside = iova.value - x_first;
  if (!may_be_leaf(inside, size_lg2)) return false;
  const unsigned level = level_of_leaf(size_lg2);
  PhysAddr page;
  u64* slot = find_slot(inside, level, page);
  if (slot == nullptr) return false;
  const u64 item = load(slot);
  if (F::kind(item, level) != EntryKind::Leaf || F::leaf_size_lg2(item, level) != size_lg2) return false;
  const u64 count = items_of_leaf<F>(level, size_lg2);
  if (count == 1)
    store(slot, 0, Reach::Live);
  else
    fill(slot, count, 0, 0, Reach::Live);
  count_items(page, -count);
  gather.add_range({iova, u64{1} << size_lg2}, {.leaves = static_cast<u8>(1u << level), .tables = 0});
  return true;
}

template <PageTableFormat F, class P>
Result<u64> RadixTable<F, P>::unmap(Iova iova, u64 length, Gather& gather) {
  if (preserved()) return Code::Busy;
  if (length == item_size<F>(0) && unmap_leaf(iova, F::granule_lg2, gather)) return length;
  return unmap_range(iova, length, gather);
}

template <PageTableFormat F, class P>
Result<u64> RadixTable<F, P>::unmap_range(Iova iova, u64 length, Gather& gather) {
  constexpr u64 granule = u64{1} << F::granule_lg2;
  if (is_power_of_two(length) && (length & x_config.page_sizes) != 0 && unmap_leaf(iova, only_bit(length), gather))
    return length;
  if (length == 0 || ((iova.value | length) & (granule - 1)) != 0) return Code::Invalid;
  const auto last = checked_last(iova.value, length);
  const Tree tree = this->tree();
  if (!last) return Code::OutOfRange;
  if (!tree.covers(iova.value, *last)) {
    // A growing top has not been asked for these addresses yet: nothing is mapped there.
    if (!x_config.dynamic_top || *last > low_bits(x_config.iova_bits)) return Code::OutOfRange;
    if (iova.value > tree.mask()) return u64{0};
  }
  const u64 inside = tree.from(iova);
  const u64 inside_last = std::min(inside + (length - 1), tree.mask());
  // Straight down to the table that has all of it.
  PhysAddr page = tree.top;
  unsigned level = tree.top_level;
  for (; level != 0 && !covers_item(inside, inside_last, level) && inside_last <= item_last<F>(inside, level);
       --level) {
    const u64 item = load(&words(page)[index_of<F>(inside, level, tree.top_level)]);
    if (F::kind(item, level) != EntryKind::Table) break;
    page = F::table_address(item);
  }
  Erasure erasure{gather, {}, 0};
  (void)erase(page, level, tree, inside, inside_last, erasure);
  if (erasure.bytes != 0) gather.add_range({iova, erasure.bytes}, erasure.levels);
  return erasure.bytes;
}

}  // namespace holdfast::pt

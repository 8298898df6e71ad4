// Mapping, part of the engine (engine.hpp includes this): plan, then write. Both visit the same items in the same order
// and choose the same leaves, because both ask leaves_at() at the same positions.
#pragma once

#include "holdfast/pt/engine.hpp"

namespace holdfast::pt {

template <PageTableFormat F, class P>
Status RadixTable<F, P>::check_runs(std::span<const PhysRange> runs, u64& total) const {
  constexpr u64 granule = u64{1} << F::granule_lg2;
  if (runs.empty()) return Code::Invalid;
  total = 0;
  for (const PhysRange& run : runs) {
    if (run.size_bytes == 0 || !run.start.is_aligned(granule) || run.size_bytes % granule != 0) return Code::Invalid;
    const auto run_last = checked_last(run.start.value, run.size_bytes);
    if (!run_last || *run_last > x_phys_last) return Code::OutOfRange;
    const auto sum = checked_add(total, run.size_bytes);
    if (!sum) return Code::OutOfRange;
    total = *sum;
  }
  return {};
}

template <PageTableFormat F, class P>
Result<u64> RadixTable<F, P>::attributes_of(Prot prot) const {
  TRY_ASSIGN(const u64 attributes, F::attributes_of(prot, x_config.features));
  return allows(prot, Prot::Mmio) ? attributes : attributes | x_config.encryption;
}

/// True when [inside, inside + 2^size_lg2) is where a leaf of that size may be: covered, and aligned to it.
template <PageTableFormat F, class P>
inline bool RadixTable<F, P>::may_be_leaf(u64 inside, unsigned size_lg2) const {
  return (inside & low_bits(size_lg2)) == 0 && inside <= P::read(x_last_inside);
}

/// The commonest case: one leaf of 2^size_lg2 bytes, one of page_sizes, into empty slots whose table is there. False,
/// and nothing is done, when it is another: map_runs() says what then, and would have chosen the same leaf.
template <PageTableFormat F, class P>
[[gnu::always_inline]] inline bool RadixTable<F, P>::map_leaf(u64 inside, PhysAddr address, unsigned size_lg2,
                                                              u64 attributes) {
  if (!may_be_leaf(inside, size_lg2) || (address.value & low_bits(size_lg2)) != 0 || address.value > x_phys_last)
    return false;
  const unsigned level = level_of_leaf(size_lg2);
  PhysAddr page;
  u64* slot = find_slot(inside, level, page);
  if (slot == nullptr) return false;
  const u64 count = items_of_leaf<F>(level, size_lg2);
  if (count == 1) {
    if (hw_load(slot) != 0) return false;
    store(slot, F::leaf(address, level, size_lg2, attributes), Reach::Live);
  } else {
    if (x_kernels->find_set(slot, count) != count) return false;
    store_leaves(slot, level, {size_lg2, u64{1} << size_lg2}, address, attributes, Reach::Live);
  }
  count_items(page, count);
  return true;
}

/// The same for leaves of one size side by side in one table.
template <PageTableFormat F, class P>
bool RadixTable<F, P>::map_in_one_table(Iova iova, const PhysRange& run, u64 attributes) {
  const u64 size = run.size_bytes;
  const u64 address = run.start.value;
  const u64 covered = P::read(x_last_inside);
  const u64 inside = iova.value - x_first;
  if (inside > covered || size - 1 > covered - inside || address > x_phys_last || size - 1 > x_phys_last - address)
    return false;
  const u64 fitting = x_config.page_sizes & low_bits(std::min(low_bit(inside | address), floor_lg2(size)) + 1);
  if (fitting == 0) return false;
  const unsigned level = level_of_leaf(floor_lg2(fitting));
  const u64 last = inside + (size - 1);
  const LeafRun leaves = leaves_at(level, inside, last, run);
  if (leaves.bytes != size || (inside ^ last) >> item_lg2<F>(level + 1) != 0) return false;
  PhysAddr page;
  u64* slot = find_slot(inside, level, page);
  const u64 count = size >> item_lg2<F>(level);
  if (slot == nullptr || x_kernels->find_set(slot, count) != count) return false;
  store_leaves(slot, level, leaves, run.start, attributes, Reach::Live);
  count_items(page, count);
  return true;
}

/// The largest leaves of @p level that begin here, as many as there are before a larger size fits; none where the level
/// has no size that fits.
template <PageTableFormat F, class P>
auto RadixTable<F, P>::leaves_at(unsigned level, u64 inside, u64 last, const PhysRange& run) const -> LeafRun {
  const u64 sizes = x_sizes[level];
  if (sizes == 0) return {};
  const u64 address = run.start.value;
  u64 bytes = std::min(run.size_bytes, last - inside + 1);
  const unsigned most = std::min(low_bit(inside | address), floor_lg2(bytes));
  const u64 fitting = sizes & low_bits(most + 1);
  if (fitting == 0) return {};
  const unsigned size_lg2 = floor_lg2(fitting);
  const u64 larger = sizes & ~low_bits(size_lg2 + 1);
  if (larger != 0) {
    const u64 next = larger & -larger;
    const u64 beyond = inside & (next - 1);
    if (beyond != 0 && ((inside ^ address) & (next - 1)) == 0) bytes = std::min(bytes, next - beyond);
  }
  return {size_lg2, bytes & ~low_bits(size_lg2)};
}

/// Leaves may be written to @p bytes from @p inside on: nothing is mapped there.
template <PageTableFormat F, class P>
Status RadixTable<F, P>::plan_leaves(const u64* table, unsigned level, const Tree& tree, u64 inside, u64 bytes,
                                     Plan& plan) const {
  const u64 first = index_of<F>(inside, level, tree.top_level);
  const u64 count = bytes >> item_lg2<F>(level);
  if (level == 0) {
    const u64 free = x_kernels->find_set(&table[first], count);
    if (free == count) return {};
    plan.collision = inside + (free << F::granule_lg2);
    return Code::AddressInUse;
  }
  for (u64 i = 0; i < count; ++i) {
    const u64 item = load(&table[first + i]);
    const u64 here = inside + (i << item_lg2<F>(level));
    switch (F::kind(item, level)) {
      case EntryKind::Empty: continue;
      case EntryKind::Leaf: plan.collision = here; return Code::AddressInUse;
      case EntryKind::Table:
        if (find_any_leaf(tree, F::table_address(item), level - 1, here, plan.collision)) return Code::AddressInUse;
    }
  }
  return {};
}

/// @p table is null where it does not exist yet; of such a one above the top, item 0 leads to the tree as it is.
template <PageTableFormat F, class P>
Status RadixTable<F, P>::plan(const u64* table, unsigned level, const Tree& tree, u64 inside, u64 last, RunCursor& runs,
                              Plan& plan_so_far) const {
  if (table == nullptr && level == 0) {
    runs.advance(last - inside + 1);
    return {};
  }
  for (;;) {
    const LeafRun leaves = leaves_at(level, inside, last, runs.here());
    const bool leads_to_top = F::dynamic_top && level > plan_so_far.top_level && inside >> item_lg2<F>(level) == 0;
    u64 bytes = leaves.bytes;
    if (bytes != 0) {
      if (table != nullptr) TRY(plan_leaves(table, level, tree, inside, bytes, plan_so_far));
      if (leads_to_top && find_any_leaf(tree, plan_so_far.top, plan_so_far.top_level, 0, plan_so_far.collision))
        return Code::AddressInUse;
      runs.advance(bytes);
    } else if (leads_to_top) {
      bytes = std::min(last, item_last<F>(inside, level)) - inside + 1;
      const u64* child = level - 1 == plan_so_far.top_level ? words(plan_so_far.top) : nullptr;
      TRY(plan(child, level - 1, tree, inside, inside + (bytes - 1), runs, plan_so_far));
    } else {
      bytes = std::min(last, item_last<F>(inside, level)) - inside + 1;
      const u64 item = table != nullptr ? load(&table[index_of<F>(inside, level, tree.top_level)]) : 0;
      const EntryKind kind = F::kind(item, level);
      if (kind == EntryKind::Leaf) {
        plan_so_far.collision = inside;
        return Code::AddressInUse;
      }
      if (kind == EntryKind::Empty) ++plan_so_far.tables;
      const u64* child = kind == EntryKind::Table ? words(F::table_address(item)) : nullptr;
      TRY(plan(child, level - 1, tree, inside, inside + (bytes - 1), runs, plan_so_far));
    }
    if (last - inside == bytes - 1) return {};
    inside += bytes;
  }
}

template <PageTableFormat F, class P>
bool RadixTable<F, P>::find_any_leaf(const Tree& tree, PhysAddr page, unsigned level, u64 base, u64& found) const {
  struct First final : LeafVisitor {
    Visit leaf(Iova from, const Translation&) override { return iova = from, Visit::Stop; }
    Iova iova;
  } first;
  if (visit_leaves_below<F>(tree, page, level, base, first, follow()) == Visit::Continue) return false;
  found = tree.from(first.iova);
  return true;
}

/// Leaves into slots of which none leads to a table.
template <PageTableFormat F, class P>
void RadixTable<F, P>::store_leaves(u64* slot, unsigned level, const LeafRun& leaves, PhysAddr address, u64 attributes,
                                    Reach reach) {
  const u64 items = items_of_leaf<F>(level, leaves.size_lg2);
  // Items that only count upwards, within what one addition can say.
  const bool alike = items != 1 && F::next_in_leaf(level) == 0;
  for (u64 left = leaves.bytes; left != 0;) {
    u64 bytes = alike ? u64{1} << leaves.size_lg2 : left;
    if constexpr (F::linear_lg2 < 64) {
      constexpr u64 limit = u64{1} << F::linear_lg2;
      bytes = std::min(bytes, limit - (address.value & (limit - 1)));
    }
    const u64 step = alike ? 0 : F::advance(item_lg2<F>(level));
    const u64 count = bytes >> item_lg2<F>(level);
    fill(slot, count, F::leaf(address, level, leaves.size_lg2, attributes), step, reach);
    slot += count;
    address += bytes;
    left -= bytes;
  }
}

/// The same, where empty tables of earlier mappings may be in the way: they go to the gather.
template <PageTableFormat F, class P>
void RadixTable<F, P>::replace_tables(u64* slot, unsigned level, const Tree& tree, u64 inside, const LeafRun& leaves,
                                      PhysAddr address, Writing& writing) {
  const u64 items = items_of_leaf<F>(level, leaves.size_lg2);
  for (u64 done = 0; done < leaves.bytes; done += u64{1} << leaves.size_lg2) {
    u64 item = F::leaf(address + done, level, leaves.size_lg2, writing.attributes);
    for (u64 i = 0; i < items; ++i, ++slot, item += F::next_in_leaf(level)) {
      const u64 old = load(slot);
      store(slot, item, Reach::Live);
      if (F::kind(old, level) != EntryKind::Table) continue;
      const u8 tables = retire_subtree(F::table_address(old), level - 1, writing.gather);  // hardware may remember it
      const u64 here = inside + done + (i << item_lg2<F>(level));
      writing.gather.add_range({tree.to(here), item_size<F>(level)}, {.leaves = 0, .tables = tables});
    }
  }
}

template <PageTableFormat F, class P>
void RadixTable<F, P>::write_leaves(PhysAddr page, unsigned level, const Tree& tree, u64 inside, const LeafRun& leaves,
                                    RunCursor& runs, Writing& writing, Reach reach) {
  u64* slot = &words(page)[index_of<F>(inside, level, tree.top_level)];
  const u64 count = leaves.bytes >> item_lg2<F>(level);
  u64 added = count;
  if (level == 0 || reach == Reach::Private || x_kernels->find_set(slot, count) == count) {
    store_leaves(slot, level, leaves, runs.address(), writing.attributes, reach);
  } else {
    for (u64 i = 0; i < count; ++i) added -= hw_load(&slot[i]) != 0 ? 1 : 0;
    replace_tables(slot, level, tree, inside, leaves, runs.address(), writing);
  }
  count_items(page, added);
  runs.advance(leaves.bytes);
}

template <PageTableFormat F, class P>
PhysAddr RadixTable<F, P>::take_table(TablePages& pages) {
  const PhysAddr page = pages.pop();
  P::add(x_tables, 1);
  if constexpr (P::counts_items) x_memory.frames.at(page).live = 0;
  return page;
}

/// A subtree that hardware has never reached goes back to where it came from.
template <PageTableFormat F, class P>
void RadixTable<F, P>::recycle(PhysAddr page, unsigned level, const Tree& tree, TablePages& pages) {
  struct Recycle final : TableVisitor {
    Recycle(RadixTable& owner, TablePages& into) : x_owner(owner), x_into(into) {}
    Visit tables(std::span<const PhysAddr> all, unsigned) override {
      for (const PhysAddr one : all) x_into.push(one);
      P::add(x_owner.x_tables, -u64{all.size()});
      return Visit::Continue;
    }
    RadixTable& x_owner;
    TablePages& x_into;
  } recycling(*this, pages);
  visit_tables_below<F, Order::ChildrenFirst>(tree, page, level, recycling, follow());
  recycling.tables({&page, 1}, level);
}

/// Fills a table and then links it to @p slot of @p parent; false when another thread has linked one there meanwhile,
/// and then nothing is changed.
template <PageTableFormat F, class P>
bool RadixTable<F, P>::write_new_table(PhysAddr parent, u64* slot, unsigned level, const Tree& tree, u64 inside,
                                       u64 last, RunCursor& runs, Writing& writing, Reach reach) {
  const PhysAddr page = take_table(writing.pages);
  u64* table = words(page);
  if (level == 1) {  // what is about to be filled is not zeroed first
    const u64 begin = inside >> F::granule_lg2 & (items_per_table<F> - 1);
    const u64 end = (last >> F::granule_lg2 & (items_per_table<F> - 1)) + 1;
    std::fill(table, table + begin, u64{0});
    std::fill(table + end, table + items_per_table<F>, u64{0});
  } else {
    std::fill_n(table, items_per_table<F>, u64{0});
  }
  const RunCursor before = runs;
  write(page, level - 1, tree, inside, last, runs, writing, Reach::Private);
  flush(table, items_per_table<F>);
  const u64 item = table_item(page, level);
  if (reach == Reach::Private) {
    *slot = item;
  } else {
    if (!P::link(x_memory.world, slot, item)) {
      recycle(page, level - 1, tree, writing.pages);
      runs = before;
      return false;
    }
    flush(slot, 1);
    if (!P::counts_items && !x_config.coherent) hw_store(x_memory.world, slot, item | F::flushed_bit);
  }
  count_items(parent, 1);
  return true;
}

/// Fills [inside, last] below the table at @p page; plan() has found it free and counted the tables.
template <PageTableFormat F, class P>
void RadixTable<F, P>::write(PhysAddr page, unsigned level, const Tree& tree, u64 inside, u64 last, RunCursor& runs,
                             Writing& writing, Reach reach) {
  for (;;) {
    const LeafRun leaves = leaves_at(level, inside, last, runs.here());
    u64 bytes = leaves.bytes;
    if (bytes != 0) {
      write_leaves(page, level, tree, inside, leaves, runs, writing, reach);
    } else {
      bytes = std::min(last, item_last<F>(inside, level)) - inside + 1;
      const u64 part_last = inside + (bytes - 1);
      u64* slot = &words(page)[index_of<F>(inside, level, tree.top_level)];
      u64 item = load(slot);
      if (F::kind(item, level) == EntryKind::Empty) {
        if (!write_new_table(page, slot, level, tree, inside, part_last, runs, writing, reach)) continue;
      } else {
        rely_on(slot, item);
        const PhysAddr child = F::table_address(item);
        write(child, level - 1, tree, inside, part_last, runs, writing, reach);
        if (reach == Reach::Private) flush(words(child), items_per_table<F>);  // of a cut: its first part was flushed
      }
    }
    if (last - inside == bytes - 1) return;
    inside += bytes;
  }
}

template <PageTableFormat F, class P>
Status RadixTable<F, P>::map(Iova iova, std::span<const PhysRange> runs, Prot prot, Gather& gather,
                             Iova* first_collision) {
  if (preserved()) return Code::Busy;
  TRY_ASSIGN(const u64 attributes, attributes_of(prot));
  if (runs.size() == 1 && runs[0].size_bytes == item_size<F>(0) &&
      map_leaf(iova.value - x_first, runs[0].start, F::granule_lg2, attributes))
    return {};
  return map_checked(iova, runs, attributes, gather, first_collision);
}

template <PageTableFormat F, class P>
Status RadixTable<F, P>::map_checked(Iova iova, std::span<const PhysRange> runs, u64 attributes, Gather& gather,
                                     Iova* first_collision) {
  if (runs.size() == 1) {
    const auto [start, size] = runs[0];
    if (is_power_of_two(size) && (size & x_config.page_sizes) != 0 &&
        map_leaf(iova.value - x_first, start, only_bit(size), attributes))
      return {};
    if (map_in_one_table(iova, runs[0], attributes)) return {};
  }
  u64 total = 0;
  TRY(check_runs(runs, total));
  if (!iova.is_aligned(u64{1} << F::granule_lg2)) return Code::Invalid;
  const auto iova_last = checked_last(iova.value, total);
  if (!iova_last) return Code::OutOfRange;
  return map_runs(iova, *iova_last, runs, attributes, gather, first_collision);
}

/// The general case; what is asked is well formed.
template <PageTableFormat F, class P>
Status RadixTable<F, P>::map_runs(Iova iova, u64 iova_last, std::span<const PhysRange> runs, u64 attributes,
                                  Gather& gather, Iova* first_collision) {
  for (;;) {
    const u64 packed = P::read(x_top);
    const Tree now = tree_of(packed);
    Tree tree = grown_for(iova.value, iova_last, runs, now);
    if (!tree.covers(iova.value, iova_last)) return Code::OutOfRange;

    const u64 inside = tree.from(iova);
    const u64 last = inside + (iova_last - iova.value);
    const unsigned new_levels = tree.top_level - now.top_level;
    Plan planned{now.top_level, now.top};
    RunCursor cursor(runs);
    const Status status =
        plan(new_levels == 0 ? words(now.top) : nullptr, tree.top_level, tree, inside, last, cursor, planned);
    if (status.code() == Code::AddressInUse && first_collision != nullptr)
      *first_collision = tree.to(planned.collision);
    TRY(status);
    TablePages pages;
    TRY(take_tables(planned.tables + new_levels, pages));
    if (new_levels != 0) {
      grow(now, tree, pages);
      if (!publish(packed, tree)) {  // another thread has grown it
        abandon_growth(tree, now.top_level, pages);
        continue;
      }
    }
    cursor = RunCursor(runs);
    Writing writing{attributes, pages, gather};
    write(tree.top, tree.top_level, tree, inside, last, cursor, writing, Reach::Live);
    give_back(pages);
    return {};
  }
}

}  // namespace holdfast::pt

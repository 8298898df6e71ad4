// Mapping, part of the engine (engine.hpp includes this): plan, then write. Both visit the same entries in the same
// order and choose the same leaves, because both ask leaf_fits() at the same positions.
#pragma once

#include "holdfast/pt/engine.hpp"

namespace holdfast::pt {

template <PageTableFormat F>
Status RadixTable<F>::check_runs(Iova iova, std::span<const PhysRange> runs, u64& total) const {
  if (runs.empty() || !iova.is_aligned(page_size_bytes)) return Code::Invalid;
  total = 0;
  const u64 phys_last = (u64{1} << x_config.phys_bits) - 1;
  for (const PhysRange& run : runs) {
    if (run.size_bytes == 0 || !run.start.is_aligned(page_size_bytes) || run.size_bytes % page_size_bytes != 0)
      return Code::Invalid;
    const auto run_last = checked_last(run.start.value, run.size_bytes);
    if (!run_last || *run_last > phys_last) return Code::OutOfRange;
    const auto sum = checked_add(total, run.size_bytes);
    if (!sum) return Code::OutOfRange;
    total = *sum;
  }
  const auto last = checked_last(iova.value, total);
  return last && *last <= last_iova() ? Status() : Status(Code::OutOfRange);
}

template <PageTableFormat F>
bool RadixTable<F>::leaf_fits(unsigned level, u64 iova, u64 bytes, const RunCursor& runs) const {
  const u64 size = item_size(level);
  return (x_config.page_sizes & size) != 0 && bytes == size && Iova(iova).is_aligned(size) &&
         runs.contiguous() >= size && runs.address().is_aligned(size);
}

template <PageTableFormat F>
Status RadixTable<F>::plan_pages(const u64* table, u64 iova, u64 last, RunCursor& runs, Plan& plan) const {
  runs.advance(last - iova + 1);
  if (table == nullptr) return {};
  for (u64 i = index_of(iova, 0); i <= index_of(last, 0); ++i) {
    if (F::kind(table[i], 0) == EntryKind::Empty) continue;
    plan.collision = Iova((iova & ~(item_size(1) - 1)) + (i << page_lg2));
    return Code::AddressInUse;
  }
  return {};
}

/// @p table is null where it does not exist yet.
template <PageTableFormat F>
Status RadixTable<F>::plan(const u64* table, unsigned level, u64 iova, u64 last, RunCursor& runs,
                           Plan& plan_so_far) const {
  if (level == 0) return plan_pages(table, iova, last, runs, plan_so_far);
  for (;;) {
    const u64 slot_last = std::min(last, item_last(iova, level));
    const u64 bytes = slot_last - iova + 1;
    const u64 entry = table != nullptr ? table[index_of(iova, level)] : 0;
    const EntryKind kind = F::kind(entry, level);
    if (kind == EntryKind::Leaf) {
      plan_so_far.collision = Iova(iova);
      return Code::AddressInUse;
    }
    if (leaf_fits(level, iova, bytes, runs)) {
      if (kind == EntryKind::Table && find_any_leaf(F::table_address(entry), level - 1, iova, plan_so_far.collision))
        return Code::AddressInUse;
      runs.advance(bytes);
    } else {
      if (kind == EntryKind::Empty) ++plan_so_far.tables;
      const u64* child = kind == EntryKind::Table ? words(F::table_address(entry)) : nullptr;
      TRY(plan(child, level - 1, iova, slot_last, runs, plan_so_far));
    }
    if (slot_last == last) return {};
    iova = slot_last + 1;
  }
}

template <PageTableFormat F>
bool RadixTable<F>::find_any_leaf(PhysAddr page, unsigned level, u64 base, Iova& found) const {
  struct First final : LeafVisitor {
    Visit leaf(Iova from, const Translation&) override { return iova = from, Visit::Stop; }
    Iova iova;
  } first;
  if (visit_leaves_below<F>(page, level, base, first, follow()) == Visit::Continue) return false;
  found = first.iova;
  return true;
}

template <PageTableFormat F>
void RadixTable<F>::write_pages(u64* table, u64 iova, u64 last, RunCursor& runs, Prot prot, Reach reach) {
  u64* slot = &table[index_of(iova, 0)];
  for (u64 left = ((last - iova) >> page_lg2) + 1; left != 0;) {
    const u64 pages = std::min(left, runs.contiguous() >> page_lg2);
    const PhysAddr address = runs.address();
    if (reach == Reach::Private)
      for (u64 i = 0; i < pages; ++i) slot[i] = F::leaf(address + (i << page_lg2), 0, prot);
    else
      for (u64 i = 0; i < pages; ++i) hw_store(x_memory.world, &slot[i], F::leaf(address + (i << page_lg2), 0, prot));
    runs.advance(pages << page_lg2);
    slot += pages;
    left -= pages;
  }
}

template <PageTableFormat F>
void RadixTable<F>::write_leaf(u64* slot, unsigned level, u64 iova, RunCursor& runs, Prot prot, Reach reach,
                               Gather& gather) {
  const u64 old = *slot;
  store(slot, F::leaf(runs.address(), level, prot), reach);
  runs.advance(item_size(level));
  if (F::kind(old, level) != EntryKind::Table) return;
  // An empty table left over from earlier unmaps: hardware may still remember it.
  struct Retire final : TableVisitor {
    Retire(RadixTable& owner, Gather& into) : x_owner(owner), x_into(into) {}
    Visit table(PhysAddr page, unsigned) override { return x_owner.retire(page, x_into), Visit::Continue; }
    RadixTable& x_owner;
    Gather& x_into;
  } retired(*this, gather);
  visit_tables_below<F, Order::ParentsFirst>(F::table_address(old), level - 1, retired, follow());
  gather.add_range({Iova(iova), item_size(level)});
}

template <PageTableFormat F>
void RadixTable<F>::write_new_table(u64* slot, unsigned level, u64 iova, u64 last, RunCursor& runs, Prot prot,
                                    Reach reach, Gather& gather) {
  const PhysAddr page = x_arena.allocate_reserved();
  ++x_tables;
  u64* table = words(page);
  if (level == 1) {  // what is about to be filled is not zeroed first
    std::fill(table, table + index_of(iova, 0), u64{0});
    std::fill(table + index_of(last, 0) + 1, table + entries_per_table, u64{0});
  } else {
    std::fill_n(table, entries_per_table, u64{0});
  }
  write(table, level - 1, iova, last, runs, prot, Reach::Private, gather);
  const Coherency coherency = x_config.coherent ? Coherency::Coherent : Coherency::Incoherent;
  store(slot, F::table(page, coherency), reach);
}

/// Fills [iova, last] below @p table; plan() has found it free and reserved the tables.
template <PageTableFormat F>
void RadixTable<F>::write(u64* table, unsigned level, u64 iova, u64 last, RunCursor& runs, Prot prot, Reach reach,
                          Gather& gather) {
  if (level == 0) return write_pages(table, iova, last, runs, prot, reach);
  for (;;) {
    const u64 slot_last = std::min(last, item_last(iova, level));
    u64* slot = &table[index_of(iova, level)];
    if (leaf_fits(level, iova, slot_last - iova + 1, runs))
      write_leaf(slot, level, iova, runs, prot, reach, gather);
    else if (F::kind(*slot, level) == EntryKind::Empty)
      write_new_table(slot, level, iova, slot_last, runs, prot, reach, gather);
    else
      write(words(F::table_address(*slot)), level - 1, iova, slot_last, runs, prot, reach, gather);
    if (slot_last == last) return;
    iova = slot_last + 1;
  }
}

template <PageTableFormat F>
Status RadixTable<F>::map(Iova iova, std::span<const PhysRange> runs, Prot prot, Gather& gather,
                          Iova* first_collision) {
  if (x_preserved) return Code::Busy;
  if (prot == Prot::None) return Code::Invalid;
  u64 total = 0;
  TRY(check_runs(iova, runs, total));
  const u64 last = iova.value + (total - 1);
  Plan planned;
  RunCursor cursor(runs);
  if (const Status status = plan(words(x_top), top_level(), iova.value, last, cursor, planned); !status.ok()) {
    if (first_collision != nullptr) *first_collision = planned.collision;
    return status;
  }
  TRY(x_arena.reserve(planned.tables));
  cursor = RunCursor(runs);
  write(words(x_top), top_level(), iova.value, last, cursor, prot, Reach::Live, gather);
  verify_invariant(x_arena.reserved() == 0, "a mapping was planned for more tables than it took");
  return {};
}

}  // namespace holdfast::pt

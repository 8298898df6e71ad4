// Unmapping, part of the engine (engine.hpp includes this). Whole leaves only; a hole ends it. A table that the range
// covers leaves the tree and waits in the gather; where it is full, one store in its parent takes all its leaves out at
// once.
#pragma once

#include "holdfast/pt/engine.hpp"

namespace holdfast::pt {

template <PageTableFormat F>
void RadixTable<F>::retire(PhysAddr page, Gather& gather) {
  gather.add_table(*this, x_memory.frames, page);
  --x_tables;
  ++x_retired;
}

template <PageTableFormat F>
void RadixTable<F>::free_table(PhysAddr page) {
  verify_invariant(x_retired != 0, "a gather freed a table that is not retired");
  --x_retired;
  x_arena.release(page);
}

template <PageTableFormat F>
bool RadixTable<F>::is_full(const u64* table) {
  for (u64 i = 0; i < entries_per_table; ++i)
    if (F::kind(table[i], 0) == EntryKind::Empty) return false;
  return true;
}

/// The Table entry in @p slot; false when a hole ended it.
template <PageTableFormat F>
bool RadixTable<F>::erase_child(u64* slot, unsigned level, u64 iova, u64 last, Erasure& erasure) {
  const PhysAddr page = F::table_address(*slot);
  u64* child = words(page);
  const bool covered = Iova(iova).is_aligned(item_size(level)) && item_last(iova, level) <= last;
  if (!covered) return erase(child, level - 1, iova, std::min(last, item_last(iova, level)), erasure);
  if (level == 1 && is_full(child))
    erasure.bytes += item_size(level);
  else if (!erase(child, level - 1, iova, item_last(iova, level), erasure))
    return false;
  hw_store(x_memory.world, slot, 0);
  retire(page, erasure.gather);
  return true;
}

/// Erases [iova, last] below @p table; false when it met a hole, or began inside a leaf.
template <PageTableFormat F>
bool RadixTable<F>::erase(u64* table, unsigned level, u64 iova, u64 last, Erasure& erasure) {
  for (;;) {
    u64* slot = &table[index_of(iova, level)];
    switch (F::kind(*slot, level)) {
      case EntryKind::Empty: return false;
      case EntryKind::Table:
        if (!erase_child(slot, level, iova, last, erasure)) return false;
        break;
      case EntryKind::Leaf:
        if (!Iova(iova).is_aligned(item_size(level))) return false;
        hw_store(x_memory.world, slot, 0);
        erasure.bytes += item_size(level);
        break;
    }
    const u64 slot_last = item_last(iova, level);
    if (slot_last >= last) return true;
    iova = slot_last + 1;
  }
}

template <PageTableFormat F>
Result<u64> RadixTable<F>::unmap(Iova iova, u64 length, Gather& gather) {
  if (x_preserved) return Code::Busy;
  if (length == 0 || length % page_size_bytes != 0 || !iova.is_aligned(page_size_bytes)) return Code::Invalid;
  const auto last = checked_last(iova.value, length);
  if (!last || *last > last_iova()) return Code::OutOfRange;
  Erasure erasure{gather};
  (void)erase(words(x_top), top_level(), iova.value, *last, erasure);
  if (erasure.bytes != 0) gather.add_range({iova, erasure.bytes});
  return erasure.bytes;
}

}  // namespace holdfast::pt

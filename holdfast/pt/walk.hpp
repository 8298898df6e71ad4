// Walking a tree of tables, for a format F and a way to get at a table.
//
// Follow: (PhysAddr page, unsigned level) -> const u64* or null. It decides what may be read (a live table: everything;
// a table from another kernel: only what verification stamped); null ends that branch as if nothing were mapped there.
// Recursion is as deep as the table is high. Threads: readers beside one writer see old or new entries.
#pragma once

#include "holdfast/base/hw_access.hpp"
#include "holdfast/pt/format.hpp"

namespace holdfast::pt {

/// Errors: NotFound. @p iova is inside the width of the table.
template <PageTableFormat F, class Follow>
Result<Translation> find_leaf(PhysAddr top, unsigned top_level, u64 iova, const Follow& follow) {
  PhysAddr page = top;
  for (unsigned level = top_level;; --level) {
    const u64* table = follow(page, level);
    if (table == nullptr) return Code::NotFound;
    const u64 entry = hw_load(&table[index_of(iova, level)]);
    switch (F::kind(entry, level)) {
      case EntryKind::Empty: return Code::NotFound;
      case EntryKind::Table: page = F::table_address(entry); continue;
      case EntryKind::Leaf: {
        const u64 offset = iova & (item_size(level) - 1);
        return Translation{F::leaf_address(entry, level) + offset, item_size(level), F::prot(entry)};
      }
    }
  }
}

/// Every leaf below @p page by rising IOVA; @p base is the first IOVA of the table.
template <PageTableFormat F, class Follow>
Visit visit_leaves_below(PhysAddr page, unsigned level, u64 base, LeafVisitor& visitor, const Follow& follow) {
  const u64* table = follow(page, level);
  if (table == nullptr) return Visit::Continue;
  for (u64 i = 0; i < entries_per_table; ++i) {
    const u64 entry = hw_load(&table[i]);
    const u64 iova = base + (i << item_lg2(level));
    Visit next = Visit::Continue;
    switch (F::kind(entry, level)) {
      case EntryKind::Empty: break;
      case EntryKind::Table:
        next = visit_leaves_below<F>(F::table_address(entry), level - 1, iova, visitor, follow);
        break;
      case EntryKind::Leaf:
        next = visitor.leaf(Iova(iova), {F::leaf_address(entry, level), item_size(level), F::prot(entry)});
        break;
    }
    if (next == Visit::Stop) return Visit::Stop;
  }
  return Visit::Continue;
}

enum class Order : u8 { ParentsFirst, ChildrenFirst };

/// Every table page from @p page down; level 0 tables are visited, not read. ChildrenFirst allows the visitor to free.
template <PageTableFormat F, Order order, class Follow>
Visit visit_tables_below(PhysAddr page, unsigned level, TableVisitor& visitor, const Follow& follow) {
  if (order == Order::ParentsFirst && visitor.table(page, level) == Visit::Stop) return Visit::Stop;
  const u64* table = level != 0 ? follow(page, level) : nullptr;
  for (u64 i = 0; table != nullptr && i < entries_per_table; ++i) {
    const u64 entry = hw_load(&table[i]);
    if (F::kind(entry, level) != EntryKind::Table) continue;
    if (visit_tables_below<F, order>(F::table_address(entry), level - 1, visitor, follow) == Visit::Stop)
      return Visit::Stop;
  }
  if (order == Order::ChildrenFirst && visitor.table(page, level) == Visit::Stop) return Visit::Stop;
  return Visit::Continue;
}

}  // namespace holdfast::pt

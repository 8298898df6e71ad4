// Walking a tree of tables, for a format F and a way to get at a table: what live and incoming tables share.
//
// Follow: (PhysAddr page, unsigned level) -> const u64* or null. It decides what may be read (a live table: everything;
// a table from another kernel: only what verification stamped); null ends that branch as if nothing were mapped there.
// Recursion is as deep as the table is high. Threads: readers beside a writer see old or new items.
#pragma once

#include <array>

#include "holdfast/base/hw_access.hpp"
#include "holdfast/pt/format.hpp"

namespace holdfast::pt {

/// Words of one table that the digest covers: all of its memory that hardware can read as items.
template <PageTableFormat F>
[[nodiscard]] constexpr u64 table_words(const Tree& tree, unsigned level) {
  const u64 items = level == tree.top_level ? top_items<F>(tree) : items_per_table<F>;
  return std::max(items, items_per_table<F>);
}

/// What the leaf @p item at @p level says of @p inside.
template <PageTableFormat F>
[[nodiscard]] Translation translation_of(u64 item, unsigned level, u64 inside) {
  const u64 size = u64{1} << F::leaf_size_lg2(item, level);
  return {F::leaf_address(item, level) + (inside & (size - 1)), size, F::prot(item)};
}

/// Calls @p f.template operator()<level>() for a level that is known at run time: what depends on it, shifts above all,
/// costs nothing there. @p level is one that the format has.
template <PageTableFormat F, unsigned known = F::max_levels - 1, class Function>
[[nodiscard]] [[gnu::always_inline]] inline auto with_level(unsigned level, const Function& f) {
  constexpr unsigned usual = std::min(3u, F::max_levels - 1);
  if constexpr (known == F::max_levels - 1 && known != usual)
    if (level == usual) [[likely]]
      return f.template operator()<usual>();
  if constexpr (known != 0)
    if (level != known) return with_level<F, known - 1>(level, f);
  return f.template operator()<known>();
}

/// Which item of a table at @p level that is not the top @p inside selects.
template <PageTableFormat F>
[[nodiscard]] constexpr u64 index_below_top(u64 inside, unsigned level) {
  return inside >> item_lg2<F>(level) & (items_per_table<F> - 1);
}

/// From the item @p index of the table at @p page down. Errors: NotFound.
template <PageTableFormat F, unsigned level, class Follow>
[[nodiscard]] [[gnu::always_inline]] inline Found find_leaf_from(PhysAddr page, u64 index, u64 inside, u64 unencrypted,
                                                                 const Follow& follow) {
  const u64* table = follow(page, level);
  if constexpr (!requires { Follow::everywhere; })
    if (table == nullptr) return Found::nothing(Code::NotFound);
  const u64 item = hw_load(&table[index]) & unencrypted;
  const EntryKind kind = F::kind(item, level);
  if constexpr (level != 0)
    if (kind == EntryKind::Table) [[likely]]
      return find_leaf_from<F, level - 1>(F::table_address(item), index_below_top<F>(inside, level - 1), inside,
                                          unencrypted, follow);
  if (kind != EntryKind::Leaf) return Found::nothing(Code::NotFound);
  const unsigned size_lg2 = F::leaf_size_lg2(item, level);
  return Found::leaf(F::leaf_address(item, level) + (inside & low_bits(size_lg2)), size_lg2, F::prot(item));
}

/// Errors: NotFound. @p inside is an address that the tree covers; @p unencrypted are the bits of an item that are not
/// marks of encrypted memory.
template <PageTableFormat F, class Follow>
[[nodiscard]] [[gnu::always_inline]] inline Found find_leaf(PhysAddr top, unsigned top_level, u64 inside,
                                                            u64 unencrypted, const Follow& follow) {
  return with_level<F>(top_level, [&]<unsigned level>() __attribute__((always_inline)) {
    return find_leaf_from<F, level>(top, inside >> item_lg2<F>(level), inside, unencrypted, follow);
  });
}

/// The same; @p iova is one that the tree covers.
template <PageTableFormat F, class Follow>
Found find_leaf(const Tree& tree, Iova iova, const Follow& follow) {
  return find_leaf<F>(tree.top, tree.top_level, tree.from(iova), ~tree.encryption, follow);
}

/// Many lookups side by side: at each level all items are fetched before the first is looked at.
template <PageTableFormat F>
struct LookupBatch {
  static constexpr std::size_t size = 32;

  /// At most `size` of them.
  template <class Follow>
  static void run(const Tree& tree, std::span<const Iova> iovas, std::span<Translation> to, const Follow& follow) {
    std::array<const u64*, size> slots;
    std::array<u8, size> open;  // which are still on their way
    std::size_t left = 0;
    const u64* top = follow(tree.top, tree.top_level);
    for (std::size_t i = 0; i < iovas.size(); ++i) {
      to[i] = {};
      if (!tree.covers(iovas[i].value, iovas[i].value) || top == nullptr) continue;
      slots[i] = &top[tree.from(iovas[i]) >> item_lg2<F>(tree.top_level)];
      __builtin_prefetch(slots[i]);
      open[left++] = static_cast<u8>(i);
    }
    for (unsigned level = tree.top_level; left != 0; --level) {
      std::size_t still = 0;
      for (std::size_t at = 0; at < left; ++at) {
        const std::size_t i = open[at];
        const u64 item = hw_load(slots[i]) & ~tree.encryption;
        const EntryKind kind = F::kind(item, level);
        if (kind == EntryKind::Table) {
          const u64* table = follow(F::table_address(item), level - 1);
          if (table == nullptr) continue;
          slots[i] = &table[tree.from(iovas[i]) >> item_lg2<F>(level - 1) & (items_per_table<F> - 1)];
          __builtin_prefetch(slots[i]);
          open[still++] = static_cast<u8>(i);
        } else if (kind == EntryKind::Leaf) {
          to[i] = translation_of<F>(item, level, tree.from(iovas[i]));
        }
      }
      left = still;
    }
  }
};

/// Every leaf below @p page by rising address; @p base is the first address inside that the table maps.
template <PageTableFormat F, class Follow>
Visit visit_leaves_below(const Tree& tree, PhysAddr page, unsigned level, u64 base, LeafVisitor& visitor,
                         const Follow& follow) {
  const u64* table = follow(page, level);
  if (table == nullptr) return Visit::Continue;
  const u64 items = level == tree.top_level ? top_items<F>(tree) : items_per_table<F>;
  for (u64 i = 0; i < items;) {
    const u64 item = hw_load(&table[i]) & ~tree.encryption;
    const u64 inside = base + (i << item_lg2<F>(level));
    Visit next = Visit::Continue;
    u64 step = 1;
    switch (F::kind(item, level)) {
      case EntryKind::Empty: break;
      case EntryKind::Table:
        next = visit_leaves_below<F>(tree, F::table_address(item), level - 1, inside, visitor, follow);
        break;
      case EntryKind::Leaf: {
        const unsigned size_lg2 = F::leaf_size_lg2(item, level);
        next = visitor.leaf(tree.to(inside), {F::leaf_address(item, level), u64{1} << size_lg2, F::prot(item)});
        step = items_of_leaf<F>(level, size_lg2);
        break;
      }
    }
    if (next == Visit::Stop) return Visit::Stop;
    i += step;
  }
  return Visit::Continue;
}

template <PageTableFormat F, class Follow>
Visit visit_leaves(const Tree& tree, LeafVisitor& visitor, const Follow& follow) {
  return visit_leaves_below<F>(tree, tree.top, tree.top_level, 0, visitor, follow);
}

/// ChildrenFirst allows the visitor to free what it is shown.
enum class Order : u8 { ParentsFirst, ChildrenFirst };

/// Every table below the one at @p page, in batches of neighbours; level 0 tables are visited, not read.
template <PageTableFormat F, Order order, class Follow>
Visit visit_tables_below(const Tree& tree, PhysAddr page, unsigned level, TableVisitor& visitor, const Follow& follow) {
  const u64* table = level != 0 ? follow(page, level) : nullptr;
  if (table == nullptr) return Visit::Continue;
  const u64 items = level == tree.top_level ? top_items<F>(tree) : items_per_table<F>;
  for (u64 i = 0; i < items;) {
    std::array<PhysAddr, TableVisitor::max_batch> batch;
    std::size_t count = 0;
    for (; i < items && count < batch.size(); ++i) {
      const u64 item = hw_load(&table[i]) & ~tree.encryption;
      if (F::kind(item, level) == EntryKind::Table) batch[count++] = F::table_address(item);
    }
    if (count == 0) return Visit::Continue;
    const std::span<const PhysAddr> children(batch.data(), count);
    if (order == Order::ParentsFirst && visitor.tables(children, level - 1) == Visit::Stop) return Visit::Stop;
    if (level > 1)
      for (const PhysAddr child : children)
        if (visit_tables_below<F, order>(tree, child, level - 1, visitor, follow) == Visit::Stop) return Visit::Stop;
    if (order == Order::ChildrenFirst && visitor.tables(children, level - 1) == Visit::Stop) return Visit::Stop;
  }
  return Visit::Continue;
}

/// Every table but the top.
template <PageTableFormat F, Order order, class Follow>
Visit visit_lower_tables(const Tree& tree, TableVisitor& visitor, const Follow& follow) {
  return visit_tables_below<F, order>(tree, tree.top, tree.top_level, visitor, follow);
}

}  // namespace holdfast::pt

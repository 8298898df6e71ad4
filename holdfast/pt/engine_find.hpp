// The engine's ways down: to the leaf of an address (lookup), and to its slot at a level. Included at the end of
// engine.hpp.
//
// Both run thousands of times for one time that anything else does, so levels are constants (with_level()), a walk
// reads the fields of the table once, and a lookup answers in registers (Found).
#pragma once

#include "holdfast/pt/engine.hpp"

namespace holdfast::pt {

/// All of a live table may be read, so nothing is ever null.
struct FollowLive {
  static constexpr bool everywhere = true;
  std::byte* base;

  [[nodiscard]] [[gnu::always_inline]] const u64* operator()(PhysAddr page, unsigned) const {
    const auto* table = reinterpret_cast<const u64*>(base + page.value);
    // Or the compiler adds base and page to what the item's index makes: an addition more a table.
    asm("" : "+r"(table));
    return table;
  }
};

/// The way down of find_slot(), by levels that the compiler knows.
template <PageTableFormat F, class P>
struct RadixTable<F, P>::Descent {
  std::byte* base;
  u64 unencrypted;
  u64 inside;
  unsigned wanted;

  template <unsigned at>
  [[nodiscard]] [[gnu::always_inline]] u64* from(u64 index, PhysAddr& page) const {
    u64* slot = &reinterpret_cast<u64*>(base + page.value)[index];
    if constexpr (at != 0) {
      if (at == wanted) return slot;
      const u64 item = hw_load(slot) & unencrypted;
      if (F::kind(item, at) != EntryKind::Table) [[unlikely]]
        return nullptr;
      page = F::table_address(item);
      return from<at - 1>(index_below_top<F>(inside, at - 1), page);
    }
    return slot;
  }
};

/// The slot at @p level for @p inside and the page of its table; null where that table is missing or a leaf stands
/// above. @p inside is one that the tree covers.
template <PageTableFormat F, class P>
[[gnu::always_inline]] inline u64* RadixTable<F, P>::find_slot(u64 inside, unsigned level, PhysAddr& page) const {
  const u64 top = P::read(x_top);
  const auto top_level = static_cast<unsigned>(top & 7);
  if (top_level < level) return nullptr;
  x_memory.touches.table(top_level - level + 1);
  page = PhysAddr(top & ~u64{7});
  const Descent descent{x_base, x_unencrypted, inside, level};
  u64* slot = with_level<F>(top_level, [&]<unsigned from>() __attribute__((always_inline)) {
    return descent.template from<from>(inside >> item_lg2<F>(from), page);
  });
  if (slot == nullptr || !must_look_at_flushed_bits()) return slot;
  return find_flushed_slot(inside, level, page);
}

/// find_slot() once more, where another thread may have linked a table that has not left its cache yet.
template <PageTableFormat F, class P>
u64* RadixTable<F, P>::find_flushed_slot(u64 inside, unsigned level, PhysAddr& page) const {
  const u64 top = P::read(x_top);
  page = PhysAddr(top & ~u64{7});
  for (unsigned at = top & 7;; --at) {
    u64* slot = &words_uncounted(page)[index_of<F>(inside, at, top & 7)];
    if (at == level) return slot;
    const u64 item = load(slot);
    if (F::kind(item, at) != EntryKind::Table) return nullptr;
    rely_on(slot, item);
    page = F::table_address(item);
  }
}

template <PageTableFormat F, class P>
Found RadixTable<F, P>::find(Iova iova) const {
  const u64 last_inside = P::read(x_last_inside);
  const u64 top = P::read(x_top);  // after: it covers at least that
  const u64 inside = iova.value - x_first;
  if (inside > last_inside) [[unlikely]]
    return find_elsewhere(iova);
  return with_level<F>(top & 7, [&]<unsigned level>() __attribute__((always_inline)) {
    x_memory.touches.table(level + 1);
    return find_leaf_from<F, level>(PhysAddr(top - level), inside >> item_lg2<F>(level), inside, x_unencrypted,
                                    FollowLive{x_base});
  });
}

/// In the upper half of a sign-extended tree, or nowhere.
template <PageTableFormat F, class P>
Found RadixTable<F, P>::find_elsewhere(Iova iova) const {
  const Tree tree = this->tree();
  if (!tree.covers(iova.value, iova.value)) return Found::nothing(Code::OutOfRange);
  return find_leaf<F>(tree, iova, follow());
}

template <PageTableFormat F, class P>
void RadixTable<F, P>::lookup(std::span<const Iova> iovas, std::span<Translation> to) const {
  verify_invariant(to.size() == iovas.size(), "a batch lookup needs room for each answer");
  const Tree tree = this->tree();
  for (std::size_t i = 0; i < iovas.size(); i += LookupBatch<F>::size) {
    const std::size_t count = std::min<std::size_t>(iovas.size() - i, LookupBatch<F>::size);
    LookupBatch<F>::run(tree, iovas.subspan(i, count), to.subspan(i, count), follow());
  }
}

}  // namespace holdfast::pt

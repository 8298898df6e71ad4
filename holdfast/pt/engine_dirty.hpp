// Dirty tracking, part of the engine (engine.hpp includes this): which leaves hardware has written, and making them
// clean.
#pragma once

#include "holdfast/pt/engine.hpp"

namespace holdfast::pt {

template <PageTableFormat F, class P>
struct RadixTable<F, P>::DirtyScan {
  enum class Change : u8 { None, Clean, CleanAtomic, MakeDirty };

  Change change;
  const DirtyBitmap* bitmap;
  Gather* gather;
  DirtyBits bits;

  /// Bits for [iova, iova + bytes), of which all is in the bitmap.
  void report(Iova iova, u64 bytes) const {
    if (bitmap == nullptr) return;
    u64 bit = (iova - bitmap->first) >> bitmap->page_lg2;
    const u64 end = ((iova - bitmap->first + bytes - 1) >> bitmap->page_lg2) + 1;
    while (bit < end) {
      const u64 count = std::min<u64>(end - bit, 64 - (bit & 63));
      bitmap->words[bit >> 6] |= low_bits(static_cast<unsigned>(count)) << (bit & 63);
      bit += count;
    }
  }
  void invalidate(Iova iova, u64 bytes, unsigned level) const {
    gather->add_range({iova, bytes}, {.leaves = static_cast<u8>(1u << level), .tables = 0});
  }
};

/// Not by flipping bits: where hardware has just done the same, that would undo it.
template <PageTableFormat F, class P>
void RadixTable<F, P>::make_dirty(u64* item, const DirtyBits& bits) {
  for (;;) {
    const u64 old = hw_load(item);
    if (bits.is_dirty(old) || hw_exchange(x_memory.world, item, old, old ^ bits.flip)) return;
  }
}

/// @p which of the items from @p slot on are to change.
template <PageTableFormat F, class P>
void RadixTable<F, P>::clean(u64* slot, u64 which, DirtyScan& scan) {
  using Change = typename DirtyScan::Change;
  if (scan.change == Change::Clean && !traced) {
    x_kernels->flip(slot, which, scan.bits.flip);
  } else {
    for (u64 left = which; left != 0; left &= left - 1) {
      u64* item = &slot[low_bit(left)];
      switch (scan.change) {
        case Change::None: break;
        case Change::Clean: hw_store(x_memory.world, item, hw_load(item) ^ scan.bits.flip); break;
        case Change::CleanAtomic: hw_flip(x_memory.world, item, scan.bits.flip); break;
        case Change::MakeDirty: make_dirty(item, scan.bits); break;
      }
    }
  }
  flush(slot, 64 - static_cast<unsigned>(std::countl_zero(which)));
}

/// At most 64 smallest pages of one item each.
template <PageTableFormat F, class P>
void RadixTable<F, P>::scan_dirty_pages(u64* slot, unsigned count, const Tree& tree, u64 inside, DirtyScan& scan) {
  using Change = typename DirtyScan::Change;
  const u64 found = x_kernels->match(slot, count, scan.bits.mask, scan.bits.value);
  for (u64 rest = found; rest != 0;) {
    const unsigned begin = low_bit(rest);
    const unsigned length = std::min(low_bit(~(rest >> begin)), 64 - begin);
    const Iova iova = tree.to(inside + (u64{begin} << F::granule_lg2));
    const u64 bytes = u64{length} << F::granule_lg2;
    scan.report(iova, bytes);
    if (scan.change != Change::None) scan.invalidate(iova, bytes, 0);
    rest &= ~(low_bits(length) << begin);
  }
  if (found != 0 && scan.change != Change::None) clean(slot, found, scan);
}

/// The leaf of which @p slot is an item; [inside, last] is the part that is asked for.
template <PageTableFormat F, class P>
void RadixTable<F, P>::scan_dirty_leaf(u64* slot, unsigned level, unsigned size_lg2, const Tree& tree, u64 inside,
                                       u64 last, DirtyScan& scan) {
  using Change = typename DirtyScan::Change;
  const u64 items = items_of_leaf<F>(level, size_lg2);
  const u64 begin = inside & ~low_bits(size_lg2);
  u64* first = slot - ((inside - begin) >> item_lg2<F>(level));
  bool any = false;
  for (u64 i = 0; i < items; i += 64) {
    const auto count = static_cast<unsigned>(std::min<u64>(items - i, 64));
    u64 found = x_kernels->match(first + i, count, scan.bits.mask, scan.bits.value);
    any = any || found != 0;
    if (scan.change == Change::MakeDirty) found = ~found & low_bits(count);
    if (found != 0 && scan.change != Change::None) clean(first + i, found, scan);
  }
  if (!any || scan.change == Change::MakeDirty) return;
  scan.report(tree.to(inside), last - inside + 1);
  if (scan.change != Change::None) scan.invalidate(tree.to(begin), u64{1} << size_lg2, level);
}

template <PageTableFormat F, class P>
void RadixTable<F, P>::scan_dirty(PhysAddr page, unsigned level, const Tree& tree, u64 inside, u64 last,
                                  DirtyScan& scan) {
  for (;;) {
    u64* slot = &words(page)[index_of<F>(inside, level, tree.top_level)];
    if (level == 0 && scan.change != DirtyScan::Change::MakeDirty) {
      const auto count = static_cast<unsigned>(std::min<u64>(((last - inside) >> F::granule_lg2) + 1, 64));
      if (find_several(slot, count) == 0) {
        scan_dirty_pages(slot, count, tree, inside, scan);
        const u64 bytes = u64{count} << F::granule_lg2;
        if (last - inside == bytes - 1) return;
        inside += bytes;
        continue;
      }
    }
    const u64 item = load(slot);
    u64 end = item_last<F>(inside, level);
    switch (F::kind(item, level)) {
      case EntryKind::Empty: break;
      case EntryKind::Table:
        scan_dirty(F::table_address(item), level - 1, tree, inside, std::min(last, end), scan);
        break;
      case EntryKind::Leaf: {
        const unsigned size_lg2 = F::leaf_size_lg2(item, level);
        end = inside | low_bits(size_lg2);
        scan_dirty_leaf(slot, level, size_lg2, tree, inside, std::min(last, end), scan);
        break;
      }
    }
    if (end >= last) return;
    inside = end + 1;
  }
}

template <PageTableFormat F, class P>
Status RadixTable<F, P>::read_dirty(IovaRange range, DirtyRead how, const DirtyBitmap* bitmap, Gather& gather) {
  using Change = typename DirtyScan::Change;
  constexpr u64 granule = u64{1} << F::granule_lg2;
  const DirtyBits bits = F::dirty_bits(x_config.features);
  if (!bits.known()) return Code::NotSupported;
  if (how != DirtyRead::Keep && preserved()) return Code::Busy;
  if (range.size_bytes == 0 || ((range.start.value | range.size_bytes) & (granule - 1)) != 0) return Code::Invalid;
  const auto last = checked_last(range.start.value, range.size_bytes);
  if (!last) return Code::OutOfRange;
  if (bitmap == nullptr && how == DirtyRead::Keep) return Code::Invalid;
  if (bitmap != nullptr && (bitmap->page_lg2 >= 64 || range.start < bitmap->first ||
                            (Iova(*last) - bitmap->first) >> bitmap->page_lg2 >= bitmap->words.size() * 64))
    return Code::Invalid;
  const Tree tree = this->tree();
  if (!tree.covers(range.start.value, *last)) {
    if (!x_config.dynamic_top || *last > low_bits(x_config.iova_bits)) return Code::OutOfRange;
    if (range.start.value > tree.mask()) return {};
  }
  const u64 inside = tree.from(range.start);
  DirtyScan scan{how == DirtyRead::Keep    ? Change::None
                 : how == DirtyRead::Clear ? Change::Clean
                                           : Change::CleanAtomic,
                 bitmap, &gather, bits};
  scan_dirty(tree.top, tree.top_level, tree, inside, std::min(inside + (range.size_bytes - 1), tree.mask()), scan);
  return {};
}

}  // namespace holdfast::pt

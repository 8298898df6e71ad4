// What a page-table format supplies. The engine knows radix trees of 8-byte items; everything about bits is the
// format's. docs/page-table-formats.md tells how to add one.
//
//   level       counts from 0, the tables whose items map the smallest pages
//   item        one 8-byte word of a table; an empty one is 0
//   leaf        one item, or a power of two of neighbours that together map one page ("contiguous")
//   attributes  the bits of a leaf's items that are neither address nor size nor type
//
// Functions that classify take any 64 bits: what another kernel left is read with them. Functions that encode are given
// what the engine has checked. Threads: formats have no state. Failure: attributes_of alone can refuse.
#pragma once

#include <concepts>

#include "holdfast/pt/types.hpp"

namespace holdfast::pt {

/// What hardware finds in an item. An item that is not 0 and yet Empty is one that nobody writes.
enum class EntryKind : u8 { Empty, Table, Leaf };

/// Items that (item & mask) == value finds.
struct ItemTest {
  u64 mask = 0;
  u64 value = 0;
};

/// How dirtiness is written: an item is dirty when (item & mask) == value, and is made clean by flipping bits.
struct DirtyBits {
  u64 mask = 0;  // 0: the format cannot tell
  u64 value = 0;
  u64 flip = 0;  // item ^ flip: dirty -> clean, clean -> dirty

  [[nodiscard]] constexpr bool known() const { return mask != 0; }
  [[nodiscard]] constexpr bool is_dirty(u64 item) const { return (item & mask) == value; }
};

template <class F>
concept PageTableFormat = requires(u64 item, unsigned level, unsigned size_lg2, unsigned levels, unsigned iova_bits,
                                   PhysAddr address, Prot prot, Features features, IovaExtent extent) {
  // Geometry.
  { F::format } -> std::convertible_to<Format>;           // its number
  { F::granule_lg2 } -> std::convertible_to<unsigned>;    // log2 of the smallest page
  { F::index_bits } -> std::convertible_to<unsigned>;     // bits of IOVA that a table decodes, the top excepted
  { F::max_levels } -> std::convertible_to<unsigned>;     // at most 6
  { F::max_phys_bits } -> std::convertible_to<unsigned>;  // widest output address
  { F::is_valid_shape(levels, iova_bits) } -> std::same_as<bool>;  // hardware walks a tree of this height and width
  { F::supports(extent) } -> std::same_as<bool>;
  { F::dynamic_top } -> std::convertible_to<bool>;  // hardware switches (top, levels) at once
  // Sizes of the leaves at a level, bit n: 2^n bytes, from one item to half a table of items.
  { F::leaf_sizes(level) } -> std::same_as<u64>;

  // Classify.
  { F::kind(item, level) } -> std::same_as<EntryKind>;
  { F::table_address(item) } -> std::same_as<PhysAddr>;         // of a Table item
  { F::leaf_size_lg2(item, level) } -> std::same_as<unsigned>;  // of a Leaf item: bytes of the whole leaf
  { F::leaf_address(item, level) } -> std::same_as<PhysAddr>;   // where the whole leaf begins, whichever item is asked
  { F::attributes(item, level) } -> std::same_as<u64>;          // of a Leaf item, accessed and dirty bits included
  { F::prot(item) } -> std::same_as<Prot>;                      // of a Leaf item

  // Untrusted items: bits that are reserved or that no kernel we read writes, of an item that is not 0; all its bits
  // if it is Empty.
  { F::unknown_bits(item, level) } -> std::same_as<u64>;
  { F::passes_all(item) } -> std::same_as<bool>;  // a Table item leaves permissions to the leaf

  // Encode.
  { F::features } -> std::convertible_to<Features>;  // those that it knows
  // Attributes of a mapping. Errors: Invalid (neither reading nor writing, or refused by a feature).
  { F::attributes_of(prot, features) } -> std::same_as<Result<u64>>;
  // First item of a leaf of 2^size_lg2 bytes, one of leaf_sizes(level); address fits and is aligned to the size.
  { F::leaf(address, level, size_lg2, item) } -> std::same_as<u64>;
  // (Where level 0 has leaves of several items, F::several_items, an ItemTest, finds all items of those.)
  // What is added to an item to make the next of the same leaf: 0 where all are alike.
  { F::next_in_leaf(level) } -> std::same_as<u64>;
  // What is added to a leaf's item to lead 2^size_lg2 bytes further, below a multiple of 2^linear_lg2.
  { F::advance(size_lg2) } -> std::same_as<u64>;
  { F::linear_lg2 } -> std::convertible_to<unsigned>;
  { F::table(address, level) } -> std::same_as<u64>;  // an item at level that leads to a table below it
  // Ignored by hardware, in Table items: "this item has left the CPU caches". 0: no such bit, always coherent.
  { F::flushed_bit } -> std::convertible_to<u64>;
  // Hardware takes either translation when a leaf is replaced by a table of the same translations, or the other way.
  { F::allows_exchange(features) } -> std::same_as<bool>;

  // Accessed and dirty.
  { F::dirty_bits(features) } -> std::same_as<DirtyBits>;
  { F::hardware_bits } -> std::convertible_to<u64>;  // bits that hardware may change at any moment
};

/// log2 of the bytes that one item at @p level covers.
template <class F>
[[nodiscard]] constexpr unsigned item_lg2(unsigned level) {
  return F::granule_lg2 + F::index_bits * level;
}
template <class F>
[[nodiscard]] constexpr u64 item_size(unsigned level) {
  return u64{1} << item_lg2<F>(level);
}
/// Last IOVA of the item at @p level that covers @p iova.
template <class F>
[[nodiscard]] constexpr u64 item_last(u64 iova, unsigned level) {
  return iova | (item_size<F>(level) - 1);
}
/// Items of every table but the top.
template <class F>
inline constexpr u64 items_per_table = u64{1} << F::index_bits;
/// Every table but the top is 2^table_order pages; small tables have a page of their own.
template <class F>
inline constexpr unsigned table_order = F::index_bits + 3 > page_lg2 ? F::index_bits + 3 - page_lg2 : 0;

/// Items that one leaf is made of.
template <class F>
[[nodiscard]] constexpr u64 items_of_leaf(unsigned level, unsigned size_lg2) {
  return u64{1} << (size_lg2 - item_lg2<F>(level));
}

/// 2^bits - 1, for up to 64 bits.
[[nodiscard]] constexpr u64 low_bits(unsigned bits) { return bits >= 64 ? ~u64{0} : (u64{1} << bits) - 1; }

/// One tree: where it begins and which addresses it translates.
///
/// Inside the library an IOVA of a tree is its low iova_bits; from() and to() go between these and what a device sends.
struct Tree {
  PhysAddr top;
  u8 top_level = 0;
  u8 iova_bits = 0;  // that the top decodes now
  IovaExtent extent = IovaExtent::Lower;
  u64 encryption = 0;  // address bits to ignore

  [[nodiscard]] constexpr u64 mask() const { return low_bits(iova_bits); }
  /// True when the tree translates all of [first, last], and both are in the same half.
  [[nodiscard]] constexpr bool covers(u64 first, u64 last) const {
    if (last < first) return false;
    switch (extent) {
      case IovaExtent::Lower: return last <= mask();
      case IovaExtent::Upper: return first >= ~mask();
      case IovaExtent::SignExtended: {
        const u64 half = mask() >> 1;
        return last <= half || first >= ~half;
      }
    }
    return false;
  }
  [[nodiscard]] constexpr u64 from(Iova iova) const { return iova.value & mask(); }
  [[nodiscard]] constexpr Iova to(u64 inside) const {
    const bool high =
        extent == IovaExtent::Upper || (extent == IovaExtent::SignExtended && (inside >> (iova_bits - 1) & 1) != 0);
    return Iova(high ? inside | ~mask() : inside);
  }
};

/// Bits of IOVA that the top table decodes; none where a tree is higher than its width needs.
template <class F>
[[nodiscard]] constexpr unsigned top_index_bits(unsigned top_level, unsigned iova_bits) {
  return iova_bits > item_lg2<F>(top_level) ? iova_bits - item_lg2<F>(top_level) : 0;
}
/// The tree that @p saved describes.
[[nodiscard]] constexpr Tree tree_of(const SavedTable& saved) {
  return {saved.top, saved.top_level, saved.iova_bits, saved.extent, saved.encryption};
}

/// Items of the top table.
template <class F>
[[nodiscard]] constexpr u64 top_items(const Tree& tree) {
  return u64{1} << top_index_bits<F>(tree.top_level, tree.iova_bits);
}
/// The top table is 2^top_order pages.
template <class F>
[[nodiscard]] constexpr unsigned top_order(unsigned top_level, unsigned iova_bits) {
  const unsigned bytes_lg2 = top_index_bits<F>(top_level, iova_bits) + 3;
  const unsigned order = bytes_lg2 > page_lg2 ? bytes_lg2 - page_lg2 : 0;
  return order > table_order<F> ? order : table_order<F>;
}
/// A table at @p level is 2^order pages.
template <class F>
[[nodiscard]] constexpr unsigned order_at(const Tree& tree, unsigned level) {
  return level == tree.top_level ? top_order<F>(level, tree.iova_bits) : table_order<F>;
}
/// Which item of its table @p inside selects. (No mask at the top: an IOVA inside has no higher bits.)
template <class F>
[[nodiscard]] constexpr u64 index_of(u64 inside, unsigned level, unsigned top_level) {
  const u64 index = inside >> item_lg2<F>(level);
  return level == top_level ? index : index & (items_per_table<F> - 1);
}

/// True when a tree of @p levels tables decodes @p iova_bits. A tree may be higher than its width needs, but no IOVA
/// is narrower than one table of the smallest pages and a bit more.
template <class F>
[[nodiscard]] constexpr bool reaches(unsigned levels, unsigned iova_bits) {
  return iova_bits > F::granule_lg2 + F::index_bits && iova_bits <= F::granule_lg2 + F::index_bits * levels;
}

/// True when hardware of @p phys_bits walks such a tree: is_valid_shape, and what depends on extent and output width.
///
/// Where a format can extend the sign, hardware takes it from the highest bit of a full tree, so such a tree is never
/// narrower, and one of the lower half alone must leave that bit out. F::min_phys_bits(levels, iova_bits) is optional.
template <class F>
[[nodiscard]] constexpr bool is_valid_tree(unsigned levels, unsigned iova_bits, IovaExtent extent, unsigned phys_bits) {
  if (!F::supports(extent) || !F::is_valid_shape(levels, iova_bits) || phys_bits > F::max_phys_bits) return false;
  const unsigned full_bits = F::granule_lg2 + F::index_bits * levels;
  if (extent == IovaExtent::SignExtended && iova_bits != full_bits) return false;
  if (extent == IovaExtent::Lower && F::supports(IovaExtent::SignExtended) && iova_bits >= full_bits) return false;
  if constexpr (requires { F::min_phys_bits(levels, iova_bits); })
    return phys_bits >= F::min_phys_bits(levels, iova_bits);
  return true;
}

/// The narrowest host address that we build or read for.
inline constexpr unsigned min_phys_bits = 32;

/// True when @p encryption (TableConfig) is address bits that no address of a host of @p phys_bits has, in a format
/// whose items hold addresses where they stand.
template <class F>
[[nodiscard]] constexpr bool can_encrypt(u64 encryption, unsigned phys_bits) {
  constexpr bool in_place = F::advance(F::granule_lg2) == u64{1} << F::granule_lg2 && F::linear_lg2 == 64;
  const u64 spare = low_bits(F::max_phys_bits) & ~low_bits(phys_bits);
  return encryption == 0 || (in_place && (encryption & ~spare) == 0);
}

/// True when every smallest page is one item.
template <class F>
inline constexpr bool has_single_pages_only = (F::leaf_sizes(0) & (F::leaf_sizes(0) - 1)) == 0;

/// The bits of @p item that hardware may change: F::hardware_bits, or fewer where a format can tell by the item.
template <class F>
[[nodiscard]] constexpr u64 changing_bits(u64 item) {
  if constexpr (requires { F::hardware_bits_of(item); })
    return F::hardware_bits_of(item);
  else
    return F::hardware_bits;
}

}  // namespace holdfast::pt

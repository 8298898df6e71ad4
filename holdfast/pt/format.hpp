// What a page-table format supplies. The engine knows radix trees of 8-byte entries in 4 KiB tables; everything about
// bits is the format's. "Level" counts from 0, the tables whose entries map the smallest pages.
//
// Threads: formats have no state. Failure: none.
#pragma once

#include <concepts>

#include "holdfast/pt/types.hpp"

namespace holdfast::pt {

enum class EntryKind : u8 { Empty, Table, Leaf };

/// Whether hardware snoops the CPU caches when it reads tables.
enum class Coherency : u8 { Coherent, Incoherent };

template <class F>
concept PageTableFormat = requires(u64 entry, unsigned level, PhysAddr address, Prot prot, Coherency coherency) {
  // Geometry.
  { F::format } -> std::convertible_to<Format>;                  // its number
  requires F::min_levels <= F::max_levels&& F::max_levels <= 6;  // heights that hardware walks
  requires(F::leaf_sizes & u64{1} << page_lg2) != 0;             // bit n: a leaf may map 2^n bytes
  requires F::max_phys_bits <= 52;                               // widest output address

  // Classify. Any 64 bits are legal input.
  { F::kind(entry, level) } -> std::same_as<EntryKind>;   // Empty only when hardware finds nothing and the word is 0
  { F::table_address(entry) } -> std::same_as<PhysAddr>;  // of a Table entry
  { F::leaf_address(entry, level) } -> std::same_as<PhysAddr>;  // of a Leaf entry
  { F::prot(entry) } -> std::same_as<Prot>;                     // of either

  // Untrusted entries.
  {
    F::unknown_bits(entry, level)
  } -> std::same_as<u64>;                          // set bits that are reserved, or that no kernel we read writes
  { F::passes_all(entry) } -> std::same_as<bool>;  // a Table entry leaves permissions to the leaf

  // Encode.
  { F::leaf(address, level, prot) } -> std::same_as<u64>;  // prot is not None; address fits and is aligned
  { F::table(address, coherency) } -> std::same_as<u64>;

  // Accessed and dirty.
  requires(F::hardware_bits & 1) == 0;  // bits that hardware may set at any moment
};

/// Shape shared by all formats we have: 9 bits of IOVA a level, 512 entries a table.
inline constexpr unsigned index_bits = 9;
inline constexpr u64 entries_per_table = u64{1} << index_bits;

/// log2 of the bytes that one entry at @p level covers.
[[nodiscard]] constexpr unsigned item_lg2(unsigned level) { return page_lg2 + index_bits * level; }
[[nodiscard]] constexpr u64 item_size(unsigned level) { return u64{1} << item_lg2(level); }
[[nodiscard]] constexpr u64 index_of(u64 iova, unsigned level) {
  return iova >> item_lg2(level) & (entries_per_table - 1);
}
/// Last IOVA of the entry at @p level that covers @p iova.
[[nodiscard]] constexpr u64 item_last(u64 iova, unsigned level) { return iova | (item_size(level) - 1); }

/// The narrowest IOVA width that we build or read: one level-0 table and a bit more.
inline constexpr unsigned min_iova_bits = 22;

[[nodiscard]] constexpr bool is_valid_width(unsigned levels, unsigned iova_bits) {
  return iova_bits >= min_iova_bits && iova_bits <= page_lg2 + index_bits * levels;
}

}  // namespace holdfast::pt

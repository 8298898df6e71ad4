// AMDv1: the host tables of an AMD IOMMU. AMD I/O virtualization specification, 2.2.3, tables 14 and 15.
//
// Pages of every power of two: a leaf of more than one item is that many equal items, each with NextLevel 7 and the
// size in the low bits of the address, all ones up to a zero (size 2^s: the address bits below s - 1). 512 GiB is left
// out, as hardware has a defect there, so level 3 has no leaf of one item. The six-level tree translates all 64 bits;
// its top decodes only 7 of them. Hardware combines permissions of all levels; ours, like Linux's, grant everything
// above the leaf. Items are never marked "flushed": the tables are always coherent.
//
// Levels may be skipped in hardware; nobody does, and here a table item's NextLevel must be the level it stands at.
// Under memory encryption an address bit marks each item; that is the engine's affair.
//
// Threads: no state. Failure: attributes_of refuses a mapping that allows nothing.
#pragma once

#include <algorithm>
#include <bit>

#include "holdfast/base/bits.hpp"
#include "holdfast/pt/format.hpp"

namespace holdfast::pt {

/// 2.2.3: PDE and PTE, as one declaration. What is not named is ignored or reserved, and nobody writes it.
namespace amd_entry {
using Ignored63 = Bit<63>;
using Iw = Bit<62>;  // write
using Ir = Bit<61>;  // read
using Fc = Bit<60>;  // leaf: force coherent
using U = Bit<59>;   // leaf: untranslated only; not used
using Rsvd58 = Reserved<58, 52>;
using Addr = Field<51, 12>;      // next table, or page frame and size
using NextLevel = Field<11, 9>;  // 0: a leaf of one item, 7: of a size in Addr, others: a table so high
using Ignored8 = Field<8, 7>;
using D = Bit<6>;  // dirty (leaf), set by hardware
using A = Bit<5>;  // accessed, set by hardware along with D where the device table entry asks for D
using Ignored4 = Field<4, 1>;
using Pr = Bit<0>;  // present
}  // namespace amd_entry

using AmdEntry = Bits<64, amd_entry::Ignored63, amd_entry::Iw, amd_entry::Ir, amd_entry::Fc, amd_entry::U,
                      amd_entry::Rsvd58, amd_entry::Addr, amd_entry::NextLevel, amd_entry::Ignored8, amd_entry::D,
                      amd_entry::A, amd_entry::Ignored4, amd_entry::Pr>;

/// The format for smallest pages of 2^granule bytes: hardware's are 4 KiB, and Linux tests itself with 2 KiB. Tables
/// have 4 KiB either way, and Addr counts smallest pages.
template <Format number, unsigned granule, unsigned levels_max, unsigned iova_bits_max>
struct AmdV1Geometry {
  static_assert(granule <= page_lg2);

  static constexpr Format format = number;
  static constexpr unsigned granule_lg2 = granule;
  static constexpr unsigned index_bits = 9;
  static constexpr unsigned max_levels = levels_max;
  static constexpr unsigned max_phys_bits = 40 + granule;
  static constexpr bool dynamic_top = true;
  static constexpr unsigned linear_lg2 = 64;
  static constexpr Features features = Features::ForceCoherence;
  static constexpr u64 flushed_bit = 0;
  static constexpr u64 hardware_bits = AmdEntry().with<amd_entry::A>(1).with<amd_entry::D>(1).raw();

  [[nodiscard]] static constexpr bool is_valid_shape(unsigned levels, unsigned iova_bits) {
    return levels <= max_levels && iova_bits <= iova_bits_max && reaches<AmdV1Geometry>(levels, iova_bits);
  }
  [[nodiscard]] static constexpr bool supports(IovaExtent extent) { return extent == IovaExtent::Lower; }
  /// None at the highest level (table 15).
  [[nodiscard]] static constexpr u64 leaf_sizes(unsigned level) {
    if (level + 1 >= max_levels) return 0;
    const unsigned largest = std::min(item_bits(level) + index_bits - 1, max_phys_bits - 1);
    return (low_bits(largest + 1) & ~low_bits(item_bits(level))) & ~size_512g;
  }

  static constexpr ItemTest several_items{AmdEntry().with<amd_entry::NextLevel>(7).with<amd_entry::Pr>(1).raw(),
                                          AmdEntry().with<amd_entry::NextLevel>(7).with<amd_entry::Pr>(1).raw()};

  [[nodiscard]] static constexpr EntryKind kind(u64 item, unsigned level) {
    if ((item & present) == 0) return EntryKind::Empty;
    const u64 next = item & next_level_mask;
    return level == 0 || next == 0 || next == next_level_size ? EntryKind::Leaf : EntryKind::Table;
  }
  [[nodiscard]] static constexpr PhysAddr table_address(u64 item) { return decode(item & table_addr_mask); }
  /// Of a size that cannot be at this level, the nearest that fits into a table.
  [[nodiscard]] static constexpr unsigned leaf_size_lg2(u64 item, unsigned level) {
    if ((item & next_level_mask) != next_level_size) return item_bits(level);
    return std::clamp(encoded_size_lg2(item), item_bits(level), item_bits(level) + index_bits - 1);
  }
  [[nodiscard]] static constexpr PhysAddr leaf_address(u64 item, unsigned level) {
    return PhysAddr(decode(item).value & ~low_bits(leaf_size_lg2(item, level)));
  }
  [[nodiscard]] static constexpr u64 attributes(u64 item, unsigned) { return item & attribute_bits; }
  [[nodiscard]] static constexpr Prot prot(u64 item) { return static_cast<Prot>(item >> amd_entry::Ir::low & 3); }

  [[nodiscard]] static constexpr u64 unknown_bits(u64 item, unsigned level) {
    if ((item & present) == 0) return item;
    if (kind(item, level) == EntryKind::Leaf) return unknown_leaf_bits(item, level);
    const u64 wrong_level = next_level(item) == level ? 0 : next_level_mask;
    return item & (~(table_bits | table_addr_mask) | wrong_level);
  }
  [[nodiscard]] static constexpr bool passes_all(u64 item) { return (item & read_write) == read_write; }

  [[nodiscard]] static constexpr Result<u64> attributes_of(Prot prot, Features chosen) {
    const Prot access = prot & Prot::ReadWrite;
    if (access == Prot::None) return Code::Invalid;
    return u64{static_cast<u8>(access)} << amd_entry::Ir::low |
           (has(chosen, Features::ForceCoherence) ? force_coherent : 0);
  }
  [[nodiscard]] static constexpr u64 leaf(PhysAddr address, unsigned level, unsigned size_lg2, u64 attributes) {
    const u64 size = size_lg2 == item_bits(level) ? 0 : next_level_size | size_code(size_lg2);
    return encode(address) | size | attributes | present;
  }
  [[nodiscard]] static constexpr u64 next_in_leaf(unsigned) { return 0; }
  [[nodiscard]] static constexpr u64 advance(unsigned size_lg2) { return encode(PhysAddr(u64{1} << size_lg2)); }
  [[nodiscard]] static constexpr u64 table(PhysAddr address, unsigned level) {
    return encode(address) | AmdEntry().with<amd_entry::NextLevel>(level).raw() | read_write | present;
  }
  [[nodiscard]] static constexpr bool allows_exchange(Features) { return true; }

  /// A leaf is dirty when any of its items is.
  [[nodiscard]] static constexpr DirtyBits dirty_bits(Features) {
    constexpr u64 d = AmdEntry().with<amd_entry::D>(1).raw();
    return {d, d, d};
  }

 private:
  static constexpr u64 present = AmdEntry().with<amd_entry::Pr>(1).raw();
  static constexpr u64 read_write = AmdEntry().with<amd_entry::Ir>(1).with<amd_entry::Iw>(1).raw();
  static constexpr u64 force_coherent = AmdEntry().with<amd_entry::Fc>(1).raw();
  static constexpr u64 next_level_mask = AmdEntry().with<amd_entry::NextLevel>(7).raw();
  static constexpr u64 next_level_size = next_level_mask;
  static constexpr u64 addr_mask = AmdEntry().with<amd_entry::Addr>(~u64{0}).raw();
  static constexpr u64 size_512g = u64{1} << 39;
  static constexpr u64 attribute_bits = read_write | force_coherent | hardware_bits;
  static constexpr u64 table_bits = present | read_write | next_level_mask | AmdEntry().with<amd_entry::A>(1).raw();

  [[nodiscard]] static constexpr unsigned item_bits(unsigned level) { return item_lg2<AmdV1Geometry>(level); }
  [[nodiscard]] static constexpr u64 encode(PhysAddr address) {
    return address.value << (amd_entry::Addr::low - granule);
  }
  [[nodiscard]] static constexpr PhysAddr decode(u64 item) {
    return PhysAddr((item & addr_mask) >> (amd_entry::Addr::low - granule));
  }
  static constexpr u64 table_addr_mask = encode(PhysAddr(low_bits(max_phys_bits) & ~(page_size_bytes - 1)));

  [[nodiscard]] static constexpr unsigned next_level(u64 item) {
    return static_cast<unsigned>((item & next_level_mask) >> amd_entry::NextLevel::low);
  }
  [[nodiscard]] static constexpr u64 size_code(unsigned size_lg2) {
    return encode(PhysAddr(low_bits(size_lg2 - 1))) & addr_mask;
  }
  [[nodiscard]] static constexpr unsigned encoded_size_lg2(u64 item) {
    return granule + 1 + static_cast<unsigned>(std::countr_one((item & addr_mask) >> amd_entry::Addr::low));
  }
  /// Everything, when it tells a size that nobody writes at this level.
  [[nodiscard]] static constexpr u64 unknown_leaf_bits(u64 item, unsigned level) {
    const bool one = (item & next_level_mask) == 0;
    const unsigned size_lg2 = one ? item_bits(level) : encoded_size_lg2(item);
    if (!one && ((item & next_level_mask) != next_level_size || size_lg2 <= item_bits(level))) return item;
    if ((leaf_sizes(level) >> size_lg2 & 1) == 0) return item;
    const u64 size = one ? 0 : next_level_size | size_code(size_lg2);
    return item & ~(present | attribute_bits | size | (encode(PhysAddr(~low_bits(size_lg2))) & addr_mask));
  }
};

using AmdV1 = AmdV1Geometry<Format::AmdV1, 12, 6, 64>;

static_assert(PageTableFormat<AmdV1>);

}  // namespace holdfast::pt

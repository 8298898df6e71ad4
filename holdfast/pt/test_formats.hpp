// Formats that no hardware has, for tests alone: geometries small enough to try everything, and every way in which
// formats differ. Their numbers are above all that a library may know.
//
//   AmdV1Granule2K   AMDv1 with smallest pages of 2 KiB and tables of 4 KiB (Linux's mock)
//   TinyFormat       VT-d second-stage bits, tables of 4 items, plain leaves
//   TinyReplicated   tables of 8 items; the items of a contiguous leaf are all alike (as RISC-V's Svnapot, AMDv1)
//   TinyOwnAddress   tables of 8 items; each item of a contiguous leaf has its own address (as Arm's)
//
// Threads: no state. Failure: as the concept tells.
#pragma once

#include <algorithm>
#include <bit>

#include "holdfast/pt/amd_v1.hpp"
#include "holdfast/pt/vtd_second_stage.hpp"

namespace holdfast::pt {

[[nodiscard]] constexpr Format test_format(u32 number) { return static_cast<Format>(0xf000'0000 + number); }

using AmdV1Granule2K = AmdV1Geometry<test_format(0), 11, 5, 56>;

static_assert(PageTableFormat<AmdV1Granule2K>);

/// Pages of 4, 16 and 64 KiB; up to 24 bits of IOVA under a top that may grow.
struct TinyFormat : VtdSecondStage {
  static constexpr Format format = test_format(1);
  static constexpr unsigned index_bits = 2;
  static constexpr unsigned max_levels = 6;
  static constexpr bool dynamic_top = true;

  [[nodiscard]] static constexpr bool is_valid_shape(unsigned levels, unsigned iova_bits) {
    return levels <= max_levels && reaches<TinyFormat>(levels, iova_bits);
  }
  [[nodiscard]] static constexpr u64 leaf_sizes(unsigned level) {
    return level <= 2 ? item_size<TinyFormat>(level) : 0;
  }
  [[nodiscard]] static constexpr unsigned leaf_size_lg2(u64, unsigned level) { return item_lg2<TinyFormat>(level); }
  [[nodiscard]] static constexpr PhysAddr leaf_address(u64 item, unsigned level) {
    return PhysAddr(VtdSecondStage::leaf_address(item, 0).value & ~(item_size<TinyFormat>(level) - 1));
  }
  [[nodiscard]] static constexpr u64 unknown_bits(u64 item, unsigned level) {
    if (kind(item, level) == EntryKind::Table) return VtdSecondStage::unknown_bits(item, level);
    u64 known = level != 0 && level <= 2 ? u64{0x80} : 0;
    known |= low_bits(52) & ~(item_size<TinyFormat>(level) - 1);
    return item & ~(attributes(~u64{0}, level) | known);
  }
};

static_assert(PageTableFormat<TinyFormat>);

/// Pages of 4, 8, 16 KiB at level 0, 32, 64, 128 KiB at level 1, 256 KiB at level 2; up to 27 bits of IOVA. A
/// contiguous leaf of 2^s bytes has bit 63 and address bit s - 1 in every item. Always coherent, so never marked
/// "flushed".
struct TinyReplicated : VtdSecondStage {
  static constexpr Format format = test_format(2);
  static constexpr unsigned index_bits = 3;
  static constexpr unsigned max_levels = 5;
  static constexpr u64 flushed_bit = 0;

  [[nodiscard]] static constexpr bool is_valid_shape(unsigned levels, unsigned iova_bits) {
    return levels <= max_levels && reaches<TinyReplicated>(levels, iova_bits);
  }
  [[nodiscard]] static constexpr bool supports(IovaExtent extent) { return extent != IovaExtent::Upper; }
  [[nodiscard]] static constexpr u64 leaf_sizes(unsigned level) {
    const u64 one = item_size<TinyReplicated>(level);
    return level <= 1 ? one | one << 1 | one << 2 : level == 2 ? one : 0;
  }
  static constexpr ItemTest several_items{u64{1} << 63, u64{1} << 63};
  [[nodiscard]] static constexpr unsigned leaf_size_lg2(u64 item, unsigned level) {
    const unsigned one = item_lg2<TinyReplicated>(level);
    return (item & contiguous) == 0 ? one : std::clamp(encoded_size_lg2(item), one, one + index_bits - 1);
  }
  [[nodiscard]] static constexpr PhysAddr leaf_address(u64 item, unsigned level) {
    return PhysAddr(item & addr_mask & ~low_bits(leaf_size_lg2(item, level)));
  }
  [[nodiscard]] static constexpr u64 unknown_bits(u64 item, unsigned level) {
    if (kind(item, level) == EntryKind::Table)
      return VtdSecondStage::unknown_bits(item, level) | (item & VtdSecondStage::flushed_bit);
    const unsigned one = item_lg2<TinyReplicated>(level);
    const bool many = (item & contiguous) != 0;
    const unsigned size_lg2 = many ? encoded_size_lg2(item) : one;
    if (size_lg2 > 52 || (many && size_lg2 <= one) || (leaf_sizes(level) >> size_lg2 & 1) == 0) return item;
    const u64 size = (many ? contiguous | u64{1} << (size_lg2 - 1) : 0) | (level != 0 ? u64{0x80} : 0);
    return item & ~(attributes(~u64{0}, level) | size | (addr_mask & ~low_bits(size_lg2)));
  }
  [[nodiscard]] static constexpr u64 leaf(PhysAddr address, unsigned level, unsigned size_lg2, u64 attributes) {
    const bool many = size_lg2 != item_lg2<TinyReplicated>(level);
    return VtdSecondStage::leaf(address, level, size_lg2, attributes) |
           (many ? contiguous | u64{1} << (size_lg2 - 1) : 0);
  }

 private:
  static constexpr u64 contiguous = u64{1} << 63;
  static constexpr u64 addr_mask = low_bits(52) & ~low_bits(12);

  [[nodiscard]] static constexpr unsigned encoded_size_lg2(u64 item) {
    return static_cast<unsigned>(std::countr_zero(item & addr_mask)) + 1;
  }
};

static_assert(PageTableFormat<TinyReplicated>);

/// Bits like Arm's: an item is present by bit 0, bit 1 is set but in a leaf above level 0, and a leaf that may be
/// written is clean while hardware has not taken its read-only bit away. Bit 52 joins 4 items at level 0 and 2 at level
/// 1. Leaf and table may change places only where Features::Exchange says so. Up to 27 bits, of either end.
struct TinyOwnAddress {
  static constexpr Format format = test_format(3);
  static constexpr unsigned granule_lg2 = 12;
  static constexpr unsigned index_bits = 3;
  static constexpr unsigned max_levels = 5;
  static constexpr unsigned max_phys_bits = 48;
  static constexpr bool dynamic_top = false;
  static constexpr unsigned linear_lg2 = 64;
  static constexpr Features features = Features::DirtyTracking | Features::Exchange;
  static constexpr u64 flushed_bit = u64{1} << 55;

 private:
  static constexpr u64 valid = 1;
  static constexpr u64 table_or_page = 2;
  static constexpr u64 read_only = u64{1} << 7;
  static constexpr u64 accessed = u64{1} << 10;
  static constexpr u64 writable_when_dirty = u64{1} << 51;
  static constexpr u64 contiguous = u64{1} << 52;
  static constexpr u64 addr_mask = low_bits(48) & ~low_bits(12);
  static constexpr u64 attribute_bits = read_only | accessed | writable_when_dirty;

  [[nodiscard]] static constexpr unsigned joined_lg2(unsigned level) { return level == 0 ? 2 : level == 1 ? 1 : 0; }

 public:
  static constexpr u64 hardware_bits = read_only | accessed;
  /// A page that is read-only without the other bit stays so.
  [[nodiscard]] static constexpr u64 hardware_bits_of(u64 item) {
    return accessed | ((item & writable_when_dirty) != 0 ? read_only : 0);
  }

  [[nodiscard]] static constexpr bool is_valid_shape(unsigned levels, unsigned iova_bits) {
    return levels <= max_levels && reaches<TinyOwnAddress>(levels, iova_bits);
  }
  [[nodiscard]] static constexpr bool supports(IovaExtent extent) { return extent != IovaExtent::SignExtended; }
  [[nodiscard]] static constexpr u64 leaf_sizes(unsigned level) {
    const u64 one = item_size<TinyOwnAddress>(level);
    return level <= 2 ? one | one << joined_lg2(level) : 0;
  }
  static constexpr ItemTest several_items{contiguous, contiguous};

  [[nodiscard]] static constexpr EntryKind kind(u64 item, unsigned level) {
    if ((item & valid) == 0) return EntryKind::Empty;
    const bool bit1 = (item & table_or_page) != 0;
    if (level == 0) return bit1 ? EntryKind::Leaf : EntryKind::Empty;
    return bit1 ? EntryKind::Table : EntryKind::Leaf;
  }
  [[nodiscard]] static constexpr PhysAddr table_address(u64 item) { return PhysAddr(item & addr_mask); }
  [[nodiscard]] static constexpr unsigned leaf_size_lg2(u64 item, unsigned level) {
    return item_lg2<TinyOwnAddress>(level) + ((item & contiguous) != 0 ? joined_lg2(level) : 0);
  }
  [[nodiscard]] static constexpr PhysAddr leaf_address(u64 item, unsigned level) {
    return PhysAddr(item & addr_mask & ~low_bits(leaf_size_lg2(item, level)));
  }
  [[nodiscard]] static constexpr u64 attributes(u64 item, unsigned) { return item & attribute_bits; }
  [[nodiscard]] static constexpr Prot prot(u64 item) {
    return (item & (read_only | writable_when_dirty)) == read_only ? Prot::Read : Prot::ReadWrite;
  }

  [[nodiscard]] static constexpr u64 unknown_bits(u64 item, unsigned level) {
    switch (kind(item, level)) {
      case EntryKind::Empty: return item;
      case EntryKind::Table: return item & ~(valid | table_or_page | addr_mask | flushed_bit);
      case EntryKind::Leaf: break;
    }
    if (leaf_sizes(level) == 0) return item;
    const u64 size = joined_lg2(level) != 0 ? contiguous : 0;
    const u64 page = level == 0 ? table_or_page : 0;
    return item & ~(valid | page | size | attribute_bits | (addr_mask & ~(item_size<TinyOwnAddress>(level) - 1)));
  }
  [[nodiscard]] static constexpr bool passes_all(u64) { return true; }

  [[nodiscard]] static constexpr Result<u64> attributes_of(Prot prot, Features chosen) {
    if ((prot & Prot::ReadWrite) == Prot::None) return Code::Invalid;
    if (!allows(prot, Prot::Write)) return accessed | read_only;
    return accessed | (has(chosen, Features::DirtyTracking) ? writable_when_dirty | read_only : 0);
  }
  [[nodiscard]] static constexpr u64 leaf(PhysAddr address, unsigned level, unsigned size_lg2, u64 attributes) {
    const u64 size = size_lg2 != item_lg2<TinyOwnAddress>(level) ? contiguous : 0;
    return address.value | attributes | size | valid | (level == 0 ? table_or_page : 0);
  }
  [[nodiscard]] static constexpr u64 next_in_leaf(unsigned level) { return item_size<TinyOwnAddress>(level); }
  [[nodiscard]] static constexpr u64 advance(unsigned size_lg2) { return u64{1} << size_lg2; }
  [[nodiscard]] static constexpr u64 table(PhysAddr address, unsigned) { return address.value | valid | table_or_page; }
  [[nodiscard]] static constexpr bool allows_exchange(Features chosen) { return has(chosen, Features::Exchange); }

  [[nodiscard]] static constexpr DirtyBits dirty_bits(Features chosen) {
    if (!has(chosen, Features::DirtyTracking)) return {};
    return {writable_when_dirty | read_only, writable_when_dirty, read_only};
  }
};

static_assert(PageTableFormat<TinyOwnAddress>);

}  // namespace holdfast::pt

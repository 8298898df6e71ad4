// Arm VMSAv8-64 tables: what stage 1 and stage 2 share. Arm Architecture Reference Manual (DDI 0487), "The VMSAv8-64
// translation table descriptors"; SMMUv3 (IHI 0070) walks the same tables.
//
// Our level L is the manual's level 3 - L. A contiguous leaf is a run of items, each with its own address and with the
// contiguous hint. Addresses are 48 bits; with the 64 KiB granule 52, of which 51:48 stand in 15:12 (FEAT_LPA). The
// 52-bit forms of the small granules (FEAT_LPA2) are not here.
//
// Threads: no state. Failure: none here.
#pragma once

#include "holdfast/base/bits.hpp"
#include "holdfast/pt/format.hpp"

namespace holdfast::pt {

/// log2 of the smallest page.
enum class ArmGranule : u8 { Size4K = 12, Size16K = 14, Size64K = 16 };

/// A table descriptor, the same in both stages (63:59 are stage 1's).
namespace arm_table {
using NsTable = Bit<63>;  // these three take away from all below; not used
using ApTable = Field<62, 61>;
using XnTable = Field<60, 59>;  // UXNTable, PXNTable
using Ignored58 = Field<58, 56>;
using Flushed = Bit<55>;  // ignored by hardware; Linux's mark "flushed"
using Ignored54 = Field<54, 51>;
using Rsvd = Reserved<50, 48>;
using Addr = Field<47, 12>;  // next table; 15:12 are address bits 51:48 with the 64 KiB granule
using Ignored11 = Field<11, 2>;
using Table = Bit<1>;
using Valid = Bit<0>;
}  // namespace arm_table

using ArmTable = Bits<64, arm_table::NsTable, arm_table::ApTable, arm_table::XnTable, arm_table::Ignored58,
                      arm_table::Flushed, arm_table::Ignored54, arm_table::Rsvd, arm_table::Addr, arm_table::Ignored11,
                      arm_table::Table, arm_table::Valid>;

/// What is known when a granule is: geometry, addresses, types. A stage adds attributes and shapes.
template <ArmGranule granule>
struct ArmItems {
  static constexpr unsigned granule_lg2 = static_cast<unsigned>(granule);
  static constexpr unsigned index_bits = granule_lg2 - 3;
  static constexpr unsigned max_phys_bits = granule == ArmGranule::Size64K ? 52 : 48;
  static constexpr unsigned linear_lg2 = granule == ArmGranule::Size64K ? 48 : 64;
  static constexpr bool dynamic_top = false;
  static constexpr u64 flushed_bit = ArmTable().with<arm_table::Flushed>(1).raw();

  /// A block or page, and a run of them. (4 TiB, the 64 KiB granule at level 2, is for 52-bit output addresses only:
  /// page_sizes says so.)
  [[nodiscard]] static constexpr u64 leaf_sizes(unsigned level) {
    if (!may_be_leaf(level)) return 0;
    return item_size<ArmItems>(level) | item_size<ArmItems>(level) << run_lg2(level);
  }

  static constexpr ItemTest several_items{u64{1} << 52 | 3, u64{1} << 52 | 3};  // Contiguous, of a page

  /// Type 01 is a block where blocks exist and nothing elsewhere; 11 is a page at level 0 and a table above.
  [[nodiscard]] static constexpr EntryKind kind(u64 item, unsigned level) {
    const u64 type = item & type_bits;
    if (type == type_bits) return level == 0 ? EntryKind::Leaf : EntryKind::Table;
    return type == valid_bit && level != 0 && may_be_leaf(level) ? EntryKind::Leaf : EntryKind::Empty;
  }
  [[nodiscard]] static constexpr PhysAddr table_address(u64 item) { return PhysAddr(decode(item)); }
  [[nodiscard]] static constexpr unsigned leaf_size_lg2(u64 item, unsigned level) {
    return item_lg2<ArmItems>(level) + ((item & contiguous_bit) != 0 ? run_lg2(level) : 0);
  }
  [[nodiscard]] static constexpr PhysAddr leaf_address(u64 item, unsigned level) {
    return PhysAddr(decode(item) & ~low_bits(leaf_size_lg2(item, level)));
  }
  [[nodiscard]] static constexpr bool passes_all(u64 item) { return (item & limit_bits) == 0; }

  [[nodiscard]] static constexpr u64 leaf(PhysAddr address, unsigned level, unsigned size_lg2, u64 attributes) {
    const u64 run = size_lg2 != item_lg2<ArmItems>(level) ? contiguous_bit : 0;
    return encode(address) | attributes | run | (level == 0 ? type_bits : valid_bit);
  }
  [[nodiscard]] static constexpr u64 next_in_leaf(unsigned level) { return item_size<ArmItems>(level); }
  [[nodiscard]] static constexpr u64 advance(unsigned size_lg2) { return u64{1} << size_lg2; }
  [[nodiscard]] static constexpr u64 table(PhysAddr address, unsigned) { return encode(address) | type_bits; }
  /// FEAT_BBM level 2: a block or run and a table of the same translations may change places at once, without aborts.
  [[nodiscard]] static constexpr bool allows_exchange(Features enabled) { return has(enabled, Features::Exchange); }

 protected:
  static constexpr u64 valid_bit = ArmTable().with<arm_table::Valid>(1).raw();
  static constexpr u64 type_bits = ArmTable(valid_bit).with<arm_table::Table>(1).raw();
  static constexpr u64 contiguous_bit = u64{1} << 52;  // both stages; a hint that hardware may ignore
  static constexpr u64 addr_bits = ArmTable().with<arm_table::Addr>(~u64{0}).raw();
  static constexpr u64 limit_bits =
      ArmTable().with<arm_table::NsTable>(1).with<arm_table::ApTable>(3).with<arm_table::XnTable>(3).raw();

  /// unknown_bits, as far as bits stand alone; @p attribute_bits are the stage's.
  [[nodiscard]] static constexpr u64 unplaced_bits(u64 item, unsigned level, u64 attribute_bits) {
    switch (kind(item, level)) {
      case EntryKind::Empty: return item;
      case EntryKind::Table: return item & ~(type_bits | flushed_bit | address_bits_from(granule_lg2));
      case EntryKind::Leaf: break;
    }
    const u64 run = run_lg2(level) != 0 ? contiguous_bit : 0;
    return item & ~(type_bits | run | attribute_bits | address_bits_from(item_lg2<ArmItems>(level)));
  }

 private:
  static constexpr u64 high_address_bits = granule == ArmGranule::Size64K ? 0xf000 : 0;  // OA[51:48]
  static constexpr unsigned high_address_shift = 36;

  [[nodiscard]] static constexpr bool may_be_leaf(unsigned level) {
    return level <= (granule == ArmGranule::Size16K ? 1 : 2);
  }
  /// log2 of the items of a run: a digit for each level, the lowest last. "Contiguous bit", number of entries.
  [[nodiscard]] static constexpr unsigned run_lg2(unsigned level) {
    constexpr unsigned digits = granule == ArmGranule::Size4K ? 0x444 : granule == ArmGranule::Size16K ? 0x57 : 0x55;
    return digits >> level * 4 & 0xf;
  }
  /// Where address bits stand in an item that covers 2^lg2 bytes.
  [[nodiscard]] static constexpr u64 address_bits_from(unsigned lg2) {
    return (addr_bits & ~low_bits(lg2)) | high_address_bits;
  }
  [[nodiscard]] static constexpr u64 encode(PhysAddr address) {
    return (address.value & addr_bits) | (address.value >> high_address_shift & high_address_bits);
  }
  [[nodiscard]] static constexpr u64 decode(u64 item) {
    return (item & addr_bits & ~low_bits(granule_lg2)) | (item & high_address_bits) << high_address_shift;
  }
};

}  // namespace holdfast::pt

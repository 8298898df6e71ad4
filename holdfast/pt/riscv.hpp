// RISC-V page-table entries, of both stages: Sv39, Sv48, Sv57 and their x4 forms. Privileged specification: "Sv39:
// Page-Based 39-bit Virtual-Memory System" and those after it, "Guest Physical Address Translation", "Svnapot".
//
// Only the leaf has permissions. Accessed and dirty are set beforehand, as Linux does, so hardware has nothing to
// write; dirtiness cannot be told. A 64 KiB page (Svnapot) is 16 identical items whose page number ends in 0b1000.
// The caller lists 64 KiB in page_sizes only where hardware has Svnapot.
//
// Threads: no state. Failure: attributes_of refuses what neither reads nor writes.
#pragma once

#include "holdfast/base/bits.hpp"
#include "holdfast/pt/format.hpp"

namespace holdfast::pt {

/// Figure "Sv39 page table entry" and its wider kin.
namespace riscv_entry {
using N = Bit<63>;           // Svnapot: one of 16 items of a 64 KiB page
using Pbmt = Field<62, 61>;  // Svpbmt: memory type; not used
using Rsvd = Reserved<60, 54>;
using Ppn = Field<53, 10>;  // page number of the next table or of the page
using Rsw = Field<9, 8>;    // software; not used
using D = Bit<7>;           // dirty; always as W
using A = Bit<6>;           // accessed; always 1 in a leaf
using G = Bit<5>;           // global; not used
using U = Bit<4>;           // user: devices are users
using X = Bit<3>;
using W = Bit<2>;  // reserved without R
using R = Bit<1>;
using V = Bit<0>;  // valid; a leaf if any of X, W, R is set
}  // namespace riscv_entry

using RiscvEntry = Bits<64, riscv_entry::N, riscv_entry::Pbmt, riscv_entry::Rsvd, riscv_entry::Ppn, riscv_entry::Rsw,
                        riscv_entry::D, riscv_entry::A, riscv_entry::G, riscv_entry::U, riscv_entry::X, riscv_entry::W,
                        riscv_entry::R, riscv_entry::V>;

/// All of the format that both stages share; a stage adds its number, its shapes and its extents.
struct RiscvItems {
  static constexpr unsigned granule_lg2 = 12;
  static constexpr unsigned index_bits = 9;
  static constexpr unsigned max_levels = 5;
  static constexpr unsigned max_phys_bits = 56;
  static constexpr bool dynamic_top = false;
  static constexpr unsigned linear_lg2 = 64;
  static constexpr Features features = Features::None;
  static constexpr u64 flushed_bit = 0;    // Linux's driver wants coherent walks, and has none
  static constexpr u64 hardware_bits = 0;  // A and D are there from the beginning

  /// Leaves at every level, and 64 KiB of 16 items.
  [[nodiscard]] static constexpr u64 leaf_sizes(unsigned level) {
    return item_size<RiscvItems>(level) | (level == 0 ? u64{1} << napot_lg2 : 0);
  }

  static constexpr ItemTest several_items{RiscvEntry().with<riscv_entry::N>(1).with<riscv_entry::V>(1).raw(),
                                          RiscvEntry().with<riscv_entry::N>(1).with<riscv_entry::V>(1).raw()};

  /// A pointer at level 0 leads nowhere: hardware faults.
  [[nodiscard]] static constexpr EntryKind kind(u64 item, unsigned level) {
    if ((item & v_bit) == 0) return EntryKind::Empty;
    if ((item & rwx_bits) != 0) return EntryKind::Leaf;
    return level != 0 ? EntryKind::Table : EntryKind::Empty;
  }
  [[nodiscard]] static constexpr PhysAddr table_address(u64 item) { return address_of(item); }
  [[nodiscard]] static constexpr unsigned leaf_size_lg2(u64 item, unsigned level) {
    return is_napot(item, level) ? napot_lg2 : item_lg2<RiscvItems>(level);
  }
  [[nodiscard]] static constexpr PhysAddr leaf_address(u64 item, unsigned level) {
    return PhysAddr(address_of(item).value & ~low_bits(leaf_size_lg2(item, level)));
  }
  [[nodiscard]] static constexpr u64 attributes(u64 item, unsigned) { return item & attribute_bits; }
  [[nodiscard]] static constexpr Prot prot(u64 item) {
    static_assert(Prot::Read == Prot{1} && Prot::Write == Prot{2} && Prot::NoExecute == Prot{8});
    return static_cast<Prot>((item >> 1 & 3) | (~item & x_bit));  // R, W, no X: where Prot has them
  }

  [[nodiscard]] static constexpr u64 unknown_bits(u64 item, unsigned level) {
    switch (kind(item, level)) {
      case EntryKind::Empty: return item;
      case EntryKind::Table: return item & ~(v_bit | ppn_bits);
      case EntryKind::Leaf: break;
    }
    if (is_napot(item, level)) {
      const u64 order = (item & napot_order_bits) == napot_order ? n_bit | napot_order : 0;
      return (item & ~(v_bit | attribute_bits | ppn_from(napot_lg2) | order)) | nobody_writes(item);
    }
    return (item & ~(v_bit | attribute_bits | ppn_from(item_lg2<RiscvItems>(level)))) | nobody_writes(item);
  }
  [[nodiscard]] static constexpr bool passes_all(u64) { return true; }  // tables have no permissions

  /// W forces R; Cache, Mmio and Privileged have no place here.
  [[nodiscard]] static constexpr Result<u64> attributes_of(Prot prot, Features) {
    if ((prot & Prot::ReadWrite) == Prot::None) return Code::Invalid;
    u64 bits = RiscvEntry().with<riscv_entry::U>(1).with<riscv_entry::A>(1).with<riscv_entry::R>(1).raw();
    if (allows(prot, Prot::Write)) bits |= w_bit | d_bit;
    if (!allows(prot, Prot::NoExecute)) bits |= x_bit;
    return bits;
  }
  [[nodiscard]] static constexpr u64 leaf(PhysAddr address, unsigned, unsigned size_lg2, u64 attributes) {
    return address.value >> ppn_shift | attributes | v_bit | (size_lg2 == napot_lg2 ? n_bit | napot_order : 0);
  }
  [[nodiscard]] static constexpr u64 next_in_leaf(unsigned) { return 0; }
  [[nodiscard]] static constexpr u64 advance(unsigned size_lg2) { return u64{1} << (size_lg2 - ppn_shift); }
  [[nodiscard]] static constexpr u64 table(PhysAddr address, unsigned) { return address.value >> ppn_shift | v_bit; }

  /// Until the fence (IOTINVAL and IOFENCE here) hardware translates by any entry that was valid since the last one,
  /// old or new, also where a leaf took the place of a table ("Supervisor Memory-Management Fence Instruction"). When
  /// both say the same, nobody sees which.
  [[nodiscard]] static constexpr bool allows_exchange(Features) { return true; }

  [[nodiscard]] static constexpr DirtyBits dirty_bits(Features) { return {}; }

 private:
  static constexpr unsigned napot_lg2 = 16;
  static constexpr unsigned ppn_shift = 2;  // an address is its page number, which begins at bit 10, times 4
  static constexpr u64 v_bit = RiscvEntry().with<riscv_entry::V>(1).raw();
  static constexpr u64 r_bit = RiscvEntry().with<riscv_entry::R>(1).raw();
  static constexpr u64 w_bit = RiscvEntry().with<riscv_entry::W>(1).raw();
  static constexpr u64 x_bit = RiscvEntry().with<riscv_entry::X>(1).raw();
  static constexpr u64 d_bit = RiscvEntry().with<riscv_entry::D>(1).raw();
  static constexpr u64 n_bit = RiscvEntry().with<riscv_entry::N>(1).raw();
  static constexpr u64 ppn_bits = RiscvEntry().with<riscv_entry::Ppn>(~u64{0}).raw();
  static constexpr u64 napot_order_bits = RiscvEntry().with<riscv_entry::Ppn>(0b1111).raw();
  static constexpr u64 napot_order = RiscvEntry().with<riscv_entry::Ppn>(0b1000).raw();
  static constexpr u64 rwx_bits = r_bit | w_bit | x_bit;
  static constexpr u64 attribute_bits =
      RiscvEntry(rwx_bits | d_bit).with<riscv_entry::U>(1).with<riscv_entry::A>(1).raw();

  [[nodiscard]] static constexpr PhysAddr address_of(u64 item) { return PhysAddr((item & ppn_bits) << ppn_shift); }
  [[nodiscard]] static constexpr bool is_napot(u64 item, unsigned level) { return level == 0 && (item & n_bit) != 0; }
  /// The bits of the page number that count in a page of 2^size_lg2 bytes.
  [[nodiscard]] static constexpr u64 ppn_from(unsigned size_lg2) { return ppn_bits & ~low_bits(size_lg2 - ppn_shift); }
  /// Combinations in a leaf: W and X without R, D that is not as W.
  [[nodiscard]] static constexpr u64 nobody_writes(u64 item) {
    const u64 without_read = (item & r_bit) == 0 ? item & (w_bit | x_bit) : 0;
    const bool dirty_as_write = ((item & d_bit) != 0) == ((item & w_bit) != 0);
    return without_read | (dirty_as_write ? 0 : item & (d_bit | w_bit));
  }
};

}  // namespace holdfast::pt

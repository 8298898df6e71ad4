// x86-64 tables of 4 and 5 levels, as VT-d walks them as first stage, an AMD IOMMU as guest (v2) table, and the CPU.
// VT-d 5.0, 3.6 and 9.7; Intel SDM volume 3, 4.5.
//
// Written as Linux's x86_64 format writes them: user always, accessed always, dirty where writing is allowed, so that
// hardware need not write into the tables. Reading cannot be forbidden: a mapping that may only be written may also be
// read, and prot() says so. Execution is never forbidden. Under memory encryption an address bit marks each item; that
// is the engine's affair.
//
// Threads: no state. Failure: attributes_of refuses a mapping that allows nothing.
#pragma once

#include "holdfast/base/bits.hpp"
#include "holdfast/pt/format.hpp"

namespace holdfast::pt {

/// 9.7: FS-PML5E, FS-PML4E, FS-PDPE, FS-PDE, FS-PTE, as one declaration.
namespace fs_entry {
using Xd = Bit<63>;               // execute disable; not used
using Ignored62 = Field<62, 52>;  // software
using Addr = Field<51, 12>;       // next table, or page frame
using Ignored11 = Bit<11>;        // software
using Ea = Bit<10>;               // VT-d extended access; not used
using Flushed = Bit<9>;           // software; Linux's mark "flushed", set in table items of an incoherent domain
using G = Bit<8>;                 // global; not used
using Ps = Bit<7>;                // a leaf above level 0; PAT at level 0, not used
using D = Bit<6>;                 // dirty (leaf), set by hardware
using A = Bit<5>;                 // accessed, set by hardware
using Pcd = Bit<4>;               // cache disable; not used
using Pwt = Bit<3>;               // write through; not used
using Us = Bit<2>;                // user
using Rw = Bit<1>;                // write
using P = Bit<0>;                 // present
}  // namespace fs_entry

using FsEntry = Bits<64, fs_entry::Xd, fs_entry::Ignored62, fs_entry::Addr, fs_entry::Ignored11, fs_entry::Ea,
                     fs_entry::Flushed, fs_entry::G, fs_entry::Ps, fs_entry::D, fs_entry::A, fs_entry::Pcd,
                     fs_entry::Pwt, fs_entry::Us, fs_entry::Rw, fs_entry::P>;

struct X86FirstStage {
  static constexpr Format format = Format::X86FirstStage;
  static constexpr unsigned granule_lg2 = 12;
  static constexpr unsigned index_bits = 9;
  static constexpr unsigned max_levels = 5;
  static constexpr unsigned max_phys_bits = 52;
  static constexpr bool dynamic_top = false;
  static constexpr unsigned linear_lg2 = 64;
  static constexpr Features features = Features::None;
  static constexpr u64 flushed_bit = FsEntry().with<fs_entry::Flushed>(1).raw();
  static constexpr u64 hardware_bits = FsEntry().with<fs_entry::A>(1).with<fs_entry::D>(1).raw();

  [[nodiscard]] static constexpr bool is_valid_shape(unsigned levels, unsigned iova_bits) {
    return levels >= 4 && levels <= max_levels && reaches<X86FirstStage>(levels, iova_bits);
  }
  /// SignExtended: VT-d and CPU. Lower: AMD, whose devices have the half without the sign bit.
  [[nodiscard]] static constexpr bool supports(IovaExtent extent) { return extent != IovaExtent::Upper; }
  [[nodiscard]] static constexpr u64 leaf_sizes(unsigned level) {
    return level <= 2 ? item_size<X86FirstStage>(level) : 0;
  }

  [[nodiscard]] static constexpr EntryKind kind(u64 item, unsigned level) {
    if ((item & present) == 0) return EntryKind::Empty;
    return level == 0 || (item & ps_bit) != 0 ? EntryKind::Leaf : EntryKind::Table;
  }
  [[nodiscard]] static constexpr PhysAddr table_address(u64 item) { return PhysAddr(item & addr_mask); }
  [[nodiscard]] static constexpr unsigned leaf_size_lg2(u64, unsigned level) { return item_lg2<X86FirstStage>(level); }
  [[nodiscard]] static constexpr PhysAddr leaf_address(u64 item, unsigned level) {
    return PhysAddr(item & leaf_addr_mask(level));
  }
  [[nodiscard]] static constexpr u64 attributes(u64 item, unsigned) { return item & attribute_bits; }
  /// A leaf without "user" serves privileged requests alone. Nobody writes one.
  [[nodiscard]] static constexpr Prot prot(u64 item) {
    const Prot access = (item & rw_bit) != 0 ? Prot::ReadWrite : Prot::Read;
    return (item & us_bit) != 0 ? access : access | Prot::Privileged;
  }

  [[nodiscard]] static constexpr u64 unknown_bits(u64 item, unsigned level) {
    if ((item & present) == 0) return item;
    if (kind(item, level) == EntryKind::Table) return item & ~(table_bits | addr_mask);
    const u64 size_bit = level != 0 && leaf_sizes(level) != 0 ? ps_bit : 0;
    return item & ~(present | attribute_bits | size_bit | leaf_addr_mask(level));
  }
  [[nodiscard]] static constexpr bool passes_all(u64 item) { return (item & (rw_bit | us_bit)) == (rw_bit | us_bit); }

  [[nodiscard]] static constexpr Result<u64> attributes_of(Prot prot, Features) {
    if ((prot & Prot::ReadWrite) == Prot::None) return Code::Invalid;
    return us_bit | accessed | (allows(prot, Prot::Write) ? rw_bit | dirty : 0);
  }
  [[nodiscard]] static constexpr u64 leaf(PhysAddr address, unsigned level, unsigned, u64 attributes) {
    return address.value | attributes | present | (level == 0 ? 0 : ps_bit);
  }
  [[nodiscard]] static constexpr u64 next_in_leaf(unsigned) { return 0; }
  [[nodiscard]] static constexpr u64 advance(unsigned size_lg2) { return u64{1} << size_lg2; }
  [[nodiscard]] static constexpr u64 table(PhysAddr address, unsigned) {
    return address.value | present | rw_bit | us_bit | accessed;
  }
  [[nodiscard]] static constexpr bool allows_exchange(Features) { return true; }

  /// Every leaf that may be written says dirty from the beginning: nothing can be told from it.
  [[nodiscard]] static constexpr DirtyBits dirty_bits(Features) { return {}; }

 private:
  static constexpr u64 present = FsEntry().with<fs_entry::P>(1).raw();
  static constexpr u64 rw_bit = FsEntry().with<fs_entry::Rw>(1).raw();
  static constexpr u64 us_bit = FsEntry().with<fs_entry::Us>(1).raw();
  static constexpr u64 accessed = FsEntry().with<fs_entry::A>(1).raw();
  static constexpr u64 dirty = FsEntry().with<fs_entry::D>(1).raw();
  static constexpr u64 ps_bit = FsEntry().with<fs_entry::Ps>(1).raw();
  static constexpr u64 addr_mask = FsEntry().with<fs_entry::Addr>(~u64{0}).raw();
  static constexpr u64 attribute_bits = rw_bit | us_bit | accessed | dirty;
  static constexpr u64 table_bits = present | rw_bit | us_bit | accessed | flushed_bit;

  [[nodiscard]] static constexpr u64 leaf_addr_mask(unsigned level) {
    return addr_mask & ~(item_size<X86FirstStage>(level) - 1);
  }
};

static_assert(PageTableFormat<X86FirstStage>);

}  // namespace holdfast::pt

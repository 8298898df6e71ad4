// VT-d second stage: the format of tables that map IOVA (or guest-physical) to machine addresses. VT-d 5.0, 3.7
// and 9.8.
//
// There is no present bit: an item is present when it grants reading or writing. Permissions of all levels are
// combined; ours, like Linux's, grant everything above the leaf. Written from the manual; sim/walk has its own copy on
// purpose.
//
// Threads: no state. Failure: none.
#pragma once

#include "holdfast/base/bits.hpp"
#include "holdfast/pt/format.hpp"

namespace holdfast::pt {

/// 9.8: SS-PML5E, SS-PML4E, SS-PDPE, SS-PDE, SS-PTE, as one declaration.
namespace ss_entry {
using Ignored63 = Bit<63>;  // software
using Tm = Bit<62>;         // transient mapping (leaf); not used
using Ignored61 = Field<61, 52>;
using Addr = Field<51, 12>;  // next table, or page frame
using Snp = Bit<11>;         // leaf: snoop; reserved above
using Flushed = Bit<10>;     // ignored by hardware; Linux's mark "flushed", set in table items of an incoherent domain
using D = Bit<9>;            // dirty (leaf), set by hardware
using A = Bit<8>;            // accessed, set by hardware
using Ps = Bit<7>;           // a leaf above level 0
using Ipat = Bit<6>;         // leaf: ignore PAT; not used
using Emt = Field<5, 3>;     // leaf: memory type; not used
using X = Bit<2>;            // execute; not used
using W = Bit<1>;
using R = Bit<0>;
}  // namespace ss_entry

using SsEntry =
    Bits<64, ss_entry::Ignored63, ss_entry::Tm, ss_entry::Ignored61, ss_entry::Addr, ss_entry::Snp, ss_entry::Flushed,
         ss_entry::D, ss_entry::A, ss_entry::Ps, ss_entry::Ipat, ss_entry::Emt, ss_entry::X, ss_entry::W, ss_entry::R>;

struct VtdSecondStage {
  static constexpr Format format = Format::VtdSecondStage;
  static constexpr unsigned granule_lg2 = 12;
  static constexpr unsigned index_bits = 9;
  static constexpr unsigned max_levels = 5;
  static constexpr unsigned max_phys_bits = 52;
  static constexpr bool dynamic_top = false;
  static constexpr unsigned linear_lg2 = 64;
  static constexpr Features features = Features::ForceCoherence | Features::NoReadOnly;
  static constexpr u64 flushed_bit = SsEntry().with<ss_entry::Flushed>(1).raw();
  static constexpr u64 hardware_bits = SsEntry().with<ss_entry::A>(1).with<ss_entry::D>(1).raw();

  /// 3, 4 or 5 levels; a domain may be narrower than its tables (MGAW).
  [[nodiscard]] static constexpr bool is_valid_shape(unsigned levels, unsigned iova_bits) {
    return levels >= 3 && levels <= max_levels && reaches<VtdSecondStage>(levels, iova_bits);
  }
  [[nodiscard]] static constexpr bool supports(IovaExtent extent) { return extent == IovaExtent::Lower; }
  [[nodiscard]] static constexpr u64 leaf_sizes(unsigned level) {
    return level <= 2 ? item_size<VtdSecondStage>(level) : 0;
  }

  [[nodiscard]] static constexpr EntryKind kind(u64 item, unsigned level) {
    if (item == 0) return EntryKind::Empty;
    return level == 0 || (item & ps_bit) != 0 ? EntryKind::Leaf : EntryKind::Table;
  }
  [[nodiscard]] static constexpr PhysAddr table_address(u64 item) { return PhysAddr(item & addr_mask); }
  [[nodiscard]] static constexpr unsigned leaf_size_lg2(u64, unsigned level) { return item_lg2<VtdSecondStage>(level); }
  [[nodiscard]] static constexpr PhysAddr leaf_address(u64 item, unsigned level) {
    return PhysAddr(item & addr_mask & ~(item_size<VtdSecondStage>(level) - 1));
  }
  [[nodiscard]] static constexpr u64 attributes(u64 item, unsigned) { return item & attribute_bits; }
  [[nodiscard]] static constexpr Prot prot(u64 item) { return static_cast<Prot>(item & 3); }

  [[nodiscard]] static constexpr u64 unknown_bits(u64 item, unsigned level) {
    if (kind(item, level) == EntryKind::Table) return item & ~table_bits;
    u64 known = attribute_bits | (addr_mask & ~(item_size<VtdSecondStage>(level) - 1));
    if (level != 0 && leaf_sizes(level) != 0) known |= ps_bit;
    return item & ~known;
  }
  [[nodiscard]] static constexpr bool passes_all(u64 item) { return (item & 3) == 3; }

  [[nodiscard]] static constexpr Result<u64> attributes_of(Prot prot, Features chosen) {
    const Prot access = prot & Prot::ReadWrite;
    if (access == Prot::None) return Code::Invalid;
    if (has(chosen, Features::NoReadOnly) && !allows(access, Prot::Write)) return Code::Invalid;
    const bool snoop = has(chosen, Features::ForceCoherence);
    return static_cast<u64>(access) | SsEntry().with<ss_entry::Snp>(snoop ? 1 : 0).raw();
  }
  [[nodiscard]] static constexpr u64 leaf(PhysAddr address, unsigned level, unsigned, u64 attributes) {
    return address.value | attributes | (level == 0 ? 0 : ps_bit);
  }
  [[nodiscard]] static constexpr u64 next_in_leaf(unsigned) { return 0; }
  [[nodiscard]] static constexpr u64 advance(unsigned size_lg2) { return u64{1} << size_lg2; }
  [[nodiscard]] static constexpr u64 table(PhysAddr address, unsigned) { return address.value | 3; }
  [[nodiscard]] static constexpr bool allows_exchange(Features) { return true; }

  [[nodiscard]] static constexpr DirtyBits dirty_bits(Features) {
    constexpr u64 d = SsEntry().with<ss_entry::D>(1).raw();
    return {d, d, d};
  }

 private:
  static constexpr u64 addr_mask = SsEntry().with<ss_entry::Addr>(~u64{0}).raw();
  static constexpr u64 ps_bit = SsEntry().with<ss_entry::Ps>(1).raw();
  static constexpr u64 attribute_bits = SsEntry()
                                            .with<ss_entry::Snp>(1)
                                            .with<ss_entry::D>(1)
                                            .with<ss_entry::A>(1)
                                            .with<ss_entry::W>(1)
                                            .with<ss_entry::R>(1)
                                            .raw();
  static constexpr u64 table_bits = SsEntry(addr_mask)
                                        .with<ss_entry::Flushed>(1)
                                        .with<ss_entry::A>(1)
                                        .with<ss_entry::W>(1)
                                        .with<ss_entry::R>(1)
                                        .raw();
};

static_assert(PageTableFormat<VtdSecondStage>);

}  // namespace holdfast::pt

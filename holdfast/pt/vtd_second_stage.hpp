// VT-d second stage: the format of tables that map IOVA (or guest-physical) to machine addresses. VT-d 5.0, 3.7
// and 9.8.
//
// There is no present bit: an entry is present when it grants reading or writing. Permissions of all levels are
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
using Flushed = Bit<10>;  // ignored by hardware; Linux's mark "flushed", set in table entries of an incoherent domain
using D = Bit<9>;         // dirty (leaf), set by hardware
using A = Bit<8>;         // accessed, set by hardware
using Ps = Bit<7>;        // a leaf above level 0
using Ipat = Bit<6>;      // leaf: ignore PAT; not used
using Emt = Field<5, 3>;  // leaf: memory type; not used
using X = Bit<2>;         // execute; not used
using W = Bit<1>;
using R = Bit<0>;
}  // namespace ss_entry

using SsEntry =
    Bits<64, ss_entry::Ignored63, ss_entry::Tm, ss_entry::Ignored61, ss_entry::Addr, ss_entry::Snp, ss_entry::Flushed,
         ss_entry::D, ss_entry::A, ss_entry::Ps, ss_entry::Ipat, ss_entry::Emt, ss_entry::X, ss_entry::W, ss_entry::R>;

struct VtdSecondStage {
  static constexpr Format format = Format::VtdSecondStage;
  static constexpr unsigned min_levels = 3;
  static constexpr unsigned max_levels = 5;
  static constexpr u64 leaf_sizes = u64{1} << 12 | u64{1} << 21 | u64{1} << 30;
  static constexpr unsigned max_phys_bits = 52;
  static constexpr u64 hardware_bits = SsEntry().with<ss_entry::A>(1).with<ss_entry::D>(1).raw();

  [[nodiscard]] static constexpr EntryKind kind(u64 entry, unsigned level) {
    if (entry == 0) return EntryKind::Empty;
    if (level == 0 || SsEntry(entry).get<ss_entry::Ps>() != 0) return EntryKind::Leaf;
    return EntryKind::Table;
  }
  [[nodiscard]] static constexpr PhysAddr table_address(u64 entry) { return PhysAddr(entry & addr_mask); }
  [[nodiscard]] static constexpr PhysAddr leaf_address(u64 entry, unsigned level) {
    return PhysAddr(entry & addr_mask & ~(item_size(level) - 1));
  }
  [[nodiscard]] static constexpr Prot prot(u64 entry) { return static_cast<Prot>(entry & 3); }

  [[nodiscard]] static constexpr u64 unknown_bits(u64 entry, unsigned level) {
    if (kind(entry, level) == EntryKind::Table) return entry & ~table_bits;
    u64 known = leaf_bits & ~(item_size(level) - page_size_bytes);  // address bits below the page size are reserved
    known = level == 0 ? known & ~ps_bit : known | ps_bit;
    if (level != 0 && (leaf_sizes >> item_lg2(level) & 1) == 0) known &= ~ps_bit;
    return entry & ~known;
  }
  [[nodiscard]] static constexpr bool passes_all(u64 entry) { return prot(entry) == Prot::ReadWrite; }

  [[nodiscard]] static constexpr u64 leaf(PhysAddr address, unsigned level, Prot prot) {
    return address.value | static_cast<u64>(prot) | (level == 0 ? 0 : ps_bit);
  }
  [[nodiscard]] static constexpr u64 table(PhysAddr address, Coherency coherency) {
    const auto entry = SsEntry(address.value).with<ss_entry::R>(1).with<ss_entry::W>(1);
    return entry.with<ss_entry::Flushed>(coherency == Coherency::Incoherent ? 1 : 0).raw();
  }

 private:
  static constexpr u64 addr_mask = SsEntry().with<ss_entry::Addr>(~u64{0}).raw();
  static constexpr u64 ps_bit = SsEntry().with<ss_entry::Ps>(1).raw();
  static constexpr u64 leaf_bits = SsEntry(addr_mask)
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

// Arm VMSAv8-64 stage 1, granules 4, 16 and 64 KiB: DDI 0487, "Stage 1 VMSAv8-64 Block and Page descriptors". Geometry
// and types: arm.hpp. Memory types are numbers in MAIR as Linux fills it: 0 not cached, 1 write-back, 2 device.
//
// With DirtyTracking (HTTU, the DBM bit) a leaf that may be written has DBM set and starts read-only: that is "clean",
// and hardware makes it writable at the first write: "dirty". Without, AP[2] is the permission and nothing is tracked.
//
// Threads: no state. Failure: attributes_of refuses what neither reads nor writes. What may be written may be read.
#pragma once

#include "holdfast/pt/arm.hpp"

namespace holdfast::pt {

namespace arm_stage1 {
using Ignored63 = Bit<63>;
using Pbha = Field<62, 59>;       // page-based hardware attributes; not used
using Ignored58 = Field<58, 55>;  // software
using Uxn = Bit<54>;
using Pxn = Bit<53>;
using Contiguous = Bit<52>;
using Dbm = Bit<51>;  // dirty bit modifier: AP[2] is the dirty state
using Gp = Bit<50>;   // guarded page; not used
using Rsvd = Reserved<49, 48>;
using Addr = Field<47, 12>;
using Ng = Bit<11>;  // not global
using Af = Bit<10>;  // accessed; always 1
using Sh = Field<9, 8>;
using ReadOnly = Bit<7>;      // AP[2]
using Unprivileged = Bit<6>;  // AP[1]
using Ns = Bit<5>;
using AttrIndx = Field<4, 2>;
using Type = Field<1, 0>;
}  // namespace arm_stage1

using ArmStage1Leaf = Bits<64, arm_stage1::Ignored63, arm_stage1::Pbha, arm_stage1::Ignored58, arm_stage1::Uxn,
                           arm_stage1::Pxn, arm_stage1::Contiguous, arm_stage1::Dbm, arm_stage1::Gp, arm_stage1::Rsvd,
                           arm_stage1::Addr, arm_stage1::Ng, arm_stage1::Af, arm_stage1::Sh, arm_stage1::ReadOnly,
                           arm_stage1::Unprivileged, arm_stage1::Ns, arm_stage1::AttrIndx, arm_stage1::Type>;

template <ArmGranule granule>
struct ArmStage1 : ArmItems<granule> {
  using Items = ArmItems<granule>;
  static constexpr Format format = granule == ArmGranule::Size4K    ? Format::ArmStage1Granule4K
                                   : granule == ArmGranule::Size16K ? Format::ArmStage1Granule16K
                                                                    : Format::ArmStage1Granule64K;
  static constexpr unsigned max_levels = granule == ArmGranule::Size64K ? 3 : 4;
  static constexpr Features features = Features::DirtyTracking | Features::NonSecure | Features::Exchange;

  /// The height follows from the width (TxSZ): no table is without a bit to decode. 25 bits (TxSZ 39; fewer want
  /// FEAT_TTST) to 48, or 52 with the 64 KiB granule (FEAT_LVA). A tree of one table, which 16 and 64 KiB would allow
  /// for the narrowest widths, is not made. DDI 0487, "Translation table lookup levels", AArch64.S1StartLevel.
  [[nodiscard]] static constexpr bool is_valid_shape(unsigned levels, unsigned iova_bits) {
    if (levels < 2 || levels > max_levels) return false;
    const unsigned below_top = Items::granule_lg2 + Items::index_bits * (levels - 1);
    return iova_bits >= 25 && iova_bits <= Items::max_phys_bits && iova_bits > below_top &&
           iova_bits <= below_top + Items::index_bits;
  }
  /// TTBR0 and TTBR1.
  [[nodiscard]] static constexpr bool supports(IovaExtent extent) { return extent != IovaExtent::SignExtended; }

  [[nodiscard]] static constexpr u64 attributes(u64 item, unsigned) { return item & attribute_bits; }
  [[nodiscard]] static constexpr Prot prot(u64 item) {
    Prot prot = Prot::Read;
    if ((item & (ro_bit | dbm_bit)) != ro_bit) prot = prot | Prot::Write;
    if ((item & inner_bit) != 0) prot = prot | Prot::Cache;
    if ((item & uxn_bit) != 0) prot = prot | Prot::NoExecute;
    if ((item & attr_indx_bits) == device) prot = prot | Prot::Mmio;
    if ((item & unprivileged_bit) == 0) prot = prot | Prot::Privileged;
    return prot;
  }
  [[nodiscard]] static constexpr u64 unknown_bits(u64 item, unsigned level) {
    const u64 unplaced = Items::unplaced_bits(item, level, attribute_bits);
    return Items::kind(item, level) == EntryKind::Leaf ? unplaced | nobody_writes(item) : unplaced;
  }

  [[nodiscard]] static constexpr Result<u64> attributes_of(Prot prot, Features enabled) {
    if ((prot & Prot::ReadWrite) == Prot::None) return Code::Invalid;
    u64 bits = always | write_bits(prot, enabled);
    if (allows(prot, Prot::Mmio))
      bits |= device;
    else if (allows(prot, Prot::Cache))
      bits |= write_back;
    if (allows(prot, Prot::Cache)) bits |= inner_bit;
    if (allows(prot, Prot::NoExecute)) bits |= uxn_bit | pxn_bit;
    if (!allows(prot, Prot::Privileged)) bits |= unprivileged_bit;
    if (has(enabled, Features::NonSecure)) bits |= ns_bit;
    return bits;
  }

  [[nodiscard]] static constexpr DirtyBits dirty_bits(Features enabled) {
    if (!has(enabled, Features::DirtyTracking)) return {};
    return {dbm_bit | ro_bit, dbm_bit, ro_bit};
  }
  /// AP[2], in leaves with DBM only: see hardware_bits_of.
  static constexpr u64 hardware_bits = ArmStage1Leaf().with<arm_stage1::ReadOnly>(1).raw();
  /// Hardware changes AP[2] where DBM stands, and there it is no permission. Where DBM does not stand, AP[2] is the
  /// permission to write: who left it out of a digest would not see a page become writable. AF is 1 from the beginning.
  [[nodiscard]] static constexpr u64 hardware_bits_of(u64 item) { return item >> dbm_to_ro & hardware_bits; }

 private:
  static constexpr u64 uxn_bit = ArmStage1Leaf().with<arm_stage1::Uxn>(1).raw();
  static constexpr u64 pxn_bit = ArmStage1Leaf().with<arm_stage1::Pxn>(1).raw();
  static constexpr u64 dbm_bit = ArmStage1Leaf().with<arm_stage1::Dbm>(1).raw();
  static constexpr u64 ro_bit = hardware_bits;
  static constexpr u64 unprivileged_bit = ArmStage1Leaf().with<arm_stage1::Unprivileged>(1).raw();
  static constexpr u64 ns_bit = ArmStage1Leaf().with<arm_stage1::Ns>(1).raw();
  static constexpr u64 inner_bit = ArmStage1Leaf().with<arm_stage1::Sh>(1).raw();  // SH 2 outer, 3 inner
  static constexpr u64 outer = ArmStage1Leaf().with<arm_stage1::Sh>(2).raw();
  static constexpr u64 attr_indx_bits = ArmStage1Leaf().with<arm_stage1::AttrIndx>(7).raw();
  static constexpr u64 write_back = ArmStage1Leaf().with<arm_stage1::AttrIndx>(1).raw();
  static constexpr u64 device = ArmStage1Leaf().with<arm_stage1::AttrIndx>(2).raw();
  static constexpr u64 always = ArmStage1Leaf(outer).with<arm_stage1::Ng>(1).with<arm_stage1::Af>(1).raw();
  static constexpr u64 attribute_bits =
      always | inner_bit | uxn_bit | pxn_bit | dbm_bit | ro_bit | unprivileged_bit | ns_bit | attr_indx_bits;
  static constexpr unsigned dbm_to_ro = arm_stage1::Dbm::low - arm_stage1::ReadOnly::low;

  [[nodiscard]] static constexpr u64 write_bits(Prot prot, Features enabled) {
    if (!allows(prot, Prot::Write)) return ro_bit;
    return has(enabled, Features::DirtyTracking) ? dbm_bit | ro_bit : 0;
  }
  /// Values of fields in a leaf: SH 0 and 1, AttrIndx 3 and more, one of the two execute-never bits alone.
  [[nodiscard]] static constexpr u64 nobody_writes(u64 item) {
    u64 bits = 0;
    if ((item & outer) == 0) bits |= item & inner_bit;
    if ((item & attr_indx_bits) > device) bits |= item & attr_indx_bits;
    if (((item & uxn_bit) != 0) != ((item & pxn_bit) != 0)) bits |= item & (uxn_bit | pxn_bit);
    return bits;
  }
};

using ArmStage1Granule4K = ArmStage1<ArmGranule::Size4K>;
using ArmStage1Granule16K = ArmStage1<ArmGranule::Size16K>;
using ArmStage1Granule64K = ArmStage1<ArmGranule::Size64K>;

static_assert(PageTableFormat<ArmStage1Granule4K>);
static_assert(PageTableFormat<ArmStage1Granule16K>);
static_assert(PageTableFormat<ArmStage1Granule64K>);

}  // namespace holdfast::pt

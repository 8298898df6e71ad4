// Arm VMSAv8-64 stage 2, granules 4, 16 and 64 KiB: DDI 0487, "Stage 2 VMSAv8-64 Block and Page descriptors". Geometry
// and types: arm.hpp. The memory type stands in the item; with ForceWriteBack (S2FWB) its numbers mean other things.
//
// Up to 16 tables lie side by side at the top. DirtyTracking as in stage 1, turned round: clean is S2AP[1] = 0.
//
// Threads: no state. Failure: attributes_of refuses what neither reads nor writes. Privileged has no place here.
#pragma once

#include "holdfast/pt/arm.hpp"

namespace holdfast::pt {

namespace arm_stage2 {
using Ignored63 = Bit<63>;
using Pbha = Field<62, 59>;       // page-based hardware attributes; not used
using Ignored58 = Field<58, 55>;  // software
using Xn = Bit<54>;               // XN[1]: execute-never for all, with FEAT_XNX and without
using XnX = Bit<53>;              // XN[0]: Linux sets it as well, we do not: FEAT_XNX reads 0b11 as "EL1 executes"
using Contiguous = Bit<52>;
using Dbm = Bit<51>;  // dirty bit modifier: S2AP[1] is the dirty state
using Rsvd = Reserved<50, 48>;
using Addr = Field<47, 12>;
using FnXs = Bit<11>;  // not used
using Af = Bit<10>;    // accessed; always 1
using Sh = Field<9, 8>;
using Write = Bit<7>;  // S2AP[1]
using Read = Bit<6>;   // S2AP[0]
using MemAttr = Field<5, 2>;
using Type = Field<1, 0>;
}  // namespace arm_stage2

using ArmStage2Leaf =
    Bits<64, arm_stage2::Ignored63, arm_stage2::Pbha, arm_stage2::Ignored58, arm_stage2::Xn, arm_stage2::XnX,
         arm_stage2::Contiguous, arm_stage2::Dbm, arm_stage2::Rsvd, arm_stage2::Addr, arm_stage2::FnXs, arm_stage2::Af,
         arm_stage2::Sh, arm_stage2::Write, arm_stage2::Read, arm_stage2::MemAttr, arm_stage2::Type>;

template <ArmGranule granule>
struct ArmStage2 : ArmItems<granule> {
  using Items = ArmItems<granule>;
  static constexpr Format format = granule == ArmGranule::Size4K    ? Format::ArmStage2Granule4K
                                   : granule == ArmGranule::Size16K ? Format::ArmStage2Granule16K
                                                                    : Format::ArmStage2Granule64K;
  static constexpr unsigned max_levels = granule == ArmGranule::Size4K ? 4 : 3;
  static constexpr Features features = Features::DirtyTracking | Features::ForceWriteBack | Features::Exchange;

  /// The height is chosen (SL0), and the width must fit it: the top has 2 items at least, 16 tables at most. Four
  /// levels exist with the 4 KiB granule alone; two at least, as 4 KiB has no start at the last level without FEAT_TTST
  /// and for the others no tree of one table is made. 25 bits (T0SZ 39) to 48, or 52 with the 64 KiB granule. DDI 0487,
  /// "Concatenated translation tables", AArch64.S2InvalidSL, AArch64.S2InconsistentSL.
  [[nodiscard]] static constexpr bool is_valid_shape(unsigned levels, unsigned iova_bits) {
    if (levels < 2 || levels > max_levels) return false;
    const unsigned below_top = Items::granule_lg2 + Items::index_bits * (levels - 1);
    return iova_bits >= 25 && iova_bits <= Items::max_phys_bits && iova_bits > below_top &&
           iova_bits <= below_top + Items::index_bits + concatenation_lg2;
  }
  /// Hardware has the highest start level only if its output addresses are wide enough to need it (S2InvalidSL), and
  /// takes no input wider than the output.
  [[nodiscard]] static constexpr unsigned min_phys_bits(unsigned levels, unsigned iova_bits) {
    constexpr unsigned for_highest_start = granule == ArmGranule::Size16K ? 42 : 44;
    return levels == max_levels && for_highest_start > iova_bits ? for_highest_start : iova_bits;
  }
  [[nodiscard]] static constexpr bool supports(IovaExtent extent) { return extent == IovaExtent::Lower; }

  [[nodiscard]] static constexpr u64 attributes(u64 item, unsigned) { return item & attribute_bits; }
  [[nodiscard]] static constexpr Prot prot(u64 item) {
    Prot prot = static_cast<Prot>(item >> arm_stage2::Read::low & 3);
    if ((item & dbm_bit) != 0) prot = prot | Prot::Write;
    if ((item & inner_bit) != 0) prot = prot | Prot::Cache;
    if ((item & xn_bit) != 0) prot = prot | Prot::NoExecute;
    if ((item & mem_attr_bits) == mem_attr(device)) prot = prot | Prot::Mmio;
    return prot;
  }
  [[nodiscard]] static constexpr u64 unknown_bits(u64 item, unsigned level) {
    const u64 unplaced = Items::unplaced_bits(item, level, attribute_bits);
    return Items::kind(item, level) == EntryKind::Leaf ? unplaced | nobody_writes(item) : unplaced;
  }

  [[nodiscard]] static constexpr Result<u64> attributes_of(Prot prot, Features enabled) {
    const Prot access = prot & Prot::ReadWrite;
    if (access == Prot::None) return Code::Invalid;
    u64 bits = always | static_cast<u64>(access) << arm_stage2::Read::low;
    // Starts clean: DBM takes the place of the write permission.
    if (has(enabled, Features::DirtyTracking) && allows(prot, Prot::Write)) bits ^= write_bit | dbm_bit;
    if (allows(prot, Prot::Mmio))
      bits |= mem_attr(device);
    else if (allows(prot, Prot::Cache))
      bits |= mem_attr(has(enabled, Features::ForceWriteBack) ? forced_write_back : write_back);
    else
      bits |= mem_attr(not_cached);
    if (allows(prot, Prot::Cache)) bits |= inner_bit;
    if (allows(prot, Prot::NoExecute)) bits |= xn_bit;
    return bits;
  }

  [[nodiscard]] static constexpr DirtyBits dirty_bits(Features enabled) {
    if (!has(enabled, Features::DirtyTracking)) return {};
    return {dbm_bit | write_bit, dbm_bit | write_bit, write_bit};
  }
  /// S2AP[1], in leaves with DBM only: elsewhere it is the permission to write (see ArmStage1).
  static constexpr u64 hardware_bits = ArmStage2Leaf().with<arm_stage2::Write>(1).raw();
  [[nodiscard]] static constexpr u64 hardware_bits_of(u64 item) { return item >> dbm_to_write & hardware_bits; }

 private:
  static constexpr unsigned concatenation_lg2 = 4;
  static constexpr u64 device = 0x1;      // Device-nGnRE, the same with and without S2FWB
  static constexpr u64 not_cached = 0x5;  // Normal, not cacheable; the same
  static constexpr u64 forced_write_back = 0x6;
  static constexpr u64 write_back = 0xf;

  static constexpr u64 xn_bit = ArmStage2Leaf().with<arm_stage2::Xn>(1).raw();
  static constexpr u64 xnx_bit = ArmStage2Leaf().with<arm_stage2::XnX>(1).raw();
  static constexpr u64 dbm_bit = ArmStage2Leaf().with<arm_stage2::Dbm>(1).raw();
  static constexpr u64 write_bit = hardware_bits;
  static constexpr u64 read_bit = ArmStage2Leaf().with<arm_stage2::Read>(1).raw();
  static constexpr u64 inner_bit = ArmStage2Leaf().with<arm_stage2::Sh>(1).raw();  // SH 2 outer, 3 inner
  static constexpr u64 outer = ArmStage2Leaf().with<arm_stage2::Sh>(2).raw();
  static constexpr u64 always = ArmStage2Leaf(outer).with<arm_stage2::Af>(1).raw();
  static constexpr u64 mem_attr_bits = ArmStage2Leaf().with<arm_stage2::MemAttr>(0xf).raw();
  static constexpr u64 attribute_bits =
      always | inner_bit | xn_bit | xnx_bit | dbm_bit | write_bit | read_bit | mem_attr_bits;
  static constexpr unsigned dbm_to_write = arm_stage2::Dbm::low - arm_stage2::Write::low;

  [[nodiscard]] static constexpr u64 mem_attr(u64 value) { return value << arm_stage2::MemAttr::low; }
  /// Values of fields in a leaf: SH 0 and 1, memory types that are none of ours, XN[0] alone.
  [[nodiscard]] static constexpr u64 nobody_writes(u64 item) {
    constexpr u64 known_types = 1u << device | 1u << not_cached | 1u << forced_write_back | 1u << write_back;
    u64 bits = 0;
    if ((item & outer) == 0) bits |= item & inner_bit;
    if ((known_types >> ((item & mem_attr_bits) >> arm_stage2::MemAttr::low) & 1) == 0) bits |= item & mem_attr_bits;
    if ((item & xn_bit) == 0) bits |= item & xnx_bit;
    return bits;
  }
};

using ArmStage2Granule4K = ArmStage2<ArmGranule::Size4K>;
using ArmStage2Granule16K = ArmStage2<ArmGranule::Size16K>;
using ArmStage2Granule64K = ArmStage2<ArmGranule::Size64K>;

static_assert(PageTableFormat<ArmStage2Granule4K>);
static_assert(PageTableFormat<ArmStage2Granule16K>);
static_assert(PageTableFormat<ArmStage2Granule64K>);

}  // namespace holdfast::pt

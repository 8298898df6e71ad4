// RISC-V second stage (iohgatp, hgatp): Sv39x4, Sv48x4 and Sv57x4. Privileged specification, "Guest Physical Address
// Translation". Items: riscv.hpp.
//
// The top table is 16 KiB and decodes two bits more. Addresses are not extended: what is wider faults. Every access
// counts as a user's, so U must be set, and G is reserved; both is so already in the first stage.
//
// Threads: no state. Failure: as in riscv.hpp.
#pragma once

#include "holdfast/pt/riscv.hpp"

namespace holdfast::pt {

struct RiscvSecondStage : RiscvItems {
  static constexpr Format format = Format::RiscvSecondStage;

  /// 41, 50 or 59 bits, never less: hardware reads all 2048 items of the top table, however little the owner maps.
  [[nodiscard]] static constexpr bool is_valid_shape(unsigned levels, unsigned iova_bits) {
    return levels >= 3 && levels <= max_levels && iova_bits == granule_lg2 + index_bits * levels + 2;
  }
  [[nodiscard]] static constexpr bool supports(IovaExtent extent) { return extent == IovaExtent::Lower; }
};

static_assert(PageTableFormat<RiscvSecondStage>);

}  // namespace holdfast::pt

// RISC-V first stage (iosatp, satp): Sv39, Sv48 and Sv57. Items: riscv.hpp.
//
// Addresses are sign-extended: bits above the width must equal its highest bit, or hardware faults.
//
// Threads: no state. Failure: as in riscv.hpp.
#pragma once

#include "holdfast/pt/riscv.hpp"

namespace holdfast::pt {

struct RiscvFirstStage : RiscvItems {
  static constexpr Format format = Format::RiscvFirstStage;

  /// Sv39, Sv48, Sv57 have 3, 4, 5 levels. What is narrower uses the lower half alone; see is_valid_tree.
  [[nodiscard]] static constexpr bool is_valid_shape(unsigned levels, unsigned iova_bits) {
    return levels >= 3 && levels <= max_levels && reaches<RiscvFirstStage>(levels, iova_bits);
  }
  [[nodiscard]] static constexpr bool supports(IovaExtent extent) { return extent != IovaExtent::Upper; }
};

static_assert(PageTableFormat<RiscvFirstStage>);

}  // namespace holdfast::pt

// The formats that exist, and how code that holds a Format number reaches the type.
//
// Threads: no state. Failure: NotSupported.
#pragma once

#include "holdfast/pt/amd_v1.hpp"
#include "holdfast/pt/arm_stage1.hpp"
#include "holdfast/pt/arm_stage2.hpp"
#include "holdfast/pt/riscv_first_stage.hpp"
#include "holdfast/pt/riscv_second_stage.hpp"
#include "holdfast/pt/vtd_second_stage.hpp"
#include "holdfast/pt/x86_first_stage.hpp"

namespace holdfast::pt {

/// Calls @p f.template operator()<F>() for the format type of @p format; @p f answers a Status or a Result.
template <class Function>
auto with_format(Format format, Function&& f) -> decltype(f.template operator()<VtdSecondStage>()) {
  switch (format) {
    case Format::VtdSecondStage: return f.template operator()<VtdSecondStage>();
    case Format::X86FirstStage: return f.template operator()<X86FirstStage>();
    case Format::AmdV1: return f.template operator()<AmdV1>();
    case Format::RiscvFirstStage: return f.template operator()<RiscvFirstStage>();
    case Format::RiscvSecondStage: return f.template operator()<RiscvSecondStage>();
    case Format::ArmStage1Granule4K: return f.template operator()<ArmStage1Granule4K>();
    case Format::ArmStage1Granule16K: return f.template operator()<ArmStage1Granule16K>();
    case Format::ArmStage1Granule64K: return f.template operator()<ArmStage1Granule64K>();
    case Format::ArmStage2Granule4K: return f.template operator()<ArmStage2Granule4K>();
    case Format::ArmStage2Granule16K: return f.template operator()<ArmStage2Granule16K>();
    case Format::ArmStage2Granule64K: return f.template operator()<ArmStage2Granule64K>();
  }
  return Code::NotSupported;
}

}  // namespace holdfast::pt

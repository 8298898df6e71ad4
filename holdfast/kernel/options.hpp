// What the command line of the kernel decides: "mode=scalable stage=second rid_pasid=0 policy=holdfast tables=arena".
#pragma once

#include <optional>
#include <string_view>

#include "holdfast/base/result.hpp"
#include "holdfast/luo/policy.hpp"
#include "holdfast/memory/table_arena.hpp"
#include "holdfast/vtd/unit.hpp"

namespace holdfast::kernel {

struct Options {
  vtd::Mode mode = vtd::Mode::Scalable;  // mode=scalable|legacy, of units that do not translate yet
  std::optional<pt::Format> stage;       // stage=first|second; else second where the unit has it, or first
  u32 rid_pasid = 0;                     // rid_pasid=N: RID_PASID of new context entries; 0 where mode=legacy
  vtd::RidPasidSupport rid_pasid_support = vtd::RidPasidSupport::Reported;  // rps=reported|assumed
  luo::Policy policy = luo::Policy::Holdfast;                               // policy=holdfast|linux
  TableMode tables = TableMode::Arena;                                      // tables=arena|page
};

/// Words are separated by spaces; a later word wins. Errors: Invalid (an unknown word or value, a RID_PASID that a
/// PASID directory of ours does not reach, or one that is not zero in legacy mode).
Result<Options> parse_command_line(std::string_view line);

}  // namespace holdfast::kernel

// Which page tables a unit walks in each mode (VT-d 5.0, 11.4.2 and 11.4.3): second stage in legacy mode; in scalable
// mode first stage, second stage, or both. And whether it goes without any. Pure functions.
#pragma once

#include <array>
#include <optional>

#include "holdfast/hw/vtd/registers.hpp"
#include "holdfast/iommu/unit.hpp"
#include "holdfast/vtd/entry_format.hpp"

namespace holdfast::vtd {

/// The first is for new domains: of what the unit has in @p mode the wanted format, else second stage before first.
[[nodiscard]] std::array<iommu::TableLimits, 2> table_limits(hw::vtd::Cap cap, hw::vtd::Ecap ecap, Mode mode,
                                                             std::optional<pt::Format> wanted);
/// What a pass-through entry says as its width, in levels of a second stage of that width: the widest that CAP.SAGAW
/// names. 0: the unit lets nothing pass through, or names no width for it.
[[nodiscard]] u8 pass_through_levels(hw::vtd::Cap cap, hw::vtd::Ecap ecap);
/// The wanted mode, or legacy where that one serves better: the wanted format first, then any.
[[nodiscard]] Mode choose_mode(hw::vtd::Cap cap, hw::vtd::Ecap ecap, Mode wanted_mode,
                               std::optional<pt::Format> wanted);

}  // namespace holdfast::vtd

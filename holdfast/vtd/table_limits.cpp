#include "holdfast/vtd/table_limits.hpp"

#include <bit>

namespace holdfast::vtd {

namespace {

using namespace hw::vtd;  // NOLINT: the registers' own names
using pt::Format;

iommu::TableLimits first_stage_limits(Cap cap, Ecap ecap, Mode mode) {
  if (mode == Mode::Legacy || ecap.get<ecap::Smts>() == 0 || ecap.get<ecap::Fsts>() == 0)
    return {.format = Format::X86FirstStage};
  return {.format = Format::X86FirstStage,
          .levels_mask = static_cast<u8>(1 << 4 | cap.get<cap::Fl5lp>() << 5),
          .page_sizes = page_size_bytes | u64{1} << 21 | cap.get<cap::Fl1gp>() << 30};
}

iommu::TableLimits second_stage_limits(Cap cap, Ecap ecap, Mode mode) {
  if (mode == Mode::Scalable && (ecap.get<ecap::Smts>() == 0 || ecap.get<ecap::Ssts>() == 0))
    return {.format = Format::VtdSecondStage};
  const u64 large = cap.get<cap::Sllps>();
  return {.format = Format::VtdSecondStage,
          .levels_mask = static_cast<u8>((cap.get<cap::Sagaw>() & 0b1110) << 2),
          .page_sizes = page_size_bytes | (large & 1) << 21 | (large >> 1 & 1) << 30};
}

}  // namespace

std::array<iommu::TableLimits, 2> table_limits(Cap cap, Ecap ecap, Mode mode, std::optional<Format> wanted) {
  const auto first = first_stage_limits(cap, ecap, mode);
  const auto second = second_stage_limits(cap, ecap, mode);
  const bool has_choice = first.levels_mask != 0 && second.levels_mask != 0;
  const bool first_comes_first = has_choice ? wanted == Format::X86FirstStage : first.levels_mask != 0;
  return first_comes_first ? std::array{first, second} : std::array{second, first};
}

u8 pass_through_levels(Cap cap, Ecap ecap) {
  const u64 widths = cap.get<cap::Sagaw>() & 0b1110;
  if (ecap.get<ecap::Pt>() == 0 || widths == 0) return 0;
  return static_cast<u8>(std::bit_width(widths) + 1);
}

Mode choose_mode(Cap cap, Ecap ecap, Mode wanted_mode, std::optional<Format> wanted) {
  for (const std::optional<Format>& format : {wanted, std::optional<Format>()})
    for (const Mode mode : {wanted_mode, Mode::Legacy}) {
      const std::array<iommu::TableLimits, 2> tables = table_limits(cap, ecap, mode, format);
      if (tables.front().levels_mask != 0 && format.value_or(tables.front().format) == tables.front().format)
        return mode;
    }
  return Mode::Legacy;
}

}  // namespace holdfast::vtd

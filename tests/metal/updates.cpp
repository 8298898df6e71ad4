// See updates.hpp.
#include "tests/metal/updates.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace metal_test {
namespace {

i64 signed_number(const Line& line, std::string_view name) {
  const std::string_view text = line.field(name);
  if (!text.starts_with('-')) return static_cast<i64>(line.number(name).value_or(0));
  Line positive;
  positive.fields.emplace("value", text.substr(1));
  return -static_cast<i64>(positive.number("value").value_or(0));
}

}  // namespace

const PhaseTime* Update::find(std::string_view phase) const {
  const auto found = std::ranges::find(phases, phase, &PhaseTime::name);
  return found == phases.end() ? nullptr : &*found;
}

std::string Update::phases_text(std::string_view unit, u64 cycles_per_unit) const {
  std::vector<PhaseTime> sorted = phases;
  std::ranges::sort(sorted, {}, &PhaseTime::cycles);
  std::string text = fmt::format("    {:<14} {:>14} {:>14}  {}\n", "phase", "since consent", "since before", unit);
  const auto scale = static_cast<i64>(cycles_per_unit);
  for (std::size_t i = 0; i < sorted.size(); ++i) {
    const i64 before = i == 0 ? sorted[i].cycles : sorted[i - 1].cycles;
    text += fmt::format("    {:<14} {:>14} {:>14}\n", sorted[i].name, sorted[i].cycles / scale,
                        (sorted[i].cycles - before) / scale);
  }
  return text;
}

std::vector<Update> collect_updates(const std::vector<Line>& lines) {
  std::vector<Update> updates;
  for (const Line& line : lines) {
    const auto number = [&](std::string_view name) { return line.number(name).value_or(0); };
    if (line.is("update")) {
      updates.push_back({number("generation"),
                         number("blackout_ns"),
                         number("blackout_cycles"),
                         {number("tables"), number("blocks"), number("records"), number("files"), number("frames")},
                         {}});
    } else if (line.is("phase") && !updates.empty()) {
      updates.back().phases.push_back(
          {std::string(line.field("name")), signed_number(line, "cycles"), number("value")});
    }
  }
  return updates;
}

}  // namespace metal_test

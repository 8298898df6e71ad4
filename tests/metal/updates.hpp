// What the kernels themselves measured about each live update, out of their lines.
#pragma once

#include <vector>

#include "holdfast/base/world.hpp"
#include "tests/metal/lines.hpp"

namespace metal_test {

struct PhaseTime {
  std::string name;
  i64 cycles = 0;  // since the last consent; below 0 before it
  u64 value = 0;   // of the watched register
};

struct Update {
  u64 generation = 0;
  u64 blackout_ns = 0;
  u64 blackout_cycles = 0;
  TouchCounts touched;
  std::vector<PhaseTime> phases;  // as they passed

  /// Nothing when that phase did not pass.
  [[nodiscard]] const PhaseTime* find(std::string_view phase) const;
  /// A table of the phases: cycles since the last consent, and since the phase before.
  [[nodiscard]] std::string phases_text(std::string_view unit, u64 cycles_per_unit) const;
};

/// Lines that lack a field give an update that lacks it: all zero.
[[nodiscard]] std::vector<Update> collect_updates(const std::vector<Line>& lines);

}  // namespace metal_test

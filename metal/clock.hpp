// Time: the time stamp counter, whose rate is measured once, at the cold boot, against the ACPI power management timer.
//
// Assumes a TSC that keeps its rate and runs on over the jump (every machine with an invariant TSC; QEMU's).
#pragma once

#include "holdfast/base/result.hpp"
#include "holdfast/memory/direct_map.hpp"

namespace metal {

using namespace holdfast;  // NOLINT: a world of the library

/// TSC ticks a second. Takes 5 ms. Errors: NotFound (no FADT or no timer), Corrupt, TimedOut (the timer stands still).
Result<u64> measure_tsc_hz(const DirectMap& map, PhysAddr rsdp);

class Clock {
 public:
  void set_rate(u64 tsc_hz);
  [[nodiscard]] u64 nanoseconds(u64 ticks) const;
  [[nodiscard]] u64 now_ns() const;

 private:
  u64 x_ns_per_tick = u64{1} << 32;  // in 2^-32 ns; 1 GHz until it is known
};

}  // namespace metal

// Ends the holds of a jump that nobody wants to look at any longer.
#pragma once

#include "tests/metal/machine.hpp"

namespace metal_test {

/// Lets the kernels of jump @p jump go, wherever they wait, until the new one says that its live boot is done. Returns
/// as well when the machine ended or its time is up.
inline void end_holds(Machine& machine, u64 jump) {
  constexpr auto moment = std::chrono::milliseconds(1);
  const auto done = [&](const Line& line) { return line.is("update") && line.number("generation") == jump; };
  while (Clock::now() < machine.deadline() && !machine.has_ended()) {
    machine.memory().end_hold();
    if (machine.serial().wait_for(done, Clock::now() + moment)) return;
  }
}

}  // namespace metal_test

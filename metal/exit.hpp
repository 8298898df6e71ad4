// How a run ends: QEMU's isa-debug-exit device turns a number into its exit status, which is never 0. Status 0 is a
// triple fault under -no-reboot: never success.
//
// Plain data but for exit_machine(): programs that start a machine read the codes here, too.
#pragma once

#include "holdfast/base/types.hpp"

namespace metal {

using namespace holdfast;  // NOLINT: a world of the library

/// entry.S writes BootFailed as a number.
enum class ExitCode : u32 {
  Panic = 1,           // a panic or an exception
  BootFailed = 2,      // this kernel did not come up
  ScenarioFailed = 3,  // a guest program found something wrong
  UpdateRefused = 4,   // the live update was refused before the blackout; the guest programs went on to their end
  JumpFailed = 5,      // it came back after the last consent: the blackout ended in the old kernel
  Done = 16,           // all done
};

/// What QEMU exits with when the kernel ends it with @p code.
[[nodiscard]] constexpr int qemu_status(ExitCode code) { return static_cast<int>(2 * static_cast<u32>(code) + 1); }

/// Ends the machine. Where it has no such device, waits for ever: whoever started it has a time limit.
[[noreturn]] void exit_machine(ExitCode code);

}  // namespace metal

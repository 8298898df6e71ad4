// How a run ends: QEMU's isa-debug-exit device turns a number into its exit status (2 c + 1), which is never 0. Status
// 0 is a triple fault under -no-reboot: never success.
#pragma once

#include "metal/cpu.hpp"

namespace metal {

enum class ExitCode : u32 {
  Panic = 1,           // QEMU exits with 3
  BootFailed = 2,      // 5
  ScenarioFailed = 3,  // 7
  UpdateRefused = 4,   // 9
  Done = 16,           // 33
};

/// Ends the machine. Where it has no such device, waits for ever: whoever started it has a time limit.
[[noreturn]] inline void exit_machine(ExitCode code) {
  constexpr u16 debug_exit_port = 0xf4;
  out32(debug_exit_port, static_cast<u32>(code));
  while (true) asm volatile("cli; hlt");
}

}  // namespace metal

#include "metal/exit.hpp"

#include "metal/cpu.hpp"

namespace metal {

void exit_machine(ExitCode code) {
  constexpr u16 debug_exit_port = 0xf4;
  out32(debug_exit_port, static_cast<u32>(code));
  while (true) asm volatile("cli; hlt");
}

}  // namespace metal

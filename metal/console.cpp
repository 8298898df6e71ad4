#include "metal/console.hpp"

#include "metal/cpu.hpp"

namespace metal {

void print(std::string_view text) {
  constexpr u16 transmit_port = 0x3f8;
  for (const char c : text) out8(transmit_port, static_cast<u8>(c));
}

void print_line(std::string_view line) {
  print(line);
  print("\n");
}

}  // namespace metal

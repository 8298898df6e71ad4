#include "metal/console.hpp"

#include <charconv>

#include "metal/cpu.hpp"

namespace metal {

void print(std::string_view text) {
  constexpr u16 transmit_port = 0x3f8;
  for (const char c : text) out8(transmit_port, static_cast<u8>(c));
}

Line& Line::operator<<(std::string_view text) {
  for (const char c : text) {
    if (x_length == x_text.size()) {
      x_text.back() = '~';
      break;
    }
    x_text[x_length++] = c;
  }
  return *this;
}

Line& Line::operator<<(u64 number) {
  std::array<char, 20> digits;
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), number).ptr;
  return *this << std::string_view(digits.data(), static_cast<std::size_t>(end - digits.data()));
}

Line& Line::hex(u64 number) {
  std::array<char, 16> digits;
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), number, 16).ptr;
  return *this << "0x" << std::string_view(digits.data(), static_cast<std::size_t>(end - digits.data()));
}

void Line::print() const {
  metal::print(text());
  metal::print("\n");
}

}  // namespace metal

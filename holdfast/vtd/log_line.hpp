// LogLine: one message put together without memory or a formatting library. Too long a message is cut.
#pragma once

#include <array>
#include <string_view>

#include "holdfast/base/world.hpp"

namespace holdfast::vtd {

class LogLine {
 public:
  LogLine& text(std::string_view what) {
    for (char c : what) put(c);
    return *this;
  }
  LogLine& hex(u64 value, unsigned least_digits = 1) {
    constexpr std::string_view digits = "0123456789abcdef";
    unsigned count = 16;
    while (count > least_digits && count > 1 && value >> (4 * (count - 1)) == 0) --count;
    while (count-- != 0) put(digits[value >> (4 * count) & 0xf]);
    return *this;
  }
  LogLine& number(u64 value) {
    std::array<char, 20> reversed{};
    unsigned count = 0;
    do {
      reversed[count++] = static_cast<char>('0' + value % 10);
      value /= 10;
    } while (value != 0);
    while (count-- != 0) put(reversed[count]);
    return *this;
  }
  /// bus:device.function
  LogLine& device(SourceId id) { return hex(id.bus(), 2).text(":").hex(id.device(), 2).text(".").hex(id.function()); }
  [[nodiscard]] std::string_view view() const { return {x_chars.data(), x_size}; }

 private:
  void put(char c) {
    if (x_size < x_chars.size()) x_chars[x_size++] = c;
  }
  std::array<char, 160> x_chars{};
  u32 x_size = 0;
};

/// "vtd fed90000: "
inline LogLine unit_line(PhysAddr register_base) {
  LogLine line;
  line.text("vtd ").hex(register_base.value).text(": ");
  return line;
}

}  // namespace holdfast::vtd

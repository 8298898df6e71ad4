// TextLine: one message put together without memory or a formatting library. Too long a message is cut off, and its
// last character is then '~'.
#pragma once

#include <array>
#include <string_view>

#include "holdfast/base/types.hpp"

namespace holdfast {

class TextLine {
 public:
  TextLine& text(std::string_view words) {
    for (const char c : words) put(c);
    return *this;
  }
  /// Digits of base 16 without a prefix, @p least_digits at least.
  TextLine& hex(u64 value, unsigned least_digits = 1) {
    unsigned count = 16;
    while (count > least_digits && count > 1 && value >> (4 * (count - 1)) == 0) --count;
    while (count-- != 0) put("0123456789abcdef"[value >> (4 * count) & 0xf]);
    return *this;
  }
  TextLine& number(u64 value) {
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
  TextLine& device(SourceId id) { return hex(id.bus(), 2).text(":").hex(id.device(), 2).text(".").hex(id.function()); }
  /// segment:bus:device.function
  TextLine& device(u16 segment, SourceId id) { return hex(segment, 4).text(":").device(id); }
  [[nodiscard]] std::string_view view() const { return {x_text.data(), x_length}; }

 private:
  void put(char c) {
    if (x_length < x_text.size())
      x_text[x_length++] = c;
    else
      x_text.back() = '~';
  }

  std::array<char, 320> x_text{};
  u32 x_length = 0;
};

}  // namespace holdfast

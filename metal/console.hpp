// The console: serial port 0x3f8, polled, and lines put together without an allocator.
//
// A port access costs hundreds of cycles: nothing prints in a blackout (MetalWorld keeps lines back).
#pragma once

#include <array>
#include <string_view>

#include "holdfast/base/types.hpp"

namespace metal {

using namespace holdfast;  // NOLINT: a world of the library

/// Sends @p text; a line feed is the caller's.
void print(std::string_view text);

/// One line, built piece by piece; what does not fit is cut off, and its last character is then '~'.
class Line {
 public:
  Line& operator<<(std::string_view text);
  Line& operator<<(const char* text) { return *this << std::string_view(text); }
  Line& operator<<(u64 number);
  Line& hex(u64 number);
  [[nodiscard]] std::string_view text() const { return {x_text.data(), x_length}; }
  /// Prints the line and a line feed.
  void print() const;

 private:
  std::array<char, 240> x_text{};
  std::size_t x_length = 0;
};

}  // namespace metal

// Where the guest programs say what they see: lines for a machine to read, "hf: what key=value key=value ...".
#pragma once

#include <array>
#include <string_view>

#include "holdfast/base/types.hpp"

namespace vmm {

using namespace holdfast;

class Console {
 public:
  /// One line, without its end.
  virtual void line(std::string_view text) = 0;

 protected:
  ~Console() = default;
};

/// One line being put together. What does not fit is cut off.
class Line {
 public:
  explicit Line(std::string_view what) { text("hf: ").text(what); }

  Line& pair(std::string_view key, std::string_view value) { return text(" ").text(key).text("=").word(value); }
  Line& pair(std::string_view key, u64 value) { return text(" ").text(key).text("=").number(value); }

  [[nodiscard]] std::string_view view() const { return {x_text.data(), x_length}; }

 private:
  Line& text(std::string_view words) {
    for (const char c : words) put(c);
    return *this;
  }
  /// A value is one word.
  Line& word(std::string_view value) {
    for (const char c : value) put(c == ' ' ? '_' : c);
    return *this;
  }
  Line& number(u64 value) {
    std::array<char, 20> digits{};
    u64 count = 0;
    do digits[count++] = static_cast<char>('0' + value % 10);
    while ((value /= 10) != 0);
    while (count != 0) put(digits[--count]);
    return *this;
  }
  void put(char c) {
    if (x_length < x_text.size()) x_text[x_length++] = c;
  }

  std::array<char, 320> x_text{};
  u64 x_length = 0;
};

}  // namespace vmm

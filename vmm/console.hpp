// Where the guest programs say what they see: lines for a machine to read, "hf: what key=value key=value ...".
#pragma once

#include <string_view>

#include "holdfast/base/text_line.hpp"

namespace vmm {

using namespace holdfast;

class Console {
 public:
  /// One line, without its end.
  virtual void line(std::string_view text) = 0;

 protected:
  ~Console() = default;
};

/// One line being put together. What does not fit is cut off, and the last character is then '~'.
class Line {
 public:
  explicit Line(std::string_view what) { x_line.text("hf: ").text(what); }

  /// A value is one word: a space in it becomes '_'.
  Line& pair(std::string_view key, std::string_view value) {
    x_line.text(" ").text(key).text("=");
    for (const char c : value) x_line.text(c == ' ' ? std::string_view("_") : std::string_view(&c, 1));
    return *this;
  }
  Line& pair(std::string_view key, u64 value) {
    x_line.text(" ").text(key).text("=").number(value);
    return *this;
  }

  [[nodiscard]] std::string_view view() const { return x_line.view(); }

 private:
  TextLine x_line;
};

}  // namespace vmm

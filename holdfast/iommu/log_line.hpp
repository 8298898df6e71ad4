// LogLine: builds one line for World::log without allocating; what does not fit is cut off.
#pragma once

#include <algorithm>
#include <array>
#include <string_view>

#include "holdfast/base/world.hpp"

namespace holdfast::iommu {

class LogLine {
 public:
  LogLine& text(std::string_view words) {
    const std::size_t length = std::min(words.size(), x_text.size() - x_used);
    std::copy_n(words.data(), length, x_text.data() + x_used);
    x_used += length;
    return *this;
  }
  LogLine& hex(u64 value, unsigned digits = 1) {
    while (digits < 16 && value >> (4 * digits) != 0) ++digits;
    for (unsigned i = digits; i-- != 0;) {
      const char digit = "0123456789abcdef"[value >> (4 * i) & 0xf];
      text({&digit, 1});
    }
    return *this;
  }
  LogLine& number(u64 value) {
    std::array<char, 20> digits{};
    std::size_t count = 0;
    do digits[count++] = static_cast<char>('0' + value % 10);
    while ((value /= 10) != 0);
    while (count != 0) text({&digits[--count], 1});
    return *this;
  }
  /// 0000:3a:00.1
  LogLine& device(u16 segment, SourceId id) {
    hex(segment, 4).text(":").hex(id.bus(), 2).text(":").hex(id.device(), 2).text(".");
    return hex(id.function());
  }
  [[nodiscard]] std::string_view view() const { return {x_text.data(), x_used}; }

 private:
  std::array<char, 192> x_text{};
  std::size_t x_used = 0;
};

}  // namespace holdfast::iommu

// Splitting text: std::string_view::substr() can throw, which a freestanding program has no use for.
#pragma once

#include <string_view>

#include "holdfast/base/types.hpp"

namespace holdfast {

/// Takes what stands before the first @p separator, and the separator; everything when there is none.
[[nodiscard]] constexpr std::string_view take_until(std::string_view& rest, char separator) {
  u64 length = 0;
  while (length < rest.size() && rest[length] != separator) ++length;
  const std::string_view taken(rest.data(), length);
  rest.remove_prefix(length < rest.size() ? length + 1 : length);
  return taken;
}

}  // namespace holdfast

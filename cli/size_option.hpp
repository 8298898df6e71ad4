// Sizes on the command line: "4096", "64K", "256M", "1G", "2T", also with "iB" behind the letter. Powers of 1024.
#pragma once

#include <optional>
#include <string_view>

#include "holdfast/base/types.hpp"

namespace cli {

/// Nothing when @p text is no such size or exceeds 64 bits.
[[nodiscard]] std::optional<holdfast::u64> parse_size(std::string_view text);

}  // namespace cli

// The console: serial port 0x3f8, polled.
//
// A port access costs hundreds of cycles: nothing prints in a blackout (MetalWorld keeps lines back).
#pragma once

#include <string_view>

#include "holdfast/base/types.hpp"

namespace metal {

using namespace holdfast;  // NOLINT: a world of the library

/// Sends @p text; a line feed is the caller's.
void print(std::string_view text);

/// Sends @p line and a line feed.
void print_line(std::string_view line);

}  // namespace metal

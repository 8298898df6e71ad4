// Log lines that a blackout keeps back, because it is no time to print: in the pages behind the boot page, so that the
// next kernel can print what the one before it said.
//
// Threads: one. Whatever ends the machine prints them first.
#pragma once

#include <string_view>

#include "metal/boot_page.hpp"

namespace metal {

/// What does not fit is counted as lost.
void keep_log(std::string_view line);
/// Prints what was kept and forgets it. Nothing happens where there is no boot page that this kernel can read.
void print_kept_log();

}  // namespace metal

// The command line of a bare-metal run: words for the kernel, words for the world ("metal.x=y"), then " -- " and words
// for the VMM, as Linux hands those to init.
#pragma once

#include <array>
#include <string_view>

#include "holdfast/base/result.hpp"
#include "metal/boot_page.hpp"

namespace metal {

/// A control: what is broken on purpose, between the last act of the old kernel and its jump. Each must be seen.
enum class Sabotage : u8 {
  None,
  TranslationOff,  // translation-off: GCMD.TE cleared
  Table,           // table: the victim's top page table zeroed
  BusMaster,       // bus-master: the victim's bus mastering off
  Context,         // context: the victim's context entry cleared
  Record,          // record: a byte of the victim's record changed
};

/// A register that says how far a device got; its device is also the victim of a sabotage.
struct Watch {
  u16 vendor = 0;
  u16 device = 0;
  u32 offset = 0;  // into BAR 0
};

/// An hour: longer than any machine is looked at.
inline constexpr u64 most_hold_us = u64{3600} * 1'000'000;

struct Options {
  std::array<char, max_command_line_bytes> kernel_line{};
  u32 kernel_line_bytes = 0;
  std::string_view vmm_line;
  u64 hold_us = 0;                     // metal.hold_us: waits twice in every live update, each time at most so long
  Watch watch;                         // metal.watch=8086:10d3:2810
  Sabotage sabotage = Sabotage::None;  // metal.sabotage

  [[nodiscard]] std::string_view kernel_words() const { return {kernel_line.data(), kernel_line_bytes}; }
};

/// Errors: Invalid; @p bad is then the word that means nothing. @p line must outlive @p options.
Status parse_options(std::string_view line, Options& options, std::string_view& bad);

}  // namespace metal

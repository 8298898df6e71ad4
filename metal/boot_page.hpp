// The boot page: what one bare-metal kernel leaves for the next, and what is measured on the way. At a fixed physical
// address, so that the program that watches guest RAM from outside finds it without asking.
//
// Layout: plain data, little endian, `version` first to be read. Writer: the kernel that runs. Readers: the next
// kernel, and from outside tests/metal. The page and the log pages behind it lie below 1 MiB, which no kernel gives
// out. What the next kernel reads here is untrusted like everything that crosses a jump: check() before anything else.
#pragma once

#include <array>
#include <string_view>

#include "holdfast/base/boot_info.hpp"
#include "holdfast/base/result.hpp"
#include "holdfast/base/world.hpp"

namespace metal {

using namespace holdfast;  // NOLINT: a world of the library

inline constexpr PhysAddr boot_page_address{0x10000};
inline constexpr u64 boot_page_magic = 0x31306c61'74656d68;  // "hmetal01"
inline constexpr u32 boot_page_version = 1;

inline constexpr u32 max_memory_ranges = 32;
inline constexpr u32 max_command_line_bytes = 512;
inline constexpr u32 max_phases = 16;
inline constexpr u32 log_pages = 4;

/// BootPage::holding: where the kernel waits on purpose (metal.hold_us).
inline constexpr u32 holds_before_branch = 1;   // the old kernel, in the blackout: nothing is left but the branch
inline constexpr u32 holds_after_adoption = 2;  // the new kernel, right after Phase::AdoptionDone: the blackout is over

/// What a processor's time stamp counter may count a second.
[[nodiscard]] constexpr bool is_plausible_rate(u64 tsc_hz) { return tsc_hz >= 1'000'000 && tsc_hz <= 100'000'000'000; }

/// One region of the machine's memory; `kind` is a MemoryKind.
struct MemoryEntry {
  u64 start = 0;
  u64 size_bytes = 0;
  u64 kind = 0;
};

/// A register of a device, sampled at a milestone: how far the device got is read from the device.
struct Sample {
  u64 tsc = 0;
  u32 value = 0;    // of the watched register; 0 when none is watched
  u32 reached = 0;  // 1: this milestone passed in this update
};

struct BootPage {
  u64 magic = 0;
  u32 version = 0;
  u32 generation = 0;  // of the kernel that runs: 0 is the cold boot
  u64 rsdp = 0;
  u64 tsc_hz = 0;
  Handover handover;     // of the last jump
  u64 module_start = 0;  // the next image as the loader of the machine left it; 0: it is asked of fw_cfg
  u64 module_bytes = 0;
  u64 image_area_start = 0;  // end of scratch, where images run
  u64 image_area_bytes = 0;
  u64 watched_register = 0;  // physical address of a device's 32-bit register; 0: none
  u32 memory_entries = 0;
  u32 command_line_bytes = 0;
  std::array<MemoryEntry, max_memory_ranges> memory{};
  std::array<char, max_command_line_bytes> command_line{};

  // Measured, believed by nobody.
  std::array<Sample, max_phases> samples{};  // by Phase, of the update that is on its way or was the last
  TouchCounts touched;                       // when the blackout ended
  u64 jumps = 0;
  u32 phase = 0;      // the last Phase that passed, for who watches from outside
  u32 holding = 0;    // holds_before_branch, holds_after_adoption, else 0; who clears it from outside ends the wait
  u32 log_bytes = 0;  // of lines that were kept back because a blackout is no time to print
  u32 log_lost_bytes = 0;
};
static_assert(sizeof(BootPage) <= page_size_bytes);

/// Before a kernel that was jumped into believes anything of @p page: what a kernel of this version may have left, on
/// its way into the next one. Errors: UnknownVersion, Corrupt; @p bad then says what. What the kernel itself checks
/// (where the handover and the ACPI tables lead) is not looked at.
Status check(const BootPage& page, std::string_view& bad);

/// In the kernel itself; nobody else finds it at its own address.
[[nodiscard]] inline BootPage& boot_page() { return *reinterpret_cast<BootPage*>(boot_page_address.value); }

}  // namespace metal

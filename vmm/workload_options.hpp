// What the guest programs are asked to do, and the words that say it.
//
//   net nvme hda edu   which of them run, each with an address space of its own
//   updates=N          live updates to be made in all
//   frames=N           frames that the network workload waits for; the others do as much as fits to it
//   replace=N          page table of every workload replaced N times in every generation after the first, or in the
//                      first when no update is made
//   mapped=N[K|M|G]    a window besides, mapped in pages of 4 KiB until so much is mapped
//   leave=W            workload W, named like the others, is built and runs, but is neither marked nor preserved: it
//                      ends with the first update, and its device is nobody's from then on. May be said of several
//   settle_ms=N        devices run at least so long before each update, and before the end
#pragma once

#include <optional>
#include <string_view>

#include "holdfast/base/types.hpp"

namespace vmm {

using namespace holdfast;

enum class WorkloadKind : u8 { Net, Nvme, Hda, Edu };
inline constexpr u32 workload_kinds = 4;

/// One bit for each WorkloadKind.
[[nodiscard]] constexpr u32 bit_of(WorkloadKind kind) { return u32{1} << static_cast<u32>(kind); }
[[nodiscard]] std::string_view name_of(WorkloadKind kind);

struct WorkloadOptions {
  u32 kinds = 0;  // bit_of() of those that run
  u32 left = 0;   // bit_of() of those that are not preserved
  u32 updates = 1;
  u64 frames = 20000;
  u32 replace = 0;
  u64 mapped_bytes = 0;
  u64 settle_ns = 0;
  u32 generation = 0;  // how many kernels ran before this one

  constexpr bool operator==(const WorkloadOptions&) const = default;
  [[nodiscard]] constexpr bool has(WorkloadKind kind) const { return (kinds & bit_of(kind)) != 0; }
  [[nodiscard]] constexpr bool leaves(WorkloadKind kind) const { return (left & bit_of(kind)) != 0; }
};

inline constexpr u32 max_updates = 10'000;
inline constexpr u32 max_replacements = 1'000'000;
inline constexpr u64 max_frames = u64{1} << 40;
inline constexpr u64 max_mapped_bytes = u64{1} << 40;
inline constexpr u64 max_settle_ms = 3'600'000;

struct ParsedOptions {
  WorkloadOptions options;
  std::string_view bad_word;  // the first that is not understood; empty: all were
  const char* why = "";       // what is wrong with it, or with the whole when bad_word is empty
  [[nodiscard]] bool ok() const { return *why == 0; }
};

/// @p words are separated by blanks.
[[nodiscard]] ParsedOptions parse_workload_options(std::string_view words, u32 generation);

}  // namespace vmm

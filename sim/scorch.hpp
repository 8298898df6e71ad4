// The scorched jump: overwrites every frame of RAM that the next kernel was not promised.
//
// What stays: preserved blocks and scratch regions, as the independent reader finds them, the frames of the handover's
// own bookkeeping (root FDT, scratch array, radix nodes), and reserved areas of the memory map. All else must not be
// missed.
#pragma once

#include "sim/walk/handover_map.hpp"

namespace sim {

struct ScorchResult {
  std::string error;  // the handover could not be read; then nothing was overwritten
  u64 kept_pages = 0;
  u64 scorched_pages = 0;
};

/// Every word of a scorched page. What reads such a page as tables of a unit must not come away with "not present", the
/// very answer that a blocked device gets: bit 0 is P of a root, context, PASID directory and PASID entry, and a
/// second-stage entry is readable and writable (bits 0 and 1) and leads to a page near the start of RAM, as a table or
/// as the memory that a device then writes: a wild write. (Entries that name a table reserve bit 1, in root and PASID
/// directory entries for instance, and are refused with that reason.) Bits 63 and 60 to 58 are ignored in second-stage
/// entries and let software that takes the word for an address or a count run into its own checks.
inline constexpr u64 scorch_pattern = 0x9c000000003ac003u;

[[nodiscard]] ScorchResult scorch(const GuestRam& ram, const Handover& handover);

}  // namespace sim

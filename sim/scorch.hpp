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

inline constexpr u64 scorch_pattern = 0xdeadf1a5dead5c02u;

[[nodiscard]] ScorchResult scorch(const GuestRam& ram, const Handover& handover);

}  // namespace sim

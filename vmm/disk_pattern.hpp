// What the NVMe workload writes to its disk, for whoever reads the image afterwards.
//
// The disk is seen as units of one page. Batch k = 0, 1, 2, ... writes `units_per_batch` of them, round and round. A
// unit holds what the last batch that wrote it left there.
#pragma once

#include "holdfast/hw/dma_engine/registers.hpp"

namespace vmm {

using namespace holdfast;

inline constexpr u64 units_per_batch = 16;
inline constexpr u64 words_per_unit = page_size_bytes / sizeof(u64);

/// The unit that batch @p batch writes as its @p slot-th.
[[nodiscard]] constexpr u64 unit_of(u64 batch, u64 slot, u64 units) { return (batch * units_per_batch + slot) % units; }
[[nodiscard]] constexpr u64 disk_word(u64 batch, u64 unit, u64 word) {
  return hw::dma_engine::mix(batch, unit * words_per_unit + word);
}

}  // namespace vmm

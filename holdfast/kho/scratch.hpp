// Scratch: the memory from which alone a live-booted kernel allocates until it knows what is preserved.
//
// Chosen once, at cold boot, and reused by every kernel after it; its size is frozen then. Nothing in it is ever
// preserved, so the next kernel may overwrite all of it.
#pragma once

#include <span>

#include "holdfast/base/boot_info.hpp"
#include "holdfast/base/result.hpp"

namespace holdfast::kho {

/// Frame table (16 bytes a page is 1/256 of RAM) and early allocations: the larger of 2 MiB and 1/64 of RAM, in 4 MiB
/// blocks' alignment where it fits.
[[nodiscard]] u64 default_scratch_bytes(std::span<const MemoryRange> memory_map);

/// One region of @p size_bytes (rounded up to pages) at the upper end of the highest RAM range that has room for it.
/// Depends on nothing else, so that a later kernel finds the same one. Errors: NoMemory.
[[nodiscard]] Result<PhysRange> choose_scratch(std::span<const MemoryRange> memory_map, u64 size_bytes);

}  // namespace holdfast::kho

// The page below the stack, which nobody may touch (entry.S sets it aside, page_map.cpp takes it out of the map).
#pragma once

#include "holdfast/base/types.hpp"

extern "C" {
extern const char metal_stack_guard[] __attribute__((visibility("hidden")));
}

namespace metal {

using namespace holdfast;  // NOLINT: a world of the library

[[nodiscard]] inline PhysRange stack_guard() {
  return {PhysAddr(reinterpret_cast<u64>(metal_stack_guard)), page_size_bytes};
}

}  // namespace metal

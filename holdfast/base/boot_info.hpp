// BootInfo: what a kernel is told when it is entered, cold or live. Plain data, the same in every world.
#pragma once

#include <span>
#include <string_view>

#include "holdfast/base/types.hpp"

namespace holdfast {

enum class MemoryKind : u8 {
  Ram,       // usable
  Reserved,  // RAM that nobody may allocate (ACPI tables, firmware)
};

struct MemoryRange {
  PhysRange range;
  MemoryKind kind = MemoryKind::Ram;
};

/// Linux's four numbers (x86 setup_data type 10): where the previous kernel left its root FDT and the scratch array.
struct Handover {
  u64 fdt = 0;
  u64 fdt_size_bytes = 0;
  u64 scratch = 0;
  u64 scratch_size_bytes = 0;

  constexpr bool operator==(const Handover&) const = default;
};

/// Where an image may run, so that no kernel gives its own memory out: the first one in memory that the map calls
/// reserved, every later one in the image area. Scratch does not depend on where that is; a kernel that finds itself
/// in scratch, outside the image area, refuses to boot.
struct BootInfo {
  std::span<const MemoryRange> memory_map;  // sorted, disjoint
  PhysRange own_image;                      // never given out; empty when the image is not in the machine's RAM
  PhysAddr rsdp;                            // ACPI root pointer
  std::string_view command_line;
  Handover handover;         // all zero: cold boot
  u64 image_area_bytes = 0;  // whole pages at the end of scratch that the world keeps for images; 0: it needs none

  [[nodiscard]] bool is_live() const { return handover.fdt != 0; }
};

}  // namespace holdfast

#include "metal/image_slots.hpp"

namespace metal {

Result<PhysRange> free_slot(const PhysRange& area, const PhysRange& own_image) {
  const u64 slot_bytes = area.size_bytes / image_slots;
  PhysRange free;
  u64 taken = 0;
  for (u64 i = 0; i < image_slots; ++i) {
    const PhysRange slot{area.start + i * slot_bytes, slot_bytes};
    if (!slot.overlaps(own_image)) {
      free = slot;
      continue;
    }
    if (!slot.contains(own_image.start, own_image.size_bytes)) return Code::Corrupt;
    ++taken;
  }
  if (taken > 1) return Code::Corrupt;
  return free;
}

}  // namespace metal

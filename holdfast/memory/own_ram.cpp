// RAM without a machine. See own_ram.hpp.
#include "holdfast/memory/own_ram.hpp"

namespace holdfast {

OwnRam::OwnRam(std::span<std::byte> ram, PhysAddr start)
    : x_base(reinterpret_cast<std::byte*>(reinterpret_cast<std::uintptr_t>(ram.data()) - start.value)),
      x_range{{start, ram.size()}, MemoryKind::Ram},
      x_memory(*this,
               BootInfo{.memory_map = {&x_range, 1}, .own_image = {}, .rsdp = {}, .command_line = {}, .handover = {}}) {
}

Status OwnRam::open() {
  const PhysRange range = x_range.range;
  const auto virtual_start = reinterpret_cast<std::uintptr_t>(x_base) + range.start.value;
  if ((range.start.value | range.size_bytes | virtual_start) % page_size_bytes != 0) return Code::Invalid;
  if (!checked_last(range.start.value, range.size_bytes)) return Code::Invalid;
  const u64 frames_bytes = Memory::frames_size_bytes(x_memory.map);
  if (frames_bytes > range.size_bytes) return Code::NoMemory;
  EarlyAllocator early(x_memory.map, {range.start, frames_bytes});
  TRY(x_memory.place_frames(early));
  x_memory.mark(early.range(), FrameState::Reserved);
  x_memory.open();
  return {};
}

u64 OwnRam::mmio_read(PhysAddr, Width width) { return ~u64{0} >> (64 - 8 * static_cast<unsigned>(width)); }

}  // namespace holdfast

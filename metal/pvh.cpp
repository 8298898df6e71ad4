#include "metal/pvh.hpp"

#include <algorithm>
#include <cstring>

#include "holdfast/base/checked.hpp"
#include "metal/memory_map.hpp"
#include "metal/reach.hpp"

namespace metal {
namespace {

constexpr u32 start_info_magic = 0x336ec578;
constexpr u64 low_memory_bytes = u64{1} << 20;
constexpr u32 ram_type = 1;  // as in an E820 map

struct StartInfo {
  u32 magic;
  u32 version;
  u32 flags;
  u32 modules;
  u64 module_list;
  u64 command_line;
  u64 rsdp;
  u64 memory_map;  // from version 1 on
  u32 memory_map_entries;
  u32 reserved;
};
static_assert(sizeof(StartInfo) == 56);
struct Module {
  u64 address;
  u64 size_bytes;
  u64 command_line;
  u64 reserved;
};
struct MapEntry {
  u64 address;
  u64 size_bytes;
  u32 type;
  u32 reserved;
};

template <class T>
Result<T> load(const LoaderMemory& memory, u64 address) {
  if (address == 0 || address > memory.size_bytes - sizeof(T)) return Code::Invalid;
  T value;
  std::memcpy(&value, reinterpret_cast<const void*>(memory.base + address), sizeof value);
  return value;
}

Status read_command_line(const LoaderMemory& memory, u64 address, BootPage& page) {
  page.command_line_bytes = 0;
  if (address == 0) return {};
  while (true) {
    TRY_ASSIGN(const char c, load<char>(memory, address + page.command_line_bytes));
    if (c == '\0') return {};
    if (page.command_line_bytes == page.command_line.size()) return Code::TooBig;
    page.command_line[page.command_line_bytes++] = c;
  }
}

/// @p address is far below the end of the address space.
u64 up_to_page(u64 address) { return align_down(address + page_size_bytes - 1, page_size_bytes); }

/// RAM, whole pages of it, within reach.
PhysRange usable_part(const MapEntry& entry) {
  if (entry.address >= reach_bytes) return {};
  const u64 size = std::min(entry.size_bytes, reach_bytes - entry.address);
  const u64 start = up_to_page(entry.address);
  const u64 end = align_down(entry.address + size, page_size_bytes);
  return end > start ? PhysRange{PhysAddr(start), end - start} : PhysRange{};
}

/// Tables of the firmware are reserved pieces that follow RAM without a gap; other reserved pieces are no memory at
/// all.
Status add_firmware_tables(const LoaderMemory& memory, const StartInfo& info, MemoryMap<max_memory_ranges>& map) {
  for (u32 i = 0; i < info.memory_map_entries; ++i) {
    TRY_ASSIGN(const MapEntry entry, load<MapEntry>(memory, info.memory_map + i * sizeof(MapEntry)));
    if (entry.type == ram_type || entry.address < low_memory_bytes) continue;
    for (const MemoryRange& part : map.ranges())
      if (part.range.start.value + part.range.size_bytes == entry.address) {
        TRY(map.add(usable_part(entry), MemoryKind::Reserved));
        break;
      }
  }
  return {};
}

Status read_memory_map(const LoaderMemory& memory, const StartInfo& info, MemoryMap<max_memory_ranges>& map) {
  constexpr u32 most_entries = 128;
  if (info.version < 1 || info.memory_map_entries > most_entries) return Code::Invalid;
  for (u32 i = 0; i < info.memory_map_entries; ++i) {
    TRY_ASSIGN(const MapEntry entry, load<MapEntry>(memory, info.memory_map + i * sizeof(MapEntry)));
    if (entry.type == ram_type) TRY(map.add(usable_part(entry), MemoryKind::Ram));
  }
  TRY(add_firmware_tables(memory, info, map));
  return map.add({PhysAddr(0), low_memory_bytes}, MemoryKind::Reserved);
}

Status read_module(const LoaderMemory& memory, const StartInfo& info, MemoryMap<max_memory_ranges>& map,
                   BootPage& page) {
  if (info.modules == 0) return {};
  TRY_ASSIGN(const Module module, load<Module>(memory, info.module_list));
  if (module.address > memory.size_bytes || module.size_bytes > memory.size_bytes - module.address)
    return Code::Invalid;
  page.module_start = module.address;
  page.module_bytes = module.size_bytes;
  const u64 start = align_down(module.address, page_size_bytes);
  return map.add({PhysAddr(start), up_to_page(module.address + module.size_bytes) - start}, MemoryKind::Reserved);
}

Result<StartInfo> load_start_info(const LoaderMemory& memory, u64 address) {
  TRY_ASSIGN(const StartInfo info, load<StartInfo>(memory, address));
  if (info.magic != start_info_magic) return Code::Invalid;
  return info;
}

}  // namespace

Status read_start_info(const LoaderMemory& memory, u64 start_info, PhysRange own_image, BootPage& page,
                       std::string_view& bad) {
  bad = "there is no start_info: this image is started by the PVH protocol (qemu-system-x86_64 -kernel)";
  TRY_ASSIGN(const StartInfo info, load_start_info(memory, start_info));
  bad = "the command line lies outside memory or is too long";
  TRY(read_command_line(memory, info.command_line, page));
  page.rsdp = info.rsdp;
  bad = "the memory map is missing, lies outside memory, or has too many pieces";
  MemoryMap<max_memory_ranges> map;
  TRY(read_memory_map(memory, info, map));
  TRY(map.add(own_image, MemoryKind::Reserved));
  bad = "the module (-initrd) lies outside memory, or cuts the memory map into too many pieces";
  TRY(read_module(memory, info, map, page));
  bad = {};
  page.memory_entries = 0;
  for (const MemoryRange& part : map.ranges())
    page.memory[page.memory_entries++] = {part.range.start.value, part.range.size_bytes, static_cast<u64>(part.kind)};
  return {};
}

}  // namespace metal

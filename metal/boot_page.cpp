#include "metal/boot_page.hpp"

#include "holdfast/base/checked.hpp"
#include "metal/reach.hpp"

namespace metal {
namespace {

bool is_whole_pages(const MemoryEntry& entry) {
  return entry.start % page_size_bytes == 0 && entry.size_bytes % page_size_bytes == 0 && entry.size_bytes != 0;
}

/// Sorted, disjoint, in whole pages, within reach.
bool is_memory_map(std::span<const MemoryEntry> entries) {
  u64 end = 0;
  for (const MemoryEntry& entry : entries) {
    if (entry.kind > static_cast<u64>(MemoryKind::Reserved) || !is_whole_pages(entry) || entry.start < end)
      return false;
    if (entry.start >= reach_bytes || entry.size_bytes > reach_bytes - entry.start) return false;
    end = entry.start + entry.size_bytes;
  }
  return !entries.empty();
}

/// No module, or one in memory that nobody gives out.
bool is_module(const BootPage& page, std::span<const MemoryEntry> entries) {
  if (page.module_bytes == 0) return true;
  for (const MemoryEntry& entry : entries)
    if (entry.kind == static_cast<u64>(MemoryKind::Reserved) &&
        PhysRange{PhysAddr(entry.start), entry.size_bytes}.contains(PhysAddr(page.module_start), page.module_bytes))
      return page.module_start >= page_size_bytes;
  return false;
}

/// No register, or one that the page map covers and that is no memory.
bool is_register(u64 address, std::span<const MemoryEntry> entries) {
  if (address == 0) return true;
  const MemoryEntry& last = entries.back();
  if (address % sizeof(u32) != 0 || address > mapped_bytes(last.start + last.size_bytes) - sizeof(u32)) return false;
  for (const MemoryEntry& entry : entries)
    if (PhysRange{PhysAddr(entry.start), entry.size_bytes}.contains(PhysAddr(address), sizeof(u32))) return false;
  return address >= page_size_bytes;
}

}  // namespace

Status check(const BootPage& page, std::string_view& bad) {
  const auto refuse = [&](std::string_view what) {
    bad = what;
    return Status(Code::Corrupt);
  };
  if (page.magic != boot_page_magic) return refuse("it is none");
  if (page.version != boot_page_version) return bad = "its version", Status(Code::UnknownVersion);
  if (page.memory_entries > max_memory_ranges) return refuse("the size of the memory map");
  if (page.command_line_bytes > max_command_line_bytes) return refuse("the size of the command line");
  const std::span<const MemoryEntry> entries(page.memory.data(), page.memory_entries);
  if (!is_memory_map(entries)) return refuse("the memory map");
  if (page.generation == 0) return refuse("the generation: no kernel is jumped into before the first");
  if (page.handover.fdt == 0) return refuse("the handover: there is none");
  if (!is_plausible_rate(page.tsc_hz)) return refuse("the rate of the time stamp counter");
  if (!is_module(page, entries)) return refuse("the place of the next image");
  if (!is_register(page.watched_register, entries)) return refuse("the address of the watched register");
  return {};
}

}  // namespace metal

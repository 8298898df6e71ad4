// x86-64 4-level paging (Intel SDM volume 3, chapter 4).
#include "metal/page_map.hpp"

#include <array>

#include "holdfast/base/checked.hpp"
#include "metal/cpu.hpp"
#include "metal/stack_guard.hpp"

namespace metal {
namespace {

using Table = std::array<u64, 512>;

constexpr u64 present = 1 << 0;
constexpr u64 writable = 1 << 1;
constexpr u64 uncached = 1 << 3 | 1 << 4;  // PWT, PCD
constexpr u64 large = 1 << 7;
constexpr u64 large_page_bytes = u64{2} << 20;
constexpr u64 top_entry_bytes = u64{512} * gib;
constexpr u32 first_direct_map_entry = 256;
constexpr u32 direct_map_places = 128;

struct Tables {
  alignas(page_size_bytes) Table top;
  alignas(page_size_bytes) Table identity;   // by GiB
  alignas(page_size_bytes) Table direct;     // by GiB
  alignas(page_size_bytes) Table first_gib;  // identity: its first 2 MiB in small pages
  alignas(page_size_bytes) Table first_pages;
  alignas(page_size_bytes) Table guard_gib;  // identity: the GiB of the page below the stack, if that is not the first
  alignas(page_size_bytes) Table guard_pages;  // identity: its 2 MiB, if those are not the first
  alignas(page_size_bytes) std::array<Table, reach_bytes / gib> gibs;  // of both maps
};
Tables tables;
u64 mapped_end = 0;

/// The image stands at its physical address.
u64 entry_to(const Table& table) { return reinterpret_cast<u64>(table.data()) | present | writable; }

u64& large_page(u64 address) { return tables.gibs[address / gib][address % gib / large_page_bytes]; }

/// Boot is in the blackout: one pass over addresses, one over RAM.
void fill_gibs(std::span<const MemoryRange> memory_map, u64 end) {
  for (u64 at = 0; at < end; at += large_page_bytes) large_page(at) = at | present | writable | large | uncached;
  for (const MemoryRange& part : memory_map) {
    const u64 part_end = part.range.start.value + part.range.size_bytes;
    for (u64 at = align_down(part.range.start.value, large_page_bytes); at < part_end; at += large_page_bytes)
      large_page(at) &= ~uncached;
  }
}

/// @p pages maps 2 MiB from @p start one to one, as RAM.
void fill_pages(Table& pages, u64 start) {
  for (u64 page = 0; page < pages.size(); ++page) pages[page] = (start + page * page_size_bytes) | present | writable;
}

/// Page 0 is a null pointer.
void unmap_null() {
  fill_pages(tables.first_pages, 0);
  tables.first_pages[0] = 0;
  tables.first_gib = tables.gibs[0];
  tables.first_gib[0] = entry_to(tables.first_pages);
  tables.identity[0] = entry_to(tables.first_gib);
}

/// After unmap_null().
void unmap_stack_guard() {
  const u64 guard = stack_guard().start.value;
  const u64 start = align_down(guard, large_page_bytes);
  Table* pages = &tables.first_pages;
  if (start != 0) {
    pages = &tables.guard_pages;
    fill_pages(*pages, start);
    Table* gib_table = &tables.first_gib;
    if (start >= gib) {
      gib_table = &tables.guard_gib;
      *gib_table = tables.gibs[start / gib];
      tables.identity[start / gib] = entry_to(*gib_table);
    }
    (*gib_table)[start % gib / large_page_bytes] = entry_to(*pages);
  }
  (*pages)[(guard - start) / page_size_bytes] = 0;
}

u32 direct_map_entry(u32 generation) { return first_direct_map_entry + generation % direct_map_places; }

}  // namespace

std::byte* PageMap::direct_map(u32 generation) {
  constexpr u64 sign_extension = u64{0xffff} << 48;
  return reinterpret_cast<std::byte*>(sign_extension | direct_map_entry(generation) * top_entry_bytes);
}

u64 PageMap::end() { return mapped_end; }

void PageMap::install(std::span<const MemoryRange> memory_map, u32 generation) {
  mapped_end = mapped_bytes(memory_map);
  fill_gibs(memory_map, mapped_end);
  for (u64 i = 0; i < mapped_end / gib; ++i) tables.identity[i] = tables.direct[i] = entry_to(tables.gibs[i]);
  unmap_null();
  unmap_stack_guard();
  tables.top[0] = entry_to(tables.identity);
  tables.top[direct_map_entry(generation)] = entry_to(tables.direct);
  write_cr3(reinterpret_cast<u64>(tables.top.data()));
}

}  // namespace metal

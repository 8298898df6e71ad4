// memfd, generation "memfd-v2": a preserved memory file as it crosses the jump. This interface is a contract.
//
// The file record's data is the address of one MemfdRecord; its folio list is an array of Folio scattered over the
// pages that a VmallocDescriptor names (KHO's way of preserving a virtually contiguous array). Layout only, no
// behaviour.
#pragma once

#include <cstddef>
#include <string_view>

#include "holdfast/base/types.hpp"

namespace holdfast::abi::memfd {

inline constexpr std::string_view compatible = "memfd-v2";

/// A preserved array of pages: the chain of chunks lists them in order. Each listed block has 2^order pages.
struct VmallocDescriptor {
  u64 first;        // address of the first VmallocChunk; 0 when the array is empty
  u32 total_pages;  // of 4 KiB
  u16 flags;        // vmalloc_*
  u16 order;        // of every listed block
};
static_assert(sizeof(VmallocDescriptor) == 16);
static_assert(offsetof(VmallocDescriptor, first) == 0);
static_assert(offsetof(VmallocDescriptor, total_pages) == 8);
static_assert(offsetof(VmallocDescriptor, flags) == 12);
static_assert(offsetof(VmallocDescriptor, order) == 14);
inline constexpr u16 vmalloc_alloc = 1;      // an ordinary allocation
inline constexpr u16 vmalloc_huge_vmap = 2;  // may have been mapped with large pages

/// One page of the chain; the list ends at the first 0.
struct VmallocChunk {
  u64 next;  // address of the next chunk; 0 at the end
  u64 pages[511];
};
static_assert(sizeof(VmallocChunk) == page_size_bytes);
static_assert(offsetof(VmallocChunk, next) == 0);
static_assert(offsetof(VmallocChunk, pages) == 8);

struct MemfdRecord {
  u64 position;
  u64 size_bytes;
  u32 seals;  // F_SEAL_* of the moment of preserve
  u32 flags;  // 0
  u64 folio_count;
  VmallocDescriptor folios;
};
static_assert(sizeof(MemfdRecord) == 48);
static_assert(offsetof(MemfdRecord, position) == 0);
static_assert(offsetof(MemfdRecord, size_bytes) == 8);
static_assert(offsetof(MemfdRecord, seals) == 16);
static_assert(offsetof(MemfdRecord, flags) == 20);
static_assert(offsetof(MemfdRecord, folio_count) == 24);
static_assert(offsetof(MemfdRecord, folios) == 32);

/// One preserved block of the file: its first frame, what it holds, where it belongs.
struct Folio {
  u64 frame_and_flags;  // frame 51:0, flags 63:52
  u64 index;            // page of the file, from 0

  static constexpr u64 dirty = u64{1} << 52;       // holds user data
  static constexpr u64 up_to_date = u64{1} << 53;  // contents are valid (a hole that preserving filled with zeroes)
  static constexpr u64 frame_mask = (u64{1} << 52) - 1;

  [[nodiscard]] constexpr Pfn frame() const { return Pfn(frame_and_flags & frame_mask); }
  [[nodiscard]] constexpr u64 flags() const { return frame_and_flags & ~frame_mask; }
};
static_assert(sizeof(Folio) == 16);
static_assert(offsetof(Folio, frame_and_flags) == 0);
static_assert(offsetof(Folio, index) == 8);

inline constexpr u64 folios_per_page = page_size_bytes / sizeof(Folio);

}  // namespace holdfast::abi::memfd

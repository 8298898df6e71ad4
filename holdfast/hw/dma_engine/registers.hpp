// The modelled DMA engine's manual: its registers, the addresses it goes to, and what a slot must hold.
//
// This device is ours and exists only in the machine model (vendor 0xf01d). BAR 0 is one page. A running engine makes
// transfer after transfer through its IOMMU unit, i = TRANSFERS counting from 0:
//
//   1. read slot(i): it must hold what transfer i - slots left there (nothing, when i < slots)
//   2. write the slot: {i + 1, mix(SEED, i)}
//   3. read it back
//   4. read the stamp of a pseudo-random page of the window: {page index in the file, mix(0, page index)}
//
// The window maps one memory file again and again; alias(i) says which of its mappings transfer i goes through. An
// access that the unit refuses adds 1 to FAULTED and is tried again with the next transfer attempt; i does not advance.
// The engine runs while CTRL.RUN is 1, the function's bus master bit is 1 and the parameters are valid. A
// function-level reset clears every register. Parameters may change only while RUN is 0 and TRANSFERS is 0.
//
// The functions below are that manual's arithmetic: pure, shared by the engine and by whoever audits its memory.
#pragma once

#include <bit>

#include "holdfast/base/bits.hpp"

namespace holdfast::hw::dma_engine {

inline constexpr u16 vendor_id = 0xf01d;
inline constexpr u16 device_id = 0x0001;
inline constexpr u32 class_code = 0x088000;  // other system peripheral
inline constexpr u64 bar0_bytes = 0x1000;

inline constexpr u64 id_offset = 0x00;            // u32 ro
inline constexpr u32 id_value = 0x48464431;       // "HFD1"
inline constexpr u64 ctrl_offset = 0x04;          // u32
inline constexpr u64 window_iova_offset = 0x08;   // u64: start of the window, whole pages
inline constexpr u64 window_bytes_offset = 0x10;  // u64: a multiple of FILE_BYTES
inline constexpr u64 file_bytes_offset = 0x18;    // u64: size of the memory file, a power of two, at least a page
inline constexpr u64 slot_offset_offset = 0x20;   // u32: byte offset of the device's slot in each page, see valid()
inline constexpr u64 seed_offset = 0x24;          // u32
inline constexpr u64 transfers_offset = 0x28;     // u64 ro: completed
inline constexpr u64 faulted_offset = 0x30;       // u64 ro: accesses that the unit refused
inline constexpr u64 lost_offset = 0x38;          // u64 ro: slots that held an older transfer than they must
inline constexpr u64 repeated_offset = 0x40;      // u64 ro: slots that held a transfer not made yet
inline constexpr u64 wrong_offset = 0x48;         // u64 ro: slots, read-backs and stamps that held anything else

/// CTRL.
namespace ctrl {
using Run = Bit<0>;
}  // namespace ctrl
using Ctrl = Bits<32, Reserved<31, 1>, ctrl::Run>;

/// What software programs before it sets RUN.
struct Parameters {
  u64 window_iova = 0;
  u64 window_bytes = 0;
  u64 file_bytes = 0;
  u32 slot_offset = 0;
  u32 seed = 0;

  constexpr bool operator==(const Parameters&) const = default;
  [[nodiscard]] constexpr u64 slots() const { return file_bytes / page_size_bytes; }
  [[nodiscard]] constexpr u64 aliases() const { return window_bytes / file_bytes; }
};

/// Sixteen bytes, as an engine writes them and as a stamp stands at the end of each page.
struct Slot {
  u64 number = 0;
  u64 check = 0;

  constexpr bool operator==(const Slot&) const = default;
};
inline constexpr u64 slot_bytes = 16;
inline constexpr u64 stamp_offset = 4080;  // of the stamp in each page

[[nodiscard]] constexpr bool valid(const Parameters& p) {
  return std::has_single_bit(p.file_bytes) && p.file_bytes >= page_size_bytes && p.window_bytes != 0 &&
         p.window_bytes % p.file_bytes == 0 && p.window_iova % page_size_bytes == 0 &&
         p.window_iova + (p.window_bytes - 1) >= p.window_iova && p.slot_offset % slot_bytes == 0 &&
         p.slot_offset < stamp_offset;
}

/// A well-spread 64-bit number; the same for the same arguments.
[[nodiscard]] constexpr u64 mix(u64 seed, u64 number) {
  u64 z = number + (seed + 1) * 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

/// Page of the file that transfer @p i writes: a permutation of all pages in each run of slots() transfers.
[[nodiscard]] constexpr u64 slot_of(const Parameters& p, u64 i) { return i * (u64{p.seed} | 1) & (p.slots() - 1); }

/// The smallest i with slot_of(i) == @p slot.
[[nodiscard]] constexpr u64 first_transfer_of(const Parameters& p, u64 slot) {
  const u64 odd = u64{p.seed} | 1;
  u64 inverse = odd;  // of an odd number modulo 2^64: each round doubles the correct low bits, 3 to begin with
  for (int round = 0; round < 5; ++round) inverse *= 2 - odd * inverse;
  return slot * inverse & (p.slots() - 1);
}

/// Which mapping of the file transfer @p i goes through.
[[nodiscard]] constexpr u64 alias_of(const Parameters& p, u64 i) { return mix(p.seed, i) % p.aliases(); }

/// Where transfer @p i puts its slot.
[[nodiscard]] constexpr Iova slot_iova(const Parameters& p, u64 i) {
  return Iova(p.window_iova + alias_of(p, i) * p.file_bytes + slot_of(p, i) * page_size_bytes + p.slot_offset);
}

/// What transfer @p i writes.
[[nodiscard]] constexpr Slot slot_content(const Parameters& p, u64 i) { return {i + 1, mix(p.seed, i)}; }

/// What page @p page of the file holds at stamp_offset; software writes it before it sets RUN.
[[nodiscard]] constexpr Slot stamp_content(u64 page) { return {page, mix(0, page)}; }

/// Page of the window, counted from its start, whose stamp transfer @p i reads.
[[nodiscard]] constexpr u64 stamp_page_of(const Parameters& p, u64 i) {
  return mix(u64{p.seed} << 32 | 0x5354, i) % (p.window_bytes / page_size_bytes);
}

enum class Verdict : u8 { Right, Lost, Repeated, Wrong };

/// Judges what @p slot holds when transfers 0 .. @p completed - 1 are done and no other has begun.
[[nodiscard]] constexpr Verdict judge(const Parameters& p, u64 slot, u64 completed, Slot found) {
  const u64 first = first_transfer_of(p, slot);
  const bool written = completed > first;
  if (found == Slot{}) return written ? Verdict::Lost : Verdict::Right;
  const u64 last = written ? first + (completed - 1 - first) / p.slots() * p.slots() : 0;
  const u64 i = found.number - 1;
  if (found.number == 0 || slot_of(p, i) != slot || found != slot_content(p, i)) return Verdict::Wrong;
  if (!written || i > last) return Verdict::Repeated;
  return i == last ? Verdict::Right : Verdict::Lost;
}

/// The same for an engine that may be in the middle of transfer number @p completed.
[[nodiscard]] constexpr Verdict judge_live(const Parameters& p, u64 slot, u64 completed, Slot found) {
  if (slot == slot_of(p, completed) && found == slot_content(p, completed)) return Verdict::Right;
  return judge(p, slot, completed, found);
}

}  // namespace holdfast::hw::dma_engine

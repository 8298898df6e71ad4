// A page table as a textbook has it: four levels of 512 entries, one recursive function an operation, a page at a time,
// tables zeroed when they are made, no arena, no gather, no counts, no checks. What it costs says what the machine
// makes of the plain thing; the variant Locked exchanges each entry, as code does that trusts nobody.
//
// Threads: one.
#pragma once

#include <list>
#include <stdexcept>

#include "holdfast/memory/memory.hpp"

namespace holdfast::bench {

enum class Entries : u8 { Stored, Locked };

template <Entries how>
class Textbook {
 public:
  explicit Textbook(Memory& memory) : x_memory(memory), x_top(new_table()) {}
  ~Textbook() { free_below(x_top, 3); }
  Textbook(const Textbook&) = delete;
  Textbook& operator=(const Textbook&) = delete;

  void map(u64 iova, u64 size_bytes, u64 address) {
    for (u64 at = 0; at < size_bytes; at += page_size_bytes) map_page(x_top, 3, iova + at, address + at);
  }
  void unmap(u64 iova, u64 size_bytes) {
    for (u64 at = 0; at < size_bytes; at += page_size_bytes) unmap_page(x_top, 3, iova + at);
  }
  /// 0: nothing.
  [[nodiscard]] u64 lookup(u64 iova) const { return find(x_top, 3, iova); }
  /// Every table, as code collects that has a list at hand.
  [[nodiscard]] std::list<u64> collect() const {
    std::list<u64> found;
    collect_below(x_top, 3, found);
    return found;
  }

 private:
  static constexpr u64 address_bits = 0x000f'ffff'ffff'f000;

  [[nodiscard]] u64* table(u64 page) const { return x_memory.map.at<u64>(PhysAddr(page)); }
  [[nodiscard]] static u64 index(u64 iova, unsigned level) { return iova >> (12 + 9 * level) & 511; }
  [[nodiscard]] u64 new_table() { return x_memory.buddy.allocate_zeroed(0).value().value; }
  static void set(u64& entry, u64 value) {
    if constexpr (how == Entries::Locked)
      __atomic_exchange_n(&entry, value, __ATOMIC_ACQ_REL);
    else
      __atomic_store_n(&entry, value, __ATOMIC_RELEASE);
  }

  void map_page(u64 page, unsigned level, u64 iova, u64 address) {
    u64& entry = table(page)[index(iova, level)];
    if (level == 0) {
      if (entry != 0) throw std::runtime_error("mapped already");
      return set(entry, address | 3);
    }
    if (entry == 0) set(entry, new_table() | 3);
    map_page(entry & address_bits, level - 1, iova, address);
  }
  void unmap_page(u64 page, unsigned level, u64 iova) {
    u64& entry = table(page)[index(iova, level)];
    if (entry == 0) throw std::runtime_error("not mapped");
    if (level == 0) return set(entry, 0);
    unmap_page(entry & address_bits, level - 1, iova);
  }
  [[nodiscard]] u64 find(u64 page, unsigned level, u64 iova) const {
    const u64 entry = table(page)[index(iova, level)];
    if (entry == 0) return 0;
    return level == 0 ? (entry & address_bits) | (iova & 4095) : find(entry & address_bits, level - 1, iova);
  }
  void collect_below(u64 page, unsigned level, std::list<u64>& found) const {
    found.push_back(page);
    if (level == 0) return;
    for (u64 i = 0; i < 512; ++i)
      if (const u64 entry = table(page)[i]; entry != 0) collect_below(entry & address_bits, level - 1, found);
  }
  void free_below(u64 page, unsigned level) {
    if (level != 0)
      for (u64 i = 0; i < 512; ++i)
        if (const u64 entry = table(page)[i]; entry != 0) free_below(entry & address_bits, level - 1);
    x_memory.buddy.release(PhysAddr(page), 0);
  }

  Memory& x_memory;
  u64 x_top;
};

}  // namespace holdfast::bench

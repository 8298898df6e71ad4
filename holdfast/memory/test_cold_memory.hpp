// Test support (hosted; never part of the library), for benchmarks: memory whose pages are met in address order and in
// caches (hot), or shuffled and out of caches (cold), and the yardstick for the latter.
//
//   ColdMemory host;
//   const auto pages = host.take_pages(PageOrder::Shuffled);
//   host.sweep();                   // nothing of host is in a cache any more
//   measure(pages);
//   host.misses();                  // misses_per_round reads that miss and do not wait for each other
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <random>
#include <stdexcept>
#include <vector>

#include "holdfast/memory/own_ram.hpp"

namespace holdfast {

/// Zeroed memory in huge pages, as a kernel's direct map, so that what is missed is the cache and not the TLB.
class HugeMapping {
 public:
  explicit HugeMapping(u64 bytes) : x_bytes(bytes + huge_page) {
    void* base = mmap(nullptr, x_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) throw std::runtime_error("no memory for the benchmark");
    x_base = static_cast<std::byte*>(base);
    const auto past_huge_page = reinterpret_cast<std::uintptr_t>(base) % huge_page;
    x_span = {x_base + (huge_page - past_huge_page), bytes};
    madvise(x_base, x_bytes, MADV_HUGEPAGE);
  }
  HugeMapping(const HugeMapping&) = delete;
  HugeMapping& operator=(const HugeMapping&) = delete;
  ~HugeMapping() { munmap(x_base, x_bytes); }
  [[nodiscard]] std::span<std::byte> span() const { return x_span; }

 private:
  static constexpr u64 huge_page = u64{2} << 20;
  u64 x_bytes;
  std::byte* x_base;
  std::span<std::byte> x_span;
};

enum class PageOrder : u8 { Rising, Shuffled };

class ColdMemory {
 public:
  static constexpr std::size_t page_count = std::size_t{1} << 19;  // the tables of 1 TiB mapped at 4K
  static constexpr std::size_t misses_per_round = std::size_t{1} << 17;

  ColdMemory() : x_mapping(ram_bytes), x_ram(x_mapping.span(), PhysAddr(0)) {
    if (!x_ram.open().ok()) throw std::runtime_error("no RAM for the benchmark");
    far_words();  // not within a round
  }
  Memory& memory() { return x_ram.memory(); }

  std::vector<PhysAddr> take_pages(PageOrder order) {
    std::vector<PhysAddr> pages(page_count);
    for (PhysAddr& page : pages) page = memory().buddy.allocate(0).value();
    arrange(pages, order);
    return pages;
  }
  void arrange(std::vector<PhysAddr>& pages, PageOrder order) {
    if (order == PageOrder::Shuffled)
      std::shuffle(pages.begin(), pages.end(), x_random);
    else
      std::sort(pages.begin(), pages.end());
  }
  /// Calls f(span) for pages that come as those of a table's children do.
  template <class F>
  static void in_chunks(std::span<const PhysAddr> pages, F&& f) {
    constexpr std::size_t tables_per_table = 512;
    for (; !pages.empty(); pages = pages.subspan(std::min(tables_per_table, pages.size())))
      f(pages.first(std::min(tables_per_table, pages.size())));
  }

  static void sweep() {
    const auto words = far_words();
    u64 sum = 0;
    for (std::size_t i = 0; i < words.size(); i += 8) sum += words[i];
    x_sink = sum;
  }
  /// The yardstick: one miss after the other, none needs the answer of another. They lie within 64 MiB, as the frames
  /// of a few GiB do, so that it is the cache that is missed and not also the TLB.
  static void misses() {
    constexpr u64 window_words = u64{64} << 17;
    const auto words = far_words();
    u64 random = x_seed += 0x9e3779b97f4a7c15;
    const auto window = words.subspan(align_down(random % (words.size() - window_words), 8), window_words);
    u64 sum = 0;
    for (std::size_t i = 0; i < misses_per_round; ++i) {
      random = random * 6364136223846793005 + 1442695040888963407;
      sum += window[(random >> 32) % window_words];
    }
    x_sink = sum;
  }

 private:
  static constexpr u64 ram_bytes = u64{4} << 30;  // few pages of it are touched
  static constexpr unsigned far_words_lg2 = 27;   // 1 GiB: no cache holds it

  static std::span<u64> far_words() {
    static HugeMapping mapping(sizeof(u64) << far_words_lg2);
    static const std::span<u64> words = [] {
      const std::span<u64> all(reinterpret_cast<u64*>(mapping.span().data()), std::size_t{1} << far_words_lg2);
      for (std::size_t i = 0; i < all.size(); i += 512) all[i] = i;
      return all;
    }();
    return words;
  }

  static inline u64 x_seed = 1;
  static inline volatile u64 x_sink = 0;
  HugeMapping x_mapping;
  OwnRam x_ram;
  std::mt19937_64 x_random{7};
};

}  // namespace holdfast

// What page tables are measured with, in the same run: what the machine can do at all.
//
//   X  one locked exchange on memory in the L1 cache
//   F  a rep-stos fill of the very tables of the row, R a plain read of them
//   M  one of many independent cache misses: reads all over 512 MiB, of lines that no cache has
//
// Threads: one.
#pragma once

#include <benchmark/benchmark.h>

#include <array>
#include <atomic>
#include <vector>

#include "tests/bench/machine.hpp"

namespace holdfast::bench {

inline constexpr const char* x_name = "locked exchange in L1";
inline constexpr const char* f_name = "rep-stos fill of the tables";
inline constexpr const char* r_name = "plain read of the tables";
inline constexpr const char* m_name = "one of many cache misses";

/// @p count times X.
inline void exchange(std::size_t count) {
  static std::array<std::atomic<u64>, 512> words{};
  for (std::size_t i = 0; i < count; ++i) words[i % words.size()].exchange(i);
}

/// Pieces of memory: the tables of a row.
using Pieces = std::vector<std::span<u64>>;

[[nodiscard]] inline std::size_t words_of(const Pieces& pieces) {
  std::size_t words = 0;
  for (const std::span<u64>& piece : pieces) words += piece.size();
  return words;
}

/// F, once over all.
inline void fill(const Pieces& pieces) {
  for (const std::span<u64>& piece : pieces) {
    void* at = piece.data();
    std::size_t count = piece.size();
    asm volatile("rep stosq" : "+D"(at), "+c"(count) : "a"(0) : "memory");
  }
}

/// R, once over all.
inline void read(const Pieces& pieces) {
  u64 sum = 0;
  for (const std::span<u64>& piece : pieces)
    for (const u64 word : piece) sum += word;
  benchmark::DoNotOptimize(sum);
}

/// M.
class Misses {
 public:
  static Misses& get() {
    static Misses only;
    return only;
  }
  /// @p count of them.
  void read(std::size_t count) {
    u64 sum = 0;
    visit(count, [&](u64* word) { sum += *word; });
    benchmark::DoNotOptimize(sum);
  }
  /// What the next @p count reads will meet is in no cache.
  void prepare(std::size_t count) {
    x_begin = x_next;
    visit(count, [](const u64* word) { sweep(word, sizeof *word); });
    x_next = x_begin;
  }

 private:
  Misses() : x_pages(u64{512} << 20) {}

  template <class F>
  void visit(std::size_t count, F&& f) {
    u64* const words = reinterpret_cast<u64*>(x_pages.base());
    const u64 last_line = x_pages.bytes() / 64 - 1;
    for (; count != 0; --count) {
      x_next = x_next * 6364136223846793005u + 1442695040888963407u;
      f(&words[(x_next >> 33 & last_line) * 8]);
    }
  }

  LargePages x_pages;
  u64 x_next = 1;
  u64 x_begin = 1;
};

}  // namespace holdfast::bench

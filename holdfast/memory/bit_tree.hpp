// BitTree: a bitmap with summaries above it, so that the lowest set bit is found in one load per level.
//
// Memory is given by the caller and zeroed. Threads: the owner's lock.
#pragma once

#include <array>
#include <span>

#include "holdfast/base/panic.hpp"
#include "holdfast/base/types.hpp"

namespace holdfast {

class BitTree {
 public:
  /// Words that place() needs for @p bits bits.
  [[nodiscard]] static u64 word_count(u64 bits);

  void place(std::span<u64> words, u64 bits);

  void set(u64 bit);
  void clear(u64 bit);
  [[nodiscard]] bool test(u64 bit) const { return (x_levels[0][bit / 64] >> (bit % 64) & 1) != 0; }
  [[nodiscard]] bool empty() const { return x_levels[x_height - 1][0] == 0; }
  /// Lowest set bit; the tree must not be empty.
  [[nodiscard]] u64 first() const;

 private:
  static constexpr unsigned max_height = 6;  // 2^36 bits

  std::array<u64*, max_height> x_levels{};  // 0: the bits; bit i of level n+1: word i of level n is not zero
  unsigned x_height = 0;
};

}  // namespace holdfast

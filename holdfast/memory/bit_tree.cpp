// Summarised bitmap. See bit_tree.hpp.
#include "holdfast/memory/bit_tree.hpp"

#include <bit>
#include <utility>

#include "holdfast/base/checked.hpp"

namespace holdfast {

u64 BitTree::word_count(u64 bits) {
  u64 total = 0;
  for (u64 words = div_ceil(bits, 64);; words = div_ceil(words, 64)) {
    total += words;
    if (words <= 1) return total;
  }
}

void BitTree::place(std::span<u64> words, u64 bits) {
  verify_invariant(bits != 0 && words.size() == word_count(bits), "bit tree of the wrong size");
  u64 at = 0;
  for (u64 count = div_ceil(bits, 64);; count = div_ceil(count, 64)) {
    verify_invariant(x_height < max_height, "bit tree too large");
    x_levels[x_height++] = &words[at];
    at += count;
    if (count == 1) return;
  }
}

void BitTree::set(u64 bit) {
  for (unsigned level = 0; level < x_height; ++level, bit /= 64) {
    const u64 before = std::exchange(x_levels[level][bit / 64], x_levels[level][bit / 64] | u64{1} << (bit % 64));
    if (before != 0) return;  // the summaries know it already
  }
}

void BitTree::clear(u64 bit) {
  for (unsigned level = 0; level < x_height; ++level, bit /= 64) {
    u64& word = x_levels[level][bit / 64];
    word &= ~(u64{1} << (bit % 64));
    if (word != 0) return;
  }
}

u64 BitTree::first() const {
  u64 index = 0;
  for (unsigned level = x_height; level-- != 0;) {
    const u64 word = x_levels[level][index];
    verify_invariant(word != 0, "first bit of an empty tree");
    index = index * 64 + static_cast<u64>(std::countr_zero(word));
  }
  return index;
}

}  // namespace holdfast

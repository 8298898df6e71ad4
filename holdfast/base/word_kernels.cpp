// The plain kernels: what the vector ones are compared with, and what a kernel build uses. See word_kernels.hpp.
#include "holdfast/base/word_kernels.hpp"

#include <bit>

namespace holdfast {

namespace {

void store(u64* where, u64 value) { __atomic_store_n(where, value, __ATOMIC_RELAXED); }
u64 load(const u64* where) { return __atomic_load_n(where, __ATOMIC_RELAXED); }

void fill(u64* words, u64 count, u64 first, u64 step) {
  for (u64 i = 0; i < count; ++i, first += step) store(&words[i], first);
}

u64 find_set(const u64* words, u64 count) {
  for (u64 i = 0; i < count; ++i)
    if (load(&words[i]) != 0) return i;
  return count;
}

u64 find_clear(const u64* words, u64 count) {
  for (u64 i = 0; i < count; ++i)
    if (load(&words[i]) == 0) return i;
  return count;
}

u64 match(const u64* words, unsigned count, u64 mask, u64 value) {
  u64 found = 0;
  for (unsigned i = 0; i < count; ++i) found |= u64{(load(&words[i]) & mask) == value} << i;
  return found;
}

void flip(u64* words, u64 which, u64 bits) {
  for (; which != 0; which &= which - 1) {
    u64* word = &words[std::countr_zero(which)];
    store(word, load(word) ^ bits);
  }
}

}  // namespace

const WordKernels plain_word_kernels{fill, find_set, find_clear, match, flip};

}  // namespace holdfast

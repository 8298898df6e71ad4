// Kernels over arrays of 64-bit words: the few loops of the library that are worth a vector unit.
//
// The library carries plain loops; a world that may use vector registers supplies faster ones with the same answers
// (World::word_kernels). Contract of all: @p words is 8-byte aligned. fill() and flip() write every word in one piece,
// so that hardware reading beside them finds each word old or new; in which order is not defined.
// Threads: pure but for what they write. Failure: none.
#pragma once

#include <bit>

#include "holdfast/base/types.hpp"

namespace holdfast {

struct WordKernels {
  /// words[i] = first + i * step, modulo 2^64.
  void (*fill)(u64* words, u64 count, u64 first, u64 step);
  /// Index of the first word that is not 0; @p count when there is none.
  u64 (*find_set)(const u64* words, u64 count);
  /// Index of the first word that is 0; @p count when there is none.
  u64 (*find_clear)(const u64* words, u64 count);
  /// Bit i of the answer: (words[i] & mask) == value. @p count is at most 64.
  u64 (*match)(const u64* words, unsigned count, u64 mask, u64 value);
  /// words[i] ^= bits where bit i of @p which is set; others are not written. Not atomic.
  void (*flip)(u64* words, u64 which, u64 bits);
};

/// What the vector kernels are compared with, and what a kernel build uses.
namespace plain {

inline void store(u64* where, u64 value) { __atomic_store_n(where, value, __ATOMIC_RELAXED); }
inline u64 load(const u64* where) { return __atomic_load_n(where, __ATOMIC_RELAXED); }

inline void fill(u64* words, u64 count, u64 first, u64 step) {
  for (u64 i = 0; i < count; ++i, first += step) store(&words[i], first);
}

inline u64 find_set(const u64* words, u64 count) {
  for (u64 i = 0; i < count; ++i)
    if (load(&words[i]) != 0) return i;
  return count;
}

inline u64 find_clear(const u64* words, u64 count) {
  for (u64 i = 0; i < count; ++i)
    if (load(&words[i]) == 0) return i;
  return count;
}

inline u64 match(const u64* words, unsigned count, u64 mask, u64 value) {
  u64 found = 0;
  for (unsigned i = 0; i < count; ++i) found |= u64{(load(&words[i]) & mask) == value} << i;
  return found;
}

inline void flip(u64* words, u64 which, u64 bits) {
  for (; which != 0; which &= which - 1) {
    u64* word = &words[std::countr_zero(which)];
    store(word, load(word) ^ bits);
  }
}

}  // namespace plain

inline constexpr WordKernels plain_word_kernels{plain::fill, plain::find_set, plain::find_clear, plain::match,
                                                plain::flip};

}  // namespace holdfast

// Kernels over arrays of 64-bit words: the few loops of the library that are worth a vector unit.
//
// The library carries plain loops; a world that may use vector registers supplies faster ones with the same answers
// (World::word_kernels). Contract of all: @p words is 8-byte aligned. fill() and flip() write every word in one piece,
// so that hardware reading beside them finds each word old or new; in which order is not defined.
// Threads: pure but for what they write. Failure: none.
#pragma once

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

extern const WordKernels plain_word_kernels;

}  // namespace holdfast

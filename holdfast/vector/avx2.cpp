// Kernels with AVX2, and the stores of both units. See avx.hpp.
#if defined(__x86_64__)

#include <immintrin.h>

#include "holdfast/vector/avx.hpp"

#define HOLDFAST_AVX2 __attribute__((target("avx2,bmi")))

namespace holdfast {

namespace {

/// Below this a loop over words is as fast.
constexpr u64 few = 8;

void store_word(u64* where, u64 value) { __atomic_store_n(where, value, __ATOMIC_RELAXED); }
u64 load_word(const u64* where) { return __atomic_load_n(where, __ATOMIC_RELAXED); }
bool starts_pair(const u64* where) { return (reinterpret_cast<std::uintptr_t>(where) & 15) == 0; }

/// A compiler that knew these stores as C++ could merge them.
HOLDFAST_AVX2 void store_pair(u64* where, __m128i value) {
  asm volatile("vmovdqa %[value], %[where]" : [where] "=m"(*reinterpret_cast<__m128i*>(where)) : [value] "x"(value));
}
HOLDFAST_AVX2 __m256i load_four(const u64* from) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)); }
HOLDFAST_AVX2 __m128i load_pair(const u64* from) { return _mm_load_si128(reinterpret_cast<const __m128i*>(from)); }
HOLDFAST_AVX2 __m256i four_of(u64 value) { return _mm256_set1_epi64x(static_cast<long long>(value)); }
HOLDFAST_AVX2 __m128i pair_of(u64 first, u64 second) {
  return _mm_set_epi64x(static_cast<long long>(second), static_cast<long long>(first));
}
/// Bit i: word i of both is the same.
HOLDFAST_AVX2 unsigned equal_words(__m256i a, __m256i b) {
  return static_cast<unsigned>(_mm256_movemask_pd(_mm256_castsi256_pd(_mm256_cmpeq_epi64(a, b))));
}

HOLDFAST_AVX2 u64 find_set(const u64* words, u64 count) {
  u64 i = 0;
  for (; i + 16 <= count; i += 16) {
    const __m256i low = _mm256_or_si256(load_four(&words[i]), load_four(&words[i + 4]));
    const __m256i high = _mm256_or_si256(load_four(&words[i + 8]), load_four(&words[i + 12]));
    const __m256i any = _mm256_or_si256(low, high);
    if (_mm256_testz_si256(any, any) == 0) break;
  }
  for (; i < count; ++i)
    if (load_word(&words[i]) != 0) return i;
  return count;
}

HOLDFAST_AVX2 u64 find_clear(const u64* words, u64 count) {
  const __m256i zero = _mm256_setzero_si256();
  u64 i = 0;
  for (; i + 16 <= count; i += 16) {
    const __m256i low = _mm256_or_si256(_mm256_cmpeq_epi64(load_four(&words[i]), zero),
                                        _mm256_cmpeq_epi64(load_four(&words[i + 4]), zero));
    const __m256i high = _mm256_or_si256(_mm256_cmpeq_epi64(load_four(&words[i + 8]), zero),
                                         _mm256_cmpeq_epi64(load_four(&words[i + 12]), zero));
    const __m256i any = _mm256_or_si256(low, high);
    if (_mm256_testz_si256(any, any) == 0) break;
  }
  for (; i < count; ++i)
    if (load_word(&words[i]) == 0) return i;
  return count;
}

HOLDFAST_AVX2 u64 match(const u64* words, unsigned count, u64 mask, u64 value) {
  const __m256i masks = four_of(mask);
  const __m256i values = four_of(value);
  u64 found = 0;
  unsigned i = 0;
  for (; i + 4 <= count; i += 4) found |= u64{equal_words(_mm256_and_si256(load_four(&words[i]), masks), values)} << i;
  for (; i < count; ++i) found |= u64{(load_word(&words[i]) & mask) == value} << i;
  return found;
}

}  // namespace

HOLDFAST_AVX2 void avx_fill(u64* words, u64 count, u64 first, u64 step) {
  u64 i = 0;
  if (count >= few) {
    if (!starts_pair(words)) {
      store_word(words, first);
      i = 1;
    }
    __m128i pair = pair_of(first + i * step, first + (i + 1) * step);
    const __m128i next = pair_of(2 * step, 2 * step);
    // Two at a time, or where the linker puts this loop decides how fast it is.
    const __m128i next_two = _mm_add_epi64(next, next);
    for (__m128i second = _mm_add_epi64(pair, next); i + 4 <= count; i += 4) {
      store_pair(&words[i], pair);
      store_pair(&words[i + 2], second);
      pair = _mm_add_epi64(pair, next_two);
      second = _mm_add_epi64(second, next_two);
    }
    for (; i + 2 <= count; i += 2) {
      store_pair(&words[i], pair);
      pair = _mm_add_epi64(pair, next);
    }
  }
  for (; i < count; ++i) store_word(&words[i], first + i * step);
}

HOLDFAST_AVX2 void avx_flip(u64* words, u64 which, u64 bits) {
  const __m128i both = pair_of(bits, bits);
  while (which != 0) {
    const auto i = static_cast<unsigned>(__builtin_ctzll(which));
    if ((which >> i & 3) == 3 && starts_pair(&words[i])) {
      store_pair(&words[i], _mm_xor_si128(load_pair(&words[i]), both));
      which &= ~(u64{3} << i);
    } else {
      store_word(&words[i], load_word(&words[i]) ^ bits);
      which &= which - 1;
    }
  }
}

const WordKernels avx2_word_kernels{avx_fill, find_set, find_clear, match, avx_flip};

}  // namespace holdfast

#endif

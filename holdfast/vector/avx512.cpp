// Kernels with AVX-512: those that read, by whole cache lines. See avx.hpp.
#if defined(__x86_64__)

#include <immintrin.h>

#include "holdfast/vector/avx.hpp"

#define HOLDFAST_AVX512 __attribute__((target("avx512f,bmi")))

namespace holdfast {

namespace {

HOLDFAST_AVX512 __m512i load_eight(const u64* from) { return _mm512_loadu_si512(from); }
/// The first @p count words, at most eight, and zeros; what is beyond is not touched.
HOLDFAST_AVX512 __m512i load_some(const u64* from, u64 count, __mmask8& which) {
  which = static_cast<__mmask8>((1u << count) - 1);
  return _mm512_maskz_loadu_epi64(which, from);
}
/// (The plain intrinsic reads an undefined register in g++ 12, which then warns of it.)
HOLDFAST_AVX512 __m512i lesser(__m512i a, __m512i b) { return _mm512_maskz_min_epu64(0xff, a, b); }
HOLDFAST_AVX512 u64 first_of(unsigned which) { return static_cast<u64>(__builtin_ctz(which)); }

HOLDFAST_AVX512 u64 find_set(const u64* words, u64 count) {
  u64 i = 0;
  for (; i + 32 <= count; i += 32) {
    const __m512i low = _mm512_or_si512(load_eight(&words[i]), load_eight(&words[i + 8]));
    const __m512i high = _mm512_or_si512(load_eight(&words[i + 16]), load_eight(&words[i + 24]));
    const __m512i any = _mm512_or_si512(low, high);
    if (_mm512_test_epi64_mask(any, any) != 0) break;
  }
  for (; i < count; i += 8) {
    __mmask8 which = 0;
    const __m512i eight = load_some(&words[i], count - i < 8 ? count - i : 8, which);
    if (const __mmask8 set = _mm512_test_epi64_mask(eight, eight); set != 0) return i + first_of(set);
  }
  return count;
}

HOLDFAST_AVX512 u64 find_clear(const u64* words, u64 count) {
  u64 i = 0;
  for (; i + 32 <= count; i += 32) {
    const __m512i low = lesser(load_eight(&words[i]), load_eight(&words[i + 8]));
    const __m512i high = lesser(load_eight(&words[i + 16]), load_eight(&words[i + 24]));
    const __m512i least = lesser(low, high);
    if (_mm512_test_epi64_mask(least, least) != 0xff) break;
  }
  for (; i < count; i += 8) {
    __mmask8 which = 0;
    const __m512i eight = load_some(&words[i], count - i < 8 ? count - i : 8, which);
    if (const __mmask8 clear = _mm512_mask_testn_epi64_mask(which, eight, eight); clear != 0)
      return i + first_of(clear);
  }
  return count;
}

HOLDFAST_AVX512 u64 match(const u64* words, unsigned count, u64 mask, u64 value) {
  const __m512i masks = _mm512_set1_epi64(static_cast<long long>(mask));
  const __m512i values = _mm512_set1_epi64(static_cast<long long>(value));
  u64 found = 0;
  unsigned i = 0;
  for (; i + 8 <= count; i += 8)
    found |= u64{_mm512_cmpeq_epi64_mask(_mm512_and_si512(load_eight(&words[i]), masks), values)} << i;
  if (i != count) {
    __mmask8 which = 0;
    const __m512i rest = load_some(&words[i], count - i, which);
    found |= u64{_mm512_mask_cmpeq_epi64_mask(which, _mm512_and_si512(rest, masks), values)} << i;
  }
  return found;
}

}  // namespace

const WordKernels avx512_word_kernels{avx_fill, find_set, find_clear, match, avx_flip};

}  // namespace holdfast

#endif

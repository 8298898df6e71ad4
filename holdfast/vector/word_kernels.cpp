// Which kernels run here. See word_kernels.hpp; the kernels are in avx2.cpp and avx512.cpp.
#include "holdfast/vector/word_kernels.hpp"

#include "holdfast/vector/avx.hpp"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace holdfast {

#if defined(__x86_64__)

namespace {

struct Cpuid {
  unsigned eax = 0;
  unsigned ebx = 0;
  unsigned ecx = 0;
  unsigned edx = 0;
};

Cpuid cpuid(unsigned leaf) {
  Cpuid answer;
  __get_cpuid_count(leaf, 0, &answer.eax, &answer.ebx, &answer.ecx, &answer.edx);  // all 0 where there is no such leaf
  return answer;
}

/// Register sets that the operating system saves. The CPU must say OSXSAVE.
u64 saved_registers() {
  unsigned low = 0;
  unsigned high = 0;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return u64{high} << 32 | low;
}

constexpr bool has_all(u64 bits, u64 wanted) { return (bits & wanted) == wanted; }

}  // namespace

// Intel SDM volume 1, 14.3 and 15.2: OSXSAVE, then XCR0, then the instructions.
VectorUnit find_vector_unit() {
  constexpr unsigned osxsave = 1u << 27;
  constexpr unsigned avx = 1u << 28;
  constexpr unsigned bmi1 = 1u << 3;
  constexpr unsigned avx2 = 1u << 5;
  constexpr unsigned avx512f = 1u << 16;
  constexpr u64 ymm_state = 0x6;
  constexpr u64 zmm_state = 0xe6;
  if (!has_all(cpuid(1).ecx, osxsave | avx)) return VectorUnit::None;
  const u64 saved = saved_registers();
  const unsigned features = cpuid(7).ebx;
  if (!has_all(saved, ymm_state) || !has_all(features, bmi1 | avx2)) return VectorUnit::None;
  return has_all(saved, zmm_state) && has_all(features, avx512f) ? VectorUnit::Avx512 : VectorUnit::Avx2;
}

const WordKernels& word_kernels_for(VectorUnit unit) {
  switch (unit) {
    case VectorUnit::Avx512: return avx512_word_kernels;
    case VectorUnit::Avx2: return avx2_word_kernels;
    case VectorUnit::None: break;
  }
  return plain_word_kernels;
}

#else

VectorUnit find_vector_unit() { return VectorUnit::None; }
const WordKernels& word_kernels_for(VectorUnit) { return plain_word_kernels; }

#endif

}  // namespace holdfast

// Kernels over words for worlds that may use vector registers: base/word_kernels.hpp with AVX2 and AVX-512, chosen at
// run time. A module of its own at the very bottom: no other module uses it, and a kernel build, which must leave
// vector registers alone, does not link it. It needs nothing of an operating system but that AVX is switched on (XCR0).
//
//   const WordKernels& word_kernels() const override { return x_kernels; }   // x_kernels(best_word_kernels())
//
// Threads: pure. Failure: none.
#pragma once

#include "holdfast/base/word_kernels.hpp"

namespace holdfast {

enum class VectorUnit : u8 { None, Avx2, Avx512 };

/// What CPU and operating system allow. Asks the CPU each time, which a hypervisor may have to answer: keep it.
[[nodiscard]] VectorUnit find_vector_unit();
/// Those for @p unit, which must be there.
[[nodiscard]] const WordKernels& word_kernels_for(VectorUnit unit);
/// The fastest that run here. As find_vector_unit().
[[nodiscard]] inline const WordKernels& best_word_kernels() { return word_kernels_for(find_vector_unit()); }

}  // namespace holdfast

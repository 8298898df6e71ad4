// The kernels by vector unit: for word_kernels.cpp alone. What both units have in common about stores:
//
// Hardware walks the words while they are written, so each must change in one piece. A processor with AVX carries out
// an aligned 16-byte vector store to cacheable memory as one access (Intel SDM volume 3, 9.1.1; AMD64 APM volume
// 2, 7.3.2), hence the 8-byte words in it too. Of wider stores no manual says into which pieces they may fall, and of
// masked ones neither, so there is none here: runs are stored by 16 bytes, what is left over at the ends by 8.
//
// Loads may be as wide as they like. Who calls excludes other writers of the words but for hardware, which sets single
// accessed and dirty bits: a word that were read in pieces would still have each bit old or new, and no word goes from
// empty to set or back that way.
#pragma once

#include "holdfast/base/word_kernels.hpp"

namespace holdfast {

extern const WordKernels avx2_word_kernels;
extern const WordKernels avx512_word_kernels;

/// Writes by 16 bytes, for both units.
void avx_fill(u64* words, u64 count, u64 first, u64 step);
void avx_flip(u64* words, u64 which, u64 bits);

}  // namespace holdfast

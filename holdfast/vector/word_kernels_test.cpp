// One body over the kernels of every unit: what they answer and write is what the plain ones do, and what the contract
// of base/word_kernels.hpp says in single words.
#include "holdfast/vector/word_kernels.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

namespace holdfast {
namespace {

constexpr u64 most = 130;
constexpr unsigned alignments = 8;  // words from a cache line's start
constexpr u64 room = 2 * alignments + most;

/// Words between two pages that nobody may touch: @p ends_at_page, the last word ends at the second.
class Fenced {
 public:
  Fenced()
      : x_page(static_cast<std::size_t>(sysconf(_SC_PAGESIZE))),
        x_base(static_cast<std::byte*>(
            mmap(nullptr, 3 * x_page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))) {
    EXPECT_NE(static_cast<void*>(x_base), MAP_FAILED);
    EXPECT_EQ(mprotect(x_base, x_page, PROT_NONE), 0);
    EXPECT_EQ(mprotect(x_base + 2 * x_page, x_page, PROT_NONE), 0);
  }
  ~Fenced() { munmap(x_base, 3 * x_page); }
  Fenced(const Fenced&) = delete;
  Fenced& operator=(const Fenced&) = delete;

  [[nodiscard]] u64* first(unsigned skipped) { return reinterpret_cast<u64*>(x_base + x_page) + skipped; }
  [[nodiscard]] u64* last(u64 count) { return reinterpret_cast<u64*>(x_base + 2 * x_page) - count; }

 private:
  std::size_t x_page;
  std::byte* x_base;
};

class WordKernelsOf : public testing::TestWithParam<VectorUnit> {
 protected:
  void SetUp() override {
    if (GetParam() > find_vector_unit()) GTEST_SKIP() << "this CPU has no such unit";
  }
  [[nodiscard]] const WordKernels& kernels() const { return word_kernels_for(GetParam()); }

  /// @p f(words, count) for every count at every alignment, and with either end at a page that cannot be touched; the
  /// words around are @p around before and must be so afterwards.
  template <class F>
  void everywhere(u64 around, F&& f) {
    Fenced fenced;
    for (u64 count = 0; count <= most; ++count) {
      for (unsigned skipped = 0; skipped < alignments; ++skipped) {
        u64* const begin = fenced.first(0);
        std::fill(begin, begin + room, around);
        f(begin + skipped, count);
        for (u64 i = 0; i < skipped; ++i) ASSERT_EQ(begin[i], around) << count << " words from " << skipped;
        for (u64 i = skipped + count; i < room; ++i) ASSERT_EQ(begin[i], around) << count << " words from " << skipped;
      }
      u64* const last = fenced.last(count);
      std::fill(last - alignments, last, around);
      f(last, count);
      for (u64 i = 1; i <= alignments; ++i) ASSERT_EQ(last[-static_cast<i64>(i)], around) << count << " words";
    }
  }

  std::mt19937_64 random{20250607};
};

TEST_P(WordKernelsOf, FillCountsUpInEveryWordAndInNoOther) {
  everywhere(random(), [&](u64* words, u64 count) {
    const u64 first = random();
    const u64 step = count % 3 == 0 ? 0 : count % 3 == 1 ? 4096 : random();
    kernels().fill(words, count, first, step);
    for (u64 i = 0; i < count; ++i) ASSERT_EQ(words[i], first + i * step) << "word " << i << " of " << count;
  });
}

TEST_P(WordKernelsOf, FindSetNamesTheFirstWordThatIsNotZero) {
  everywhere(~u64{0}, [&](u64* words, u64 count) {
    std::fill(words, words + count, u64{0});
    ASSERT_EQ(kernels().find_set(words, count), count);
    for (u64 at = count; at-- != 0;) {  // what is behind it is set as well
      words[at] = u64{1} << random() % 64;
      ASSERT_EQ(kernels().find_set(words, count), at) << "of " << count;
    }
  });
}

TEST_P(WordKernelsOf, FindClearNamesTheFirstWordThatIsZero) {
  everywhere(0, [&](u64* words, u64 count) {
    for (u64 i = 0; i < count; ++i) words[i] = u64{1} << random() % 64;
    ASSERT_EQ(kernels().find_clear(words, count), count);
    for (u64 at = count; at-- != 0;) {
      words[at] = 0;
      ASSERT_EQ(kernels().find_clear(words, count), at) << "of " << count;
    }
  });
}

TEST_P(WordKernelsOf, MatchAnswersOneBitAWord) {
  everywhere(0, [&](u64* words, u64 count) {
    const auto asked = static_cast<unsigned>(std::min<u64>(count, 64));
    const u64 mask = random() & random();
    const u64 value = random() & mask;
    u64 expected = 0;
    for (unsigned i = 0; i < asked; ++i) {
      const bool matches = random() % 3 != 0;
      words[i] = (random() & ~mask) | (matches ? value : value ^ (mask & -mask));
      expected |= u64{matches || mask == 0} << i;
    }
    ASSERT_EQ(kernels().match(words, asked, mask, value), expected) << asked << " words";
    ASSERT_EQ(kernels().match(words, asked, 0, 0), asked == 64 ? ~u64{0} : (u64{1} << asked) - 1);
    std::fill(words, words + count, u64{0});
  });
}

TEST_P(WordKernelsOf, FlipWritesTheWordsItIsToldTo) {
  everywhere(random(), [&](u64* words, u64 count) {
    const u64 asked = std::min<u64>(count, 64);
    u64 which = count % 2 == 0 ? random() : random() | random() | random();
    if (count % 5 == 0) which = ~u64{0};
    which &= asked == 64 ? ~u64{0} : (u64{1} << asked) - 1;
    std::vector<u64> expected(words, words + count);
    for (u64 i = 0; i < asked; ++i) expected[i] ^= (which >> i & 1) != 0 ? u64{0x240} : 0;
    kernels().flip(words, which, 0x240);
    for (u64 i = 0; i < count; ++i) ASSERT_EQ(words[i], expected[i]) << "word " << i << " of " << count;
  });
}

/// Flip must not even rewrite what it is not told to: hardware may change it meanwhile. Read-only memory would tell.
TEST_P(WordKernelsOf, FlipDoesNotWriteWhatItIsNotToldTo) {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  void* const both = mmap(nullptr, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(both, MAP_FAILED);
  ASSERT_EQ(mprotect(both, page, PROT_READ), 0);
  u64* const boundary = reinterpret_cast<u64*>(static_cast<std::byte*>(both) + page);
  for (unsigned before = 1; before < 64; ++before) {
    kernels().flip(boundary - before, ~u64{0} << before, 1);
    kernels().flip(boundary - before, u64{1} << before, 1);
  }
  EXPECT_EQ(*(boundary - 1), 0u);
  munmap(both, 2 * page);
}

INSTANTIATE_TEST_SUITE_P(Units, WordKernelsOf, testing::Values(VectorUnit::None, VectorUnit::Avx2, VectorUnit::Avx512),
                         [](const testing::TestParamInfo<VectorUnit>& unit) -> std::string {
                           switch (unit.param) {
                             case VectorUnit::None: return "Plain";
                             case VectorUnit::Avx2: return "Avx2";
                             case VectorUnit::Avx512: return "Avx512";
                           }
                           return "Unknown";
                         });

TEST(BestWordKernels, AreThoseOfTheWidestUnit) {
  EXPECT_EQ(&best_word_kernels(), &word_kernels_for(find_vector_unit()));
  EXPECT_EQ(&word_kernels_for(VectorUnit::None), &plain_word_kernels);
#if defined(__x86_64__)
  EXPECT_NE(&word_kernels_for(VectorUnit::Avx2), &plain_word_kernels);
  EXPECT_NE(&word_kernels_for(VectorUnit::Avx512), &plain_word_kernels);
  EXPECT_NE(&word_kernels_for(VectorUnit::Avx512), &word_kernels_for(VectorUnit::Avx2));
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") != 0;
  const bool avx512 = __builtin_cpu_supports("avx512f") != 0;
  EXPECT_EQ(find_vector_unit(), avx512 ? VectorUnit::Avx512 : avx2 ? VectorUnit::Avx2 : VectorUnit::None);
#endif
}

}  // namespace
}  // namespace holdfast

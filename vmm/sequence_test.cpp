#include "vmm/sequence.hpp"

#include <gtest/gtest.h>

#include <initializer_list>

namespace vmm {
namespace {

Sequence after(std::initializer_list<std::optional<u64>> numbers) {
  Sequence sequence;
  for (const auto& number : numbers) sequence.take(number);
  return sequence;
}

TEST(SequenceOfFrames, IsContiguousWhenEachNumberComesOnce) {
  const Sequence sequence = after({0, 1, 2, 3});
  EXPECT_TRUE(sequence.contiguous());
  EXPECT_EQ(sequence.next, 4u);
  EXPECT_EQ(sequence.received, 4u);
}

TEST(SequenceOfFrames, CountsEveryNumberThatWasLeftOut) {
  const Sequence sequence = after({0, 3, 4, 6});
  EXPECT_EQ(sequence.gaps, 3u);
  EXPECT_EQ(sequence.received, 4u);
  EXPECT_FALSE(sequence.contiguous());
  EXPECT_EQ(after({2}).gaps, 2u);
}

TEST(SequenceOfFrames, CountsWhatComesTwice) {
  const Sequence sequence = after({0, 1, 1, 0, 2});
  EXPECT_EQ(sequence.duplicates, 2u);
  EXPECT_EQ(sequence.next, 3u);
  EXPECT_EQ(sequence.gaps, 0u);
  EXPECT_FALSE(sequence.contiguous());
}

TEST(SequenceOfFrames, CountsWrongContents) {
  const Sequence sequence = after({0, std::nullopt, 2});
  EXPECT_EQ(sequence.wrong, 1u);
  EXPECT_EQ(sequence.gaps, 1u);
  EXPECT_EQ(sequence.received, 2u);
  EXPECT_FALSE(after({0, std::nullopt}).contiguous());
}

TEST(SequenceOfFrames, KnowsWhenItsOwnCountsContradictEachOther) {
  EXPECT_TRUE(after({0, 1, 5, 2, 6}).consistent());
  Sequence changed = after({0, 1, 2});
  changed.next = 4;
  EXPECT_FALSE(changed.consistent());
  changed = after({0, 1, 1});
  changed.duplicates = 4;
  EXPECT_FALSE(changed.consistent());
}

}  // namespace
}  // namespace vmm

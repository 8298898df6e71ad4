#include "vmm/ring.hpp"

#include <gtest/gtest.h>

namespace vmm {
namespace {

using Eight = Ring<8>;

TEST(RingIndex, GoesAround) {
  EXPECT_EQ(Eight::advance(7), 0u);
  EXPECT_EQ(Eight::advance(6, 5), 3u);
  EXPECT_EQ(Eight::before(0), 7u);
  EXPECT_EQ(Eight::before(5), 4u);
}

TEST(RingIndex, DistanceCountsAroundTheEnd) {
  EXPECT_EQ(Eight::distance(2, 6), 4u);
  EXPECT_EQ(Eight::distance(6, 2), 4u);
  EXPECT_EQ(Eight::distance(5, 5), 0u);
  EXPECT_EQ(Eight::distance(0, 7), 7u);
}

TEST(RingIndex, IsFullWithOneEntryLeft) {
  for (u32 done = 0; done < 8; ++done)
    for (u32 used = 0; used < 8; ++used) EXPECT_EQ(Eight::full(Eight::advance(done, used), done), used == 7);
}

TEST(RingIndex, ARunEndsWhereTheRingDoes) {
  EXPECT_EQ(Eight::run(0, 5), 5u);
  EXPECT_EQ(Eight::run(6, 5), 2u);
  EXPECT_EQ(Eight::run(7, 1), 1u);
  EXPECT_FALSE(Eight::valid(8));
  EXPECT_TRUE(Eight::valid(7));
}

TEST(CyclicPosition, CountsAWrap) {
  EXPECT_EQ(moved(100, 160, 1024), 60u);
  EXPECT_EQ(moved(1000, 24, 1024), 48u);
  EXPECT_EQ(moved(5, 5, 1024), 0u);
}

}  // namespace
}  // namespace vmm

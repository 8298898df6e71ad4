#include "holdfast/vtd/domain_ids.hpp"

#include <gtest/gtest.h>

#include <array>
#include <set>

namespace holdfast::vtd {
namespace {

struct Ids {
  explicit Ids(u32 count) : words(DomainIds::words_for(count)), ids(words, count) {}
  std::vector<u64> words;
  DomainIds ids;
};

TEST(DomainIds, NeverGivesOutZeroOneOrAReservedId) {
  RecordProperty("acceptance", "IV25");
  Ids host(256);
  ASSERT_TRUE(host.ids.reserve(DomainId(2)).ok());
  ASSERT_TRUE(host.ids.reserve(DomainId(64)).ok());
  ASSERT_TRUE(host.ids.reserve(DomainId(255)).ok());
  std::set<u16> given;
  for (auto id = host.ids.allocate(); id.ok(); id = host.ids.allocate()) EXPECT_TRUE(given.insert((*id).value).second);
  EXPECT_EQ(given.size(), 256u - 2 - 3);
  for (unsigned never : {0u, 1u, 2u, 64u, 255u}) EXPECT_FALSE(given.contains(static_cast<u16>(never))) << never;
  EXPECT_EQ(host.ids.allocate().code(), Code::NoSpace);
  EXPECT_EQ(host.ids.in_use(), 254u);
}

TEST(DomainIds, RefusesIdsBelowTheDynamicRangeAndBeyondTheUnits) {
  RecordProperty("acceptance", "IV24");
  Ids host(64);
  EXPECT_EQ(host.ids.reserve(DomainId(0)).code(), Code::OutOfRange);
  EXPECT_EQ(host.ids.reserve(DomainId(1)).code(), Code::OutOfRange);
  EXPECT_TRUE(host.ids.reserve(DomainId(2)).ok());
  EXPECT_TRUE(host.ids.reserve(DomainId(63)).ok());
  EXPECT_EQ(host.ids.reserve(DomainId(64)).code(), Code::OutOfRange);
  EXPECT_EQ(host.ids.reserve(DomainId(65535)).code(), Code::OutOfRange);
  EXPECT_EQ(host.ids.in_use(), 2u);
}

TEST(DomainIds, ASecondReservationExistsAndAReleasedIdComesBack) {
  Ids host(16);
  ASSERT_TRUE(host.ids.reserve(DomainId(5)).ok());
  EXPECT_EQ(host.ids.reserve(DomainId(5)).code(), Code::Exists);
  host.ids.release(DomainId(5));
  EXPECT_EQ(host.ids.in_use(), 0u);
  EXPECT_TRUE(host.ids.reserve(DomainId(5)).ok());
}

TEST(DomainIds, CountsSmallerThanAWordAreRespected) {
  Ids host(16);
  unsigned given = 0;
  while (host.ids.allocate().ok()) ++given;
  EXPECT_EQ(given, 14u);
}

TEST(DomainIds, ReachesTheLastOf65536) {
  Ids host(65536);
  ASSERT_TRUE(host.ids.reserve(DomainId(65535)).ok());
  unsigned given = 0;
  while (host.ids.allocate().ok()) ++given;
  EXPECT_EQ(given, 65536u - 3);
}

TEST(DomainIdsDeathTest, ReleasingAFreeIdPanics) {
  Ids host(16);
  EXPECT_DEATH(host.ids.release(DomainId(3)), "");
  EXPECT_DEATH(host.ids.release(DomainId(0)), "");
}

}  // namespace
}  // namespace holdfast::vtd

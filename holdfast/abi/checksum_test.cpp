#include "holdfast/abi/checksum.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <set>

namespace holdfast::abi {
namespace {

struct Record {
  u64 first;
  u64 checksum;
  u32 last[3];
};

TEST(Checksum, IsTheSameForEver) {
  std::array<std::byte, 20> bytes{};
  for (unsigned i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i);
  // Computed apart, from the description; another value would make older records unreadable.
  EXPECT_EQ(checksum(bytes, ~u64{0}), 0xa0699387514b9582u);
  EXPECT_EQ(checksum({}, ~u64{0}), 0x9e3779b97f4a7c15u);
}

TEST(Checksum, LeavesItsOwnFieldOut) {
  Record record{1, 2, {3, 4, 5}};
  const u64 before = checksum_of(record);
  record.checksum = 77;
  EXPECT_EQ(checksum_of(record), before);
  record.first = 0;
  EXPECT_NE(checksum_of(record), before);
}

TEST(Checksum, SeesEveryBit) {
  std::array<std::byte, 27> bytes{};
  std::set<u64> seen{checksum(bytes, ~u64{0})};
  for (unsigned bit = 0; bit < 8 * bytes.size(); ++bit) {
    bytes[bit / 8] ^= std::byte{1} << (bit % 8);
    EXPECT_TRUE(seen.insert(checksum(bytes, ~u64{0})).second) << bit;
    bytes[bit / 8] ^= std::byte{1} << (bit % 8);
  }
}

TEST(Checksum, SeesLengthAndOrder) {
  std::array<std::byte, 16> bytes{};
  EXPECT_NE(checksum({bytes.data(), 8}, ~u64{0}), checksum({bytes.data(), 16}, ~u64{0}));
  bytes[0] = std::byte{1};
  const u64 first = checksum(bytes, ~u64{0});
  bytes[0] = std::byte{0};
  bytes[8] = std::byte{1};
  EXPECT_NE(checksum(bytes, ~u64{0}), first);
}

}  // namespace
}  // namespace holdfast::abi

// Golden values of the KHO layout, typed by hand.
#include "holdfast/abi/kho.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

namespace holdfast::abi::kho {
namespace {

constexpr u64 key(u64 address, u32 order) { return radix::key_of(Block{PhysAddr(address), order}); }

TEST(KhoAbi, ScratchRegionIsTwoNumbers) {
  const ScratchRegion region{0x1122334455667788, 0x99aabbccddeeff00};
  const std::vector<u8> golden{0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11,
                               0x00, 0xff, 0xee, 0xdd, 0xcc, 0xbb, 0xaa, 0x99};
  std::vector<u8> bytes(sizeof region);
  std::memcpy(bytes.data(), &region, sizeof region);
  EXPECT_EQ(bytes, golden);
}

TEST(KhoAbi, KeysOfOrderAndAddressHaveTheirGoldenValues) {
  RecordProperty("acceptance", "K16 K17");
  EXPECT_EQ(key(0x0, 0), 0x10000000000000u);
  EXPECT_EQ(key(0xb1e000, 0), 0x10000000000b1eu);
  EXPECT_EQ(key(0x2032000, 1), 0x8000000001019u);
  EXPECT_EQ(key(0x20b0000, 4), 0x100000000020bu);
  EXPECT_EQ(key(0x200000, 9), 0x80000000001u);
  EXPECT_EQ(key(0x40000000, 10), 0x40000000100u);
  EXPECT_EQ(key(0xfffffffffffff000, 0), 0x1fffffffffffffu);
  EXPECT_EQ(key(0xffffffffffc00000, 10), 0x7ffffffffffu);
}

TEST(KhoAbi, PathsThroughTheMapHaveTheirGoldenIndexes) {
  RecordProperty("acceptance", "K17");
  // 0x10000000000b1e: marker in bit 52, the frame in the bitmap.
  EXPECT_EQ(radix::child_index(0x10000000000b1e, 5), 2u);
  EXPECT_EQ(radix::child_index(0x10000000000b1e, 4), 0u);
  EXPECT_EQ(radix::child_index(0x10000000000b1e, 1), 0u);
  EXPECT_EQ(radix::word_index(0x10000000000b1e), 0x2cu);
  EXPECT_EQ(radix::word_bit(0x10000000000b1e), u64{1} << 30);
  // Order 1: marker in bit 51; order 4: in bit 48, which is bit 6 of level 4's index.
  EXPECT_EQ(radix::child_index(0x8000000001019, 5), 1u);
  EXPECT_EQ(radix::child_index(0x100000000020b, 5), 0u);
  EXPECT_EQ(radix::child_index(0x100000000020b, 4), 64u);
  // The second 128 MiB of order-0 pages is the next bitmap.
  EXPECT_EQ(radix::child_index(key(0x8000000, 0), 1), 1u);
  EXPECT_EQ(radix::word_index(key(0x8000000, 0)), 0u);
  EXPECT_EQ(radix::child_index(key(0x7fff000, 0), 1), 0u);
  EXPECT_EQ(radix::word_index(key(0x7fff000, 0)), 511u);
}

TEST(KhoAbi, AKeyNamesItsBlockAgain) {
  for (u32 order = 0; order <= max_order; ++order) {
    for (u64 frame : {u64{0}, u64{1}, u64{77}, (u64{1} << 40) - 1}) {
      const Block block{PhysAddr(frame << (12 + order)), order};
      EXPECT_EQ(radix::block_of(radix::key_of(block)), block);
    }
  }
}

TEST(KhoAbi, KeysWithoutAPossibleOrderNameNothing) {
  EXPECT_FALSE(radix::block_of(0));
  EXPECT_FALSE(radix::block_of(1));
  EXPECT_FALSE(radix::block_of(0x3ffffffffff));     // order 11
  EXPECT_TRUE(radix::block_of(0x40000000000));      // order 10
  EXPECT_FALSE(radix::block_of(0x20000000000000));  // beyond order 0
  EXPECT_FALSE(radix::block_of(~u64{0}));
}

}  // namespace
}  // namespace holdfast::abi::kho

#include "metal/memory_map.hpp"

#include <gtest/gtest.h>

#include <array>
#include <random>

#include "metal/reach.hpp"

namespace metal {
namespace {

using Map = MemoryMap<64>;

TEST(MemoryMap, ReservedWinsOverRamInEitherOrder) {
  for (const bool ram_first : {false, true}) {
    Map map;
    const PhysRange ram{PhysAddr(0x10000), 0x10000};
    const PhysRange hole{PhysAddr(0x14000), 0x2000};
    if (ram_first) {
      ASSERT_TRUE(map.add(ram, MemoryKind::Ram).ok());
    }
    ASSERT_TRUE(map.add(hole, MemoryKind::Reserved).ok());
    if (!ram_first) {
      ASSERT_TRUE(map.add(ram, MemoryKind::Ram).ok());
    }
    ASSERT_EQ(map.ranges().size(), 3u);
    EXPECT_EQ(map.ranges()[0].range, (PhysRange{PhysAddr(0x10000), 0x4000}));
    EXPECT_EQ(map.ranges()[1].range, hole);
    EXPECT_EQ(map.ranges()[1].kind, MemoryKind::Reserved);
    EXPECT_EQ(map.ranges()[2].range, (PhysRange{PhysAddr(0x16000), 0xa000}));
  }
}

TEST(MemoryMap, IsSortedDisjointAndRightForAnyInput) {
  constexpr unsigned pages = 64;
  for (unsigned seed = 1; seed <= 200; ++seed) {
    std::mt19937 random(seed);
    Map map;
    std::array<int, pages> expected{};  // 0 nothing, 1 RAM, 2 reserved
    for (int i = 0; i < 8; ++i) {
      const u64 first = random() % pages;
      const u64 count = random() % (pages - first + 1);
      const bool reserved = random() % 2 != 0;
      ASSERT_TRUE(map.add({PhysAddr(first * page_size_bytes), count * page_size_bytes},
                          reserved ? MemoryKind::Reserved : MemoryKind::Ram)
                      .ok());
      for (u64 page = first; page < first + count; ++page) expected[page] = reserved ? 2 : std::max(expected[page], 1);
    }
    std::array<int, pages> found{};
    PhysAddr end;
    for (const MemoryRange& part : map.ranges()) {
      ASSERT_GE(part.range.start, end) << "seed " << seed;
      end = part.range.start + part.range.size_bytes;
      for (u64 at = part.range.start.value; at < end.value; at += page_size_bytes)
        found[at / page_size_bytes] = part.kind == MemoryKind::Ram ? 1 : 2;
    }
    EXPECT_EQ(found, expected) << "seed " << seed;
  }
}

TEST(Reach, CoversAllRamAndTheRegistersBelowFourGib) {
  EXPECT_EQ(mapped_bytes(std::span<const MemoryRange>()), 4 * gib);
  EXPECT_EQ(mapped_bytes(512 << 20), 4 * gib);
  EXPECT_EQ(mapped_bytes(4 * gib), 4 * gib);
  EXPECT_EQ(mapped_bytes(4 * gib + page_size_bytes), 5 * gib);
  EXPECT_EQ(mapped_bytes(reach_bytes), reach_bytes);
  const std::array<MemoryRange, 2> ranges{
      {{{PhysAddr(0), 0x80000000}}, {{PhysAddr(0x100000000), 0x80000000}, MemoryKind::Reserved}}};
  EXPECT_EQ(mapped_bytes(ranges), 6 * gib);
}

TEST(MemoryMap, RefusesWhatItCannotHold) {
  MemoryMap<2> small;
  ASSERT_TRUE(small.add({PhysAddr(0x10000), 0x10000}, MemoryKind::Ram).ok());
  EXPECT_EQ(small.add({PhysAddr(0x14000), 0x1000}, MemoryKind::Reserved).code(), Code::TooBig);
  ASSERT_EQ(small.ranges().size(), 1u) << "what was refused changed nothing";
  EXPECT_EQ(small.add({PhysAddr(~u64{0} - 0xfff), 0x2000}, MemoryKind::Ram).code(), Code::Invalid);
}

}  // namespace
}  // namespace metal

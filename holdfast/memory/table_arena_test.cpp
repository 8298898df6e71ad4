// Table arenas: reservation, release, preservation; both modes.
#include "holdfast/memory/table_arena.hpp"

#include <gtest/gtest.h>

#include <random>
#include <set>

#include "holdfast/memory/test_world.hpp"

namespace holdfast {
namespace {

constexpr u64 mib = u64{1} << 20;

class SetSink final : public BlockSink {
 public:
  Status preserve(Block block) override {
    if (blocks.size() == fail_at) return Code::NoMemory;
    blocks.insert({block.start.value, block.order});
    return {};
  }
  void unpreserve(Block block) override { blocks.erase({block.start.value, block.order}); }
  bool contains(Block block) const override { return blocks.contains({block.start.value, block.order}); }

  std::set<std::pair<u64, u32>> blocks;
  std::size_t fail_at = ~std::size_t{0};
};

class TableArenaTest : public testing::TestWithParam<TableMode> {
 protected:
  TestWorld world{32 * mib};
  TestMemory host{world};
};

TEST_P(TableArenaTest, GivesBackEverythingInAnyOrder) {
  const auto before = host.memory.buddy.free_blocks();
  {
    TableArena arena(host.memory, GetParam());
    std::mt19937_64 random(4);
    std::set<PhysAddr> held;
    for (int step = 0; step < 10000; ++step) {
      if (random() % 100 < (step / 1000 % 2 == 0 ? 65u : 35u)) {
        auto page = arena.allocate();
        ASSERT_TRUE(page.ok());
        ASSERT_TRUE(held.insert(*page).second);
      } else if (!held.empty()) {
        auto at = held.lower_bound(PhysAddr(random() % (32 * mib)));
        if (at == held.end()) at = held.begin();
        arena.release(*at);
        held.erase(at);
      }
      ASSERT_EQ(arena.pages(), held.size());
      if (GetParam() == TableMode::Page) continue;
      for (std::size_t i = 1; i < arena.blocks().size(); ++i)
        ASSERT_LT(arena.blocks()[i - 1].start, arena.blocks()[i].start);
    }
    for (const PhysAddr page : held) {
      ASSERT_EQ(arena.owns(page), GetParam() == TableMode::Arena);
      arena.release(page);
    }
    EXPECT_TRUE(arena.blocks().empty());
    EXPECT_EQ(host.memory.buddy.free_blocks(), before);
  }
  EXPECT_EQ(host.memory.heap.live_objects(), 0u);
}

TEST_P(TableArenaTest, WhatIsReservedCannotFailAndWhatFailsReservesNothing) {
  TableArena arena(host.memory, GetParam());
  const PhysAddr first = arena.allocate().value();
  const auto before = host.memory.buddy.free_blocks();
  const u64 objects = host.memory.heap.live_objects();
  u64 k = 1;
  while (world.failing(k, [&] {
    if (!arena.reserve(200).ok()) return;
    for (int i = 0; i < 200; ++i) arena.release(arena.allocate_reserved());
  })) {
    ASSERT_EQ(host.memory.buddy.free_blocks(), before) << "k=" << k;
    ASSERT_EQ(host.memory.heap.live_objects(), objects) << "k=" << k;
    ++k;
  }
  EXPECT_GT(k, 3u);
  ASSERT_TRUE(arena.reserve(200).ok());
  arena.cancel_reserved();
  EXPECT_EQ(host.memory.buddy.free_blocks(), before);
  arena.release(first);
}

TEST_P(TableArenaTest, PanicsWhenAPageIsReleasedTwice) {
  TableArena arena(host.memory, GetParam());
  const PhysAddr keeps_the_block = arena.allocate().value();
  const PhysAddr page = arena.allocate().value();
  arena.release(page);
  EXPECT_DEATH(arena.release(page), "");
  EXPECT_DEATH(arena.release(PhysAddr(16 * mib)), "") << "a free page that was never this arena's";
  EXPECT_DEATH(arena.allocate_reserved(), "");
  arena.release(keeps_the_block);
}

INSTANTIATE_TEST_SUITE_P(Modes, TableArenaTest, testing::Values(TableMode::Arena, TableMode::Page),
                         [](const auto& mode) { return mode.param == TableMode::Arena ? "Arena" : "Page"; });

TEST(TableArena, PreservesAllItsBlocksOrNone) {
  RecordProperty("acceptance", "G1 G2");
  TestWorld world(32 * mib);
  TestMemory host(world);
  TableArena arena(host.memory, TableMode::Arena);
  for (int i = 0; i < 500; ++i) ASSERT_TRUE(arena.allocate().ok());
  ASSERT_EQ(arena.blocks().size(), 8u);
  for (std::size_t k = 0; k < 8; ++k) {
    SetSink sink;
    sink.fail_at = k;
    EXPECT_EQ(arena.preserve(sink).code(), Code::NoMemory);
    EXPECT_TRUE(sink.blocks.empty()) << "k=" << k;
  }
  SetSink sink;
  ASSERT_TRUE(sink.preserve({PhysAddr(mib), 0}).ok());
  ASSERT_TRUE(arena.preserve(sink).ok());
  EXPECT_EQ(sink.blocks.size(), 9u);
  arena.for_each_block([&](const Block& block) { EXPECT_TRUE(sink.contains(block)); });
  arena.unpreserve(sink);
  EXPECT_EQ(sink.blocks.size(), 1u) << "the exact inverse";
}

}  // namespace
}  // namespace holdfast

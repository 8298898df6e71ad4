// Table arenas: how blocks grow, taking and giving back, tops, preservation; both modes, tables of one page and more.
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
  using BlockSink::preserve;
  using BlockSink::unpreserve;
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

std::vector<PhysAddr> pop_all(TablePages pages) {
  std::vector<PhysAddr> all;
  while (!pages.empty()) all.push_back(pages.pop());
  return all;
}
PhysAddr take_one(TableArena& arena) { return pop_all(arena.take(1).value()).front(); }

struct Shape {
  TableMode mode;
  unsigned table_order;
};

class TableArenaTest : public testing::TestWithParam<Shape> {
 protected:
  [[nodiscard]] u64 table_bytes() const { return page_size_bytes << GetParam().table_order; }
  [[nodiscard]] bool in_blocks() const { return GetParam().mode == TableMode::Arena; }

  TestWorld world{256 * mib};
  TestMemory host{world};
  const std::array<u64, max_order + 1> before = host.memory.buddy.free_blocks();
  TableArena arena{host.memory, GetParam().mode, GetParam().table_order};
};

TEST_P(TableArenaTest, GivesBackEverythingInAnyOrder) {
  std::mt19937_64 random(4);
  std::set<PhysAddr> held;
  for (int step = 0; step < 4000; ++step) {
    if (random() % 100 < (step / 1000 % 2 == 0 ? 65u : 35u)) {
      const u64 count = random() % 8 == 0 ? random() % 20 : 1;
      auto taken = arena.take(count);
      ASSERT_TRUE(taken.ok());
      ASSERT_EQ(taken->count(), count);
      for (const PhysAddr table : pop_all(std::move(*taken))) {
        ASSERT_TRUE(table.is_aligned(table_bytes()));
        ASSERT_TRUE(held.insert(table).second) << "taken by two";
      }
    } else if (!held.empty()) {
      auto at = held.lower_bound(PhysAddr(random() % (256 * mib)));
      if (at == held.end()) at = held.begin();
      arena.release(*at);
      held.erase(at);
    }
    ASSERT_EQ(arena.tables(), held.size());
    const auto blocks = arena.blocks();
    for (std::size_t i = 0; i < blocks.size(); ++i) {
      ASSERT_TRUE(i == 0 || blocks[i - 1].start < blocks[i].start);
      const auto inside = held.lower_bound(blocks[i].start);
      ASSERT_TRUE(inside != held.end() && *inside - blocks[i].start < blocks[i].size_bytes()) << "an empty block";
    }
  }
  for (const PhysAddr table : held) {
    ASSERT_EQ(arena.owns(table), in_blocks());
    ASSERT_EQ(arena.owns(table + (table_bytes() - 1)), in_blocks());
  }
  arena.release(std::vector<PhysAddr>(held.begin(), held.end()));
  EXPECT_EQ(arena.tables(), 0u);
  EXPECT_TRUE(arena.blocks().empty());
  EXPECT_EQ(host.memory.buddy.free_blocks(), before);
  EXPECT_EQ(host.memory.heap.live_objects(), 0u);
}

TEST_P(TableArenaTest, TakesTheLowestUnusedTablesByRisingAddress) {
  std::vector<PhysAddr> tables = pop_all(arena.take(100).value());
  EXPECT_TRUE(std::ranges::is_sorted(tables));
  const std::vector<PhysAddr> released{tables[3], tables[40], tables[41], tables[97]};
  arena.release(released);
  EXPECT_EQ(pop_all(arena.take(4).value()), released);
  arena.release(tables);
}

TEST_P(TableArenaTest, WhatIsGivenBackLeavesNoTrace) {
  std::mt19937_64 random(8);
  std::vector<PhysAddr> held = pop_all(arena.take(20).value());
  for (int i = 0; i < 7; ++i) {
    arena.release(held.back());
    held.pop_back();
  }
  for (int step = 0; step < 300; ++step) {
    const u64 free = host.memory.buddy.free_frames();
    const u64 objects = host.memory.heap.live_objects();
    const u64 bytes = host.memory.heap.live_bytes();
    const std::vector<Block> blocks(arena.blocks().begin(), arena.blocks().end());
    TablePages pages = arena.take(random() % 300).value();
    const PhysAddr next = pages.empty() ? PhysAddr() : pages.pop();
    if (next != PhysAddr()) pages.push(next);
    arena.give_back(std::move(pages));
    ASSERT_EQ(host.memory.buddy.free_frames(), free);  // the list of blocks may lie in another page
    ASSERT_EQ(host.memory.heap.live_objects(), objects);
    ASSERT_EQ(host.memory.heap.live_bytes(), bytes);
    ASSERT_TRUE(std::ranges::equal(arena.blocks(), blocks));
    ASSERT_EQ(arena.tables(), held.size());
    held.push_back(take_one(arena));
  }
  arena.release(held);
}

TEST_P(TableArenaTest, WhatFailsTakesNothing) {
  const PhysAddr first = take_one(arena);
  const auto free = host.memory.buddy.free_blocks();
  const u64 objects = host.memory.heap.live_objects();
  const u64 bytes = host.memory.heap.live_bytes();
  const u64 wanted = (u64{5} << 20) / table_bytes() + 1;
  u64 k = 1;
  while (world.failing(k, [&] {
    auto pages = arena.take(wanted);
    if (pages.ok()) arena.give_back(std::move(*pages));
    EXPECT_EQ(pages.ok() ? Code::Ok : Code::NoMemory, pages.code());
    EXPECT_EQ(pages.ok(), world.allocations < k);
  })) {
    ASSERT_EQ(host.memory.buddy.free_blocks(), free) << "k=" << k;
    ASSERT_EQ(host.memory.heap.live_objects(), objects) << "k=" << k;
    ASSERT_EQ(host.memory.heap.live_bytes(), bytes) << "k=" << k;
    ASSERT_EQ(arena.tables(), 1u) << "k=" << k;
    ++k;
  }
  EXPECT_GT(k, 3u);
  arena.release(first);
}

TEST_P(TableArenaTest, UsesTheLastPageThatFitsAndThenTakesNothing) {
  std::vector<PhysAddr> held;
  for (;;) {
    auto pages = arena.take(7);
    if (!pages.ok()) break;
    for (const PhysAddr table : pop_all(std::move(*pages))) held.push_back(table);
  }
  const auto free = host.memory.buddy.free_blocks();
  EXPECT_EQ(arena.take(7).code(), Code::NoMemory);
  EXPECT_EQ(host.memory.buddy.free_blocks(), free);
  u64 tables_that_fit = 0;
  for (unsigned order = GetParam().table_order; order <= max_order; ++order)
    tables_that_fit += free[order] << (order - GetParam().table_order);
  EXPECT_LT(tables_that_fit, 7u) << "large blocks that are gone are no reason to give up";
  EXPECT_EQ(arena.tables(), held.size());
  arena.release(held);
  EXPECT_EQ(host.memory.buddy.free_blocks(), before);
}

TEST_P(TableArenaTest, AnyNumberOfTablesIsTakenAlsoNone) {
  EXPECT_TRUE(arena.take(0)->empty());
  EXPECT_EQ(host.memory.buddy.free_blocks(), before);
  const PhysAddr one = take_one(arena);
  EXPECT_TRUE(arena.take(0)->empty());
  arena.give_back(TablePages());
  EXPECT_EQ(arena.tables(), 1u);
  arena.release(one);
}

TEST_P(TableArenaTest, ATopMayBeLargerThanTheOthers) {
  const unsigned order = GetParam().table_order + 3;
  const PhysAddr top = arena.take_top(order).value();
  EXPECT_TRUE(top.is_aligned(page_size_bytes << order));
  EXPECT_EQ(arena.tables(), 1u);
  if (in_blocks()) {
    EXPECT_EQ(arena.blocks().front(), (Block{top, order}));
    EXPECT_TRUE(arena.owns(top + ((page_size_bytes << order) - 1)));
  }
  const std::vector<PhysAddr> others = pop_all(arena.take(30).value());
  for (const PhysAddr table : others) EXPECT_GE(table - top, page_size_bytes << order) << "inside the top";
  EXPECT_DEATH(arena.release_top(top, order - 1), "");
  EXPECT_DEATH(arena.release_top(others[5], order), "");
  arena.release_top(top, order);
  EXPECT_EQ(arena.tables(), 30u);
  EXPECT_FALSE(arena.owns(top));
  arena.release(others);
  EXPECT_EQ(host.memory.buddy.free_blocks(), before);
}

TEST_P(TableArenaTest, ATopThatFailsTakesNothing) {
  const std::vector<PhysAddr> others = pop_all(arena.take(4 * 6).value());  // no room for a fifth of anything
  const auto free = host.memory.buddy.free_blocks();
  const u64 objects = host.memory.heap.live_objects();
  const unsigned order = GetParam().table_order + 4;
  u64 k = 1;
  while (world.failing(k, [&] {
    const auto top = arena.take_top(order);
    if (top.ok()) arena.release_top(*top, order);
  })) {
    ASSERT_EQ(host.memory.buddy.free_blocks(), free) << "k=" << k;
    ASSERT_EQ(host.memory.heap.live_objects(), objects) << "k=" << k;
    ASSERT_EQ(arena.tables(), others.size()) << "k=" << k;
    ++k;
  }
  EXPECT_GT(k, 1u);
  arena.release(others);
}

TEST_P(TableArenaTest, AnOrdinaryTableMayHaveBeenATopAndATopAnOrdinaryOne) {
  const PhysAddr top = arena.take_top(GetParam().table_order).value();
  const PhysAddr table = take_one(arena);
  arena.release(top);
  arena.release_top(table, GetParam().table_order);
  EXPECT_EQ(arena.tables(), 0u);
  EXPECT_EQ(host.memory.buddy.free_blocks(), before);
}

TEST_P(TableArenaTest, PanicsWhenATableIsReleasedThatIsNotTaken) {
  const std::vector<PhysAddr> tables = pop_all(arena.take(3).value());
  arena.release(tables[1]);
  EXPECT_DEATH(arena.release(tables[1]), "");
  EXPECT_DEATH(arena.release(PhysAddr(240 * mib)), "") << "a free page that was never this arena's";
  EXPECT_DEATH(arena.release(tables[0] + 64), "");
  EXPECT_DEATH(arena.release(std::vector{tables[1], tables[0]}), "");
  arena.release(std::vector{tables[0], tables[2]});
}

INSTANTIATE_TEST_SUITE_P(Shapes, TableArenaTest,
                         testing::Values(Shape{TableMode::Arena, 0}, Shape{TableMode::Arena, 2},
                                         Shape{TableMode::Arena, 4}, Shape{TableMode::Page, 0},
                                         Shape{TableMode::Page, 4}),
                         [](const auto& shape) {
                           return (shape.param.mode == TableMode::Arena ? "Arena" : "Page") +
                                  std::to_string(shape.param.table_order);
                         });

class GrowingArena : public testing::Test {
 protected:
  [[nodiscard]] u64 taken_pages() const { return free_before - host.memory.buddy.free_frames(); }
  static u64 pages_of(const TableArena& arena) {
    u64 pages = 0;
    for (const Block& block : arena.blocks()) pages += u64{1} << block.order;
    return pages;
  }

  TestWorld world{256 * mib};
  TestMemory host{world};
  u64 free_before = host.memory.buddy.free_frames();
};

TEST_F(GrowingArena, OneTableCostsOnePage) {
  TableArena arena(host.memory, TableMode::Arena);
  take_one(arena);
  ASSERT_EQ(arena.blocks().size(), 1u);
  EXPECT_EQ(arena.blocks().front().order, 0u);
  // The next domain finds heap pages for its list of blocks.
  const u64 taken_by_one = taken_pages();
  TableArena next(host.memory, TableMode::Arena);
  take_one(next);
  EXPECT_EQ(taken_pages(), taken_by_one + 1);
}

TEST_F(GrowingArena, BlocksGrowByHalfOfWhatIsThereUpTo2MiB) {
  TableArena arena(host.memory, TableMode::Arena);
  for (u64 tables = 1; tables <= 20000; ++tables) {
    const u64 pages = pages_of(arena);
    take_one(arena);
    const u64 added = pages_of(arena) - pages;
    ASSERT_EQ(added, tables <= pages ? 0 : std::clamp<u64>(std::bit_floor(pages / 2), 1, 512)) << tables;
    ASSERT_LE(arena.blocks().size(), 25 + tables / 512) << "the number of blocks of a large domain is that of 2 MiB";
  }
  EXPECT_EQ(arena.blocks().back().order, 9u);
}

TEST_F(GrowingArena, ManyTablesAtOnceAreFewBlocks) {
  // A gigabyte for each thousand entries: 1 TiB at 4K is 525,315 tables or 1,028 blocks; here a hundredth of it.
  TableArena arena(host.memory, TableMode::Arena);
  take_one(arena);
  pop_all(arena.take(5252).value());
  EXPECT_EQ(arena.blocks().size(), 1 + 10 + 1u);
  for (std::size_t i = 1; i < arena.blocks().size(); ++i) EXPECT_EQ(arena.blocks()[i].order, 9u) << i;
}

TEST_F(GrowingArena, EachOfSeveralNewBlocksIsUsed) {
  TableArena arena(host.memory, TableMode::Arena);
  std::vector<PhysAddr> tables;
  for (int i = 0; i < 6; ++i) tables.push_back(take_one(arena));
  std::vector<PhysAddr> others;
  for (auto page = host.memory.buddy.allocate(0); page.ok(); page = host.memory.buddy.allocate(0))
    others.push_back(*page);
  // Six tables and three more are missing: first a block of two. One of four would now be half of what is there, but
  // it lies below, and the three would all come out of it.
  const PhysAddr four = PhysAddr(64 * mib);
  const PhysAddr two = PhysAddr(128 * mib);
  for (u64 i = 0; i < 4; ++i) host.memory.buddy.release(four + i * page_size_bytes, 0);
  for (u64 i = 0; i < 2; ++i) host.memory.buddy.release(two + i * page_size_bytes, 0);
  const std::vector<PhysAddr> more = pop_all(arena.take(3).value());
  for (const Block& block : arena.blocks()) {
    const auto is_inside = [&](PhysAddr table) { return table - block.start < block.size_bytes(); };
    EXPECT_TRUE(std::ranges::any_of(tables, is_inside) || std::ranges::any_of(more, is_inside)) << block.start.value;
  }
  EXPECT_TRUE(arena.owns(two)) << "the block of two was made";
}

TEST_F(GrowingArena, TakesWhatTheAllocatorHasWhenItHasNoLargeBlock) {
  // Every 16th page is somebody else's.
  std::vector<PhysAddr> all;
  while (auto page = host.memory.buddy.allocate(0)) all.push_back(*page);
  std::vector<PhysAddr> kept;
  for (const PhysAddr page : all)
    if (Pfn(page).value % 16 == 9)
      kept.push_back(page);
    else
      host.memory.buddy.release(page, 0);
  const auto free = host.memory.buddy.free_blocks();
  {
    TableArena arena(host.memory, TableMode::Arena);
    const std::vector<PhysAddr> tables = pop_all(arena.take(3000).value());
    u32 largest = 0;
    for (const Block& block : arena.blocks()) largest = std::max(largest, block.order);
    EXPECT_EQ(largest, 3u);
    EXPECT_TRUE(std::ranges::is_sorted(arena.blocks(), {}, &Block::start));
    for (const PhysAddr table : tables) arena.release(table);
    EXPECT_EQ(host.memory.buddy.free_blocks(), free);
    pop_all(arena.take(3000).value());
  }
  EXPECT_EQ(host.memory.buddy.free_blocks(), free) << "the destructor gives back what is taken";
  for (const PhysAddr page : kept) host.memory.buddy.release(page, 0);
}

TEST_F(GrowingArena, ABlockThatBecomesEmptyGoesBackAtOnce) {
  TableArena arena(host.memory, TableMode::Arena);
  const std::vector<PhysAddr> tables = pop_all(arena.take(1024).value());
  ASSERT_EQ(arena.blocks().size(), 2u);
  const Block first = arena.blocks()[0];
  for (const PhysAddr table : tables) {
    if (table - first.start >= first.size_bytes()) continue;
    EXPECT_EQ(arena.blocks().size(), 2u);
    arena.release(table);
  }
  ASSERT_EQ(arena.blocks().size(), 1u);
  EXPECT_NE(arena.blocks()[0], first);
  EXPECT_EQ(host.memory.frames.at(first.start).state, FrameState::Free);
}

TEST_F(GrowingArena, PageModeHasNoBlocksAndMustBeEmptiedByItsOwner) {
  std::optional<TableArena> arena(std::in_place, host.memory, TableMode::Page);
  const PhysAddr page = take_one(*arena);
  EXPECT_EQ(host.memory.frames.at(page).order, 0u);
  EXPECT_TRUE(arena->blocks().empty());
  EXPECT_DEATH(arena.reset(), "");
  arena->release(page);
}

TEST(TableArena, PreservesAllItsBlocksOrNone) {
  RecordProperty("acceptance", "G1 G2");
  TestWorld world(32 * mib);
  TestMemory host(world);
  TableArena arena(host.memory, TableMode::Arena);
  const PhysAddr top = arena.take_top(2).value();
  for (int i = 0; i < 500; ++i) take_one(arena);
  const std::size_t count = arena.blocks().size();
  ASSERT_GT(count, 8u);
  for (std::size_t k = 0; k < count; ++k) {
    SetSink sink;
    sink.fail_at = k;
    EXPECT_EQ(arena.preserve(sink).code(), Code::NoMemory);
    EXPECT_TRUE(sink.blocks.empty()) << "k=" << k;
  }
  SetSink sink;
  ASSERT_TRUE(sink.preserve({PhysAddr(mib), 0}).ok());
  ASSERT_TRUE(arena.preserve(sink).ok());
  EXPECT_EQ(sink.blocks.size(), 1 + count);
  EXPECT_TRUE(sink.contains({top, 2}));
  for (const Block& block : arena.blocks()) EXPECT_TRUE(sink.contains(block));
  arena.unpreserve(sink);
  EXPECT_EQ(sink.blocks.size(), 1u) << "the exact inverse";
}

TEST(TablePages, ComeOutAsTheyWentInAndAreNeverLost) {
  TestWorld world(16 * mib);
  TestMemory host(world);
  TablePages pages(host.memory.frames);
  pages.push_back(PhysAddr(0x5000));
  pages.push_back(PhysAddr(0x9000));
  pages.push(PhysAddr(0x7000));
  pages.push_back(PhysAddr(0x6000));
  TablePages moved = std::move(pages);
  TablePages assigned;
  EXPECT_DEATH(assigned.push(PhysAddr(0x5000)), "");
  assigned = std::move(moved);
  EXPECT_EQ(assigned.count(), 4u);
  EXPECT_DEATH(assigned = TablePages(), "");
  for (const u64 page : {0x7000u, 0x5000u, 0x9000u, 0x6000u}) {
    EXPECT_DEATH({ TablePages lost(std::move(assigned)); }, "");
    EXPECT_EQ(assigned.pop(), PhysAddr(page));
  }
  EXPECT_TRUE(assigned.empty());
  EXPECT_DEATH(assigned.pop(), "");
}

TEST(BlockSink, WithoutABatchOfItsOwnPreservesAllOrNone) {
  const std::vector<PhysAddr> pages{PhysAddr(0x8000), PhysAddr(0x4000), PhysAddr(0x10000)};
  SetSink sink;
  ASSERT_TRUE(sink.preserve({PhysAddr(0x20000), 0}).ok());
  for (sink.fail_at = 1; sink.fail_at < 4; ++sink.fail_at) {
    EXPECT_EQ(sink.preserve(pages, 1).code(), Code::NoMemory);
    EXPECT_EQ(sink.blocks.size(), 1u);
  }
  ASSERT_TRUE(sink.preserve(pages, 1).ok());
  for (const PhysAddr page : pages) EXPECT_TRUE(sink.contains({page, 1}));
  sink.unpreserve(pages, 1);
  EXPECT_EQ(sink.blocks.size(), 1u);
}

}  // namespace
}  // namespace holdfast

// Preserving tables, jumping, reading, passing on and freeing them. What becomes of damaged ones: verify_test.cpp.
#include "holdfast/pt/restored_table.hpp"

#include <gtest/gtest.h>

#include <random>

#include "holdfast/pt/test_update.hpp"

namespace holdfast::pt {
namespace {

template <class T>
concept CanBeChanged = requires(T& table, Iova iova, Gather& gather) {
  table.map(iova, std::span<const PhysRange>(), Prot::Read, gather);
} || requires(T& table, Iova iova, Gather& gather) { table.unmap(iova, u64{1}, gather); };
static_assert(CanBeChanged<Table>);
static_assert(!CanBeChanged<RestoredTable>, "a restored table is free-only");
static_assert(!CanBeChanged<TreeReader>);

class RestoredTableTest : public testing::TestWithParam<Shape> {};

TEST_P(RestoredTableTest, MarksExactlyTheTablesAndUnmarksThemAgain) {
  RecordProperty("acceptance", "P1 P5 P16 G1 G2");
  Update update(GetParam());
  Table& table = *update.live;
  table.unpreserve(update.sink);
  const auto guest_only = update.sink.blocks;
  for (const auto& [start, order] : guest_only)
    for (const auto& [page, level] : update.tables)
      EXPECT_FALSE((PhysRange{PhysAddr(start), page_size_bytes << order}).contains(page, 1)) << "no data page";

  SetSink marked;
  ASSERT_TRUE(table.preserve(marked).ok());
  std::set<std::pair<u64, u32>> expected;
  if (GetParam().mode == TableMode::Page)
    for (const auto& [page, level] : update.tables) expected.insert({page.value, 0});
  else
    for (const Block& block : table.arena().blocks()) expected.insert({block.start.value, block.order});
  EXPECT_EQ(marked.blocks, expected);
  for (const auto& [page, level] : update.tables) {
    const bool covered = std::ranges::any_of(marked.blocks, [&](const auto& block) {
      return PhysRange{PhysAddr(block.first), page_size_bytes << block.second}.contains(page, page_size_bytes);
    });
    EXPECT_TRUE(covered);
  }
  table.unpreserve(marked);
  EXPECT_TRUE(marked.blocks.empty());

  for (std::size_t k = 0; k < expected.size(); ++k) {
    SetSink full;
    full.fail_at = k;
    EXPECT_EQ(table.preserve(full).code(), Code::NoMemory);
    EXPECT_TRUE(full.blocks.empty()) << "k=" << k;
    EXPECT_FALSE(table.preserved());
  }
}

TEST_P(RestoredTableTest, ATableDoesNotChangeWhileItIsPreserved) {
  RecordProperty("acceptance", "P15");
  Update update(GetParam());
  Table& table = *update.live;
  const auto marked = update.sink.blocks;
  for (u64 iova = 0; iova < 32 * mib; iova += mib) {
    EXPECT_EQ(map_now(table, iova, update.guest[0].start.value, 0x1000).code(), Code::Busy);
    EXPECT_EQ(unmap_now(table, iova, 0x1000).code(), Code::Busy);
  }
  EXPECT_EQ(table.preserve(update.sink).code(), Code::Busy);
  EXPECT_EQ(model_of(table), update.model);
  EXPECT_EQ(update.sink.blocks, marked);
  table.unpreserve(update.sink);
  EXPECT_TRUE(map_now(table, 512 * gib / 2, update.guest[0].start.value, 0x1000).ok());
  EXPECT_EQ(unmap_now(table, 512 * gib / 2, 0x1000).value(), 0x1000u);
  EXPECT_TRUE(table.preserve(update.sink).ok());
}

TEST_P(RestoredTableTest, SavesTopLevelAndWidthAndTranslatesAfterTheJumpAsBefore) {
  RecordProperty("acceptance", "P2 P7 P16");
  Update update(GetParam());
  EXPECT_EQ(update.saved.top, update.live->top());
  EXPECT_EQ(update.saved.top_level, GetParam().levels - 1);
  EXPECT_EQ(update.saved.iova_bits, 12 + 9 * GetParam().levels);
  EXPECT_EQ(update.saved.extent, IovaExtent::Lower);
  EXPECT_EQ(update.saved.table_count, update.tables.size());

  std::mt19937_64 random(11);
  std::vector<u64> probes;
  for (const auto& [page, to] : update.model)
    probes.insert(probes.end(), {page << 12, (page << 12) + 0xfff, (page + 1) << 12, (page << 12) - 1});
  while (probes.size() < 1'000'000)
    probes.push_back(random() % 2 == 0 ? random() & update.last_iova() : random() % (32 * mib));
  std::vector<std::optional<u64>> before;
  for (const u64 probe : probes)
    before.push_back(naive_walk(update.world, update.saved.top, GetParam().levels, probe & update.last_iova()));

  update.jump();
  RestoredTable& restored = update.restore();
  VerifyReport report;
  ASSERT_TRUE(restored.verify(report).ok()) << to_string(report.reason);
  EXPECT_EQ(report.tables_met, update.saved.table_count);
  const TreeReader reader = restored.reader().value();
  for (std::size_t i = 0; i < probes.size(); ++i) {
    const u64 probe = probes[i] & update.last_iova();
    ASSERT_EQ(naive_walk(update.next->world, update.saved.top, GetParam().levels, probe), before[i]);
    const auto found = reader.lookup(Iova(probe));
    ASSERT_EQ(found.ok(), before[i].has_value());
    if (!found.ok()) continue;
    ASSERT_EQ(found->address.value & ~u64{0xfff}, *before[i] & ~u64{0xfff});
    ASSERT_EQ(static_cast<u64>(found->prot), *before[i] & 3);
  }
  EXPECT_EQ(model_of(reader), update.model);
  EXPECT_EQ(reader.lookup(Iova(update.last_iova() + 1)).code(), Code::OutOfRange);
}

TEST_P(RestoredTableTest, IsFreedWithoutALeakAndWithoutAnAllocation) {
  RecordProperty("acceptance", "P6 P8 P9 P14 P16");
  TestWorld untouched(32 * mib);
  const auto nothing_came_in = TestMemory(untouched).memory.buddy.free_blocks();
  for (const u64 fail_at : {0u, 1u}) {
    Update update(GetParam());
    update.jump();
    TestWorld& world = update.next->world;
    Memory& memory = update.next->memory;
    RestoredTable* restored = &update.restore();
    VerifyReport report;
    world.allocations = 0;
    world.fail_allocation_at = fail_at;
    ASSERT_TRUE(restored->verify(report).ok());
    ASSERT_TRUE(RestoredTable::destroy(restored, update.next->restorer).ok());
    EXPECT_EQ(world.allocations, 0u) << "restoring has nothing that could fail";
    EXPECT_EQ(memory.heap.live_objects(), 0u);
    for (const auto& [start, order] : update.sink.blocks) {
      const bool is_guest =
          std::ranges::any_of(update.guest, [&](const PhysRange& range) { return range.start.value == start; });
      EXPECT_EQ(memory.release_incoming(PhysAddr(start)).ok(), is_guest) << "every table page was restored";
    }
    EXPECT_EQ(memory.buddy.free_blocks(), nothing_came_in);
  }
}

TEST_P(RestoredTableTest, PassesOnTheSameBlocksAndTheSameDescription) {
  Update update(GetParam());
  for (int generation = 0; generation < 3; ++generation) {
    update.jump();
    RestoredTable& restored = update.restore();
    VerifyReport report;
    SetSink onward;
    const Code unverified = restored.pass_on(onward).code();
    EXPECT_EQ(unverified, GetParam().mode == TableMode::Page ? Code::NotSupported : Code::Ok);
    ASSERT_TRUE(restored.verify(report).ok());
    EXPECT_EQ(restored.pass_on(onward).value(), update.saved);
    const auto marked = onward.blocks;
    restored.cancel_pass_on(onward);
    EXPECT_TRUE(onward.blocks.empty());
    for (std::size_t k = 0; k < marked.size(); ++k) {
      SetSink full;
      full.fail_at = k;
      EXPECT_EQ(restored.pass_on(full).code(), Code::NoMemory);
      EXPECT_TRUE(full.blocks.empty());
    }
    ASSERT_TRUE(restored.pass_on(update.sink).ok()) << "already in the set: it is a set";
    for (const auto& block : marked) EXPECT_TRUE(update.sink.blocks.contains(block));
    RestoredTable::forget(&restored);
    EXPECT_EQ(update.next->memory.heap.live_objects(), 0u);
  }
}

TEST_P(RestoredTableTest, ReportsAPageThatSomebodyElseRestored) {
  Update update(GetParam());
  update.jump();
  RestoredTable* restored = &update.restore();
  VerifyReport report;
  ASSERT_TRUE(restored->verify(report).ok());
  const PhysAddr stolen = GetParam().mode == TableMode::Page ? update.saved.top : update.blocks[0].start;
  ASSERT_TRUE(update.next->restorer.restore(stolen).ok());
  EXPECT_EQ(RestoredTable::destroy(restored, update.next->restorer).code(), Code::Corrupt);
  EXPECT_EQ(update.next->memory.heap.live_objects(), 0u);
}

INSTANTIATE_TEST_SUITE_P(Shapes, RestoredTableTest, testing::ValuesIn(update_shapes), name_of);

TEST(RestoredTable, RefusesBlockListsThatWereNotPreserved) {
  Update update({4, TableMode::Arena, Filling::Mixed});
  update.jump();
  Memory& memory = update.next->memory;
  const auto code = [&](std::vector<Block> blocks) {
    auto table = RestoredTable::create(memory, Format::VtdSecondStage, update.saved, TableMode::Arena, blocks);
    if (table.ok()) RestoredTable::forget(*table);
    return table.code();
  };
  const Block good = update.blocks[0];
  EXPECT_EQ(code({good}), Code::Ok);
  EXPECT_EQ(code({}), Code::Invalid);
  EXPECT_EQ(code({good, good}), Code::Corrupt) << "twice";
  EXPECT_EQ(code({{good.start, 5}}), Code::Corrupt);
  EXPECT_EQ(code({{good.start, 200}}), Code::Corrupt);
  EXPECT_EQ(code({{good.start + 0x1000, 0}}), Code::Corrupt) << "inside";
  EXPECT_EQ(code({good, {PhysAddr(~u64{0xfff}), 6}}), Code::Corrupt);
  EXPECT_EQ(code({{update.host.scratch().start, 6}}), Code::Corrupt);
  EXPECT_EQ(RestoredTable::create(memory, Format::VtdSecondStage, update.saved, TableMode::Page, update.blocks).code(),
            Code::Invalid);
  for (u64 k = 1;; ++k) {
    Code answer = Code::Ok;
    if (!update.next->world.failing(k, [&] { answer = code({good}); })) break;
    EXPECT_EQ(answer, Code::NoMemory);
    EXPECT_EQ(memory.heap.live_objects(), 0u);
  }
}

TEST(RestoredTable, UnverifiedItIsFreedByBlockOrNotAtAll) {
  RecordProperty("acceptance", "P9");
  for (const TableMode mode : {TableMode::Arena, TableMode::Page}) {
    Update update({4, mode, Filling::Mixed});
    update.jump();
    std::fill_n(update.next->memory.map.at<u64>(update.saved.top), 512, ~u64{0});
    RestoredTable* restored = &update.restore();
    VerifyReport report;
    ASSERT_FALSE(restored->verify(report).ok());
    EXPECT_EQ(restored->reader().code(), Code::NotSupported);
    const bool by_block = mode == TableMode::Arena;
    EXPECT_EQ(RestoredTable::destroy(restored, update.next->restorer).code(), by_block ? Code::Ok : Code::NotSupported);
    if (!by_block) RestoredTable::forget(restored);
    EXPECT_EQ(update.next->memory.heap.live_objects(), 0u);
    for (const Block& block : update.blocks)
      EXPECT_EQ(update.next->restorer.restore(block.start).code(), Code::NotFound);
  }
}

TEST(RestoredTable, ATableOfAnotherVerifiedDomainIsRefused) {
  Update update({4, TableMode::Page, Filling::Mixed});
  update.jump();
  RestoredTable& one = update.restore();
  RestoredTable& other = update.restore();
  VerifyReport report;
  ASSERT_TRUE(one.verify(report).ok());
  EXPECT_EQ(one.verify(report).code(), Code::Busy);
  EXPECT_EQ(other.verify(report).code(), Code::Corrupt);
  EXPECT_EQ(report.reason, VerifyReason::OtherDomain);
  EXPECT_EQ(model_of(one.reader().value()), update.model) << "and costs the first nothing";
}

TEST(RestoredTable, UnknownFormatsAreNotInterpreted) {
  Update update({4, TableMode::Arena, Filling::Mixed});
  update.jump();
  RestoredTable& restored =
      *RestoredTable::create(update.next->memory, Format{99}, update.saved, TableMode::Arena, update.blocks).value();
  VerifyReport report;
  EXPECT_EQ(restored.verify(report).code(), Code::NotSupported);
  EXPECT_TRUE(RestoredTable::destroy(&restored, update.next->restorer).ok());
}

TEST(RestoredTable, CountsTheTablesItTouches) {
  Update update({4, TableMode::Arena, Filling::Mixed});
  update.jump();
  RestoredTable& restored = update.restore();
  Memory& memory = update.next->memory;
  memory.touches.running = true;
  VerifyReport report;
  ASSERT_TRUE(restored.verify(report).ok());
  EXPECT_GE(memory.touches.counts.tables, update.saved.table_count);
  const u64 verified = memory.touches.counts.tables;
  ASSERT_TRUE(RestoredTable::destroy(&restored, update.next->restorer).ok());
  EXPECT_EQ(memory.touches.counts.tables, verified) << "freed by block";
}

TEST(Compare, FindsTheFirstAddressThatIsNotMappedIdentically) {
  RecordProperty("acceptance", "R16");
  Update update({4, TableMode::Arena, Filling::Mixed});
  update.jump();
  RestoredTable& restored = update.restore();
  VerifyReport report;
  ASSERT_TRUE(restored.verify(report).ok());
  const TreeReader old_mapping = restored.reader().value();
  const auto build = [&](u64 page_sizes) {
    TableConfig config = update.config;
    config.page_sizes = page_sizes;
    Table& table = *Table::create(update.next->memory, config).value();
    for (const auto& [page, to] : update.model) {
      const PhysRange run{PhysAddr(to & ~u64{0xfff}), page_size_bytes};
      Update::must(map_now(table, Iova(page << 12), {&run, 1}, static_cast<Prot>(to & 3)));
    }
    return &table;
  };
  Table& small = *build(u64{1} << 12);
  EXPECT_EQ(compare(old_mapping, small), std::nullopt) << "other leaf sizes are the same mapping";
  EXPECT_EQ(compare(small, old_mapping), std::nullopt);
  EXPECT_EQ(map_now(small, 64 * mib, update.guest[0].start.value, 0x1000).code(), Code::Ok);
  EXPECT_EQ(compare(old_mapping, small), std::nullopt) << "more is fine";
  EXPECT_EQ(compare(small, old_mapping), Iova(64 * mib));

  const auto remap = [&](u64 iova, u64 address, Prot prot) {
    EXPECT_EQ(unmap_now(small, iova, 0x1000).value(), 0x1000u);
    EXPECT_TRUE(map_now(small, iova, address, 0x1000, prot).ok());
  };
  const u64 read_only = gib - 0x4000;
  remap(read_only, update.guest[2].start.value, Prot::ReadWrite);
  EXPECT_EQ(compare(old_mapping, small), std::nullopt) << "more permissions are fine";
  remap(read_only, update.guest[2].start.value, Prot::Write);
  EXPECT_EQ(compare(old_mapping, small), Iova(read_only));
  remap(3 * mib, update.guest[0].start.value, Prot::ReadWrite);
  EXPECT_EQ(compare(old_mapping, small), Iova(3 * mib)) << "another address, inside a large leaf of the old";
  EXPECT_EQ(unmap_now(small, mib, 0x1000).value(), 0x1000u);
  EXPECT_EQ(compare(old_mapping, small), Iova(mib)) << "missing";
}

}  // namespace
}  // namespace holdfast::pt

// Live tables: map, unmap, lookup, gathers; against a model of pages and a naive walker.
#include "holdfast/pt/table.hpp"

#include <gtest/gtest.h>

#include <random>

#include "holdfast/pt/test_support.hpp"

namespace holdfast::pt {
namespace {

constexpr u64 mib = u64{1} << 20;
constexpr u64 gib = u64{1} << 30;
constexpr u64 sizes_4k = u64{1} << 12;
constexpr u64 sizes_4k_2m = sizes_4k | u64{1} << 21;
constexpr u64 sizes_all = sizes_4k_2m | u64{1} << 30;

TableConfig config_of(u8 levels, u64 page_sizes, TableMode mode = TableMode::Arena) {
  return {.levels = levels, .iova_bits = static_cast<u8>(12 + 9 * levels), .page_sizes = page_sizes, .mode = mode};
}

class TableTest : public testing::Test {
 protected:
  Table& make(const TableConfig& config) {
    auto table = Table::create(memory, config);
    EXPECT_TRUE(table.ok());
    return **table;
  }
  std::vector<u64> leaf_sizes(const Table& table) {
    std::vector<u64> sizes;
    table.for_each_leaf([&](Iova, const Translation& to) { sizes.push_back(to.page_size); });
    return sizes;
  }

  TestWorld world{64 * mib};
  TestMemory host{world};
  Memory& memory = host.memory;
};

TEST_F(TableTest, RefusesAConfigurationThatTheFormatCannotHave) {
  const auto code = [&](auto&& change) {
    TableConfig config = config_of(4, sizes_4k_2m);
    change(config);
    return Table::create(memory, config).code();
  };
  EXPECT_EQ(code([](auto& c) { c.levels = 2; }), Code::Invalid);
  EXPECT_EQ(code([](auto& c) { c.levels = 6; }), Code::Invalid);
  EXPECT_EQ(code([](auto& c) { c.iova_bits = 49; }), Code::Invalid);
  EXPECT_EQ(code([](auto& c) { c.iova_bits = 12; }), Code::Invalid);
  EXPECT_EQ(code([](auto& c) { c.phys_bits = 53; }), Code::Invalid);
  EXPECT_EQ(code([](auto& c) { c.page_sizes = 1 << 21; }), Code::Invalid) << "4K is required";
  EXPECT_EQ(code([](auto& c) { c.page_sizes |= 1 << 16; }), Code::Invalid);
  EXPECT_EQ(code([](auto& c) { c.format = Format{77}; }), Code::NotSupported);
  EXPECT_EQ(memory.heap.live_objects(), 0u);
}

TEST_F(TableTest, CreatesAndDestroysWithoutALeakAndFailsAtEveryAllocation) {
  const auto before = memory.buddy.free_blocks();
  for (const TableMode mode : {TableMode::Arena, TableMode::Page}) {
    u64 k = 1;
    while (world.failing(k, [&] {
      auto table = Table::create(memory, config_of(4, sizes_4k, mode));
      if (table.ok()) Table::destroy(*table);
    })) {
      ASSERT_EQ(memory.buddy.free_blocks(), before);
      ASSERT_EQ(memory.heap.live_objects(), 0u);
      ++k;
    }
    EXPECT_GE(k, 3u);
    EXPECT_EQ(memory.buddy.free_blocks(), before);
  }
  Table::destroy(nullptr);
}

TEST_F(TableTest, UsesTheLargestLeavesThatAreAllowedAndKeepsPlaceAcrossRuns) {
  Table& table = make(config_of(4, sizes_all));
  // 0x3fe400 pages .. 0x4c0600 pages, identity: the mixture is 14 x 2M, 3 x 1G, 3 x 2M.
  const u64 start = u64{0x3fe400} << 12;
  const u64 end = u64{0x4c0600} << 12;
  ASSERT_TRUE(map_now(table, start, start, end - start).ok());
  std::map<u64, int> count;
  for (const u64 size : leaf_sizes(table)) ++count[size];
  EXPECT_EQ(count, (std::map<u64, int>{{2 * mib, 17}, {gib, 3}}));
  EXPECT_EQ(unmap_now(table, start, end - start).value(), end - start);

  ASSERT_TRUE(map_now(table, 0xfef80000, u64{0x208b95d000}, 0x20000).ok());
  EXPECT_EQ(table.lookup(Iova(0xfef9f123)).value(), (Translation{PhysAddr(0x208b97c123), 4096, Prot::ReadWrite}));
  EXPECT_EQ(unmap_now(table, 0xfef80000, 0x20000).value(), 0x20000u);

  const PhysRange pieces[] = {{PhysAddr(gib), mib}, {PhysAddr(gib + mib), mib}, {PhysAddr(5 * gib), 3 * mib}};
  ASSERT_TRUE(map_now(table, Iova(2 * mib), pieces, Prot::Read).ok());
  const auto sizes = leaf_sizes(table);
  ASSERT_EQ(sizes.size(), 2u + 256u) << "runs that continue each other share a large leaf";
  EXPECT_EQ(table.lookup(Iova(2 * mib)).value(), (Translation{PhysAddr(gib), 2 * mib, Prot::Read}));
  EXPECT_EQ(table.lookup(Iova(4 * mib)).value().page_size, 2 * mib);
  EXPECT_EQ(table.lookup(Iova(7 * mib - 1)).value().address, PhysAddr(5 * gib + 3 * mib - 1));
  EXPECT_EQ(table.lookup(Iova(7 * mib)).code(), Code::NotFound);
  Table::destroy(&table);
}

TEST_F(TableTest, RefusesWhatItCannotMapAndChangesNothing) {
  TableConfig config = config_of(4, sizes_4k_2m);
  config.iova_bits = 39;
  config.phys_bits = 40;
  Table& table = make(config);
  const auto before = memory.buddy.free_blocks();
  const u64 end = u64{1} << 39;
  EXPECT_EQ(map_now(table, 0, 0x1000, 0).code(), Code::Invalid);
  EXPECT_EQ(map_now(table, Iova(0), {}, Prot::Read).code(), Code::Invalid);
  EXPECT_EQ(map_now(table, 0, 0x1000, 0x1000, Prot::None).code(), Code::Invalid);
  EXPECT_EQ(map_now(table, 0x800, 0x1000, 0x1000).code(), Code::Invalid);
  EXPECT_EQ(map_now(table, 0, 0x1800, 0x1000).code(), Code::Invalid);
  EXPECT_EQ(map_now(table, 0, 0x1000, 0x1800).code(), Code::Invalid);
  EXPECT_EQ(map_now(table, end - 0x1000, 0x1000, 0x2000).code(), Code::OutOfRange);
  EXPECT_EQ(map_now(table, ~u64{0xfff}, 0x1000, 0x2000).code(), Code::OutOfRange);
  EXPECT_EQ(map_now(table, 0, (u64{1} << 40) - 0x1000, 0x2000).code(), Code::OutOfRange);
  EXPECT_EQ(map_now(table, 0, ~u64{0xfff}, 0x1000).code(), Code::OutOfRange);
  EXPECT_EQ(map_now(table, 0, 0, u64{1} << 63).code(), Code::OutOfRange);
  EXPECT_EQ(unmap_now(table, 0, 0).code(), Code::Invalid);
  EXPECT_EQ(unmap_now(table, 0x10, 0x1000).code(), Code::Invalid);
  EXPECT_EQ(unmap_now(table, end, 0x1000).code(), Code::OutOfRange);
  EXPECT_EQ(table.lookup(Iova(end)).code(), Code::OutOfRange);
  EXPECT_EQ(table.table_count(), 1u);
  EXPECT_EQ(memory.buddy.free_blocks(), before);
  EXPECT_TRUE(map_now(table, end - 0x1000, 0x1000, 0x1000).ok()) << "the last page of the width";
  EXPECT_TRUE(map_now(table, 0, (u64{1} << 40) - 0x1000, 0x1000).ok()) << "the last page of the host address width";
  Table::destroy(&table);
}

TEST_F(TableTest, ACollisionAnywhereLeavesEverythingAsItWasAndIsNamed) {
  Table& table = make(config_of(4, sizes_4k_2m));
  ASSERT_TRUE(map_now(table, 6 * mib + 0x5000, gib, 0x1000).ok());
  ASSERT_TRUE(map_now(table, 16 * mib, gib, 2 * mib).ok());
  const PageModel before = model_of(table);
  const u64 tables = table.table_count();
  const auto collision = [&](u64 iova, u64 address, u64 size) {
    const PhysRange run{PhysAddr(address), size};
    Iova where;
    EXPECT_EQ(map_now(table, Iova(iova), {&run, 1}, Prot::Read, &where).code(), Code::AddressInUse);
    return where.value;
  };
  EXPECT_EQ(collision(0, 2 * gib, 8 * mib), 6 * mib + 0x5000) << "below a slot that a large leaf would take";
  EXPECT_EQ(collision(0, 2 * gib + 0x1000, 8 * mib), 6 * mib + 0x5000) << "page by page";
  EXPECT_EQ(collision(12 * mib, 2 * gib, 8 * mib), 16 * mib);
  EXPECT_EQ(collision(16 * mib + 0x3000, 2 * gib, 0x1000), 16 * mib + 0x3000) << "inside a large leaf";
  EXPECT_EQ(model_of(table), before);
  EXPECT_EQ(table.table_count(), tables);
  Table::destroy(&table);
}

TEST_F(TableTest, NeverSplitsALeafAndStopsAtAHole) {
  Table& table = make(config_of(3, sizes_4k_2m));
  ASSERT_TRUE(map_now(table, 0, gib, 4 * mib).ok());
  EXPECT_EQ(unmap_now(table, 0x1000, 0x1000).value(), 0u) << "begins inside a leaf";
  EXPECT_EQ(unmap_now(table, 0, 0x1000).value(), 2 * mib) << "the whole leaf goes";
  EXPECT_EQ(table.lookup(Iova(2 * mib)).value().page_size, 2 * mib) << "and not the next one";
  EXPECT_EQ(unmap_now(table, 0, 8 * mib).value(), 0u) << "a hole at once";
  EXPECT_EQ(unmap_now(table, 2 * mib, 8 * mib).value(), 2 * mib);
  ASSERT_TRUE(map_now(table, 0x10000, gib, 0x3000).ok());
  ASSERT_TRUE(map_now(table, 0x14000, gib, 0x3000).ok());
  EXPECT_EQ(unmap_now(table, 0x10000, 0x10000).value(), 0x3000u);
  EXPECT_TRUE(table.lookup(Iova(0x14000)).ok());
  Table::destroy(&table);
}

TEST_F(TableTest, AnEmptyLeftoverTableIsReplacedByALeafAndFreedThroughTheGather) {
  for (const TableMode mode : {TableMode::Arena, TableMode::Page}) {
    Table& table = make(config_of(4, sizes_all, mode));
    ASSERT_TRUE(map_now(table, 0, 0x1000, 2 * mib).ok());
    const u64 full = table.table_count();
    EXPECT_EQ(unmap_now(table, 0, mib).value(), mib);
    EXPECT_EQ(unmap_now(table, mib, mib).value(), mib);
    EXPECT_EQ(table.table_count(), full) << "no request covered the table";

    const PhysRange run{PhysAddr(gib), 2 * mib};
    Gather gather;
    ASSERT_TRUE(table.map(Iova(0), {&run, 1}, Prot::ReadWrite, gather).ok());
    EXPECT_EQ(table.lookup(Iova(0)).value().page_size, 2 * mib);
    EXPECT_EQ(table.table_count(), full - 1);
    EXPECT_TRUE(gather.tables_changed());
    EXPECT_EQ(gather.table_count(), 1u);
    ASSERT_EQ(gather.ranges().size(), 1u);
    EXPECT_EQ(gather.ranges()[0], (IovaRange{Iova(0), 2 * mib}));
    EXPECT_EQ(table.arena().pages(), full) << "the page waits for the flush";
    gather.complete(table);
    EXPECT_EQ(table.arena().pages(), full - 1);

    EXPECT_EQ(unmap_now(table, 0, 0x1000).value(), 2 * mib);
    ASSERT_TRUE(map_now(table, 0, gib, gib).ok()) << "a leaf replaces a tree of empty tables";
    EXPECT_EQ(table.lookup(Iova(0)).value().page_size, gib);
    EXPECT_EQ(table.table_count(), 2u);
    Table::destroy(&table);
  }
}

TEST_F(TableTest, TablePagesStayUntouchedUntilTheGatherIsCompleted) {
  Table& table = make(config_of(4, sizes_4k));
  ASSERT_TRUE(map_now(table, 0, gib, 4 * mib).ok());
  std::map<PhysAddr, std::vector<u64>> leaf_tables;
  table.collect([&](PhysAddr page, unsigned level) {
    const u64* words = memory.map.at<u64>(page);
    if (level == 0) leaf_tables[page] = {words, words + 512};
  });
  Gather gather;
  EXPECT_EQ(table.unmap(Iova(0), 4 * mib, gather).value(), 4 * mib);
  EXPECT_EQ(gather.table_count(), 2u);
  EXPECT_EQ(gather.ranges()[0], (IovaRange{Iova(0), 4 * mib}));
  for (const auto& [page, words] : leaf_tables)
    EXPECT_TRUE(std::equal(words.begin(), words.end(), memory.map.at<u64>(page))) << "hardware may still walk it";
  EXPECT_EQ(table.arena().pages(), table.table_count() + 2);
  Gather moved = std::move(gather);
  EXPECT_TRUE(gather.empty());
  EXPECT_DEATH({ Gather dropped = std::move(moved); }, "");
  moved.complete(table);
  EXPECT_TRUE(moved.empty());
  EXPECT_EQ(table.arena().pages(), table.table_count());
  Table::destroy(&table);
}

TEST_F(TableTest, AGatherBelongsToOneTable) {
  Table& one = make(config_of(4, sizes_4k));
  Table& other = make(config_of(4, sizes_4k));
  ASSERT_TRUE(map_now(one, 0, gib, 2 * mib).ok());
  Gather gather;
  EXPECT_EQ(one.unmap(Iova(0), 2 * mib, gather).value(), 2 * mib);
  EXPECT_DEATH(gather.complete(other), "");
  EXPECT_DEATH(Table::destroy(&one), "");
  gather.complete(one);
  Table::destroy(&one);
  Table::destroy(&other);
}

TEST_F(TableTest, MarksTheTableEntriesOfAnIncoherentTable) {
  TableConfig config = config_of(4, sizes_4k);
  config.coherent = false;
  Table& table = make(config);
  ASSERT_TRUE(map_now(table, 0, gib, 0x1000).ok());
  const u64 top_entry = *memory.map.at<u64>(table.top());
  EXPECT_EQ(top_entry & 0xfff, 0x403u);
  EXPECT_EQ(naive_walk(world, table.top(), 4, 0), gib + 3);
  Table::destroy(&table);
}

struct Shape {
  u8 levels;
  u64 page_sizes;
  TableMode mode;
};

class RandomTableTest : public testing::TestWithParam<Shape> {
 protected:
  /// Runs for @p size bytes, often contiguous and often aligned like the IOVA.
  std::vector<PhysRange> random_runs(u64 iova, u64 size) {
    std::vector<PhysRange> runs;
    while (size != 0) {
      const u64 length = random() % 3 == 0 ? std::min(size, (1 + random() % 700) << 12) : size;
      u64 start = (random() % (u64{1} << 22)) << 12;
      if (random() % 2 == 0) start = (start & ~(2 * mib - 1)) | (iova & (2 * mib - 1));
      runs.push_back({PhysAddr(start), length});
      iova += length;
      size -= length;
    }
    return runs;
  }
  u64 random_iova() {
    // Around a boundary of the highest level, so that every level takes part.
    const u64 middle = u64{1} << (12 + 9 * (GetParam().levels - 1));
    return middle - 12 * mib + (random() % (24 * mib) & ~(random() % 3 == 0 ? 2 * mib - 1 : 0xfff));
  }
  u64 random_size() { return random() % 3 == 0 ? (1 + random() % 3) * 2 * mib : (1 + random() % 700) << 12; }

  /// What unmap() must do to the model: whole leaves, until a hole. Leaf sizes come from the table before the call.
  static u64 unmap_model(PageModel& model, const Table& before, u64 iova, u64 size) {
    u64 at = iova;
    while (at < iova + size) {
      const auto found = before.lookup(Iova(at));
      if (!found.ok() || at % found->page_size != 0) break;
      for (u64 offset = 0; offset < found->page_size; offset += page_size_bytes) model.erase((at + offset) >> 12);
      at += found->page_size;
    }
    return at - iova;
  }
  static void map_model(PageModel& model, u64 iova, const std::vector<PhysRange>& runs, Prot prot) {
    for (const PhysRange& run : runs)
      for (u64 offset = 0; offset < run.size_bytes; offset += page_size_bytes, iova += page_size_bytes)
        model[iova >> 12] = (run.start.value + offset) | static_cast<u64>(prot);
  }
  static std::optional<u64> first_collision(const PageModel& model, u64 iova, u64 size) {
    const auto found = model.lower_bound(iova >> 12);
    if (found == model.end() || found->first >= (iova + size) >> 12) return std::nullopt;
    return found->first << 12;
  }
  static std::optional<u64> at(const PageModel& model, u64 iova) {
    const auto found = model.find(iova >> 12);
    return found == model.end() ? std::nullopt : std::optional(found->second);
  }

  TestWorld world{64 * mib};
  TestMemory host{world};
  Memory& memory = host.memory;
  std::mt19937_64 random{7};
};

TEST_P(RandomTableTest, BehavesLikeAMapOfPages) {
  const auto [levels, page_sizes, mode] = GetParam();
  const auto free_before = memory.buddy.free_blocks();
  Table& table = **Table::create(memory, config_of(levels, page_sizes, mode));
  PageModel model;
  for (int round = 0; round < 600; ++round) {
    const u64 iova = random_iova();
    const u64 size = random_size();
    if (random() % 2 == 0) {
      const auto runs = random_runs(iova, size);
      const auto prot = static_cast<Prot>(1 + random() % 3);
      Iova where;
      const Status status = map_now(table, Iova(iova), runs, prot, &where);
      const auto collision = first_collision(model, iova, size);
      ASSERT_EQ(status.code(), collision ? Code::AddressInUse : Code::Ok);
      ASSERT_EQ(where.value, collision.value_or(0)) << "the first page in use is named";
      if (!collision) map_model(model, iova, runs, prot);
    } else {
      const u64 expected = unmap_model(model, table, iova, size);
      ASSERT_EQ(unmap_now(table, iova, size).value(), expected);
    }
    ASSERT_EQ(table.arena().pages(), table.table_count());
    if (round % 50 == 0) {
      ASSERT_EQ(model_of(table), model);
      u64 tables = 0;
      table.collect([&](PhysAddr, unsigned) { ++tables; });
      ASSERT_EQ(tables, table.table_count());
    }
    for (int probe = 0; probe < 200; ++probe) {
      const u64 address = random_iova() + (random() & 0xfff);
      const auto expected = at(model, address);
      ASSERT_EQ(naive_walk(world, table.top(), levels, address), expected) << std::hex << address;
      const auto found = table.lookup(Iova(address));
      ASSERT_EQ(found.ok(), expected.has_value());
      if (!found.ok()) continue;
      ASSERT_EQ(found->address.value, (*expected & ~u64{0xfff}) + (address & 0xfff));
    }
  }
  ASSERT_EQ(model_of(table), model);
  Table::destroy(&table);
  EXPECT_EQ(memory.buddy.free_blocks(), free_before);
  EXPECT_EQ(memory.heap.live_objects(), 0u);
}

TEST_P(RandomTableTest, WhenAnyAllocationFailsNothingHasChanged) {
  const auto [levels, page_sizes, mode] = GetParam();
  Table& table = **Table::create(memory, config_of(levels, page_sizes, mode));
  u64 failed = 0;
  for (int round = 0; round < 60; ++round) {
    const u64 iova = random_iova() + (random() % 16) * gib;
    const u64 size = random_size() * (round % 10 == 0 ? 100 : 1);
    if (random() % 4 == 0) {
      ASSERT_TRUE(unmap_now(table, iova & ~(2 * mib - 1), size).ok());
      continue;
    }
    const auto runs = random_runs(iova, size);
    const auto free_before = memory.buddy.free_blocks();
    const u64 objects = memory.heap.live_objects();
    const u64 bytes = memory.heap.live_bytes();
    const PageModel model = model_of(table);
    std::vector<Block> blocks(table.arena().blocks().begin(), table.arena().blocks().end());
    Status status;
    for (u64 k = 1; world.failing(k, [&] { status = map_now(table, Iova(iova), runs, Prot::Read); }); ++k) {
      ++failed;
      ASSERT_EQ(status.code(), Code::NoMemory);
      ASSERT_EQ(memory.buddy.free_blocks(), free_before);
      ASSERT_EQ(memory.heap.live_objects(), objects);
      ASSERT_EQ(memory.heap.live_bytes(), bytes);
      ASSERT_TRUE(std::ranges::equal(table.arena().blocks(), blocks));
      if (k % 16 != 1) continue;
      ASSERT_EQ(model_of(table), model);
    }
    ASSERT_TRUE(status.ok() || status.code() == Code::AddressInUse);
  }
  EXPECT_GT(failed, 0u);
  Table::destroy(&table);
}

TEST_P(RandomTableTest, EveryAddressTranslatesAsBeforeOrAsAfterwardsAtEveryStore) {
  const auto [levels, page_sizes, mode] = GetParam();
  Table& table = **Table::create(memory, config_of(levels, page_sizes, mode));
  PageModel model;
  u64 stores = 0;
  for (int round = 0; round < 120; ++round) {
    const u64 iova = random_iova();
    const u64 size = random_size();
    const PageModel before = model;
    const bool mapping = random() % 5 < 3;
    const auto runs = random_runs(iova, size);
    if (!mapping)
      unmap_model(model, table, iova, size);
    else if (!first_collision(model, iova, size))
      map_model(model, iova, runs, Prot::ReadWrite);
    std::vector<u64> probes{iova, iova - 1, iova + size - 1, iova + size, iova + size / 2};
    for (int i = 0; i < 12; ++i) probes.push_back(iova - size + random() % (3 * size));
    world.on_step = [&] {
      ++stores;
      for (const u64 probe : probes) {
        const auto seen = naive_walk(world, table.top(), levels, probe);
        if (seen != at(before, probe) && seen != at(model, probe))
          FAIL() << "third translation of " << std::hex << probe;
      }
    };
    if (mapping)
      (void)map_now(table, Iova(iova), runs, Prot::ReadWrite);
    else
      ASSERT_TRUE(unmap_now(table, iova, size).ok());
    world.on_step = nullptr;
    ASSERT_FALSE(HasFatalFailure());
    ASSERT_EQ(model_of(table), model);
  }
  EXPECT_GT(stores, 1000u);
  Table::destroy(&table);
}

std::string name_of(const testing::TestParamInfo<Shape>& shape) {
  return "Levels" + std::to_string(shape.param.levels) + "Sizes" +
         std::to_string(std::popcount(shape.param.page_sizes)) +
         (shape.param.mode == TableMode::Arena ? "Arena" : "Page");
}

INSTANTIATE_TEST_SUITE_P(Shapes, RandomTableTest,
                         testing::Values(Shape{3, sizes_4k_2m, TableMode::Arena},
                                         Shape{4, sizes_4k_2m, TableMode::Arena},
                                         Shape{4, sizes_4k_2m, TableMode::Page}, Shape{4, sizes_4k, TableMode::Arena},
                                         Shape{4, sizes_all, TableMode::Page}, Shape{5, sizes_4k_2m, TableMode::Page}),
                         name_of);

TEST_F(TableTest, AMappingOfManyTablesFailsAsAWholeAtEveryAllocation) {
  for (const TableMode mode : {TableMode::Arena, TableMode::Page}) {
    Table& table = make(config_of(4, sizes_4k, mode));
    const auto before = memory.buddy.free_blocks();
    const u64 objects = memory.heap.live_objects();
    Status status;
    u64 k = 1;
    for (; world.failing(k, [&] { status = map_now(table, 512 * gib - gib / 4, gib, gib / 2); }); ++k) {
      ASSERT_EQ(status.code(), Code::NoMemory);
      ASSERT_EQ(memory.buddy.free_blocks(), before);
      ASSERT_EQ(memory.heap.live_objects(), objects);
      ASSERT_EQ(table.table_count(), 1u);
      ASSERT_TRUE(model_of(table).empty());
    }
    ASSERT_TRUE(status.ok());
    EXPECT_GE(k, mode == TableMode::Page ? 260u : 3u);
    EXPECT_EQ(unmap_now(table, 512 * gib - gib / 4, gib / 2).value(), gib / 2);
    Table::destroy(&table);
  }
}

TEST_F(TableTest, MapsAGigabyteOfPagesAndForgetsItInOneStoreATable) {
  Table& table = make(config_of(4, sizes_4k));
  u64 stores = 0;
  world.on_step = [&] { ++stores; };
  ASSERT_TRUE(map_now(table, 0, 4 * gib, gib).ok());
  EXPECT_EQ(stores, 2u) << "one link; two steps a store";
  EXPECT_EQ(table.table_count(), 1u + 1 + 1 + 512);
  stores = 0;
  EXPECT_EQ(unmap_now(table, 0, gib).value(), gib);
  EXPECT_EQ(stores, 2 * 513u);
  world.on_step = nullptr;
  EXPECT_EQ(table.table_count(), 2u);
  Table::destroy(&table);
}

}  // namespace
}  // namespace holdfast::pt

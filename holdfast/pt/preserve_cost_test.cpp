// What preserving costs, counted: from 1 MiB to 1 TiB of mappings, in leaves of 4K, 2M and 1G.
#include <gtest/gtest.h>

#include "holdfast/pt/test_support.hpp"

namespace holdfast::pt {
namespace {

constexpr u64 mib = u64{1} << 20;
constexpr u64 gib = u64{1} << 30;
constexpr u64 tib = u64{1} << 40;

/// Counts what it is asked for.
class CountingSink final : public BlockSink {
 public:
  Status preserve(Block) override { return ++blocks, Status(); }
  void unpreserve(Block) override { --blocks; }
  [[nodiscard]] bool contains(Block) const override { return false; }

  u64 blocks = 0;
};

struct Cost {
  u64 tables = 0;  // in the tree
  u64 read = 0;    // tables read
  u64 blocks = 0;  // told to the sink

  constexpr bool operator==(const Cost&) const = default;
};

Cost cost_of(u64 mapped, unsigned leaf_lg2, TableMode mode) {
  TestWorld world(256 * mib);
  TestMemory host(world);
  Table& table =
      *Table::create(host.memory,
                     {.levels = 4, .iova_bits = 48, .page_sizes = u64{1} << leaf_lg2 | u64{1} << 12, .mode = mode})
           .value();
  EXPECT_TRUE(map_now(table, tib, 4 * tib, mapped).ok());
  CountingSink sink;
  host.memory.touches.running = true;
  EXPECT_TRUE(table.preserve(sink).ok());
  host.memory.touches.running = false;
  const Cost cost{table.table_count(), host.memory.touches.counts.tables, sink.blocks};
  table.unpreserve(sink);
  EXPECT_EQ(sink.blocks, 0u);
  Table::destroy(&table);
  return cost;
}

/// A tree of four levels over @p mapped bytes at the beginning of a table of each level.
u64 tables_for(u64 mapped, unsigned leaf_lg2) {
  u64 tables = 1;
  for (unsigned level_lg2 = leaf_lg2 + 9; level_lg2 < 48; level_lg2 += 9)
    tables += div_ceil(mapped, u64{1} << level_lg2);
  return tables;
}

TEST(PreserveCost, GrowsWithTheTablesPageByPageAndReadsNoneOfTheLowest) {
  RecordProperty("acceptance", "P18");
  for (const auto& [leaf_lg2, most] : {std::pair(12u, 64 * gib), std::pair(21u, tib), std::pair(30u, tib)})
    for (u64 mapped = std::max(mib, u64{1} << leaf_lg2); mapped <= most; mapped *= 16) {
      const Cost cost = cost_of(mapped, leaf_lg2, TableMode::Page);
      EXPECT_EQ(cost.tables, tables_for(mapped, leaf_lg2)) << mapped << " " << leaf_lg2;
      EXPECT_EQ(cost.blocks, cost.tables);
      const u64 lowest = leaf_lg2 == 12 ? div_ceil(mapped, 2 * mib) : 0;
      EXPECT_EQ(cost.read, cost.tables - lowest) << mapped << " " << leaf_lg2;
    }
}

TEST(PreserveCost, IsAFewBlocksInArenas) {
  RecordProperty("acceptance", "P18");
  for (const auto& [leaf_lg2, most] : {std::pair(12u, 64 * gib), std::pair(21u, tib), std::pair(30u, tib)})
    for (u64 mapped = std::max(mib, u64{1} << leaf_lg2); mapped <= most; mapped *= 16) {
      const Cost cost = cost_of(mapped, leaf_lg2, TableMode::Arena);
      EXPECT_EQ(cost.read, 0u);
      // Blocks double up to 2 MiB; then there is one for each 512 tables.
      EXPECT_LE(cost.blocks, 20 + cost.tables / 512) << mapped << " " << leaf_lg2;
    }
}

}  // namespace
}  // namespace holdfast::pt

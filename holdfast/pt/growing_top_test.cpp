// A top that grows: what fails leaves no trace, and what is in the way is found wherever it is.
#include <gtest/gtest.h>

#include <algorithm>

#include "holdfast/pt/test_support.hpp"

namespace holdfast::pt {
namespace {

constexpr u64 page = 4096;
constexpr u64 mib = u64{1} << 20;
constexpr u64 gib = u64{1} << 30;

class GrowingTop : public testing::TestWithParam<Sharing>, public TopObserver {
 protected:
  GrowingTop() : table(**Table::create(memory, config(), this)) {}
  ~GrowingTop() override { Table::destroy(&table); }
  void top_changed(PhysAddr, unsigned levels) override { told = levels; }

  [[nodiscard]] static TableConfig config() {
    return {.format = Format::AmdV1,
            .levels = 2,
            .iova_bits = 57,
            .page_sizes = page | 2 * mib | gib,
            .dynamic_top = true,
            .sharing = GetParam()};
  }

  TestWorld world{u64{16} << 20};
  TestMemory host{world};
  Memory& memory = host.memory;
  Table& table;
  unsigned told = 2;
};

// The new tables may need another list of blocks, and for a smaller one there is no memory when they are given back.
TEST_P(GrowingTop, WhenAnyAllocationFailsNothingHasChanged) {
  u64 failed = 0;
  for (u64 tables = 0; tables < 40; ++tables) {
    ASSERT_TRUE(map_now(table, tables * 2 * mib, gib, page).ok());
    for (const u64 far : {u64{1} << 40, u64{1} << 50, (u64{1} << 39) - page}) {
      Table& other = **Table::create(memory, config(), this);
      for (u64 i = 0; i <= tables; ++i) ASSERT_TRUE(map_now(other, i * 2 * mib, gib, page).ok());
      const auto free_before = memory.buddy.free_blocks();
      const u64 bytes = memory.heap.live_bytes();
      const u64 count = other.table_count();
      const std::vector<Block> blocks(other.arena().blocks().begin(), other.arena().blocks().end());
      told = 2;
      Status status;
      for (u64 k = 1; world.starving(k, [&] { status = map_now(other, far, gib, 2 * page); }); ++k) {
        ++failed;
        ASSERT_EQ(status.code(), Code::NoMemory);
        ASSERT_EQ(memory.buddy.free_blocks(), free_before);
        ASSERT_EQ(memory.heap.live_bytes(), bytes) << tables << " tables, allocation " << k;
        ASSERT_TRUE(std::ranges::equal(other.arena().blocks(), blocks));
        ASSERT_EQ(other.table_count(), count);
        ASSERT_EQ(told, 2u);
        ASSERT_EQ(other.levels(), 2u);
      }
      ASSERT_TRUE(status.ok());
      ASSERT_EQ(told, other.levels());
      ASSERT_EQ(other.lookup(Iova(far + page)).value().address, PhysAddr(gib + page));
      ASSERT_TRUE(unmap_now(other, far, 2 * page).ok());
      Table::destroy(&other);
    }
  }
  EXPECT_GT(failed, 0u);
}

TEST_P(GrowingTop, ACollisionBelowTheOldTopIsFoundAndNothingGrows) {
  ASSERT_TRUE(map_now(table, gib - page, 4 * gib, page).ok());
  const auto free_before = memory.buddy.free_blocks();
  const auto collision = [&](u64 iova, u64 size) {
    const PhysRange run{PhysAddr(8 * gib), size};
    Gather gather;
    Iova found;
    EXPECT_EQ(table.map(Iova(iova), {&run, 1}, Prot::ReadWrite, gather, &found).code(), Code::AddressInUse);
    return found.value;
  };
  EXPECT_EQ(collision(gib - page, 2 * page), gib - page) << "pages on both sides of the old top";
  EXPECT_EQ(collision(0, 2 * gib), gib - page) << "a leaf in place of the old top";
  EXPECT_EQ(told, 2u);
  EXPECT_EQ(table.levels(), 2u);
  EXPECT_EQ(memory.buddy.free_blocks(), free_before);
}

TEST_P(GrowingTop, CountsExactlyTheTablesThatItMakes) {
  ASSERT_TRUE(map_now(table, gib - page, 4 * gib, 2 * page).ok()) << "pages on both sides of the old top";
  EXPECT_EQ(table.levels(), 3u);
  EXPECT_EQ(table.table_count(), 5u) << "two of each lower level, and the new top";
  EXPECT_EQ(table.arena().tables(), 5u);
  EXPECT_EQ(table.lookup(Iova(gib - page)).value().address, PhysAddr(4 * gib));
  EXPECT_EQ(table.lookup(Iova(gib)).value().address, PhysAddr(4 * gib + page));

  ASSERT_TRUE(map_now(table, u64{1} << 49, 4 * gib, page).ok());
  EXPECT_EQ(table.levels(), 5u);
  EXPECT_EQ(table.table_count(), 11u) << "two new tops, and four tables beside the old one";
  EXPECT_EQ(table.arena().tables(), 11u);
}

TEST_P(GrowingTop, ALeafTakesThePlaceOfAnOldTopThatIsEmpty) {
  ASSERT_TRUE(map_now(table, 5 * mib, gib, page).ok());
  ASSERT_TRUE(unmap_now(table, 5 * mib, page).ok());
  ASSERT_TRUE(map_now(table, 0, 8 * gib, 2 * gib).ok());
  EXPECT_EQ(table.levels(), 3u);
  EXPECT_EQ(table.lookup(Iova(gib - 1)).value(), (Translation{PhysAddr(9 * gib - 1), gib, Prot::ReadWrite}));
  EXPECT_EQ(table.table_count(), 1u);
  EXPECT_EQ(table.arena().tables(), 1u);
}

INSTANTIATE_TEST_SUITE_P(Amd, GrowingTop, testing::Values(Sharing::Exclusive, Sharing::Shared),
                         [](const auto& sharing) -> std::string {
                           return sharing.param == Sharing::Exclusive ? "Exclusive" : "Shared";
                         });

}  // namespace
}  // namespace holdfast::pt

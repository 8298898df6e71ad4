// Unmapping: whole leaves, up to the first hole, and what becomes of the tables.
#include "tests/page_tables/scene.hpp"

namespace page_tables {
namespace {

class UnmapTest : public OverVariants {};

TEST_P(UnmapTest, ALeafIsNeverSplitAndTheNextOneStays) {
  Scene scene(GetParam());
  const u64 page = of().granule();
  for (const unsigned size_lg2 : of().all_sizes()) {
    const Span span = of().spans().back();
    const u64 size = u64{1} << size_lg2;
    if (size_lg2 == of().granule_lg2() || (span.last - span.first) >> size_lg2 < 3) continue;
    const u64 iova = span.first + size;
    const u64 to = of().target(size_lg2).value;
    ASSERT_TRUE(scene.map(iova, to, size).ok());
    ASSERT_TRUE(scene.map(iova + size, of().target(size_lg2, 1).value, size).ok());
    ASSERT_EQ(scene.model.size(), 2u);
    EXPECT_EQ(scene.unmap(iova + page, page), 0u) << "begins inside a leaf";
    EXPECT_EQ(scene.unmap(iova + size - page, page), 0u);
    EXPECT_EQ(scene.unmap(iova + size - page, 2 * page), 0u);
    EXPECT_EQ(scene.unmap(iova - page, 2 * page), 0u) << "begins in a hole";
    EXPECT_EQ(scene.unmap(iova, page), size) << "the whole leaf, and no more";
    EXPECT_EQ(scene.model.size(), 1u);
    ASSERT_TRUE(scene.map(iova, to, size).ok());
    EXPECT_EQ(scene.unmap(iova, size + page), 2 * size) << "both, as the second one is touched";
  }
}

TEST_P(UnmapTest, AHoleEndsItAtEveryLevel) {
  Scene scene(GetParam());
  const Span span = of().spans().back();
  const u64 page = of().granule();
  for (const unsigned size_lg2 : of().all_sizes()) {
    const u64 size = u64{1} << size_lg2;
    if ((span.last - span.first) >> size_lg2 < 4) continue;
    const u64 iova = span.first;
    ASSERT_TRUE(scene.map(iova, of().target(size_lg2).value, size).ok());
    ASSERT_TRUE(scene.map(iova + 2 * size, of().target(size_lg2, 1).value, size).ok());
    EXPECT_EQ(scene.unmap(iova, 4 * size), size);
    EXPECT_EQ(scene.unmap(iova, 4 * size), 0u);
    EXPECT_EQ(scene.unmap(iova + 2 * size - page, size + page), 0u);
    EXPECT_EQ(scene.unmap(iova + 2 * size, 2 * size), size);
    ASSERT_TRUE(scene.model.empty());
  }
}

/// All sizes one after the other, out to the highest, leave together.
TEST_P(UnmapTest, AMixtureOfAllSizesGoesInOneCall) {
  Scene scene(GetParam());
  const auto sizes = of().all_sizes();
  for (const Span& span : of().spans()) {
    const unsigned largest = sizes.back();
    if ((span.last - span.first) >> largest < 3) continue;
    // Rising up to a boundary of the largest size, falling behind it.
    const u64 middle = span.first + (u64{2} << largest);
    u64 below = middle;
    u64 above = middle;
    for (std::size_t i = sizes.size(); i-- != 0;) {
      const u64 size = u64{1} << sizes[i];
      below -= size;
      ASSERT_TRUE(scene.map(below, of().target(sizes[i], i).value, size).ok());
      if (span.last - above < size - 1) continue;
      ASSERT_TRUE(scene.map(above, of().target(sizes[i], i + 100).value, size).ok());
      above += size;
    }
    EXPECT_GE(scene.model.size(), 2 * sizes.size() - 1);
    ASSERT_EQ(scene.unmap(below, above - below), above - below);
    ASSERT_TRUE(scene.model.empty());
  }
}

/// Tables that are full, that are covered and not full, and that are not covered.
TEST_P(UnmapTest, CoveredTablesLeaveTheTreeAndOthersStay) {
  for (const GatherPolicy policy : {GatherPolicy::NoGaps, GatherPolicy::Merging}) {
    Scene scene(GetParam());
    scene.policy = policy;
    const u64 page = of().granule();
    const u64 one_table = u64{1} << of().item_lg2(1);
    const Span span = of().spans().back();
    const u64 last = of().boundary(span);
    if (last - span.first < 2 * one_table) continue;
    const u64 first = last - 2 * one_table;
    const u64 to = (of().target(of().item_lg2(1)).value & low_bits(of().config.phys_bits - 1)) + page;
    ASSERT_TRUE(scene.map(first, to, 2 * one_table).ok());
    const u64 full = scene.table->table_count();
    ASSERT_EQ(scene.unmap(first + one_table, page), page);
    EXPECT_EQ(scene.table->table_count(), full) << "not covered";
    ASSERT_EQ(scene.unmap(first, one_table), one_table);
    EXPECT_EQ(scene.table->table_count(), full - 1) << "covered and full";
    EXPECT_EQ(scene.gathered.tables, 1u);
    ASSERT_EQ(scene.unmap(first + one_table + page, one_table - page), one_table - page);
    EXPECT_EQ(scene.table->table_count(), full - 1) << "its first page was not asked for";
    ASSERT_TRUE(scene.map(first + one_table, to, page).ok());
    EXPECT_EQ(scene.unmap(first + one_table, one_table), page) << "covered, but there is a hole";
    EXPECT_EQ(scene.gathered.tables, 0u);
  }
}

INSTANTIATE_TEST_SUITE_P(All, UnmapTest, testing::ValuesIn(all_variants()), name_of);

}  // namespace
}  // namespace page_tables

// Tables whose top grows with what is mapped, and what is saved of them at every height.
#include "tests/page_tables/scene.hpp"

namespace page_tables {
namespace {

class GrowthTest : public OverVariants {
 protected:
  /// What the top covers at this height.
  [[nodiscard]] unsigned bits_at(unsigned levels) const {
    return std::min<unsigned>(of().config.iova_bits, of().item_lg2(levels));
  }
  void expect_saved(const Scene& scene, unsigned levels) const {
    const Tree tree = scene.table->tree();
    const SavedTable saved = scene.table->saved();
    EXPECT_EQ(scene.table->levels(), levels);
    EXPECT_EQ(saved.top, scene.table->top());
    EXPECT_EQ(saved.top_level, levels - 1);
    EXPECT_EQ(saved.iova_bits, bits_at(levels)) << "what the top covers now, not what it may grow to";
    EXPECT_EQ(saved.extent, IovaExtent::Lower);
    EXPECT_EQ(saved.table_count, scene.walk_naively().tables);
    EXPECT_EQ(tree.iova_bits, saved.iova_bits);
  }
};

TEST_P(GrowthTest, OnePageBeyondTheTopMakesItOneLevelHigherUpToTheLast) {
  RecordProperty("acceptance", "P2 P3");
  Scene scene(GetParam());
  const u64 page = of().granule();
  ASSERT_NO_FATAL_FAILURE(expect_saved(scene, of().config.levels));
  for (unsigned levels = of().config.levels; levels < of().max_levels; ++levels) {
    const u64 beyond = u64{1} << bits_at(levels);
    EXPECT_EQ(scene.table->lookup(Iova(beyond)).code(), Code::OutOfRange);
    EXPECT_EQ(scene.unmap(beyond, page), 0u) << "nothing is mapped where the top has not grown to";
    EXPECT_TRUE(scene.cut(beyond).ok());
    const std::size_t told = scene.tops.told.size();
    ASSERT_TRUE(scene.map(beyond - page, of().target(12, levels).value & ~(page - 1), page).ok());
    ASSERT_EQ(scene.tops.told.size(), told) << "the last page of the old range does not grow it";
    ASSERT_TRUE(scene.map(beyond, of().target(12).value & ~(page - 1), page).ok());
    ASSERT_EQ(scene.tops.told.size(), told + 1);
    EXPECT_EQ(scene.tops.told.back(), std::pair(scene.table->top(), levels + 1));
    ASSERT_NO_FATAL_FAILURE(expect_saved(scene, levels + 1));
  }
  EXPECT_EQ(scene.unmap((u64{1} << bits_at(of().max_levels - 1)), page), page);
  EXPECT_EQ(scene.table->levels(), of().max_levels) << "it does not shrink";
}

TEST_P(GrowthTest, ItGrowsByAsManyLevelsAsARangeOrALeafNeeds) {
  const u64 page = of().granule();
  for (unsigned levels = of().config.levels + 1u; levels <= of().max_levels; ++levels) {
    {
      Scene scene(GetParam());
      ASSERT_TRUE(scene.map(0, 0, page).ok());
      ASSERT_TRUE(scene.map(low_bits(bits_at(levels)) - (page - 1), 0, page).ok());
      ASSERT_NO_FATAL_FAILURE(expect_saved(scene, levels));
      EXPECT_EQ(scene.tops.told.size(), 1u) << "hardware is told once";
    }
    if (levels - 1 >= of().sizes.size() || of().sizes[levels - 1].empty()) continue;
    Scene scene(GetParam());
    const unsigned size_lg2 = of().sizes[levels - 1][0];
    ASSERT_TRUE(scene.map(0, of().target(size_lg2).value, u64{1} << size_lg2).ok());
    EXPECT_EQ(scene.model.size(), 1u) << "one leaf, at a level that was not there";
    ASSERT_NO_FATAL_FAILURE(expect_saved(scene, levels));
  }
}

TEST_P(GrowthTest, WhatCannotBeMappedDoesNotMakeItGrow) {
  Scene scene(GetParam());
  const u64 page = of().granule();
  const u64 end = u64{1} << bits_at(of().config.levels);
  ASSERT_TRUE(scene.map(end - page, 0, page).ok());
  const Snapshot before = scene.snapshot();
  EXPECT_EQ(scene.map(end - page, 0, 4 * page).code(), Code::AddressInUse);
  EXPECT_EQ(scene.snapshot(), before);
  EXPECT_TRUE(scene.tops.told.empty());
  Gather gather;
  if (of().config.iova_bits < 64) {
    const PhysRange run{PhysAddr(0), page};
    const u64 outside = u64{1} << of().config.iova_bits;
    EXPECT_EQ(scene.table->map(Iova(outside), {&run, 1}, Prot::ReadWrite, gather).code(), Code::OutOfRange);
    EXPECT_EQ(scene.table->unmap(Iova(outside), page, gather).code(), Code::OutOfRange);
    EXPECT_EQ(scene.table->cut(Iova(outside), gather).code(), Code::OutOfRange);
  }
  EXPECT_EQ(scene.snapshot(), before);
}

INSTANTIATE_TEST_SUITE_P(All, GrowthTest,
                         testing::ValuesIn(variants_that([](const Variant& v) { return v.of->config.dynamic_top; })),
                         name_of);

}  // namespace
}  // namespace page_tables

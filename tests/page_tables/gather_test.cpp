// Gathers: what has to be invalidated is named, and with NoGaps nothing else; tables wait until it is done. (A Scene
// compares the gather of each of its operations as well.)
#include "holdfast/pt/test_support.hpp"
#include "tests/page_tables/scene.hpp"

namespace page_tables {
namespace {

class GatherTest : public OverVariants {
 protected:
  static constexpr u64 slots = 20;

  [[nodiscard]] unsigned slot_lg2() const { return of().item_lg2(1); }
  [[nodiscard]] u64 slot(u64 i) const { return i << slot_lg2(); }
  /// The smallest pages, and those of one item at level 1.
  [[nodiscard]] u64 two_sizes() const { return of().granule() | u64{1} << slot_lg2(); }
  [[nodiscard]] u64 start() const { return of().spans().back().first; }
  /// Empty tables in every second of the first slots at level 1.
  void leave_tables(Scene& scene) const {
    for (u64 i = 0; i < slots; i += 2) {
      ASSERT_TRUE(scene.map(start() + slot(i), of().target(of().granule_lg2(), i).value, of().granule()).ok());
      ASSERT_EQ(scene.unmap(start() + slot(i), of().granule()), of().granule());
    }
  }
};

TEST_P(GatherTest, TablesReplacedByLeavesAreNamedOneByOneWithoutGaps) {
  Scene scene(GetParam(), Scene::default_ram, two_sizes());
  leave_tables(scene);
  scene.policy = GatherPolicy::NoGaps;
  ASSERT_TRUE(scene.map(start(), of().target(slot_lg2() + 5).value, slot(slots)).ok());
  EXPECT_EQ(scene.model.size(), slots);
  std::vector<IovaRange> expected;
  for (u64 i = 0; i < slots; i += 2) expected.push_back({Iova(start() + slot(i)), slot(1)});
  EXPECT_EQ(scene.gathered.ranges, expected) << "and nothing between them";
  EXPECT_EQ(scene.gathered.flushes, 1u) << "ten do not fit into one gather";
  EXPECT_EQ(scene.gathered.tables, slots / 2);
  EXPECT_EQ(scene.gathered.table_levels, 1u << 1);
  EXPECT_EQ(scene.gathered.leaf_levels, 0u) << "no leaf was there";
}

TEST_P(GatherTest, MergedTheyAreOneCover) {
  Scene scene(GetParam(), Scene::default_ram, two_sizes());
  leave_tables(scene);
  scene.policy = GatherPolicy::Merging;
  ASSERT_TRUE(scene.map(start(), of().target(slot_lg2() + 5).value, slot(slots)).ok());
  EXPECT_EQ(scene.gathered.ranges, (std::vector<IovaRange>{{Iova(start()), slot(slots - 1)}}));
  EXPECT_EQ(scene.gathered.flushes, 0u);
}

/// Many operations into one gather, before hardware is asked to forget anything.
TEST_P(GatherTest, OperationsAddUpAndTablesWait) {
  struct Flushes final : GatherFlusher {
    void flush(const Gather& gather) override {
      ranges.insert(ranges.end(), gather.ranges().begin(), gather.ranges().end());
    }
    std::vector<IovaRange> ranges;
  };
  for (const GatherPolicy policy : {GatherPolicy::NoGaps, GatherPolicy::Merging}) {
    Scene scene(GetParam(), Scene::default_ram, two_sizes());
    const u64 page = of().granule();
    // Two slots full of pages, one large leaf, a hole, a large leaf.
    const u64 odd = (of().target(slot_lg2() + 1).value & low_bits(of().config.phys_bits - 1)) + page;
    ASSERT_TRUE(scene.map(start(), odd, slot(2)).ok());
    ASSERT_TRUE(scene.map(start() + slot(2), of().target(slot_lg2()).value, slot(1)).ok());
    ASSERT_TRUE(scene.map(start() + slot(6), of().target(slot_lg2()).value, slot(1)).ok());
    const u64 tables = scene.table->table_count();
    const auto words_of_tables = scene.snapshot().words;

    Flushes flushes;
    Gather gather = policy == GatherPolicy::NoGaps ? Gather(flushes) : Gather();
    EXPECT_EQ(scene.table->unmap(Iova(start() + slot(6)), slot(1), gather).value(), slot(1));
    EXPECT_EQ(gather.leaf_levels(), 1u << 1);
    EXPECT_EQ(gather.table_levels(), 0u);
    EXPECT_EQ(scene.table->unmap(Iova(start()), slot(1), gather).value(), slot(1));
    EXPECT_EQ(gather.leaf_levels(), 1u << 1 | 1u);
    EXPECT_EQ(gather.table_levels(), 1u << 1);
    EXPECT_EQ(scene.table->unmap(Iova(start() + slot(1)), slot(2), gather).value(), slot(2));
    EXPECT_EQ(gather.table_count(), 2u);
    const std::vector<IovaRange> ranges(gather.ranges().begin(), gather.ranges().end());
    const std::vector<IovaRange> apart{{Iova(start()), slot(3)}, {Iova(start() + slot(6)), slot(1)}};
    const std::vector<IovaRange> merged{{Iova(start()), slot(7)}};
    EXPECT_EQ(ranges, policy == GatherPolicy::NoGaps ? apart : merged);

    EXPECT_EQ(scene.table->table_count(), tables - 2);
    EXPECT_EQ(scene.table->arena().tables(), tables) << "hardware may still be in them";
    const auto now = scene.tables();
    for (const auto& [table, words] : words_of_tables)
      EXPECT_TRUE(now.contains(table) ||
                  std::ranges::equal(words, std::span(scene.words(PhysAddr(table)), words.size())))
          << "untouched: full, so one store in its parent was enough";
    SetSink sink;
    EXPECT_EQ(scene.table->preserve(sink).code(), Code::Busy) << "not while tables wait";
    gather.complete(*scene.table);
    EXPECT_TRUE(gather.empty());
    EXPECT_EQ(gather.leaf_levels(), 0u);
    EXPECT_EQ(gather.table_levels(), 0u);
    EXPECT_EQ(scene.table->arena().tables(), tables - 2);
    EXPECT_TRUE(flushes.ranges.empty());
    scene.model.clear();
    scene.check();
  }
}

TEST_P(GatherTest, ACoverOfBothEndsIsWhole) {
  Scene scene(GetParam());
  const u64 page = of().granule();
  const Span low = of().spans().front();
  const Span high = of().spans().back();
  ASSERT_TRUE(scene.map(low.first, 0, page).ok());
  ASSERT_TRUE(scene.map(high.last - (page - 1), 0, page).ok());
  Gather gather;
  EXPECT_EQ(scene.table->unmap(Iova(high.last - (page - 1)), page, gather).value(), page);
  EXPECT_EQ(scene.table->unmap(Iova(low.first), page, gather).value(), page);
  ASSERT_EQ(gather.ranges().size(), 1u);
  EXPECT_EQ(gather.ranges()[0].start.value, low.first);
  const u64 bytes = high.last - low.first + 1;
  EXPECT_EQ(gather.ranges()[0].size_bytes, bytes != 0 ? bytes : ~u64{0});
  gather.complete(*scene.table);
  scene.model.clear();
  scene.check();
}

INSTANTIATE_TEST_SUITE_P(All, GatherTest, testing::ValuesIn(all_variants()), name_of);

}  // namespace
}  // namespace page_tables

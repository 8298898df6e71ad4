// Table memory that runs out at every point: nothing has changed, nothing is lost.
#include "tests/page_tables/scene.hpp"

namespace page_tables {
namespace {

/// Which allocations fail: the k-th, or that one and all later ones.
enum class Failing : u8 { One, AllFromThere };

class FailureTest : public OverVariants {
 protected:
  /// @p prepare(scene) makes a state; @p operation(scene) answers a code. It is made to fail at its first allocation,
  /// at its second, and so on until it has all it asks for. Answers how often it failed.
  template <class Prepare, class Operation>
  static u64 fail_everywhere(const Prepare& prepare, const Operation& operation) {
    u64 failed = 0;
    for (const Failing failing : {Failing::One, Failing::AllFromThere}) {
      Scene scene(GetParam());
      prepare(scene);
      failed += fail_everywhere(scene, failing, operation);
      scene.check();
    }
    return failed;
  }

 private:
  template <class Operation>
  static u64 fail_everywhere(Scene& scene, Failing failing, const Operation& operation) {
    const Snapshot before = scene.snapshot();
    const std::size_t told = scene.tops.told.size();
    for (u64 k = 1;; ++k) {
      Code code = Code::Ok;
      const auto run = [&] { code = operation(scene); };
      const bool refused = failing == Failing::One ? scene.world.failing(k, run) : scene.world.starving(k, run);
      if (code == Code::Ok) return k - 1;  // it may have gone on with less
      EXPECT_TRUE(refused);
      EXPECT_EQ(code, Code::NoMemory) << "at allocation " << k;
      EXPECT_EQ(scene.tops.told.size(), told) << "hardware was told of a top that never came";
      Snapshot now = scene.snapshot();
      if (failing == Failing::AllFromThere) {  // lists that shrink move, if there is room to move to
        now.heap_bytes = before.heap_bytes;
        now.free_blocks = before.free_blocks;
      }
      EXPECT_EQ(now, before) << "at allocation " << k;
      if (testing::Test::HasFailure()) return k;
    }
  }

 protected:
  static Code map(Scene& scene, u64 iova, PhysRange run) {
    Gather gather;
    const Code code = scene.table->map(Iova(iova), {&run, 1}, Prot::ReadWrite, gather).code();
    EXPECT_TRUE(gather.empty());
    if (code == Code::Ok)
      scene.model.merge(expected_leaves(scene.of, scene.config.page_sizes, iova, {&run, 1}, Prot::ReadWrite));
    return code;
  }
};

TEST_P(FailureTest, ATableIsMadeOrNotAtAll) {
  TestWorld world(Scene::default_ram);
  TestMemory host(world);
  const auto before = host.memory.buddy.free_blocks();
  TableConfig config = of().config;
  config.mode = GetParam().mode;
  config.sharing = GetParam().sharing;
  Tops tops;
  u64 failed = 0;
  for (u64 k = 1;; ++k) {
    Result<Table*> made = Code::NoMemory;
    const bool asked = world.failing(k, [&] { made = of().create(host.memory, config, &tops); });
    if (made.ok()) Table::destroy(*made);
    EXPECT_EQ(host.memory.buddy.free_blocks(), before) << "at allocation " << k;
    EXPECT_EQ(host.memory.heap.live_objects(), 0u);
    if (!asked) break;
    ++failed;
    EXPECT_EQ(made.code(), Code::NoMemory);
  }
  EXPECT_GE(failed, 2u) << "an object and a top";
}

TEST_P(FailureTest, AMappingOfManyTablesIsMadeOrNotAtAll) {
  const u64 page = of().granule();
  const Span span = of().spans().back();
  const u64 middle = of().boundary(span);
  const u64 table = std::min(u64{1} << of().item_lg2(1), (span.last - middle + 1) / 2);
  // Something is there already, so that some tables are missing and some are not. From beside it over the highest
  // boundary into further tables; out of step, so in the smallest pages.
  const auto prepare = [&](Scene& scene) {
    ASSERT_TRUE(scene.map(middle - 2 * page, of().target(of().granule_lg2()).value, page).ok());
  };
  const PhysRange run{PhysAddr(0), page + std::max(table + table / 2, 2 * page)};
  EXPECT_GE(fail_everywhere(prepare, [&](Scene& scene) { return map(scene, middle - page, run); }), 2u);
}

TEST_P(FailureTest, ACollisionIsFoundBeforeAnythingIsTaken) {
  Scene scene(GetParam());
  const u64 page = of().granule();
  const u64 middle = of().boundary(of().spans().back());
  ASSERT_TRUE(scene.map(middle + 2 * page, 0, page).ok());
  scene.world.allocations = 0;
  EXPECT_EQ(scene.map(middle - page, 0, 4 * page).code(), Code::AddressInUse);
  EXPECT_TRUE(of().config.dynamic_top || scene.world.allocations == 0);
}

TEST_P(FailureTest, AGrowingTopGrowsOrStaysAsItIs) {
  if (!of().config.dynamic_top) return;
  const u64 page = of().granule();
  const u64 end = u64{1} << of().item_lg2(of().config.levels);
  const u64 highest = low_bits(of().config.iova_bits) - (page - 1);
  for (const u64 iova : {end - page, end, highest}) {
    const PhysRange run{PhysAddr(0), iova == end - page ? 2 * page : page};
    EXPECT_GE(fail_everywhere([&](Scene& scene) { ASSERT_TRUE(scene.map(0, 0, page).ok()); },
                              [&](Scene& scene) { return map(scene, iova, run); }),
              2u);
  }
}

TEST_P(FailureTest, ACutIsMadeOrNotAtAll) {
  if (!of().exchange) return;
  const u64 page = of().granule();
  const Span span = of().spans().back();
  for (const unsigned size_lg2 : of().all_sizes()) {
    if (of().level_of(size_lg2) == 0) continue;
    const u64 iova = span.last - low_bits(size_lg2);
    const u64 boundary = iova + (u64{1} << size_lg2) / 2 + page;
    const auto prepare = [&](Scene& scene) {
      ASSERT_TRUE(scene.map(iova, of().target(size_lg2).value, u64{1} << size_lg2).ok());
    };
    const u64 failed = fail_everywhere(prepare, [&](Scene& scene) { return scene.try_to_cut(boundary).code(); });
    EXPECT_TRUE(failed >= 2 || GetParam().mode == TableMode::Arena) << "an arena may have tables to spare";
  }
}

INSTANTIATE_TEST_SUITE_P(All, FailureTest, testing::ValuesIn(all_variants()), name_of);

}  // namespace
}  // namespace page_tables

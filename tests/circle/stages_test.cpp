// Which tables carry the circle: both modes, both stages, every depth; and updates from one stage to the other.
#include "holdfast/kernel/image_note.hpp"
#include "sim/walk/x86_first_stage.hpp"
#include "tests/circle/circle.hpp"

namespace circle {
namespace {

using sim::Stages;

constexpr u64 first = 1;  // PGTT
constexpr u64 second = 2;

/// What hardware reads in the entry that names the page table of a device.
struct Live {
  u64 type = 0;
  u8 levels = 0;
  PhysAddr top;
  u64 did = 0;
};

Live live_entry(sim::Machine& machine, u32 device) {
  const sim::DeviceConfig at = machine_config({}).devices[device];
  const sim::VtdUnit& unit = machine.unit(at.unit);
  const SourceId id = at.source_id();
  const auto word = [&](u64 address) { return *machine.ram().load64(PhysAddr(address)); };
  const auto page = [](u64 value) { return value & ~u64{0xfff}; };
  const bool scalable = unit.table_mode() == hw::vtd::Ttm::Scalable;
  const u64 half = scalable && id.devfn() >= 128 ? 8 : 0;
  const u64 table = page(word(unit.root_table().value + 16 * u64{id.bus()} + half));
  if (!scalable) {
    const u64 context = table + 16 * u64{id.devfn()};
    const u64 high = word(context + 8);
    return {second, static_cast<u8>((high & 7) + 2), PhysAddr(page(word(context))), high >> 8 & 0xffff};
  }
  const u64 context = table + 32 * (id.devfn() & 127u);
  const u64 entry = page(word(page(word(context))));  // RID_PASID is 0
  const u64 low = word(entry);
  const u64 third = word(entry + 16);
  const u64 type = low >> 6 & 7;
  const u64 levels = type == first ? 4 + (third >> 2 & 3) : (low >> 2 & 7) + 2;
  return {type, static_cast<u8>(levels), PhysAddr(page(type == first ? third : low)), word(entry + 8) & 0xffff};
}

struct Variant {
  std::string mode;
  Stages stages;
  std::string stage;
  u8 levels;
  u64 expected;
};

class Matrix : public testing::TestWithParam<std::tuple<Variant, sim::CacheModel>> {
 protected:
  static Scene scene() {
    const Variant& variant = std::get<0>(GetParam());
    Scene scene;
    scene.mode = variant.mode;
    scene.stages = variant.stages;
    scene.stage = variant.stage;
    scene.levels = variant.levels;
    scene.caches = std::get<1>(GetParam());
    return scene;
  }
};

TEST_P(Matrix, TheCircleIsCleanOnTheTablesThatWereAskedFor) {
  RecordProperty("acceptance", "T8");
  const Variant& variant = std::get<0>(GetParam());
  Circle circle(scene());
  ASSERT_TRUE(circle.generation().jumped());
  std::vector<Live> before;
  for (u32 i = 0; i < preserved_devices; ++i) {
    before.push_back(live_entry(circle.session.machine(), i));
    EXPECT_EQ(before[i].type, variant.expected);
    EXPECT_EQ(before[i].levels, variant.levels);
  }
  ASSERT_NO_FATAL_FAILURE(circle.run_to_the_end());
  expect_clean(circle);
  for (u32 i = 0; i < preserved_devices; ++i) {
    const Live after = live_entry(circle.session.machine(), i);
    EXPECT_EQ(after.type, variant.expected);
    EXPECT_NE(after.top, before[i].top) << "it was replaced";
  }
}

INSTANTIATE_TEST_SUITE_P(Circle, Matrix,
                         testing::Combine(testing::Values(Variant{"legacy", Stages::Second, "", 3, second},
                                                          Variant{"legacy", Stages::Second, "second", 4, second},
                                                          Variant{"legacy", Stages::First, "", 5, second},
                                                          Variant{"scalable", Stages::Second, "", 3, second},
                                                          Variant{"scalable", Stages::Both, "", 4, second},
                                                          Variant{"scalable", Stages::Both, "second", 5, second},
                                                          Variant{"scalable", Stages::First, "", 4, first},
                                                          Variant{"scalable", Stages::Both, "first", 4, first},
                                                          Variant{"scalable", Stages::First, "first", 5, first}),
                                          testing::Values(sim::CacheModel::Hoarding, sim::CacheModel::Absent)),
                         [](const auto& variant) {
                           const Variant& v = std::get<0>(variant.param);
                           const std::string unit = v.stages == Stages::Both    ? "both"
                                                    : v.stages == Stages::First ? "first"
                                                                                : "second";
                           return v.mode + "_unit_" + unit + (v.stage.empty() ? "" : "_asked_" + v.stage) + "_levels_" +
                                  std::to_string(v.levels) +
                                  (std::get<1>(variant.param) == sim::CacheModel::Hoarding ? "_hoarding" : "_uncached");
                         });

/// Page mode, and domains of their own.
TEST(FirstStage, IsPreservedPageByPageAsWell) {
  Scene scene;
  scene.stages = Stages::First;
  scene.tables = "page";
  scene.domains = vmm::DomainLayout::Separate;
  scene.updates = 3;
  Circle circle(scene);
  ASSERT_NO_FATAL_FAILURE(circle.run_to_the_end());
  expect_clean(circle);
}

TEST(FirstStage, ACleanUpdateLeadsFromOneStageToTheOtherAndBack) {
  for (const sim::CacheModel caches : {sim::CacheModel::Hoarding, sim::CacheModel::Absent}) {
    Scene scene;
    scene.stages = Stages::Both;
    scene.caches = caches;
    scene.updates = 3;
    Circle circle(scene);
    for (const auto& [stage, expected] : {std::pair{"second", second}, {"first", first}, {"second", second}}) {
      SCOPED_TRACE(stage);
      scene.stage = stage;
      circle.session.set_command_line(command_line(scene));
      const host::Generation ended = circle.generation();
      ASSERT_TRUE(ended.jumped()) << ended.text();
      EXPECT_EQ(live_entry(circle.session.machine(), 0).type, expected);
      EXPECT_EQ(live_entry(circle.session.machine(), 1).type, expected);
    }
    ASSERT_NO_FATAL_FAILURE(circle.run_to_the_end());
    expect_clean(circle);
  }
}

TEST(FirstStage, AUnitThatLacksItSaysSoAndGoesOnWithWhatItHas) {
  Scene scene;
  scene.stage = "first";
  Circle circle(scene);
  const host::Generation cold = circle.generation();
  ASSERT_TRUE(cold.jumped()) << cold.text();
  EXPECT_NE(cold.log.find("stage=first is not served"), std::string::npos) << cold.log;
  ASSERT_NO_FATAL_FAILURE(circle.run_to_the_end());
  expect_clean(circle);
}

/// Hardware clears nothing, but it may find anything: between the checksum and the verification A and D change.
TEST(FirstStage, AccessedAndDirtyBitsMayChangeThroughTheGap) {
  RecordProperty("acceptance", "T8");
  Scene scene;
  scene.stages = Stages::First;
  Circle circle(scene);
  ASSERT_TRUE(circle.generation().jumped());
  sim::Machine& machine = circle.session.machine();
  const Live live = live_entry(machine, 0);
  const sim::walk::FirstStage tables{.top_table = live.top, .levels = live.levels};
  constexpr u64 accessed = 0x20;
  constexpr u64 dirty = 0x40;
  std::vector<std::pair<PhysAddr, u64>> leaves;
  const auto end = sim::walk::enumerate_leaves(
      sim::walk::words_of(machine.ram()), tables,
      [&](const sim::walk::FoundLeaf& leaf) { leaves.emplace_back(leaf.entry, leaf.word); });
  ASSERT_TRUE(end.ok()) << end.why;
  ASSERT_GT(leaves.size(), 16u);
  const auto store = [&](PhysAddr at, u64 value) { *reinterpret_cast<u64*>(machine.ram().at(at, 8)) = value; };
  for (const auto& [entry, word] : leaves) {
    EXPECT_EQ(word & (accessed | dirty), accessed | dirty) << "written so that hardware need not";
    store(entry, word & ~(accessed | dirty));
  }
  store(live.top, *machine.ram().load64(live.top) & ~accessed);
  ASSERT_NO_FATAL_FAILURE(circle.run_to_the_end());
  expect_clean(circle);
}

TEST(FirstStage, HardwareSetsAccessedAndDirtyWhereTheyAreClear) {
  Scene scene;
  scene.stages = Stages::First;
  scene.caches = sim::CacheModel::Absent;
  Circle circle(scene);
  ASSERT_TRUE(circle.generation().jumped());
  sim::Machine& machine = circle.session.machine();
  const Live live = live_entry(machine, 0);
  const sim::walk::FirstStage tables{.top_table = live.top, .levels = live.levels};
  std::vector<PhysAddr> leaves;
  const auto end = sim::walk::enumerate_leaves(sim::walk::words_of(machine.ram()), tables,
                                               [&](const sim::walk::FoundLeaf& leaf) { leaves.push_back(leaf.entry); });
  ASSERT_TRUE(end.ok()) << end.why;
  for (const PhysAddr entry : leaves) *reinterpret_cast<u64*>(machine.ram().at(entry, 8)) &= ~u64{0x60};
  machine.step(3000);
  u64 accessed = 0;
  u64 dirty = 0;
  for (const PhysAddr entry : leaves) {
    accessed += *machine.ram().load64(entry) >> 5 & 1;
    dirty += *machine.ram().load64(entry) >> 6 & 1;
  }
  EXPECT_GT(accessed, 0u);
  EXPECT_GT(dirty, 0u);
  EXPECT_EQ(machine.counters(0).faulted, 0u);
}

/// An image from before first-stage tables crossed: nobody's device pays for it.
TEST(FirstStage, IsNotHandedToAnImageThatDoesNotReadIt) {
  RecordProperty("acceptance", "K20");
  for (const Stages stages : {Stages::First, Stages::Second}) {
    Scene scene;
    scene.stages = stages;
    Circle circle(scene);
    sim::GenerationPlan plan;
    std::string older(kernel::own_note());
    older.resize(older.find("holdfast-pt:2") - 1);
    const auto bytes = std::as_bytes(std::span(older));
    plan.next_image_note.assign(bytes.begin(), bytes.end());
    const host::Generation ended = circle.generation(std::move(plan));
    EXPECT_EQ(ended.jumped(), stages == Stages::Second) << ended.text();
    if (stages == Stages::First) {
      EXPECT_NE(ended.log.find("holdfast-pt:2"), std::string::npos) << ended.log;
      circle.session.machine().step(1000);
      EXPECT_EQ(circle.session.machine().counters(0).faulted, 0u);
    }
  }
}

}  // namespace
}  // namespace circle

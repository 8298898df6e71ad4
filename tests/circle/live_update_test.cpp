// The circle closed: kernel after kernel under devices that never stop.
#include "tests/circle/circle.hpp"

namespace circle {
namespace {

const sim::Mark* find_mark(const std::vector<sim::Mark>& marks, Phase phase, std::size_t nth) {
  for (const sim::Mark& mark : marks)
    if (mark.phase == phase && nth-- == 0) return &mark;
  return nullptr;
}

struct Variant {
  std::string mode;
  std::string tables;
  sim::CacheModel caches;
  vmm::DomainLayout domains;
};

/// For messages.
void PrintTo(const Variant& variant, std::ostream* out) { *out << variant.mode << ' ' << variant.tables; }

std::string name_of(const testing::TestParamInfo<Variant>& info) {
  const Variant& v = info.param;
  return v.mode + "_" + v.tables + (v.caches == sim::CacheModel::Hoarding ? "_hoarding" : "_uncached") +
         (v.domains == vmm::DomainLayout::Shared ? "_shared" : "_separate");
}

class LiveUpdate : public testing::TestWithParam<Variant> {
 protected:
  static Scene scene() {
    Scene scene;
    scene.mode = GetParam().mode;
    scene.tables = GetParam().tables;
    scene.caches = GetParam().caches;
    scene.domains = GetParam().domains;
    return scene;
  }
};

TEST_P(LiveUpdate, LosesNothingAndNeverStops) {
  RecordProperty("acceptance", "T3 T4 T7 IV17 R8 R9 X7 Q5 IV29");
  Scene with_updates = scene();
  with_updates.updates = 3;
  Circle circle(with_updates);
  ASSERT_NO_FATAL_FAILURE(circle.run_to_the_end());
  expect_clean(circle);

  const auto& marks = circle.session.machine().marks();
  for (u32 update = 0; update < with_updates.updates; ++update) {
    SCOPED_TRACE("update " + std::to_string(update));
    const sim::Mark* consent = find_mark(marks, Phase::LastConsent, update);
    const sim::Mark* cut_off = find_mark(marks, Phase::CutOffDone, update);
    const sim::Mark* adopted = find_mark(marks, Phase::AdoptionDone, update + 1);  // the first one is the cold boot's
    const sim::Mark* booted = find_mark(marks, Phase::LiveBootDone, update + 1);
    ASSERT_TRUE(consent && cut_off && adopted && booted);
    for (u32 i = 0; i < preserved_devices; ++i)
      EXPECT_GT(adopted->devices[i].transfers, consent->devices[i].transfers) << "device " << i << " stood still";
    EXPECT_EQ(booted->devices[bystander].transfers, cut_off->devices[bystander].transfers);
    EXPECT_GT(booted->devices[bystander].faulted, cut_off->devices[bystander].faulted);
  }
}

TEST_P(LiveUpdate, TurnsTranslationOnOnceAndNeverOffAndSetsTheRootOnce) {
  RecordProperty("acceptance", "IV15 IV18 IV20");
  Circle circle(scene());
  ASSERT_NO_FATAL_FAILURE(circle.run_to_the_end());
  for (std::size_t i = 0; i < circle.session.machine().unit_count(); ++i) {
    const sim::UnitStats& stats = circle.session.machine().unit(i).stats();
    EXPECT_EQ(stats.translation_enabled, 1u);
    EXPECT_EQ(stats.translation_disabled, 0u);
  }
}

INSTANTIATE_TEST_SUITE_P(Circle, LiveUpdate,
                         testing::Values(Variant{"scalable", "arena", sim::CacheModel::Hoarding, vmm::DomainLayout::Shared},
                                         Variant{"scalable", "arena", sim::CacheModel::Absent, vmm::DomainLayout::Shared},
                                         Variant{"scalable", "page", sim::CacheModel::Hoarding, vmm::DomainLayout::Separate},
                                         Variant{"legacy", "arena", sim::CacheModel::Hoarding, vmm::DomainLayout::Shared},
                                         Variant{"legacy", "arena", sim::CacheModel::Absent, vmm::DomainLayout::Separate},
                                         Variant{"legacy", "page", sim::CacheModel::Hoarding, vmm::DomainLayout::Shared}),
                         name_of);

TEST(Control, WithoutPreservationEveryDeviceFaultsAndNothingComesBack) {
  Scene scene;
  Circle circle(scene);
  circle.vmm.preservation = vmm::Preservation::Nothing;
  ASSERT_TRUE(circle.generation().jumped());
  const host::Generation second = circle.generation();
  ASSERT_TRUE(second.returned()) << second.text();
  EXPECT_EQ(circle.reports.back().outcome, vmm::Outcome::NothingCameBack);
  for (u32 i = 0; i < preserved_devices; ++i) EXPECT_GT(circle.session.machine().counters(i).faulted, 0u);
  EXPECT_EQ(circle.session.machine().wild(), 0u);
}

}  // namespace
}  // namespace circle

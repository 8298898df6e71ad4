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
  u32 rid_pasid = 0;
};

/// For messages.
void PrintTo(const Variant& variant, std::ostream* out) { *out << variant.mode << ' ' << variant.tables; }

std::string name_of(const testing::TestParamInfo<Variant>& info) {
  const Variant& v = info.param;
  return v.mode + "_" + v.tables + (v.caches == sim::CacheModel::Hoarding ? "_hoarding" : "_uncached") +
         (v.domains == vmm::DomainLayout::Shared ? "_shared" : "_separate") +
         (v.rid_pasid != 0 ? "_rid_pasid_" + std::to_string(v.rid_pasid) : "");
}

class LiveUpdate : public testing::TestWithParam<Variant> {
 protected:
  static Scene scene() {
    Scene scene;
    scene.mode = GetParam().mode;
    scene.tables = GetParam().tables;
    scene.caches = GetParam().caches;
    scene.domains = GetParam().domains;
    scene.rid_pasid = GetParam().rid_pasid;
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

TEST_P(LiveUpdate, TurnsTranslationOnOnceAndSetsNoRootAfterTheColdBoot) {
  RecordProperty("acceptance", "IV15 IV18 IV20");
  Circle circle(scene());
  ASSERT_TRUE(circle.generation().jumped());
  std::vector<u64> roots_set;
  for (std::size_t i = 0; i < circle.session.machine().unit_count(); ++i)
    roots_set.push_back(circle.session.machine().unit(i).stats().root_pointers_set);
  ASSERT_NO_FATAL_FAILURE(circle.run_to_the_end());
  for (std::size_t i = 0; i < circle.session.machine().unit_count(); ++i) {
    const sim::UnitStats& stats = circle.session.machine().unit(i).stats();
    EXPECT_EQ(stats.root_pointers_set, roots_set[i]);
    EXPECT_EQ(stats.translation_enabled, 1u);
    EXPECT_EQ(stats.translation_disabled, 0u);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Circle, LiveUpdate,
    testing::Values(Variant{"scalable", "arena", sim::CacheModel::Hoarding, vmm::DomainLayout::Shared},
                    Variant{"scalable", "arena", sim::CacheModel::Absent, vmm::DomainLayout::Shared},
                    Variant{"scalable", "arena", sim::CacheModel::Hoarding, vmm::DomainLayout::Separate, 65},
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

/// What a unit answers for a device that it knows nothing of, or that was blocked: never a word about what it read.
bool is_not_present(sim::FaultReason reason) {
  using enum sim::FaultReason;
  return reason == RootNotPresent || reason == ScalableRootNotPresent || reason == ContextNotPresent ||
         reason == ScalableContextNotPresent || reason == PasidEntryNotPresent;
}

/// Blocks of the previous kernel that nobody took back.
u64 count_unrestored(kernel::Kernel& kernel) {
  u64 count = 0;
  kernel.handover().for_each_unrestored([&](Block) { ++count; });
  return count;
}

class LastReport final : public vmm::Reporter {
 public:
  void report(const vmm::Report& report) override { last = report; }
  vmm::Report last;
};

/// Root tables cross whether or not anything of their unit does: hardware reads them through every jump.
class Roots : public testing::TestWithParam<std::tuple<std::string, sim::CacheModel>> {
 protected:
  static Scene scene() {
    Scene scene;
    scene.mode = std::get<0>(GetParam());
    scene.caches = std::get<1>(GetParam());
    scene.updates = 1;
    return scene;
  }
  /// No kernel is there, all memory that it was not promised is overwritten, and the engines go on.
  static void expect_blocked(sim::Machine& machine, const std::vector<u32>& unpreserved) {
    std::vector<u64> faults_before;
    std::vector<sim::EngineCounters> before;
    for (std::size_t i = 0; i < machine.unit_count(); ++i) faults_before.push_back(machine.unit(i).stats().faults);
    for (u32 i : unpreserved) before.push_back(machine.counters(i));
    machine.step(100);
    for (std::size_t at = 0; at < unpreserved.size(); ++at) {
      SCOPED_TRACE("device " + std::to_string(unpreserved[at]));
      ASSERT_TRUE(machine.running(unpreserved[at]));
      EXPECT_EQ(machine.counters(unpreserved[at]).transfers, before[at].transfers);
      EXPECT_GT(machine.counters(unpreserved[at]).faulted, before[at].faulted);
    }
    for (std::size_t i = 0; i < machine.unit_count(); ++i) {
      const auto& faults = machine.unit(i).faults();
      const u64 count = machine.unit(i).stats().faults - faults_before[i];
      ASSERT_LE(count, faults.size());
      for (u64 at = faults.size() - count; at < faults.size(); ++at)
        EXPECT_TRUE(is_not_present(faults[at].reason)) << "unit " << i << " reason " << u32(faults[at].reason);
    }
    EXPECT_EQ(machine.wild(), 0u);
  }
};

TEST_P(Roots, AJumpWithNothingPreservedLeavesEveryDeviceBlockedAndNoPageLost) {
  RecordProperty("acceptance", "IV17");
  Circle circle(scene());
  circle.vmm.preservation = vmm::Preservation::Nothing;
  ASSERT_TRUE(circle.generation().jumped());
  expect_blocked(circle.session.machine(), {0, 1, bystander});
  // Twice: the second kernel's roots are not the first one's.
  for (int update = 0; update < 2; ++update) {
    u64 unrestored = ~u64{0};
    bool holds_map = true;
    const host::Generation next = circle.session.run([&](host::ModelSession::Context& context) {
      unrestored = count_unrestored(context.kernel);
      holds_map = context.kernel.handover().holds_incoming_map();
      context.process.reboot_kexec();
    });
    ASSERT_TRUE(next.jumped()) << next.text();
    EXPECT_EQ(unrestored, 0u) << next.text();
    EXPECT_FALSE(holds_map);
    expect_blocked(circle.session.machine(), {});
  }
}

TEST_P(Roots, AUnitWithoutPreservedDevicesBlocksBesideOneThatTranslates) {
  RecordProperty("acceptance", "IV17");
  constexpr u32 preserved = 0;  // unit 0
  constexpr u32 other = 1;      // unit 1, where the VMM's bystander is now
  Circle circle(scene());
  circle.vmm.devices = 1;
  ASSERT_TRUE(circle.generation().jumped());
  const u64 transfers = circle.session.machine().counters(preserved).transfers;
  expect_blocked(circle.session.machine(), {other});
  EXPECT_GT(circle.session.machine().counters(preserved).transfers, transfers);

  u64 unrestored = ~u64{0};
  LastReport reporter;
  const host::Generation next = circle.session.run([&](host::ModelSession::Context& context) {
    WatchedSyscalls system(context);
    vmm::run_generation(system, circle.vmm, reporter);
    unrestored = count_unrestored(context.kernel);
  });
  ASSERT_TRUE(next.returned()) << next.text();
  EXPECT_EQ(reporter.last.outcome, vmm::Outcome::Finished) << reporter.last.step << "\n" << next.text();
  EXPECT_EQ(unrestored, 0u);
  EXPECT_EQ(circle.session.machine().counters(preserved).faulted, 0u);
  EXPECT_TRUE(circle.session.machine().audit(preserved).clean());
  EXPECT_EQ(circle.session.machine().wild(), 0u);
}

INSTANTIATE_TEST_SUITE_P(Circle, Roots,
                         testing::Combine(testing::Values("scalable", "legacy"),
                                          testing::Values(sim::CacheModel::Hoarding, sim::CacheModel::Absent)),
                         [](const auto& variant) {
                           return std::get<0>(variant.param) +
                                  (std::get<1>(variant.param) == sim::CacheModel::Hoarding ? "_hoarding" : "_uncached");
                         });

}  // namespace
}  // namespace circle

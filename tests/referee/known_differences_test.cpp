// What QEMU does otherwise than the manuals, beyond single entries (those are in malformed_rows.cpp); and that the
// referee sees a difference when there is one.
#include "tests/referee/domain.hpp"
#include "tests/referee/machine_test.hpp"

namespace referee {
namespace {

std::unique_ptr<Machine> start(std::string_view name) {
  for (const MachineKind& kind : machine_kinds())
    if (kind.name == name)
      if (const auto binary = qemu::find_binary(kind.release, kind.target)) return kind.start(*binary);
  return nullptr;
}

constexpr u64 arm_table(PhysAddr to) { return to.value | 3; }
constexpr u64 arm_page(PhysAddr to) { return to.value | 0x7ff; }

// 40 bits of input in three levels: two tables side by side, the upper half of the addresses in the second (DDI 0487,
// "Concatenated translation tables"). QEMU 10.0 goes by the first for both halves.
TEST(KnownDifferences, TheStage2OfQemu10UsesTheFirstOfSeveralTopTables) {
  const auto machine = start("smmu_stage2_qemu10");
  if (!machine) GTEST_SKIP() << "QEMU 10 is not there";
  const SharedRam& ram = machine->ram();
  const PhysAddr top = ram.tables().start;
  const PhysAddr lower_target = ram.targets().start;
  const PhysAddr upper_target = lower_target + 0x1000;
  const u64 lower = 0x1000;  // index 0, 0, 1
  const u64 upper = lower | u64{1} << 39;
  PhysAddr next = top + 0x4000;
  for (const auto& [first, target] : {std::pair{top, lower_target}, {top + 0x1000, upper_target}}) {
    ram.store(first, arm_table(next));
    ram.store(next, arm_table(next + 0x1000));
    ram.store(next + 0x1008, arm_page(target));
    next = next + 0x2000;
  }
  const Root root{top, 3, 40, 12};
  machine->attach(root);
  EXPECT_EQ(machine->walk(root, lower, Access::Write).address, lower_target);
  EXPECT_EQ(machine->walk(root, upper, Access::Write).address, upper_target);

  ram.store(lower_target, ~u64{0});
  ram.store(upper_target, ~u64{0});
  machine->edu().write_memory(lower, 0, 8);  // zeroes: the buffer was never filled
  EXPECT_EQ(ram.load(lower_target), 0u);
  ram.store(lower_target, ~u64{0});
  machine->edu().write_memory(upper, 0, 8);
  const bool as_the_manual_says = ram.load(upper_target) == 0 && ram.load(lower_target) == ~u64{0};
  const bool as_known = ram.load(upper_target) == ~u64{0} && ram.load(lower_target) == 0;
  EXPECT_TRUE(as_the_manual_says || as_known);
  EXPECT_EQ(to_string(machine->take_fault()), "no fault");
}

TEST(Referee, SeesAMachineThatTranslatesOtherwise) {
  const auto machine = start("vtd_legacy_qemu7");
  if (!machine) GTEST_SKIP() << "QEMU 7 is not there";
  TableMemory memory(machine->ram());
  Score score;
  for (u64 seed = 1; seed <= 10; ++seed) score += referee_domain(*machine, memory, seed, Requests::OnePageFurther);
  // Where neighbouring pages are refused alike there is nothing to see but the page in the record.
  EXPECT_GT(score.disagreed, score.dmas * 9 / 10);
  EXPECT_FALSE(score.disagreements.empty());
}

}  // namespace
}  // namespace referee

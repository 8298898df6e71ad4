// A short part of the bare-metal scenarios, on the QEMU that is installed. Skipped where there is none.
#include <gtest/gtest.h>

#include <signal.h>

#include "tests/metal/scenario.hpp"

namespace metal_test {
namespace {

class BareMetal : public testing::Test {
 protected:
  void SetUp() override {
    for (const qemu::Release release : {qemu::Release::Qemu7, qemu::Release::Qemu10}) {
      const auto binary = qemu::find_binary(release, qemu::Target::X86);
      if (!binary) continue;
      bench = {*binary, static_cast<unsigned>(release), HOLDFAST_METAL_IMAGE,
               std::filesystem::path(HOLDFAST_METAL_LOGS) / "test", false};
      return;
    }
    GTEST_SKIP() << "there is no QEMU";
  }
  static void expect_passed(const Outcome& outcome) {
    EXPECT_TRUE(outcome.passed()) << outcome.name() << "\n" << outcome.failures();
  }

  Bench bench;
};

NetPlan short_plan(const char* name, const std::string& mode) {
  NetPlan plan;
  plan.name = name;
  plan.mode = mode;
  plan.frames = 8'000;  // a third of them is left to come at the second jump
  plan.jumps = 2;
  plan.settle_ms = 0;
  return plan;
}

TEST_F(BareMetal, NetworkLosesNothingInLegacyMode) {
  RecordProperty("acceptance", "X7 T4 T8");
  expect_passed(run_net(bench, short_plan("net legacy", "legacy")));
}

TEST_F(BareMetal, NetworkLosesNothingInScalableMode) {
  RecordProperty("acceptance", "X7 T4 T8");
  expect_passed(run_net(bench, short_plan("net scalable", scalable_mode)));
}

TEST_F(BareMetal, NetworkLosesNothingWhileItsTableIsReplaced1000Times) {
  RecordProperty("acceptance", "R9 T4");
  NetPlan plan = short_plan("replace", scalable_mode);
  plan.jumps = 1;
  plan.replacements = 1'000;
  expect_passed(run_net(bench, plan));
}

// A few of the hundred of `./dev metal chain`; T3 is claimed by what makes them all.
TEST_F(BareMetal, KernelsFollowOneAnother) { expect_passed(run_sound(bench, chain_plan(10))); }

TEST_F(BareMetal, OneTransferEndsInTheBlackout) {
  RecordProperty("acceptance", "T4");
  expect_passed(run_edu(bench, true));
}

TEST_F(BareMetal, OneTransferEndsUnderTheNextKernel) {
  RecordProperty("acceptance", "T4");
  expect_passed(run_edu(bench, false));
}

TEST_F(BareMetal, WhatNobodyPreservedFaultsAndWritesNothing) {
  RecordProperty("acceptance", "IV17");
  expect_passed(run_unpreserved(bench));
}

// T8 on QEMU: both modes, second stage of four levels, and first stage of four where QEMU is new enough. The guest's
// IOVAs need 48 bits; three and five levels are the model's (tests/circle).
TEST_F(BareMetal, SoundGoesOnInFirstStageTables) {
  RecordProperty("acceptance", "T8");
  const auto newer = qemu::find_binary(qemu::Release::Qemu10, qemu::Target::X86);
  if (!newer) GTEST_SKIP() << "no QEMU 10: older ones know no first stage";
  bench.binary = *newer;
  bench.release = static_cast<unsigned>(qemu::Release::Qemu10);
  expect_passed(run_sound(bench, first_stage_plan()));
}

TEST_F(BareMetal, SoundIsTheSameInEveryRun) {
  RecordProperty("acceptance", "T4");
  expect_passed(run_hda(bench));
}

TEST_F(BareMetal, TheDiskHoldsWhatTheGuestWrote) { expect_passed(run_nvme(bench)); }

class BareMetalControl : public BareMetal, public testing::WithParamInterface<std::string> {};
INSTANTIATE_TEST_SUITE_P(Sabotage, BareMetalControl, testing::Values("table", "record"),
                         [](const auto& parameter) { return parameter.param; });
TEST_P(BareMetalControl, IsSeen) {
  for (const Control& control : controls())
    if (control.word == GetParam()) return expect_passed(run_control(bench, control));
  FAIL() << "there is no such control";
}

class BareMetalRefusal : public BareMetal, public testing::WithParamInterface<std::string> {};
INSTANTIATE_TEST_SUITE_P(Machine, BareMetalRefusal,
                         testing::Values("no VT-d", "no next image", "next image cannot read the state",
                                         "39 address bits"),
                         [](const auto& parameter) {
                           std::string name = parameter.param;
                           std::erase_if(name, [](char c) { return std::isalnum(static_cast<unsigned char>(c)) == 0; });
                           return name;
                         });
TEST_P(BareMetalRefusal, IsSaid) {
  for (const Refusal& refusal : refusals())
    if (refusal.name == GetParam()) return expect_passed(run_refusal(bench, refusal));
  FAIL() << "there is no such refusal";
}

// A machine that does not end by itself is late, and leaves nothing.
TEST_F(BareMetal, EndsWhenItsTimeIsUp) {
  MachineSetup setup = setup_of(bench, "late");
  setup.kernel_words = "mode=scalable metal.hold_us=100000000";
  setup.vmm_words = "hda updates=1 settle_ms=10";
  setup.devices = sound_card();
  setup.time_limit = std::chrono::seconds(1);
  pid_t pid = 0;
  {
    Machine machine(bench.binary, setup);
    pid = machine.pid();
    const host::Ending ending = machine.wait_for_end();
    EXPECT_TRUE(machine.was_late());
    EXPECT_EQ(ending_text(ending, machine.was_late()), "killed when its time was up");
  }
  EXPECT_NE(::kill(pid, 0), 0);
}

}  // namespace
}  // namespace metal_test

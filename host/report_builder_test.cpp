// Figures and judgement of a run, from evidence made by hand.
#include "host/report_builder.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

namespace host {
namespace {

using ::testing::AnyOf;
using ::testing::Contains;
using ::testing::HasSubstr;

constexpr u32 bystander = 2;

RunOptions options_for(u32 updates) {
  RunOptions options;
  options.updates = updates;
  options.devices = 2;
  return options;
}

/// A clean run: each milestone 100 ns and 10 transfers of each preserved device after the one before; the bystander
/// works until the cut-off and then faults.
RunEvidence clean_evidence(u32 updates) {
  RunEvidence evidence;
  Mark now;
  now.devices = 3;
  auto pass = [&](Phase phase, bool cut_off) {
    now.phase = phase;
    now.time_ns += 100;
    now.touched =
        phase == Phase::JumpBegin      ? TouchCounts{.tables = 1, .blocks = 0, .records = 4, .files = 5, .frames = 0}
        : phase == Phase::AdoptionDone ? TouchCounts{.tables = 2, .blocks = 3, .records = 0, .files = 0, .frames = 0}
                                       : TouchCounts{};
    for (u32 device = 0; device < 2; ++device) now.counts[device].transfers += 10;
    (cut_off ? now.counts[bystander].faulted : now.counts[bystander].transfers) += 1;
    evidence.marks.push_back(now);
  };
  for (Phase phase : {Phase::BootEntry, Phase::AdoptionDone, Phase::LiveBootDone}) pass(phase, false);
  for (u32 update = 0; update < updates; ++update) {
    vmm::Report report;
    report.generation = update;
    report.preserve_ns = 1000 + update;
    report.retrieve_ns = 2000 + update;
    report.mapped_bytes = 4096;
    evidence.vmm_reports.push_back(report);
    for (Phase phase : {Phase::FreezeBegin, Phase::LastConsent, Phase::CutOffDone}) pass(phase, false);
    for (Phase phase :
         {Phase::JumpBegin, Phase::BootEntry, Phase::AdoptionDone, Phase::VerifyDone, Phase::LiveBootDone})
      pass(phase, true);
  }
  evidence.audit.devices = 3;
  evidence.audit.counts = now.counts;
  vmm::Report last;
  last.generation = updates;
  last.outcome = vmm::Outcome::Finished;
  last.retrieve_ns = 2000 + updates;
  last.devices = 2;
  for (u32 device = 0; device < 2; ++device) last.device_transfers[device] = now.counts[device].transfers;
  evidence.vmm_reports.push_back(last);
  return evidence;
}

TEST(ReportBuilder, MeasuresTheBlackoutFromTheLastConsentToTheEndOfAdoption) {
  const RunReport report = build_report(options_for(2), clean_evidence(2));
  ASSERT_EQ(report.updates.size(), 2u);
  EXPECT_TRUE(report.clean) << ::testing::PrintToString(report.complaints);
  for (const UpdateReport& update : report.updates) {
    EXPECT_EQ(update.blackout_ns, 400u);
    EXPECT_EQ(update.phases_ns.freeze, 100u);
    EXPECT_EQ(update.phases_ns.cut_off, 100u);
    EXPECT_EQ(update.phases_ns.jump, 200u);
    EXPECT_EQ(update.phases_ns.live_boot, 300u);
    EXPECT_EQ(update.transfers.gap, 80u) << "two devices, four milestones";
    EXPECT_EQ(update.touched_in_blackout,
              (TouchCounts{.tables = 3, .blocks = 3, .records = 4, .files = 5, .frames = 0}));
    EXPECT_EQ(update.bystander.transfers, 0u);
    EXPECT_EQ(update.bystander.faulted, 5u);
  }
  EXPECT_EQ(report.updates[1].phases_ns.preserve, 1001u);
  EXPECT_EQ(report.updates[1].phases_ns.retrieve, 2002u);
}

TEST(ReportBuilder, CountsEveryTransferExactlyOnce) {
  const RunEvidence evidence = clean_evidence(3);
  const RunReport report = build_report(options_for(3), evidence);
  u64 sum = report.updates[0].transfers.before;
  for (const UpdateReport& update : report.updates) sum += update.transfers.gap + update.transfers.after;
  EXPECT_EQ(sum, evidence.audit.counts[0].transfers + evidence.audit.counts[1].transfers);
  EXPECT_EQ(report.updates[0].transfers.after, report.updates[1].transfers.before);
}

TEST(ReportBuilder, AFaultOfAPreservedDeviceIsNotCleanAndBelongsToOneUpdate) {
  RunEvidence evidence = clean_evidence(2);
  for (Mark& mark : evidence.marks)
    if (mark.time_ns > 900) mark.counts[1].faulted = 3;  // seen from the first blackout on
  evidence.audit.counts[1].faulted = 3;
  const RunReport report = build_report(options_for(2), evidence);
  EXPECT_FALSE(report.clean);
  EXPECT_EQ(report.updates[0].faulted, 3u);
  EXPECT_EQ(report.updates[1].faulted, 0u);
}

TEST(ReportBuilder, MachineAndVmmMustAgree) {
  RunEvidence evidence = clean_evidence(1);
  evidence.vmm_reports.back().device_audit[1].lost = 4;
  EXPECT_THAT(build_report(options_for(1), evidence).complaints, Contains(HasSubstr("the VMM 4 lost")));
  evidence = clean_evidence(1);
  evidence.audit.memory[0].wrong = 1;
  EXPECT_THAT(build_report(options_for(1), evidence).complaints,
              Contains(HasSubstr("finds 0 lost, 0 repeated, 1 wrong")));
  evidence = clean_evidence(1);
  evidence.vmm_reports.back().device_transfers[0] -= 1;
  EXPECT_THAT(build_report(options_for(1), evidence).complaints, Contains(HasSubstr("as the machine counts")));
}

TEST(ReportBuilder, ABystanderThatGetsThroughIsNotClean) {
  RunEvidence evidence = clean_evidence(1);
  for (Mark& mark : evidence.marks)
    if (mark.phase == Phase::LiveBootDone && mark.time_ns > 300) mark.counts[bystander].transfers += 1;
  EXPECT_THAT(build_report(options_for(1), evidence).complaints, Contains(HasSubstr("not preserved got through")));
}

TEST(ReportBuilder, MissingUpdatesAndFailedCallsAreNotClean) {
  RunEvidence evidence = clean_evidence(1);
  vmm::Report& last = evidence.vmm_reports.back();
  last.outcome = vmm::Outcome::Failed;
  last.error = 16;
  std::strcpy(last.step, "VFIO_DEVICE_ATTACH_IOMMUFD_PT");
  const RunReport report = build_report(options_for(3), evidence);
  EXPECT_FALSE(report.clean);
  EXPECT_THAT(report.complaints, Contains(HasSubstr("1 of 3 updates")));
  EXPECT_THAT(report.complaints, Contains(HasSubstr("VFIO_DEVICE_ATTACH_IOMMUFD_PT failed with errno 16")));
}

TEST(ReportBuilder, AnUpdateThatWasGivenUpIsNone) {
  RunEvidence evidence = clean_evidence(1);
  std::vector<Mark> with_failure;
  for (const Mark& mark : evidence.marks) {
    if (mark.phase == Phase::FreezeBegin) {
      for (Phase phase : {Phase::FreezeBegin, Phase::LastConsent, Phase::JumpBegin, Phase::JumpFailed}) {
        Mark failed = mark;
        failed.phase = phase;
        with_failure.push_back(failed);
      }
    }
    with_failure.push_back(mark);
  }
  evidence.marks = with_failure;
  const RunReport report = build_report(options_for(1), evidence);
  EXPECT_EQ(report.updates.size(), 1u);
  EXPECT_TRUE(report.clean);
}

}  // namespace
}  // namespace host

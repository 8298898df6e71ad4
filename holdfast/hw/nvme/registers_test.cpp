#include "holdfast/hw/nvme/registers.hpp"

#include <gtest/gtest.h>

namespace holdfast::hw::nvme {
namespace {

// Typed from the manual.
TEST(NvmeManual, ConfigurationBits) {
  EXPECT_EQ(Cc().with<cc::En>(1).with<cc::Iosqes>(6).with<cc::Iocqes>(4).raw(), 0x00460001u);
  EXPECT_EQ(Aqa().with<aqa::Asqs>(31).with<aqa::Acqs>(31).raw(), 0x001f001fu);
  EXPECT_EQ(Csts(0x3).get<csts::Rdy>(), 1u);
  EXPECT_EQ(Csts(0x3).get<csts::Cfs>(), 1u);
  EXPECT_EQ(Cap(0x0000'0003'0f00'07ffu).get<cap::Mqes>(), 0x7ffu);
  EXPECT_EQ(Cap(0x0000'0003'0f00'07ffu).get<cap::To>(), 0xfu);
}

TEST(NvmeManual, DoorbellsStandAStrideApart) {
  EXPECT_EQ(doorbell_offset(Cap(), 0, Doorbell::SubmissionTail), 0x1000u);
  EXPECT_EQ(doorbell_offset(Cap(), 0, Doorbell::CompletionHead), 0x1004u);
  EXPECT_EQ(doorbell_offset(Cap(), 1, Doorbell::SubmissionTail), 0x1008u);
  EXPECT_EQ(doorbell_offset(Cap().with<cap::Dstrd>(2), 1, Doorbell::CompletionHead), 0x1030u);
}

TEST(NvmeManual, CompletionSplitsPhaseAndStatus) {
  Completion entry;
  entry.phase_and_status = 0x8005;
  EXPECT_EQ(phase_of(entry), 1u);
  EXPECT_EQ(status_of(entry), 0x4002u);
}

}  // namespace
}  // namespace holdfast::hw::nvme

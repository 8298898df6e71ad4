#include "holdfast/vtd/faults.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "holdfast/vtd/test_hardware.hpp"

namespace holdfast::vtd {
namespace {

using testing::HasSubstr;
using testing::Not;

class FaultsTest : public testing::Test {
 protected:
  void record(unsigned index, u64 low, u64 high) {
    world.unit().set<u64>(0x220 + index * 16, low);
    world.unit().set<u64>(0x220 + index * 16 + 8, high);
  }
  u32 drain() { return drain_faults(world, registers, hw::vtd::Cap(test_cap)); }

  HardwareWorld world;
  UnitRegisters registers{world, test_base};
};

TEST_F(FaultsTest, NamesDeviceAddressAndReason) {
  // F, write, reason 5, source 01:00.3; address 0x40001000.
  record(0, 0x40001000, u64{1} << 63 | u64{5} << 32 | 0x0103);
  EXPECT_EQ(drain(), 1u);
  ASSERT_EQ(world.log_lines.size(), 1u);
  EXPECT_EQ(world.log_lines[0],
            "vtd fed90000: fault: device 01:00.3 write iova 0x40001000 reason 0x05 (not mapped for writing)");
  EXPECT_EQ(world.unit().get<u64>(0x228) >> 63, 0u);
  EXPECT_EQ(drain(), 0u);
}

TEST_F(FaultsTest, NamesThePasidThatHardwareReports) {
  // PP (bit 95), PASID in bits 123:104; reason 0x59.
  const auto fault = [](u64 pasid) { return u64{1} << 63 | pasid << 40 | u64{0x59} << 32 | u64{1} << 31 | 8; };
  record(0, 0x7000, fault(65));
  record(1, 0x8000, fault(65));
  record(2, 0x9000, fault(0));
  record(3, 0xa000, u64{1} << 63 | u64{0x48} << 32 | 8);
  EXPECT_EQ(drain(), 4u);
  ASSERT_EQ(world.log_lines.size(), 3u);
  EXPECT_EQ(world.log_lines[0],
            "vtd fed90000: fault: device 00:01.0 pasid 65 write iova 0x7000 reason 0x59 (PASID entry not present), "
            "the first of 2");
  EXPECT_THAT(world.log_lines[1], HasSubstr("00:01.0 pasid 0 write iova 0x9000"));
  EXPECT_THAT(world.log_lines[2], HasSubstr("00:01.0 write iova 0xa000 reason 0x48 (RID_PASID beyond"));
}

TEST_F(FaultsTest, ReadsTheRingFromItsFirstRecordOnce) {
  for (unsigned i = 0; i < 4; ++i) record(i, u64{i} << 12, u64{1} << 63 | u64{1} << 62 | u64{6} << 32 | i);
  world.unit().set<u32>(hw::vtd::fsts_offset, 2 << 8 | 2 | 1);  // FRI 2, PPF, PFO
  EXPECT_EQ(drain(), 4u);
  ASSERT_EQ(world.log_lines.size(), 5u);
  EXPECT_THAT(world.log_lines[0], HasSubstr("00:00.2 read iova 0x2000"));
  EXPECT_THAT(world.log_lines[2], HasSubstr("00:00.0 read iova 0x0"));
  EXPECT_THAT(world.log_lines[4], HasSubstr("more faults than records"));
  EXPECT_EQ(world.unit().get<u32>(hw::vtd::fsts_offset) & 1, 0u);
}

TEST_F(FaultsTest, RecordsOfOneDeviceWithOneReasonShareALine) {
  const auto fault = [](u64 source, u64 reason) { return u64{1} << 63 | u64{1} << 62 | reason << 32 | source; };
  record(0, 0x7000, fault(8, 6));
  record(1, 0x5000, fault(8, 5));
  record(2, 0x1000, fault(8, 6));
  record(3, 0x3000, fault(9, 6));
  EXPECT_EQ(drain(), 4u);
  ASSERT_EQ(world.log_lines.size(), 3u);
  EXPECT_THAT(world.log_lines[0], HasSubstr("00:01.0 read iova 0x7000 reason 0x06"));
  EXPECT_THAT(world.log_lines[0], HasSubstr(", the first of 2"));
  EXPECT_THAT(world.log_lines[1], HasSubstr("00:01.0 read iova 0x5000 reason 0x05"));
  EXPECT_THAT(world.log_lines[1], Not(HasSubstr("first of")));
  EXPECT_THAT(world.log_lines[2], HasSubstr("00:01.1 read iova 0x3000"));
}

TEST_F(FaultsTest, AnImpossibleRecordNumberStaysInsideTheRing) {
  world.unit().set<u32>(hw::vtd::fsts_offset, 0xff02);
  EXPECT_EQ(drain(), 0u);
}

}  // namespace
}  // namespace holdfast::vtd

#include "vmm/hda_workload.hpp"

#include <gtest/gtest.h>

#include "vmm/test_system.hpp"

namespace vmm {
namespace {

/// Plays the controller: moves positions, writes silence behind the capturing one.
class HdaStreams : public ::testing::Test {
 protected:
  HdaStreams() {
    system.registers[TestSystem::bar0 + hw::hda::gcap_offset] = 0x4401;
    system.registers[TestSystem::bar0 + hw::hda::statests_offset] = 1;
    system.on_register_write = [this](u64 offset, u64) {
      if (offset == hw::hda::ics_offset) system.registers[TestSystem::bar0 + offset] = 2;  // the answer is there
    };
    workload.assign({.device = DeviceFile(calls, TestSystem::device_fd),
                     .control = MemoryFile(calls, control),
                     .data = MemoryFile(calls, data)},
                    WorkloadOptions{.updates = 0});
  }
  void capture(u64 bytes) {
    for (; bytes != 0; bytes -= 4) {
      system.put(data, position, u32{0});
      position = (position + 4) % Hda::buffer_bytes;
    }
    set_position(static_cast<u32>(position));
  }
  void set_position(u32 value) { system.put(control, Hda::positions_offset, value); }
  std::string totals() {
    Line line("total");
    workload.describe(line);
    return std::string(line.view());
  }

  TestSystem system;
  Calls calls{system};
  i32 control = system.new_file(Hda::control_file_bytes);
  i32 data = system.new_file(2 * Hda::buffer_bytes);
  u64 position = 0;
  HdaWorkload workload;
};

TEST_F(HdaStreams, AreSoundWhenEveryWordIsOverwritten) {
  ASSERT_TRUE(workload.start()) << calls.step();
  for (u32 i = 0; i < 3 * 32; ++i) {
    capture(Hda::period_bytes);
    ASSERT_TRUE(workload.poll());
  }
  EXPECT_TRUE(workload.sound());
  EXPECT_EQ(workload.done(), 3 * Hda::periods);
  EXPECT_EQ(totals(), "hf: total wraps=3 stale=0 capture=393216 playback=0 wraps_since_replace=3");
}

TEST_F(HdaStreams, CountWordsThatTheDeviceDidNotWrite) {
  ASSERT_TRUE(workload.start());
  capture(Hda::period_bytes);
  ASSERT_TRUE(workload.poll());
  // On it goes, but what it captures does not arrive.
  set_position(static_cast<u32>(2 * Hda::period_bytes));
  ASSERT_TRUE(workload.poll());
  EXPECT_FALSE(workload.sound());
  EXPECT_NE(totals().find("stale=1024 "), std::string::npos) << totals();
}

/// The device has begun another round, which nobody can know, when the marks of the last one are written.
TEST_F(HdaStreams, AreNotAccusedAfterAGapAndAreCheckedAgainAfterIt) {
  ASSERT_TRUE(workload.start());
  capture(Hda::period_bytes);
  ASSERT_TRUE(workload.poll());
  capture(Hda::buffer_bytes + 5 * Hda::period_bytes + 512);
  system.clock_ns += 900'000'000;
  ASSERT_TRUE(workload.poll());
  for (u64 i = 0; i < 2 * Hda::periods; ++i) {
    capture(Hda::period_bytes);
    ASSERT_TRUE(workload.poll());
  }
  EXPECT_TRUE(workload.sound()) << totals();
  EXPECT_GE(workload.done(), Hda::periods);
  set_position(static_cast<u32>((position + 2 * Hda::period_bytes) % Hda::buffer_bytes));
  ASSERT_TRUE(workload.poll());
  EXPECT_FALSE(workload.sound()) << "what stands still is seen as before";
}

TEST_F(HdaStreams, SayHowFarTheyGotUnobserved) {
  ASSERT_TRUE(workload.start());
  capture(Hda::buffer_bytes - 100);
  ASSERT_TRUE(workload.poll());
  capture(300);
  Landed landed;
  ASSERT_TRUE(workload.count_landed(landed));
  EXPECT_EQ(landed.count, 300u);
  EXPECT_FALSE(landed.first);
}

/// A position that was half old, half new when it was read counts for nothing.
TEST_F(HdaStreams, BelieveAPositionOnlyWhenItIsReadTwice) {
  ASSERT_TRUE(workload.start());
  capture(512);
  ASSERT_TRUE(workload.poll());
  set_position(0x3fc);
  u32 reads = 0;
  system.before_pread = [&](i32 fd, u64 offset) {
    if (fd == control && offset == Hda::positions_offset && ++reads == 2) set_position(0x204);
  };
  ASSERT_TRUE(workload.poll());
  EXPECT_NE(totals().find("capture=516 "), std::string::npos) << totals();
}

TEST_F(HdaStreams, AreQuietAfterAWholeRoundThroughTheNewPageTable) {
  ASSERT_TRUE(workload.start());
  capture(Hda::period_bytes);
  ASSERT_TRUE(workload.poll());
  workload.replaced();
  workload.hold();
  for (u64 i = 0; i < Hda::periods; ++i) {
    EXPECT_FALSE(workload.quiet());
    capture(Hda::period_bytes);
    ASSERT_TRUE(workload.poll());
  }
  EXPECT_TRUE(workload.quiet());
}

}  // namespace
}  // namespace vmm

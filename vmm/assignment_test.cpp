// What crosses a jump is believed only after it was checked.
#include "vmm/assignment.hpp"

#include <gtest/gtest.h>

#include "vmm/edu_workload.hpp"
#include "vmm/hda_workload.hpp"
#include "vmm/net_workload.hpp"
#include "vmm/nvme_workload.hpp"
#include "vmm/test_system.hpp"

namespace vmm {
namespace {

constexpr WorkloadOptions options{.kinds = 15, .updates = 1, .generation = 1};
constexpr i32 session = 900;
constexpr i32 iommufd = 901;

class AssignmentState : public ::testing::Test {
 protected:
  AssignmentState() {
    for (u64 kind = 0; kind < workload_kinds; ++kind) {
      for (u64 file = 0; file < workload_files; ++file)
        system.retrievable[0x100 + kind * 0x10 + file] = system.new_file(page_size_bytes);
      system.retrievable[0x200 + kind * 0x10] = TestSystem::device_fd;
    }
    identify(hw::edu::vendor_id, hw::edu::device_id);
  }
  void identify(u16 vendor, u16 device) {
    system.registers[TestSystem::config + hw::pci::vendor_id_offset] = u32{device} << 16 | vendor;
  }
  /// The errno of a retrieve by another kernel's workload.
  template <class W>
  i32 retrieve() {
    W workload;
    Assignment assignment(system, workload);
    const bool ok = assignment.retrieve(session, iommufd, states_fd, options);
    EXPECT_EQ(ok, assignment.calls().error() == 0);
    return assignment.calls().error();
  }
  template <class W>
  void save() {
    W workload;
    Assignment assignment(system, workload);
    ASSERT_TRUE(assignment.save_state(states_fd));
  }

  TestSystem system;
  i32 states_fd = system.new_file((workload_kinds + 1) * page_size_bytes);
};

TEST_F(AssignmentState, ComesBackAsItWasSaved) {
  save<EduWorkload>();
  EXPECT_EQ(retrieve<EduWorkload>(), 0);
}

TEST_F(AssignmentState, IsCorruptWhenAnyBitChanged) {
  save<EduWorkload>();
  const u64 at = (static_cast<u64>(WorkloadKind::Edu) + 1) * page_size_bytes;
  constexpr u64 header_and_state = 24 + 24;
  for (u64 bit = 0; bit < 8 * header_and_state; ++bit) {
    u8& byte = system.file(states_fd)[at + bit / 8];
    byte = static_cast<u8>(byte ^ 1u << bit % 8);
    EXPECT_EQ(retrieve<EduWorkload>(), to_errno(Code::Corrupt)) << "bit " << bit;
    byte = static_cast<u8>(byte ^ 1u << bit % 8);
  }
  EXPECT_EQ(retrieve<EduWorkload>(), 0);
}

/// As saved before the device was started: whole, but no state that a running device can have.
TEST_F(AssignmentState, IsCorruptWhenItMakesNoSense) {
  identify(hw::e1000e::vendor_id, hw::e1000e::device_id);
  NetWorkload net;
  const u32 past_the_ring = 8192;
  std::memcpy(net.state().data(), &past_the_ring, sizeof past_the_ring);
  ASSERT_TRUE(Assignment(system, net).save_state(states_fd));
  EXPECT_EQ(retrieve<NetWorkload>(), to_errno(Code::Corrupt));

  system.registers[TestSystem::config + hw::pci::revision_id_offset] = hw::nvme::class_code << 8;
  save<NvmeWorkload>();  // no unit of a disk
  EXPECT_EQ(retrieve<NvmeWorkload>(), to_errno(Code::Corrupt));
  system.registers[TestSystem::config + hw::pci::revision_id_offset] = hw::hda::class_code << 8;
  save<HdaWorkload>();  // no output stream
  EXPECT_EQ(retrieve<HdaWorkload>(), to_errno(Code::Corrupt));
}

TEST_F(AssignmentState, BelongsToTheDeviceThatItWasSavedFor) {
  save<EduWorkload>();
  identify(hw::e1000e::vendor_id, hw::e1000e::device_id);
  EXPECT_EQ(retrieve<EduWorkload>(), to_errno(Code::Mismatch));
}

TEST_F(AssignmentState, IsLostWithItsDevice) {
  save<EduWorkload>();
  system.retrievable.erase(0x200 + static_cast<u64>(WorkloadKind::Edu) * 0x10);
  EXPECT_EQ(retrieve<EduWorkload>(), to_errno(Code::Corrupt));
}

TEST(DeviceMatches, ByVendorAndDeviceOrByClass) {
  const DeviceIdentity nic{.vendor = 0x8086, .device = 0x10d3, .class_code = 0x020000};
  EXPECT_TRUE(matches({.vendor = 0x8086, .device = 0x10d3}, nic));
  EXPECT_FALSE(matches({.vendor = 0x8086, .device = 0x100e}, nic));
  EXPECT_FALSE(matches({.vendor = 0x1234, .device = 0x10d3}, nic));
  EXPECT_TRUE(matches({.class_code = 0x020000}, nic));
  EXPECT_FALSE(matches({.class_code = 0x010802}, nic));
}

}  // namespace
}  // namespace vmm

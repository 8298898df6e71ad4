#include "vmm/e1000e_driver.hpp"

#include <gtest/gtest.h>

#include "vmm/test_system.hpp"

namespace vmm {
namespace {

namespace nic = hw::e1000e;

constexpr E1000e::Addresses addresses{
    .rings = 0x1234'4000'0000, .receive_buffers = 0x7123'0000'0000, .transmit_buffers = 0x55'0000'0000};

class E1000eDriver : public ::testing::Test {
 protected:
  E1000eDriver() {
    // The reset ends at once.
    system.on_register_write = [this](u64 offset, u64 value) {
      if (offset == nic::ctrl_offset) system.registers[TestSystem::bar0 + offset] = value & ~u64{1 << 26};
    };
  }
  void fill(u32 index, u16 length) {
    auto descriptor = system.get<nic::ReceiveDescriptor>(rings_fd, index * sizeof(nic::ReceiveDescriptor));
    descriptor.length = length;
    descriptor.status = nic::receive_done | nic::receive_end_of_packet;
    system.put(rings_fd, index * sizeof descriptor, descriptor);
  }
  std::vector<std::pair<u32, u32>> receive(u32 most) {
    std::vector<std::pair<u32, u32>> taken;
    EXPECT_TRUE(driver.receive(rings, most, [&](const nic::ReceiveDescriptor& descriptor, u32 index) {
      taken.emplace_back(index, descriptor.length);
      return true;
    }));
    return taken;
  }
  void complete_transmit(u32 index) {
    const u64 at = E1000e::transmit_ring_offset + index * sizeof(nic::TransmitDescriptor);
    auto descriptor = system.get<nic::TransmitDescriptor>(rings_fd, at);
    descriptor.status = nic::transmit_done;
    system.put(rings_fd, at, descriptor);
  }

  TestSystem system;
  Calls calls{system};
  i32 rings_fd = system.new_file(E1000e::ring_file_bytes);
  i32 buffers_fd = system.new_file(page_size_bytes);
  E1000e driver{DeviceFile(calls, TestSystem::device_fd), MemoryFile(calls, rings_fd), MemoryFile(calls, buffers_fd),
                addresses};
  E1000eRings rings;
};

TEST_F(E1000eDriver, GivesTheDeviceItsRings) {
  ASSERT_TRUE(driver.start(rings));
  EXPECT_EQ(system.bar(nic::rdbal_offset), 0x4000'0000u);
  EXPECT_EQ(system.bar(nic::rdbah_offset), 0x1234u);
  EXPECT_EQ(system.bar(nic::rdlen_offset), 8192u * 16);
  EXPECT_EQ(system.bar(nic::rdt_offset), 8191u);
  EXPECT_EQ(system.bar(nic::tdbal_offset), 0x4002'0000u);
  EXPECT_EQ(system.bar(nic::tdlen_offset), 256u * 16);
  EXPECT_EQ(system.bar(nic::rctl_offset), 0x0400801au);
  EXPECT_EQ(system.bar(nic::imc_offset), 0xffffffffu);
  EXPECT_EQ(system.registers[TestSystem::config + 4], 0x406u);  // memory, bus master, no interrupt line
  for (const u32 index : {0u, 1u, 8191u})
    EXPECT_EQ(system.get<u64>(rings_fd, index * 16), addresses.receive_buffers + index * 2048);
}

TEST_F(E1000eDriver, TakesWhatIsFilledAndNoMore) {
  ASSERT_TRUE(driver.start(rings));
  for (u32 i = 0; i < 100; ++i) fill(i, static_cast<u16>(60 + i));
  fill(101, 1);  // one before it is still the device's
  const auto taken = receive(1000);
  ASSERT_EQ(taken.size(), 100u);
  for (u32 i = 0; i < 100; ++i) EXPECT_EQ(taken[i], std::pair(i, 60 + i));
  EXPECT_EQ(system.bar(nic::rdt_offset), 99u);
  EXPECT_EQ(system.get<u8>(rings_fd, 50 * 16 + 12), 0u);  // free again
  EXPECT_TRUE(receive(1000).empty());
}

TEST_F(E1000eDriver, GoesAroundTheEndOfTheRing) {
  ASSERT_TRUE(driver.start(rings));
  rings.receive_next = 8190;
  for (const u32 index : {8190u, 8191u, 0u, 1u}) fill(index, static_cast<u16>(index));
  u32 filled = 0;
  ASSERT_TRUE(driver.count_filled(rings, filled));
  EXPECT_EQ(filled, 4u);
  EXPECT_EQ(rings.receive_next, 8190u);
  const auto taken = receive(1000);
  ASSERT_EQ(taken.size(), 4u);
  EXPECT_EQ(taken[2].first, 0u);
  EXPECT_EQ(rings.receive_next, 2u);
  EXPECT_EQ(system.bar(nic::rdt_offset), 1u);
}

TEST_F(E1000eDriver, CountsAFullRing) {
  ASSERT_TRUE(driver.start(rings));
  rings.receive_next = 100;
  for (u32 i = 0; i < 8192; ++i) fill(i, 60);
  u32 filled = 0;
  ASSERT_TRUE(driver.count_filled(rings, filled));
  EXPECT_EQ(filled, 8192u);
  EXPECT_EQ(receive(70).size(), 70u);
  EXPECT_EQ(rings.receive_next, 170u);
}

/// The device writes the length before DD, but a pread may have read the length before the device wrote it.
TEST_F(E1000eDriver, BelievesALengthOnlyAfterItSawThatItIsThere) {
  ASSERT_TRUE(driver.start(rings));
  fill(0, 0);  // as torn: DD is there, the length is not
  u32 reads = 0;
  system.before_pread = [&](i32 fd, u64 offset) {
    if (fd == rings_fd && offset == 0 && ++reads == 2) fill(0, 128);
  };
  const auto taken = receive(1);
  ASSERT_EQ(taken.size(), 1u);
  EXPECT_EQ(taken[0].second, 128u);
}

TEST_F(E1000eDriver, SendsUntilTheRingIsFull) {
  ASSERT_TRUE(driver.start(rings));
  const std::array<u8, 4> frame{1, 2, 3, 4};
  bool sent = false;
  for (u32 i = 0; i < 255; ++i) {
    ASSERT_TRUE(driver.send(rings, frame, sent));
    ASSERT_TRUE(sent) << i;
  }
  ASSERT_TRUE(driver.send(rings, frame, sent));
  EXPECT_FALSE(sent);
  EXPECT_EQ(system.bar(nic::tdt_offset), 255u);
  complete_transmit(0);
  ASSERT_TRUE(driver.send(rings, frame, sent));
  EXPECT_TRUE(sent);
  EXPECT_EQ(system.bar(nic::tdt_offset), 0u);
  const auto last = system.get<nic::TransmitDescriptor>(rings_fd, E1000e::transmit_ring_offset + 255 * 16);
  EXPECT_EQ(last.buffer, addresses.transmit_buffers + 255 * 128);
  EXPECT_EQ(last.length, 4u);
  EXPECT_EQ(last.command, 0x0bu);
}

TEST_F(E1000eDriver, IsIdleWhenAllIsSent) {
  ASSERT_TRUE(driver.start(rings));
  const std::array<u8, 4> frame{};
  bool sent = false, idle = true;
  for (u32 i = 0; i < 2; ++i) ASSERT_TRUE(driver.send(rings, frame, sent));
  ASSERT_TRUE(driver.reclaim(rings, idle));
  EXPECT_FALSE(idle);
  complete_transmit(0);
  complete_transmit(1);
  ASSERT_TRUE(driver.reclaim(rings, idle));
  EXPECT_TRUE(idle);
}

TEST_F(E1000eDriver, SaysThatTheResetDidNotEnd) {
  system.on_register_write = [](u64, u64) {};
  EXPECT_FALSE(driver.start(rings));
  EXPECT_EQ(calls.error(), to_errno(Code::TimedOut));
  EXPECT_STREQ(calls.step(), "wait for the reset of the e1000e");
}

}  // namespace
}  // namespace vmm

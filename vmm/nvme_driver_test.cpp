#include "vmm/nvme_driver.hpp"

#include <gtest/gtest.h>

#include "vmm/test_system.hpp"

namespace vmm {
namespace {

namespace nvme = hw::nvme;

constexpr u64 queues_iova = 0x4100'0000;

class NvmeDriver : public ::testing::Test {
 protected:
  NvmeDriver() {
    system.registers[TestSystem::bar0 + nvme::cap_offset] = 0x0000'0000'0f00'07ff;
    system.on_register_write = [this](u64 offset, u64 value) { act(offset, value); };
  }
  /// Ready as soon as it is enabled; answers every admin command.
  void act(u64 offset, u64 value) {
    if (offset == nvme::cc_offset) system.registers[TestSystem::bar0 + nvme::csts_offset] = value & 1;
    if (offset != 0x1000) return;
    const u64 turn = value - 1;
    commands.push_back(system.get<nvme::Submission>(fd, Nvme::admin_submission_offset + turn * 64));
    if (commands.back().opcode == nvme::admin_identify) {
      system.put(fd, Nvme::identify_offset, u64{0x4000});
      system.put(fd, Nvme::identify_offset + 26, u8{0x01});
      system.put(fd, Nvme::identify_offset + 128 + 4, u32{0x00090000});
    }
    put_completion(Nvme::admin_completion_offset + turn * 16, static_cast<u16>(turn), 1);
  }
  void put_completion(u64 at, u16 id, u16 phase, u16 status = 0) {
    nvme::Completion entry;
    entry.command_id = id;
    entry.phase_and_status = static_cast<u16>(status << 1 | phase);
    system.put(fd, at, entry);
  }
  std::vector<u16> complete() {
    std::vector<u16> ids;
    EXPECT_TRUE(driver.complete(queues, [&](const nvme::Completion& entry) { ids.push_back(entry.command_id); }));
    return ids;
  }

  TestSystem system;
  Calls calls{system};
  i32 fd = system.new_file(Nvme::queue_file_bytes);
  Nvme driver{DeviceFile(calls, TestSystem::device_fd), MemoryFile(calls, fd), queues_iova};
  NvmeQueues queues;
  std::vector<nvme::Submission> commands;
};

TEST_F(NvmeDriver, CreatesItsQueuesAndLearnsTheSize) {
  ASSERT_TRUE(driver.start(queues)) << calls.step();
  EXPECT_EQ(queues.blocks, 0x4000u);
  EXPECT_EQ(queues.block_lg2, 9u);
  EXPECT_EQ(system.bar(nvme::cc_offset), 0x00460001u);
  EXPECT_EQ(system.bar(nvme::asq_offset), queues_iova);
  ASSERT_EQ(commands.size(), 3u);
  EXPECT_EQ(commands[0].opcode, 0x06);
  EXPECT_EQ(commands[1].opcode, 0x05);
  EXPECT_EQ(commands[1].cdw10, 0x003f0001u);
  EXPECT_EQ(commands[1].prp1, queues_iova + 0x3000);
  EXPECT_EQ(commands[2].opcode, 0x01);
  EXPECT_EQ(commands[2].cdw11, 0x00010001u);
}

TEST_F(NvmeDriver, TurnsAPageIntoBlocks) {
  ASSERT_TRUE(driver.start(queues));
  ASSERT_TRUE(driver.submit(queues, Nvme::Direction::Read, 7, 0x1'0000'0008, 0xabc000));
  const auto command = system.get<nvme::Submission>(fd, Nvme::submission_offset);
  EXPECT_EQ(command.opcode, 0x02);
  EXPECT_EQ(command.command_id, 7u);
  EXPECT_EQ(command.cdw10, 8u);
  EXPECT_EQ(command.cdw11, 1u);
  EXPECT_EQ(command.cdw12, 7u);  // eight blocks of 512, 0's based
  ASSERT_TRUE(driver.ring_doorbell(queues));
  EXPECT_EQ(system.bar(0x1008), 1u);
}

TEST_F(NvmeDriver, CompletionsOfTheNextRoundHaveTheOtherPhase) {
  ASSERT_TRUE(driver.start(queues));
  for (u16 i = 0; i < 64; ++i) put_completion(Nvme::completion_offset + i * 16, i, 1);
  queues.completion_head = 62;
  u32 count = 0;
  ASSERT_TRUE(driver.count_completed(queues, count));
  EXPECT_EQ(count, 2u);
  EXPECT_EQ(complete(), (std::vector<u16>{62, 63}));
  EXPECT_EQ(queues.completion_head, 0u);
  EXPECT_EQ(queues.phase, 0u);
  EXPECT_EQ(system.bar(0x100c), 0u);
  put_completion(Nvme::completion_offset, 5, 0);
  EXPECT_EQ(complete(), (std::vector<u16>{5}));
  EXPECT_EQ(system.bar(0x100c), 1u);
}

TEST_F(NvmeDriver, RefusesAStateThatItNeverHad) {
  ASSERT_TRUE(driver.start(queues));
  EXPECT_TRUE(Nvme::valid(queues));
  const auto with = [&](auto change) {
    NvmeQueues changed = queues;
    change(changed);
    return Nvme::valid(changed);
  };
  EXPECT_FALSE(with([](NvmeQueues& q) { q.submission_tail = 64; }));
  EXPECT_FALSE(with([](NvmeQueues& q) { q.completion_head = 64; }));
  EXPECT_FALSE(with([](NvmeQueues& q) { q.phase = 2; }));
  EXPECT_FALSE(with([](NvmeQueues& q) { q.block_lg2 = 13; }));
  EXPECT_FALSE(with([](NvmeQueues& q) { q.block_lg2 = 8; }));
}

TEST_F(NvmeDriver, SaysThatTheControllerDidNotComeUp) {
  system.on_register_write = [](u64, u64) {};
  EXPECT_FALSE(driver.start(queues));
  EXPECT_EQ(calls.error(), to_errno(Code::TimedOut));
}

}  // namespace
}  // namespace vmm

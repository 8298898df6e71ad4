#include "sim/model_world.hpp"

#include <gtest/gtest.h>

#include "sim/test_tables.hpp"

namespace sim {
namespace {

u64& word_at(World& world, PhysAddr address) { return *reinterpret_cast<u64*>(world.direct_map() + address.value); }

TEST(ModelWorld, ShowsRamToEachKernelAtAnotherAddressAndTakesTheOldOneAway) {
  ModelMachine machine(HandMadeMachine::one_device());
  ModelWorld first(machine);
  std::byte* const old_map = first.direct_map();
  word_at(first, PhysAddr(0x200000)) = 0x1234;
  ModelWorld second(machine);
  EXPECT_NE(second.direct_map(), old_map);
  EXPECT_EQ(word_at(second, PhysAddr(0x200000)), 0x1234u);
  EXPECT_DEATH(static_cast<void>(*reinterpret_cast<volatile u64*>(old_map + 0x200000)), "");
}

TEST(ModelWorld, NeverReusesARecentAddress) {
  ModelMachine machine(HandMadeMachine::one_device());
  std::vector<std::byte*> seen;
  for (int boot = 0; boot < 6; ++boot) {
    ModelWorld world(machine);
    EXPECT_EQ(std::count(seen.begin(), seen.end(), world.direct_map()), 0);
    seen.push_back(world.direct_map());
  }
}

TEST(ModelWorld, MovesTimeAndTheMachineWithTheKernelsOwnActs) {
  ModelMachine machine(HandMadeMachine::one_device(), {.transfers_per_step = 2, .step_ns = 10, .relax_ns = 1000});
  ModelWorld world(machine);
  EXPECT_EQ(world.now_ns(), 0u);
  world.step();
  world.relax();
  EXPECT_EQ(world.mmio_read(unit_address(0), Width::Dword), 0x40u);
  world.mmio_write(unit_address(0) + hw::vtd::rtaddr_offset, Width::Qword, 0x5000);
  EXPECT_EQ(world.now_ns(), 1030u);
  EXPECT_EQ(world.mmio_read(unit_address(0) + hw::vtd::rtaddr_offset, Width::Qword), 0x5000u);
}

TEST(ModelWorld, EndsAGenerationAtItsJump) {
  ModelMachine machine(HandMadeMachine::one_device());
  ModelWorld world(machine);
  Fiber fiber;
  const Outcome outcome = fiber.run([&] { static_cast<void>(world.jump({1, 2, 3, 4})); });
  EXPECT_EQ(outcome.kind, Outcome::Kind::Jumped);
  EXPECT_EQ(outcome.handover.scratch, 3u);
  world.plan().fail_jump_with = Code::Io;
  EXPECT_EQ(world.jump({}), Code::Io);
}

TEST(ModelWorld, StopsForEverAtTheStepThatThePlanNames) {
  ModelMachine machine(HandMadeMachine::one_device());
  ModelWorld world(machine, {.stop_at_step = 3, .fail_allocation = 0, .next_image_note = {}});
  Fiber fiber;
  int steps = 0;
  const Outcome outcome = fiber.run([&] {
    for (;;) {
      world.step();
      ++steps;
    }
  });
  EXPECT_EQ(outcome.kind, Outcome::Kind::Stopped);
  EXPECT_EQ(steps, 2);
}

TEST(ModelWorld, FailsTheAllocationThatThePlanNames) {
  ModelMachine machine(HandMadeMachine::one_device());
  ModelWorld world(machine, {.stop_at_step = 0, .fail_allocation = 2, .next_image_note = {}});
  EXPECT_TRUE(world.may_allocate());
  EXPECT_FALSE(world.may_allocate());
  EXPECT_TRUE(world.may_allocate());
  EXPECT_EQ(world.allocations(), 3u);
}

TEST(ModelWorld, ReallyDropsWhatIsPreparedForTheJump) {
  ModelMachine machine(HandMadeMachine::one_device());
  ModelWorld world(machine);
  word_at(world, PhysAddr(0x300000)) = 7;
  const PhysRange range{PhysAddr(0x300000), 0x2000};
  ASSERT_TRUE(world.prepare_jump({&range, 1}));
  EXPECT_DEATH(word_at(world, PhysAddr(0x301000)) = 1, "");
  word_at(world, PhysAddr(0x302000)) = 1;
  world.cancel_jump();
  EXPECT_EQ(word_at(world, PhysAddr(0x300000)), 7u);
  const PhysRange odd{PhysAddr(0x300010), 0x1000};
  EXPECT_EQ(world.prepare_jump({&odd, 1}).code(), Code::Invalid);
  const PhysRange outside{PhysAddr(u64{1} << 40), 0x1000};
  EXPECT_EQ(world.prepare_jump({&outside, 1}).code(), Code::Invalid);
}

TEST(ModelWorld, HandsOutTheNextImagesNote) {
  ModelMachine machine(HandMadeMachine::one_device());
  ModelWorld world(machine);
  std::array<std::byte, 4> buffer{};
  EXPECT_EQ(world.read_next_image_note(buffer).code(), Code::NotFound);
  world.plan().next_image_note.assign(3, std::byte{9});
  EXPECT_EQ(world.read_next_image_note(buffer).value(), 3u);
  EXPECT_EQ(buffer[2], std::byte{9});
  world.plan().next_image_note.assign(5, std::byte{9});
  EXPECT_EQ(world.read_next_image_note(buffer).code(), Code::TooBig);
}

TEST(ModelWorld, TellsTheMachineMilestonesAndGrants) {
  ModelMachine machine(HandMadeMachine::one_device());
  ModelWorld world(machine);
  world.guest_memory({PhysAddr(0x400000), 0x3000}, GuestMemory::Granted);
  EXPECT_EQ(machine.machine().grants().granted_pages(), 3u);
  world.phase(Phase::BootEntry, {});
  EXPECT_EQ(machine.machine().grants().granted_pages(), 3u) << "grants end with the blackout, not before";
  world.phase(Phase::AdoptionDone, {});
  EXPECT_EQ(machine.machine().grants().granted_pages(), 0u);
  EXPECT_EQ(machine.machine().marks().at(0).phase, Phase::BootEntry);
  const BootInfo info = world.boot_info({}, "quiet");
  EXPECT_FALSE(info.is_live());
  EXPECT_EQ(info.rsdp, rsdp_address);
  world.log(LogLevel::Info, "hello");
  EXPECT_EQ(world.log_text(), "hello\n");
}

}  // namespace
}  // namespace sim

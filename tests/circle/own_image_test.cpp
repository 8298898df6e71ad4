// The running image and scratch: a kernel never takes memory for itself from where it runs, whatever was handed over.
#include <algorithm>
#include <cstring>

#include "holdfast/abi/kho.hpp"
#include "holdfast/kho/scratch.hpp"
#include "tests/circle/circle.hpp"

namespace circle {
namespace {

using holdfast::abi::kho::ScratchRegion;

constexpr u64 area_bytes = u64{1} << 20;
constexpr u64 image_bytes = u64{256} << 10;
constexpr PhysRange first_image = sim::firmware_area;  // reserved, as that of a cold boot has to be
constexpr u8 code_byte = 0xc9;

Scene small_scene() {
  Scene scene;
  scene.ram_bytes = u64{16} << 20;
  scene.file_bytes = u64{64} << 10;
  scene.mapped_bytes = u64{64} << 10;
  scene.updates = 1;
  scene.stale = StaleUses::Ignored;
  return scene;
}

/// Scratch as every kernel of the machine chooses it.
PhysRange chosen_scratch() {
  const std::vector<MemoryRange> map = sim::memory_map(machine_config(small_scene()));
  return *kho::choose_scratch(map, kho::default_scratch_bytes(map) + area_bytes);
}

PhysRange chosen_area() {
  const PhysRange scratch = chosen_scratch();
  return {scratch.start + (scratch.size_bytes - area_bytes), area_bytes};
}

PhysRange image_at(PhysAddr start) { return {start, image_bytes}; }

sim::GenerationPlan running(PhysRange image) {
  sim::GenerationPlan plan;
  plan.own_image = image;
  plan.image_area_bytes = area_bytes;
  return plan;
}

/// A machine whose first kernel has jumped; what the tests change is done before the next one is entered.
class OwnImage : public testing::Test {
 protected:
  OwnImage() : circle(small_scene()) {
    const host::Generation first = circle.generation(running(first_image));
    EXPECT_TRUE(first.jumped()) << first.text();
  }

  ScratchRegion& handed_over() {
    std::byte* at = machine().ram().at(PhysAddr(circle.session.handover().scratch), sizeof(ScratchRegion));
    return *reinterpret_cast<ScratchRegion*>(at);
  }

  /// Enters the next kernel, with the whole image area as its code, and lets the devices run on.
  host::Generation next(PhysRange image) {
    std::memset(machine().ram().at(chosen_area().start, area_bytes), code_byte, area_bytes);
    return circle.session.run(
        [&](host::ModelSession::Context& context) {
          area = context.kernel.image_area();
          for (int turn = 0; turn < 100; ++turn) context.world.relax();
          // Memory that is given out later is not the image's either.
          while (context.kernel.memory().buddy.allocate_zeroed(0).ok()) {
          }
        },
        running(image));
  }

  void expect_area_untouched() {
    const std::byte* code = machine().ram().at(chosen_area().start, area_bytes);
    EXPECT_TRUE(std::all_of(code, code + area_bytes, [](std::byte byte) { return byte == std::byte{code_byte}; }));
  }

  /// The kernel booted, without anything that the previous one handed over.
  void expect_everything_blocked(const host::Generation& booted, const char* line) {
    ASSERT_TRUE(booted.returned()) << booted.text();
    ASSERT_EQ(booted.boot, Code::Ok) << booted.text();
    EXPECT_NE(booted.log.find(line), std::string::npos) << booted.log;
    const sim::Mark& done = machine().marks().back();
    ASSERT_EQ(done.phase, Phase::LiveBootDone);
    for (u32 i = 0; i <= bystander; ++i) {
      EXPECT_EQ(machine().counters(i).transfers, done.devices[i].transfers) << "device " << i << " still translates";
      EXPECT_GT(machine().counters(i).faulted, 0u);
    }
    EXPECT_EQ(area, chosen_area());
    expect_area_untouched();
    EXPECT_EQ(machine().wild(), 0u);
  }

  sim::Machine& machine() { return circle.session.machine(); }

  Circle circle;
  PhysRange area;
};

constexpr const char* other_scratch = "the scratch memory handed over is not that of this image";
constexpr const char* unreadable = "what the previous kernel handed over cannot be read";
constexpr const char* not_in_area = "the running image is not in the image area of scratch";
constexpr const char* in_scratch = "the running image is in scratch, outside the image area";

TEST(OwnImageCold, IsNotBootedInScratchOutsideTheImageArea) {
  const PhysAddr scratch = chosen_scratch().start;
  const PhysAddr area = chosen_area().start;
  const PhysAddr page_before_area(area.value - page_size_bytes);
  for (const PhysAddr start : {scratch, PhysAddr(scratch.value - page_size_bytes), page_before_area}) {
    SCOPED_TRACE(start.value);
    Circle circle(small_scene());
    const host::Generation refused =
        circle.session.run([](host::ModelSession::Context&) { FAIL() << "it booted"; }, running(image_at(start)));
    ASSERT_TRUE(refused.returned()) << refused.text();
    EXPECT_EQ(refused.boot, Code::Invalid);
    EXPECT_NE(refused.log.find(in_scratch), std::string::npos) << refused.log;
  }
  for (const PhysAddr start : {PhysAddr(scratch.value - image_bytes), area, first_image.start}) {
    SCOPED_TRACE(start.value);
    Circle circle(small_scene());
    PhysRange found;
    const host::Generation booted = circle.session.run(
        [&](host::ModelSession::Context& context) { found = context.kernel.image_area(); }, running(image_at(start)));
    EXPECT_EQ(booted.boot, Code::Ok) << booted.text();
    EXPECT_EQ(found, chosen_area());
  }
}

TEST(OwnImageCold, IsNotBootedInScratchThatHasNoImageArea) {
  Circle circle(small_scene());
  sim::GenerationPlan plan = running(chosen_scratch());
  plan.image_area_bytes = 0;
  const host::Generation refused =
      circle.session.run([](host::ModelSession::Context&) { FAIL() << "it booted"; }, plan);
  EXPECT_EQ(refused.boot, Code::Invalid) << refused.text();
}

TEST_F(OwnImage, AnywhereInTheAreaTakesOverAndIsNeverWritten) {
  EXPECT_EQ(handed_over().address, chosen_scratch().start.value);
  EXPECT_EQ(handed_over().size_bytes, chosen_scratch().size_bytes);
  const host::Generation booted = next(image_at(PhysAddr(chosen_area().start.value + area_bytes - image_bytes)));
  ASSERT_EQ(booted.boot, Code::Ok) << booted.text();
  EXPECT_EQ(booted.log.find("every device is blocked"), std::string::npos) << booted.log;
  for (u32 i = 0; i < preserved_devices; ++i) EXPECT_EQ(machine().counters(i).faulted, 0u);
  EXPECT_EQ(area, chosen_area());
  expect_area_untouched();
}

TEST_F(OwnImage, NotInTheScratchHandedOverBlocksEveryDevice) {
  // As much memory as before, and free; only not where this image runs.
  handed_over().address -= area_bytes;
  expect_everything_blocked(next(image_at(chosen_area().start)), other_scratch);
}

TEST_F(OwnImage, PartlyInTheAreaHandedOverBlocksEveryDevice) {
  handed_over().size_bytes -= page_size_bytes;
  expect_everything_blocked(next(chosen_area()), other_scratch);
}

/// The parameter is how much of scratch was handed over, from its end.
class OwnImageInScratchOf : public OwnImage, public testing::WithParamInterface<u64> {};

TEST_P(OwnImageInScratchOf, TooLittleForTheAreaBlocksEveryDevice) {
  const u64 end = chosen_area().start.value + area_bytes;
  handed_over() = {.address = end - GetParam(), .size_bytes = GetParam()};
  expect_everything_blocked(next(image_at(PhysAddr(end - image_bytes))), other_scratch);
}
INSTANTIATE_TEST_SUITE_P(Sizes, OwnImageInScratchOf, testing::Values(area_bytes / 2, area_bytes));

TEST_F(OwnImage, WithoutAReadableMapHasTheScratchOfTheFirstKernel) {
  *machine().ram().at(PhysAddr(circle.session.handover().fdt), 1) ^= std::byte{0xff};
  expect_everything_blocked(next(image_at(chosen_area().start)), unreadable);
}

TEST_F(OwnImage, IsNotWrittenWhenTheRestOfScratchIsUsedUp) {
  handed_over() = {.address = chosen_area().start.value - page_size_bytes, .size_bytes = area_bytes + page_size_bytes};
  const host::Generation ended = next(image_at(chosen_area().start));
  ASSERT_TRUE(ended.returned()) << ended.text();
  EXPECT_EQ(ended.boot, Code::NoMemory) << ended.text();
  expect_area_untouched();
}

TEST_F(OwnImage, OutsideTheAreaIsNotBootedLive) {
  const u64 start = chosen_area().start.value;
  for (const bool readable : {true, false}) {
    if (!readable) *machine().ram().at(PhysAddr(circle.session.handover().fdt), 1) ^= std::byte{0xff};
    for (const PhysRange& image :
         {image_at(PhysAddr(start - page_size_bytes)), image_at(PhysAddr(start + area_bytes - image_bytes / 2)),
          image_at(chosen_scratch().start), first_image}) {
      SCOPED_TRACE(image.start.value);
      const host::Generation refused = next(image);
      ASSERT_TRUE(refused.returned()) << refused.text();
      EXPECT_EQ(refused.boot, Code::Corrupt);
      EXPECT_NE(refused.log.find(not_in_area), std::string::npos) << refused.log;
    }
  }
  EXPECT_EQ(machine().wild(), 0u);
}

}  // namespace
}  // namespace circle

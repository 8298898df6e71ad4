// Hardware page tables and devices: ioctls, and what device files ask of an iommufd.
#include <gtest/gtest.h>

#include "holdfast/iommufd/test_support.hpp"

namespace holdfast::iommufd {
namespace {

constexpr u64 kib = 1024;
constexpr u64 mib = 1024 * kib;
constexpr u64 gib = 1024 * mib;

class HwptTest : public ::testing::Test {
 protected:
  void TearDown() override {
    for (const u32 id : bound) iommufd().unbind(ObjectId(id));
  }
  Iommufd& iommufd() { return machine->iommufd_of(fd); }
  u32 bind(u8 index) {
    bound.push_back(iommufd().bind(*machine->devices[index]).value().value);
    return bound.back();
  }
  Result<u32> attach(u32 which, u32 pt) {
    TRY_ASSIGN(const ObjectId id, iommufd().attach(ObjectId(which), ObjectId(pt)));
    return id.value;
  }
  Code detach(u32 which) { return iommufd().detach(ObjectId(which)).code(); }
  template <class F>
  Code alloc_with(F&& change) {
    iommu_hwpt_alloc command{};
    command.size = sizeof command;
    command.dev_id = device;
    command.pt_id = ioas;
    change(command);
    return machine->call(fd, IOMMU_HWPT_ALLOC, command);
  }

  Machine<TestKernel> machine{64 * mib};
  i32 fd = machine->open_iommufd();
  u32 ioas = machine->ioas(fd);
  std::vector<u32> bound;
  u32 device = bind(0);
};

TEST_F(HwptTest, AllocatingAnswersAsLinux) {
  EXPECT_EQ(alloc_with([](auto&) {}), Code::Ok);
  EXPECT_EQ(alloc_with([](auto& c) { c.flags = IOMMU_HWPT_ALLOC_NEST_PARENT; }), Code::NotSupported);
  EXPECT_EQ(alloc_with([](auto& c) { c.flags = IOMMU_HWPT_ALLOC_DIRTY_TRACKING; }), Code::NotSupported);
  EXPECT_EQ(alloc_with([](auto& c) { c.flags = IOMMU_HWPT_ALLOC_PASID; }), Code::NotSupported);
  EXPECT_EQ(alloc_with([](auto& c) { c.flags = 16; }), Code::NotSupported);
  EXPECT_EQ(alloc_with([](auto& c) { c.__reserved = 1; }), Code::NotSupported);
  EXPECT_EQ(alloc_with([](auto& c) { c.data_len = 8; }), Code::Invalid);
  EXPECT_EQ(alloc_with([](auto& c) { c.data_type = 1; }), Code::Invalid);
  EXPECT_EQ(alloc_with([](auto& c) { c.data_type = c.data_len = 1; }), Code::NotSupported);
  EXPECT_EQ(alloc_with([](auto& c) { c.dev_id = 77; }), Code::NotFound);
  EXPECT_EQ(alloc_with([&](auto& c) { c.dev_id = ioas; }), Code::NotFound) << "an IOAS is no device";
  EXPECT_EQ(alloc_with([](auto& c) { c.pt_id = 77; }), Code::Invalid);
  EXPECT_EQ(alloc_with([&](auto& c) { c.pt_id = device; }), Code::Invalid);
  EXPECT_EQ(alloc_with([](auto& c) { c.size = 23; }), Code::Invalid);
  EXPECT_EQ(alloc_with([](auto& c) { c.size = 24; }), Code::Ok) << "as long as the first release had it";
}

TEST_F(HwptTest, PageTablesForNestingOrFaultsAreRefused) {
  RecordProperty("acceptance", "D9");
  EXPECT_EQ(alloc_with([](auto& c) { c.flags = IOMMU_HWPT_FAULT_ID_VALID, c.fault_id = 1; }), Code::NotFound);
  const u32 hwpt = machine->hwpt(fd, device, ioas);
  EXPECT_EQ(alloc_with([&](auto& c) { c.pt_id = hwpt; }), Code::Invalid) << "no parent for nesting";
}

TEST_F(HwptTest, AFailedAllocationLeavesNoTrace) {
  const i32 memory = machine->make_memfd(2 * mib);
  ASSERT_EQ(machine->map(fd, ioas, memory, 4 * gib + 4 * kib, 1 * mib), Code::Ok);
  const auto before = machine->snapshot();
  u64 refused = 0;
  u64 k = 1;
  for (bool failed = true; failed; ++k) {
    Code code = Code::Ok;
    failed = machine->world.failing(k, [&] { code = alloc_with([](auto&) {}); });
    if (code == Code::Ok) continue;
    ++refused;
    EXPECT_EQ(machine->snapshot(), before) << "allocation " << k;
  }
  EXPECT_GE(refused, 4u);
  machine->process.user.read_only = true;
  const auto with_one = machine->snapshot();
  EXPECT_EQ(alloc_with([](auto&) {}), Code::Fault);
  EXPECT_EQ(machine->snapshot(), with_one);
}

TEST_F(HwptTest, WhatIsUsedIsNotDestroyed) {
  const u32 hwpt = machine->hwpt(fd, device, ioas);
  EXPECT_EQ(machine->destroy(fd, ioas), Code::Busy);
  EXPECT_EQ(machine->destroy(fd, device), Code::Busy);
  ASSERT_TRUE(attach(device, hwpt).ok());
  EXPECT_EQ(machine->destroy(fd, hwpt), Code::Busy);
  ASSERT_EQ(detach(device), Code::Ok);
  EXPECT_EQ(machine->destroy(fd, hwpt), Code::Ok);
  EXPECT_EQ(machine->destroy(fd, ioas), Code::Ok);
}

TEST_F(HwptTest, TheUnitTellsItsCapabilities) {
  iommu_hw_info_vtd info{};
  iommu_hw_info command{};
  command.size = sizeof command;
  command.dev_id = device;
  command.data_len = sizeof info;
  command.data_uptr = reinterpret_cast<u64>(&info);
  ASSERT_EQ(machine->call(fd, IOMMU_GET_HW_INFO, command), Code::Ok);
  EXPECT_EQ(command.out_data_type, 1u);
  EXPECT_EQ(command.data_len, 24u);
  EXPECT_EQ(command.out_capabilities, 8u);
  EXPECT_EQ(info.cap_reg, 0x00d2008c22260286u);
  EXPECT_EQ(info.ecap_reg, 0xf00f4au);

  std::array<u64, 5> larger;
  larger.fill(~u64{0});
  command.data_len = sizeof larger;
  command.data_uptr = reinterpret_cast<u64>(&larger);
  ASSERT_EQ(machine->call(fd, IOMMU_GET_HW_INFO, command), Code::Ok);
  EXPECT_EQ(larger[3] | larger[4], 0u) << "the tail is zeroed";
  command.data_len = 0;
  EXPECT_EQ(machine->call(fd, IOMMU_GET_HW_INFO, command), Code::Ok);
  EXPECT_EQ(command.data_len, 24u);
  command.flags = 2;
  EXPECT_EQ(machine->call(fd, IOMMU_GET_HW_INFO, command), Code::NotSupported);
  command.flags = IOMMU_HW_INFO_FLAG_INPUT_TYPE;
  command.in_data_type = 2;
  EXPECT_EQ(machine->call(fd, IOMMU_GET_HW_INFO, command), Code::NotSupported);
  command.flags = 0;
  command.dev_id = 77;
  EXPECT_EQ(machine->call(fd, IOMMU_GET_HW_INFO, command), Code::NotFound);
}

TEST_F(HwptTest, AttachingAnswersAsLinux) {
  EXPECT_EQ(attach(device, 77).code(), Code::NotFound);
  EXPECT_EQ(attach(device, device).code(), Code::Invalid);
  const u32 hwpt = attach(device, ioas).value();
  EXPECT_NE(hwpt, ioas);
  EXPECT_EQ(attach(device, ioas).value(), hwpt) << "again: nothing happens";
  EXPECT_EQ(machine->destroy(fd, hwpt), Code::Busy);
  EXPECT_EQ(detach(device), Code::Ok);
  EXPECT_EQ(detach(device), Code::Ok);
  EXPECT_EQ(machine->destroy(fd, hwpt), Code::NotFound) << "an automatic page table goes with its last device";
  EXPECT_EQ(machine->destroy(fd, ioas), Code::Ok);
}

TEST_F(HwptTest, DevicesShareTheAutomaticPageTableOfAnIoas) {
  const u32 other = bind(1);
  const u32 hwpt = attach(device, ioas).value();
  EXPECT_EQ(attach(other, ioas).value(), hwpt);
  EXPECT_EQ(machine->devices[0]->domain(), machine->devices[1]->domain());
  EXPECT_EQ(detach(device), Code::Ok);
  EXPECT_EQ(machine->destroy(fd, hwpt), Code::Busy);
  EXPECT_EQ(detach(other), Code::Ok);
  EXPECT_EQ(machine->destroy(fd, hwpt), Code::NotFound);
}

TEST_F(HwptTest, AttachingElsewhereReplacesWithNoMomentInBetween) {
  const u32 first = machine->hwpt(fd, device, ioas);
  const u32 other_ioas = machine->ioas(fd);
  const u32 second = machine->hwpt(fd, device, other_ioas);
  ASSERT_TRUE(attach(device, first).ok());
  ASSERT_TRUE(attach(device, second).ok());
  EXPECT_EQ(machine->count("replace"), 1u);
  EXPECT_EQ(machine->count("block"), 0u);
  EXPECT_EQ(machine->destroy(fd, first), Code::Ok);
  EXPECT_EQ(machine->destroy(fd, ioas), Code::Ok);
  const u32 automatic = attach(device, other_ioas).value();
  EXPECT_NE(automatic, second) << "an explicit page table is not shared by chance";
  EXPECT_EQ(machine->destroy(fd, second), Code::Ok);
}

TEST_F(HwptTest, AReplaceThatFailsLeavesTheOldAttachment) {
  RecordProperty("acceptance", "N3");
  const u32 first = machine->hwpt(fd, device, ioas);
  const u32 second = machine->hwpt(fd, device, machine->ioas(fd));
  ASSERT_TRUE(attach(device, first).ok());
  const auto before = machine->snapshot();
  u64 k = 1;
  u64 refused = 0;
  for (bool failed = true; failed; ++k) {
    Code code = Code::Ok;
    failed = machine->world.failing(k, [&] { code = attach(device, second).code(); });
    if (code == Code::Ok) continue;
    ++refused;
    EXPECT_EQ(machine->snapshot(), before) << "allocation " << k;
  }
  EXPECT_GE(refused, 1u);
  ASSERT_TRUE(attach(device, first).ok());
  machine.hardware.answers = false;
  EXPECT_EQ(attach(device, second).code(), Code::TimedOut);
  EXPECT_EQ(machine->destroy(fd, first), Code::Busy) << "the device is attached to it as before";
  machine.hardware.answers = true;
  // Hardware may have seen the new id, so that stays taken until the unit has forgotten it; then nothing is left.
  ASSERT_TRUE(attach(device, second).ok());
  ASSERT_TRUE(attach(device, first).ok());
  EXPECT_EQ(machine->snapshot(), before);
  EXPECT_EQ(machine->destroy(fd, second), Code::Ok);
}

TEST_F(HwptTest, AFailedAttachToAnIoasLeavesNothingOnceTheUnitAnswers) {
  ASSERT_TRUE(attach(device, ioas).ok());
  ASSERT_EQ(detach(device), Code::Ok);
  const auto before = machine->snapshot();  // with the unit's own tables, which stay
  machine.hardware.answers = false;
  EXPECT_EQ(attach(device, ioas).code(), Code::TimedOut);
  EXPECT_EQ(attach(device, ioas).code(), Code::TimedOut) << "by the page table that could not be dropped";
  machine.hardware.answers = true;
  ASSERT_TRUE(attach(device, ioas).ok());
  ASSERT_EQ(detach(device), Code::Ok);
  EXPECT_EQ(machine->snapshot(), before);
}

/// A small page goes and leaves an empty table; a large leaf in its place has hardware forget that.
class SilentUnitTest : public HwptTest {
 protected:
  SilentUnitTest() {
    EXPECT_EQ(map(1 * gib, 4 * kib), Code::Ok);
    EXPECT_TRUE(attach(device, ioas).ok());
  }
  Code map(u64 iova, u64 length) { return machine->map(fd, ioas, memory, iova, length); }
  u32 pins() { return static_cast<u32>(machine->memory_of(memory).pins()); }
  bool says(const char* what) {
    for (const std::string& line : machine->world.log_lines)
      if (line.find(what) != std::string::npos) return true;
    return false;
  }

  i32 memory = machine->make_memfd(8 * mib);
};

TEST_F(SilentUnitTest, KeepsWhatItMayStillReachWhenAMapFails) {
  ASSERT_EQ(machine->unmap(fd, ioas, 1 * gib, 4 * kib), Code::Ok);
  ASSERT_EQ(pins(), 0u);
  machine.hardware.answers = false;
  ASSERT_EQ(map(1 * gib, 8 * mib), Code::TimedOut);
  EXPECT_EQ(pins(), 1u) << "the memory is nobody else's";
  EXPECT_TRUE(says("memory that it may still reach stays taken"));
  EXPECT_EQ(machine->devices[0]->domain()->attachments(), 1u);
  EXPECT_EQ(machine->core.lookup(*machine->devices[0]->domain(), Iova(1 * gib)).code(), Code::NotFound);
  machine.hardware.answers = true;
  EXPECT_EQ(map(1 * gib, 8 * mib), Code::Ok) << "nothing is left in the table";
  EXPECT_EQ(machine->unmap(fd, ioas, 1 * gib, 8 * mib), Code::Ok);
  EXPECT_EQ(pins(), 1u);
}

TEST_F(SilentUnitTest, AbandonsNothingThatItNeverSaw) {
  machine.hardware.answers = false;
  ASSERT_EQ(machine->unmap(fd, ioas, 1 * gib, 4 * kib), Code::TimedOut);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(map(2 * gib, 4 * kib), Code::TimedOut) << "a flush is owed";
  EXPECT_EQ(pins(), 1u) << "of the area that is still there";
  machine.hardware.answers = true;
  EXPECT_EQ(machine->unmap(fd, ioas, 1 * gib, 4 * kib), Code::Ok);
  EXPECT_EQ(pins(), 0u);
}

TEST_F(SilentUnitTest, KeepsWhatOneOfTwoPageTablesHadWhenTheOtherFails) {
  machine->hwpt(fd, device, ioas);
  ASSERT_EQ(pins(), 1u);
  u32 abandoned = 0;
  for (u64 k = 1;; ++k) {
    Code code = Code::Ok;
    machine.hardware.answers = false;  // a fresh mapping asks nothing of it, taking one away does
    const bool failed = machine->world.failing(k, [&] { code = map(u64{64} * gib, 4 * kib); });
    machine.hardware.answers = true;
    if (!failed) break;
    ASSERT_EQ(code, Code::NoMemory) << "allocation " << k;
    ASSERT_GE(pins(), 1u + abandoned);
    abandoned = pins() - 1;
  }
  EXPECT_GT(abandoned, 0u) << "the first page table had it";
}

TEST_F(SilentUnitTest, KeepsAnAreaThatItDoesNotForget) {
  machine.hardware.answers = false;
  EXPECT_EQ(machine->unmap(fd, ioas, 1 * gib, 4 * kib), Code::TimedOut);
  EXPECT_EQ(pins(), 1u);
  machine.hardware.answers = true;
  EXPECT_EQ(machine->unmap(fd, ioas, 1 * gib, 4 * kib), Code::Ok);
  EXPECT_EQ(pins(), 0u);
}

TEST_F(SilentUnitTest, KeepsTheMemoryOfAnIommufdThatIsClosed) {
  machine.hardware.answers = false;
  iommufd().unbind(ObjectId(device));
  bound.clear();
  machine->close(fd);
  EXPECT_EQ(pins(), 1u);
  EXPECT_TRUE(says("memory that it may still reach stays taken"));
}

TEST_F(HwptTest, ADeviceHasOneOwner) {
  const i32 other = machine->open_iommufd();
  EXPECT_EQ(machine->iommufd_of(other).bind(*machine->devices[0]).code(), Code::Busy);
  EXPECT_EQ(iommufd().bind(*machine->devices[0]).code(), Code::Busy);
  iommufd().unbind(ObjectId(device));
  bound.clear();
  const auto id = machine->iommufd_of(other).bind(*machine->devices[0]);
  ASSERT_TRUE(id.ok());
  machine->iommufd_of(other).unbind(*id);
}

TEST_F(HwptTest, UnbindingBlocksTheDevice) {
  ASSERT_TRUE(attach(device, ioas).ok());
  iommufd().unbind(ObjectId(device));
  bound.clear();
  EXPECT_TRUE(machine->entries().empty());
  EXPECT_EQ(machine->destroy(fd, ioas), Code::Ok) << "and its automatic page table is gone";
}

TEST_F(HwptTest, ComparingFindsTheFirstDifference) {
  const u32 other_ioas = machine->ioas(fd);
  const i32 memory = machine->make_memfd(1 * mib);
  ASSERT_EQ(machine->map(fd, ioas, memory, 1 * gib, 64 * kib), Code::Ok);
  ASSERT_EQ(machine->map(fd, ioas, memory, 2 * gib, 64 * kib), Code::Ok);
  ASSERT_EQ(machine->map(fd, other_ioas, memory, 1 * gib, 64 * kib), Code::Ok);
  const u32 old_id = machine->hwpt(fd, device, ioas);
  const u32 new_id = machine->hwpt(fd, device, other_ioas);
  std::optional<u64> difference;
  EXPECT_EQ(machine->compare(fd, new_id, old_id, difference), Code::Ok);
  EXPECT_FALSE(difference) << "more may be mapped";
  EXPECT_EQ(machine->compare(fd, old_id, new_id, difference), Code::Ok);
  EXPECT_EQ(difference, 2 * gib);
  EXPECT_EQ(machine->compare(fd, old_id, ioas, difference), Code::NotFound);
  EXPECT_EQ(machine->compare(fd, 77, new_id, difference), Code::NotFound);
}

}  // namespace
}  // namespace holdfast::iommufd

// Device files across live updates: the whole chain memory file, iommufd, device, in real sessions.
#include "holdfast/vfio/vfio_handler.hpp"

#include <gtest/gtest.h>

#include "holdfast/vfio/test_support.hpp"

namespace holdfast::vfio {
namespace {

constexpr u64 kib = 1024;
constexpr u64 mib = 1024 * kib;
constexpr u64 gib = 1024 * mib;
constexpr u64 memory_token = 1;
constexpr u64 iommufd_token = 2;
constexpr u64 device_token = 16;
constexpr u64 hwpt_token = 256;
constexpr u64 config_at = VFIO_PCI_INDEX_TO_OFFSET(VFIO_PCI_CONFIG_REGION_INDEX);
constexpr u64 bar_at = VFIO_PCI_INDEX_TO_OFFSET(VFIO_PCI_BAR0_REGION_INDEX);

/// Two running devices on one page table.
class VfioLiveUpdate : public ::testing::Test {
 protected:
  explicit VfioLiveUpdate(luo::Policy policy = luo::Policy::Holdfast) : machine(64 * mib, policy) {}

  void SetUp() override {
    memory = machine->make_memfd(4 * mib);
    iommufd = machine->open_iommufd();
    for (u8 i = 0; i < 2; ++i) {
      fds[i] = machine->open_device(i);
      ASSERT_EQ(machine->bind(fds[i], iommufd, ids[i]), Code::Ok);
      start(fds[i], i);
    }
    build();
    ASSERT_EQ(machine->mark(iommufd, hwpt, hwpt_token), Code::Ok);
    session = machine->create_session("vm");
  }
  void start(i32 fd, u64 number) {
    const u16 command = 6;
    ASSERT_TRUE(machine->process.pwrite(machine->file(fd), &command, 2, config_at + 4).ok());
    const u64 running = 0x5000 + number;
    ASSERT_TRUE(machine->process.pwrite(machine->file(fd), &running, 8, bar_at + 16).ok());
  }
  /// A new address space and page table, with both devices on it.
  void build() {
    ioas = machine->ioas(iommufd);
    ASSERT_EQ(machine->map(iommufd, ioas, memory, 4 * gib, 4 * mib), Code::Ok);
    hwpt = machine->hwpt(iommufd, ids[0], ioas);
    attach_all();
  }
  void attach_all() {
    for (const i32 fd : fds) {
      u32 pt = hwpt;
      ASSERT_EQ(machine->attach(fd, pt), Code::Ok);
    }
  }
  Code preserve_memory() { return machine->preserve(session, memory, memory_token); }
  Code preserve_iommufd() { return machine->preserve(session, iommufd, iommufd_token); }
  Code preserve_device(u64 i) { return machine->preserve(session, fds[i], device_token + i); }
  void preserve_all() {
    ASSERT_EQ(preserve_memory(), Code::Ok);
    ASSERT_EQ(preserve_iommufd(), Code::Ok);
    ASSERT_EQ(preserve_device(0), Code::Ok);
    ASSERT_EQ(preserve_device(1), Code::Ok);
  }
  void jump() {
    preserve_all();
    machine.jump();
  }
  Code retrieve_device(u64 i) { return machine->retrieve(session, device_token + i, fds[i]); }
  void retrieve_all() {
    ASSERT_EQ(machine->retrieve_session("vm", session), Code::Ok);
    for (u64 i = 0; i < 2; ++i) {
      ASSERT_EQ(retrieve_device(i), Code::Ok);
    }
    ASSERT_EQ(machine->retrieve(session, iommufd_token, iommufd), Code::Ok);
    ASSERT_EQ(machine->retrieve(session, memory_token, memory), Code::Ok);
    for (u64 i = 0; i < 2; ++i) ASSERT_EQ(machine->bind(fds[i], iommufd, ids[i]), Code::Ok);
  }
  u64 unrestored() {
    u64 count = 0;
    machine->handover.for_each_unrestored([&](Block) { ++count; });
    return count;
  }
  void expect_running() {
    for (u8 i = 0; i < 2; ++i) {
      const FakeEndpoint& endpoint = machine.world().endpoint(i);
      EXPECT_EQ(endpoint.resets, 1u);
      EXPECT_TRUE(endpoint.is_bus_master());
      u64 running = 0;
      std::memcpy(&running, endpoint.bar.data() + 16, 8);
      EXPECT_EQ(running, 0x5000u + i);
    }
    EXPECT_EQ(machine->entries().size(), 2u);
    EXPECT_EQ(machine->count("block"), 0u);
  }

  Machine<VfioKernel, VfioWorld> machine;
  i32 memory = -1;
  i32 iommufd = -1;
  i32 session = -1;
  std::array<i32, 2> fds{-1, -1};
  std::array<u32, 2> ids{};
  u32 ioas = 0;
  u32 hwpt = 0;
};

class VfioLiveUpdateOnLinux : public VfioLiveUpdate {
 protected:
  VfioLiveUpdateOnLinux() : VfioLiveUpdate(luo::Policy::Linux) {}
};

TEST_F(VfioLiveUpdate, FilesArePreservedInTheirOrderOnly) {
  RecordProperty("acceptance", "T1 L4 I1");
  const auto before = machine->snapshot();
  EXPECT_EQ(preserve_device(0), Code::NotFound) << "its iommufd is not in the session";
  EXPECT_EQ(machine->snapshot(), before);
  EXPECT_EQ(preserve_iommufd(), Code::NotFound) << "its memory is not";
  EXPECT_EQ(machine->snapshot(), before);
  preserve_all();
  machine->close(session);
  session = machine->create_session("vm");
  EXPECT_EQ(machine->snapshot(), before);
  preserve_all();
  const i32 other = machine->create_session("other");
  const i32 third = machine->open_device(2);
  u32 id = 0;
  ASSERT_EQ(machine->bind(third, iommufd, id), Code::Ok);
  u32 pt = machine->ioas(iommufd);
  ASSERT_EQ(machine->attach(third, pt), Code::Ok);
  EXPECT_EQ(machine->preserve(other, third, 1), Code::NotFound) << "its iommufd is in another session";
  EXPECT_EQ(machine->preserve(session, third, 77), Code::Invalid) << "its page table is not marked";
}

TEST_F(VfioLiveUpdate, APreservedDeviceStaysAsItIs) {
  RecordProperty("acceptance", "I2 I3 I5");
  preserve_all();
  const auto before = machine->snapshot();
  u32 pt = hwpt;
  EXPECT_EQ(machine->attach(fds[0], pt), Code::Busy);
  pt = ioas;
  EXPECT_EQ(machine->attach(fds[0], pt), Code::Busy);
  EXPECT_EQ(machine->detach(fds[0]), Code::Busy);
  EXPECT_EQ(machine->process.ioctl_at(machine->file(fds[0]), VFIO_DEVICE_RESET, 0), Code::Busy);
  EXPECT_EQ(machine->preserve(session, fds[0], 99), Code::Busy);
  EXPECT_EQ(machine->snapshot(), before);
  const i32 again = machine->process.install(machine->process.fds.get(fds[0]).value());
  machine->close(fds[0]);
  machine->close(again);
  EXPECT_EQ(machine->entries().size(), 2u) << "its session keeps it";
  EXPECT_EQ(machine.world().endpoint(0).resets, 1u);
  machine->close(session);
  EXPECT_EQ(machine->entries().size(), 1u) << "and lets it go";
  EXPECT_EQ(machine->detach(fds[1]), Code::Ok);
}

TEST_F(VfioLiveUpdate, EveryFailedAllocationOfAPreserveLeavesNoTrace) {
  RecordProperty("acceptance", "X3");
  ASSERT_EQ(preserve_memory(), Code::Ok);
  ASSERT_EQ(preserve_iommufd(), Code::Ok);
  for (u64 i = 0; i < 2; ++i) {
    const auto before = machine->snapshot();
    u64 refused = 0;
    u64 k = 1;
    for (bool failed = true; failed; ++k) {
      Code code = Code::Ok;
      failed = machine->world.failing(k, [&] { code = preserve_device(i); });
      if (code == Code::Ok) continue;
      ++refused;
      EXPECT_EQ(code, Code::NoMemory);
      EXPECT_EQ(machine->snapshot(), before) << "device " << i << ", allocation " << k;
      EXPECT_EQ(machine->pci.find(0, SourceId(0, static_cast<u8>(i + 1), 0)).value()->preserved, 0u);
    }
    EXPECT_GE(refused, 1u);
  }
}

TEST_F(VfioLiveUpdate, ADeviceThatIsNotAttachedCrossesToo) {
  RecordProperty("acceptance", "X4");
  ASSERT_EQ(machine->detach(fds[0]), Code::Ok);
  machine.hardware.log.clear();
  ASSERT_EQ(preserve_device(0), Code::Ok);
  EXPECT_EQ(machine->process.ioctl_at(machine->file(fds[0]), VFIO_DEVICE_RESET, 0), Code::Busy);
  machine.jump();
  ASSERT_EQ(machine->retrieve_session("vm", session), Code::Ok);
  EXPECT_EQ(machine->vfio_devices.open_device(0).code(), Code::Busy);
  ASSERT_EQ(retrieve_device(0), Code::Ok);
  iommufd = machine->open_iommufd();
  EXPECT_EQ(machine->bind(fds[0], iommufd, ids[0]), Code::Ok);
  EXPECT_EQ(machine->finish(session), Code::Ok);
  EXPECT_EQ(unrestored(), 0u);
  EXPECT_EQ(machine.world().endpoint(0).resets, 1u);
}

TEST_F(VfioLiveUpdate, TheDeviceRunsOnThroughTheWholeCircleTwice) {
  RecordProperty("acceptance", "X7 Q5 R13");
  for (int round = 0; round < 2; ++round) {
    for (u8 i = 0; i < 2; ++i) machine.world().endpoint(i).config_writes.clear();
    jump();
    expect_running();
    retrieve_all();
    u32 old = 0;
    ASSERT_EQ(machine->restore_hwpt(iommufd, hwpt_token, old), Code::Ok);
    machine.hardware.log.clear();
    build();
    EXPECT_EQ(machine->count("replace"), 2u);
    ASSERT_EQ(machine->destroy(iommufd, old), Code::Ok);
    ASSERT_EQ(machine->finish(session), Code::Ok);
    machine->close(session);
    EXPECT_EQ(unrestored(), 0u);
    expect_running();
    for (u8 i = 0; i < 2; ++i) EXPECT_TRUE(machine.world().endpoint(i).config_writes.empty()) << "configuration space";
    ASSERT_EQ(machine->mark(iommufd, hwpt, hwpt_token), Code::Ok);
    session = machine->create_session("vm");
  }
}

TEST_F(VfioLiveUpdate, AnIncomingDeviceIsRetrievedNotOpened) {
  RecordProperty("acceptance", "X5");
  jump();
  EXPECT_EQ(machine->vfio_devices.open_device(0).code(), Code::Busy);
  EXPECT_EQ(machine->vfio_devices.open_device(1).code(), Code::Busy);
  EXPECT_TRUE(machine->vfio_devices.open_device(2).ok());
  retrieve_all();
  EXPECT_EQ(machine->vfio_devices.open_device(0).code(), Code::Busy);
  u64 running = 0;
  EXPECT_TRUE(machine->process.pread(machine->file(fds[0]), &running, 8, bar_at + 16).ok());
  EXPECT_EQ(running, 0x5000u);
  EXPECT_EQ(machine->process.ioctl_at(machine->file(fds[0]), VFIO_DEVICE_RESET, 0), Code::Busy)
      << "while it still runs through what the previous kernel left";
  u32 old = 0;
  ASSERT_EQ(machine->restore_hwpt(iommufd, hwpt_token, old), Code::Ok);
  build();
  ASSERT_EQ(machine->finish(session), Code::Ok);
  EXPECT_TRUE(machine->vfio_devices.open_device(0).ok()) << "a second file, now that it is ours";
  machine->close(session);
  for (const i32 fd : fds) machine->close(fd);
  EXPECT_TRUE(machine->vfio_devices.open_device(0).ok());
}

TEST_F(VfioLiveUpdate, TheIommufdComesFirstInWhicheverOrderItIsAskedFor) {
  RecordProperty("acceptance", "R2 L16");
  jump();
  ASSERT_EQ(machine->retrieve_session("vm", session), Code::Ok);
  ASSERT_EQ(machine->retrieve(session, iommufd_token, iommufd), Code::Ok);
  ASSERT_EQ(retrieve_device(1), Code::Ok);
  ASSERT_EQ(retrieve_device(0), Code::Ok);
  EXPECT_EQ(machine->device_of(fds[0]).iommufd(), &machine->iommufd_of(iommufd));
  EXPECT_EQ(machine->device_of(fds[1]).iommufd(), &machine->iommufd_of(iommufd));
}

TEST_F(VfioLiveUpdate, ARetrievedDeviceBelongsToItsIommufdOnly) {
  RecordProperty("acceptance", "R3 R7");
  jump();
  ASSERT_EQ(machine->retrieve_session("vm", session), Code::Ok);
  ASSERT_EQ(retrieve_device(0), Code::Ok);
  const i32 foreign = machine->open_iommufd();
  u32 id = 0;
  EXPECT_EQ(machine->bind(fds[0], foreign, id), Code::NotPermitted);
  ASSERT_EQ(machine->retrieve(session, iommufd_token, iommufd), Code::Ok);
  EXPECT_EQ(machine->bind(fds[0], iommufd, id), Code::Ok) << "tells the id it has already";
  EXPECT_EQ(id, machine->device_of(fds[0]).device_id().value);
  EXPECT_TRUE(machine->iommufd_of(iommufd).is_attached(ObjectId(id)));
  EXPECT_EQ(machine->bind(fds[0], iommufd, id), Code::Ok) << "a new user may ask again";
}

TEST_F(VfioLiveUpdate, FinishWaitsUntilEveryDeviceHasMoved) {
  RecordProperty("acceptance", "X6");
  jump();
  ASSERT_EQ(machine->retrieve_session("vm", session), Code::Ok);
  EXPECT_EQ(machine->finish(session), Code::Busy);
  machine->close(session);
  retrieve_all();
  EXPECT_EQ(machine->finish(session), Code::Busy);
  u32 old = 0;
  ASSERT_EQ(machine->restore_hwpt(iommufd, hwpt_token, old), Code::Ok);
  ioas = machine->ioas(iommufd);
  ASSERT_EQ(machine->map(iommufd, ioas, memory, 4 * gib, 4 * mib), Code::Ok);
  hwpt = machine->hwpt(iommufd, ids[0], ioas);
  u32 pt = hwpt;
  ASSERT_EQ(machine->attach(fds[0], pt), Code::Ok);
  EXPECT_EQ(machine->finish(session), Code::Busy) << "one is left";
  ASSERT_EQ(machine->attach(fds[1], pt), Code::Ok);
  EXPECT_EQ(machine->finish(session), Code::Ok);
}

/// The user dies after step GetParam() of taking everything back; another one does it all again.
class UserDies : public VfioLiveUpdate, public ::testing::WithParamInterface<int> {
 protected:
  bool survives(int step) const { return GetParam() > step; }
  void first_user() {
    ASSERT_EQ(machine->retrieve_session("vm", session), Code::Ok);
    if (survives(0)) {
      ASSERT_EQ(retrieve_device(0), Code::Ok);
    }
    if (survives(1)) {
      ASSERT_EQ(machine->retrieve(session, iommufd_token, iommufd), Code::Ok);
    }
    if (survives(2)) {
      ASSERT_EQ(retrieve_device(1), Code::Ok);
    }
    if (survives(3)) {
      ASSERT_EQ(machine->bind(fds[1], iommufd, ids[1]), Code::Ok);
    }
    u32 old = 0;
    if (survives(4)) {
      ASSERT_EQ(machine->restore_hwpt(iommufd, hwpt_token, old), Code::Ok);
    }
    if (survives(5)) {
      ASSERT_EQ(machine->retrieve(session, memory_token, memory), Code::Ok);
    }
    if (!survives(6)) return;
    ioas = machine->ioas(iommufd);
    ASSERT_EQ(machine->map(iommufd, ioas, memory, 4 * gib, 4 * mib), Code::Ok);
    hwpt = machine->hwpt(iommufd, machine->device_of(fds[0]).device_id().value, ioas);
    u32 pt = hwpt;
    if (survives(7)) {
      ASSERT_EQ(machine->attach(fds[0], pt), Code::Ok);
    }
  }
};

TEST_P(UserDies, AnotherOneContinuesFromTheSession) {
  RecordProperty("acceptance", "R15");
  jump();
  first_user();
  while (!machine->process.fds.files.empty()) machine->close(machine->process.fds.files.begin()->first);
  expect_running();
  retrieve_all();
  u32 old = 0;
  const Code taken = machine->restore_hwpt(iommufd, hwpt_token, old);
  EXPECT_EQ(taken, survives(4) ? Code::NotFound : Code::Ok);
  build();
  expect_running();
  EXPECT_EQ(machine->finish(session), Code::Ok);
  EXPECT_EQ(unrestored(), 0u);
}
INSTANTIATE_TEST_SUITE_P(AfterEachStep, UserDies, ::testing::Range(0, 9));

TEST_F(VfioLiveUpdate, TheAdministratorMayDropEverything) {
  RecordProperty("acceptance", "B18");
  jump();
  ASSERT_TRUE(machine->drop_session("vm").ok());
  EXPECT_TRUE(machine->entries().empty());
  EXPECT_EQ(unrestored(), 0u);
  EXPECT_EQ(machine->unit.dids_in_use(), 0u);
  EXPECT_TRUE(machine->world.granted.empty());
  const i32 fd = machine->open_device(0);
  EXPECT_EQ(machine.world().endpoint(0).resets, 2u);
  EXPECT_EQ(machine->bind(fd, machine->open_iommufd(), ids[0]), Code::Ok);
}

TEST_F(VfioLiveUpdate, WhatIsDroppedUnderASilentUnitStaysTaken) {
  jump();
  const u64 granted = machine->world.granted.size();
  ASSERT_GT(granted, 0u);
  machine.hardware.answers = false;
  ASSERT_TRUE(machine->drop_session("vm").ok());
  EXPECT_EQ(machine->world.granted.size(), granted) << "devices may still write there";
  EXPECT_GT(unrestored(), 0u);
  machine.hardware.answers = true;
}

TEST_F(VfioLiveUpdate, ADeviceThatIsDroppedUnderAnOpenFileIsGoneFromIt) {
  jump();
  retrieve_all();
  machine->close(session);
  ASSERT_TRUE(machine->drop_session("vm").ok());
  EXPECT_TRUE(machine->entries().empty());
  u32 pt = 1;
  EXPECT_EQ(machine->attach(fds[0], pt), Code::NoDevice);
  EXPECT_EQ(machine->process.pread(machine->file(fds[0]), &pt, 4, config_at).code(), Code::NoDevice);
  const i32 fresh = machine->open_device(0);
  const i32 other = machine->open_iommufd();
  ASSERT_EQ(machine->bind(fresh, other, ids[0]), Code::Ok);
  pt = machine->ioas(other);
  ASSERT_EQ(machine->attach(fresh, pt), Code::Ok);
  machine->close(fds[0]);
  EXPECT_EQ(machine->entries().size(), 1u) << "the new owner's attachment stays";
}

TEST_F(VfioLiveUpdateOnLinux, StopsWhereTheSeriesStops) {
  RecordProperty("acceptance", "B7 B8");
  jump();
  EXPECT_EQ(machine->vfio_devices.open_device(0).code(), Code::Busy);
  ASSERT_EQ(machine->retrieve_session("vm", session), Code::Ok);
  ASSERT_EQ(retrieve_device(0), Code::Ok);
  EXPECT_EQ(machine->retrieve(session, iommufd_token, iommufd), Code::NotSupported);
  u32 id = 0;
  EXPECT_EQ(machine->bind(fds[0], machine->open_iommufd(), id), Code::NotPermitted);
  EXPECT_EQ(machine->finish(session), Code::Busy);
  EXPECT_EQ(machine->entries().size(), 2u);
}

// Passing on.

TEST_F(VfioLiveUpdate, WhatNobodyRetrievedCrossesAgainRunning) {
  RecordProperty("acceptance", "B17 L20");
  jump();
  const auto before = machine->snapshot();
  ASSERT_TRUE(machine->orchestrator.freeze().ok());
  machine->orchestrator.unfreeze();
  EXPECT_EQ(machine->snapshot(), before) << "a freeze that was given up";
  machine.jump();
  expect_running();
  retrieve_all();
  u32 old = 0;
  ASSERT_EQ(machine->restore_hwpt(iommufd, hwpt_token, old), Code::Ok);
  build();
  EXPECT_EQ(machine->finish(session), Code::Ok);
  EXPECT_EQ(unrestored(), 0u);
  expect_running();
}

TEST_F(VfioLiveUpdate, WhatWasRetrievedAndNotFinishedCrossesAgainRunning) {
  jump();
  retrieve_all();
  u32 old = 0;
  ASSERT_EQ(machine->restore_hwpt(iommufd, hwpt_token, old), Code::Ok);
  machine.jump();
  expect_running();
  retrieve_all();
  ASSERT_EQ(machine->restore_hwpt(iommufd, hwpt_token, old), Code::Ok);
  build();
  EXPECT_EQ(machine->finish(session), Code::Ok);
  EXPECT_EQ(unrestored(), 0u);
}

TEST_F(VfioLiveUpdate, ADeviceThatMovedAlreadyIsNotPassedOn) {
  jump();
  retrieve_all();
  u32 old = 0;
  ASSERT_EQ(machine->restore_hwpt(iommufd, hwpt_token, old), Code::Ok);
  build();
  machine.jump();
  EXPECT_TRUE(machine->entries().empty()) << "nobody preserved what it moved to: it was cut off";
  ASSERT_EQ(machine->retrieve_session("vm", session), Code::Ok);
  EXPECT_EQ(retrieve_device(0), Code::NotFound);
  ASSERT_EQ(machine->retrieve(session, iommufd_token, iommufd), Code::Ok);
  ASSERT_EQ(machine->restore_hwpt(iommufd, hwpt_token, old), Code::Ok) << "its page table was not destroyed";
  EXPECT_EQ(machine->finish(session), Code::Ok);
  EXPECT_TRUE(machine->vfio_devices.open_device(0).ok());
}

TEST_F(VfioLiveUpdate, EveryFailedAllocationOfAPassingOnLeavesNoTrace) {
  jump();
  const auto before = machine->snapshot();
  const u64 pci_before = machine->pci.state_hash();
  u64 refused = 0;
  u64 k = 1;
  for (bool failed = true; failed; ++k) {
    Status status;
    failed = machine->world.failing(k, [&] { status = machine->orchestrator.freeze(); });
    if (status.ok()) continue;
    ++refused;
    EXPECT_EQ(machine->snapshot(), before) << "allocation " << k;
    EXPECT_EQ(machine->pci.state_hash(), pci_before);
  }
  EXPECT_GE(refused, 8u);
}

// Untrusted records.

class VfioRecordTest : public VfioLiveUpdate {
 protected:
  void SetUp() override {
    VfioLiveUpdate::SetUp();
    jump();
  }
  abi::vfio::Device* record() {
    abi::vfio::Device* found = nullptr;
    machine->handover.for_each_unrestored([&](Block block) {
      auto* device = machine->host.memory.map.at<abi::vfio::Device>(block.start);
      if (block.order == 0 && device->hwpt_token == hwpt_token && device->bdf == SourceId(0, 1, 0).value)
        found = device;
    });
    return found;
  }
  template <class F>
  Code retrieve_after(F&& change) {
    abi::vfio::Device* device = record();
    if (device == nullptr) return ADD_FAILURE() << "no record", Code::Ok;
    change(*device);
    device->checksum = abi::checksum_of(*device);
    EXPECT_EQ(machine->retrieve_session("vm", session), Code::Ok);
    const Code code = retrieve_device(0);
    EXPECT_EQ(retrieve_device(1), Code::Ok) << "the other device is sound";
    EXPECT_EQ(machine->entries().size(), 2u);
    EXPECT_EQ(machine->finish(session), Code::Busy);
    return code;
  }
};

TEST_F(VfioRecordTest, AFlippedBitIsFound) {
  record()->iommufd_token ^= 1;
  ASSERT_EQ(machine->retrieve_session("vm", session), Code::Ok);
  EXPECT_EQ(retrieve_device(0), Code::Corrupt);
  EXPECT_EQ(retrieve_device(1), Code::Ok);
}
TEST_F(VfioRecordTest, AFunctionThatIsNotThereIsFound) {
  EXPECT_EQ(retrieve_after([](auto& device) { device.bdf = 0xffff; }), Code::NoDevice);
}
TEST_F(VfioRecordTest, AFunctionThatDidNotCrossIsFound) {
  EXPECT_EQ(retrieve_after([](auto& device) { device.bdf = SourceId(0, 3, 0).value; }), Code::Mismatch);
}
TEST_F(VfioRecordTest, AnotherDomainIsFound) {
  EXPECT_EQ(retrieve_after([](auto& device) { device.domain_phys += 40; }), Code::Corrupt);
}
TEST_F(VfioRecordTest, ADeniedAttachmentIsFound) {
  EXPECT_EQ(retrieve_after([](auto& device) { device.is_attached = 0; }), Code::Corrupt);
}
TEST_F(VfioRecordTest, AnAttachmentWithoutIommufdIsFound) {
  EXPECT_EQ(retrieve_after([](auto& device) { device.has_iommufd = 0; }), Code::Corrupt);
}
TEST_F(VfioRecordTest, AnUnknownFlagIsFound) {
  EXPECT_EQ(retrieve_after([](auto& device) { device.has_iommufd = 2; }), Code::Corrupt);
}
TEST_F(VfioRecordTest, PaddingThatIsNotZeroIsFound) {
  EXPECT_EQ(retrieve_after([](auto& device) { device.padding[1] = 1; }), Code::Corrupt);
}
TEST_F(VfioRecordTest, AnIommufdThatIsNotInTheSessionIsFound) {
  EXPECT_EQ(retrieve_after([](auto& device) { device.iommufd_token = 12345; }), Code::NotFound);
}
TEST_F(VfioRecordTest, AnIommufdThatIsNoneIsFound) {
  EXPECT_EQ(retrieve_after([](auto& device) { device.iommufd_token = memory_token; }), Code::Corrupt);
}
TEST_F(VfioRecordTest, AnIommufdThatIsTheDeviceItselfIsFound) {
  EXPECT_EQ(retrieve_after([](auto& device) { device.iommufd_token = device_token; }), Code::Busy);
}

}  // namespace
}  // namespace holdfast::vfio

// Device files, by the calls of a process.
#include <gtest/gtest.h>

#include "holdfast/vfio/test_support.hpp"

namespace holdfast::vfio {
namespace {

constexpr u64 mib = u64{1} << 20;

class VfioDeviceTest : public ::testing::Test {
 protected:
  u32 bind() {
    u32 id = 0;
    EXPECT_EQ(machine->bind(fd, iommufd, id), Code::Ok);
    return id;
  }
  FakeEndpoint& endpoint() { return machine.world().endpoint(0); }

  Machine<VfioKernel, VfioWorld> machine{64 * mib};
  i32 iommufd = machine->open_iommufd();
  i32 fd = machine->open_device(0);
};

constexpr u64 config_at = VFIO_PCI_INDEX_TO_OFFSET(VFIO_PCI_CONFIG_REGION_INDEX);
constexpr u64 bar_at = VFIO_PCI_INDEX_TO_OFFSET(VFIO_PCI_BAR0_REGION_INDEX);

TEST_F(VfioDeviceTest, TheFirstOpenResetsTheFunction) {
  EXPECT_EQ(endpoint().resets, 1u);
  const i32 second = machine->open_device(0);
  EXPECT_EQ(endpoint().resets, 1u);
  machine->close(second);
  EXPECT_EQ(endpoint().resets, 1u);
  machine->close(fd);
  EXPECT_EQ(endpoint().resets, 2u) << "and so does the last close";
  EXPECT_FALSE(endpoint().is_bus_master());
  EXPECT_EQ(machine->vfio_devices.open_device(3).code(), Code::NotFound);
}

TEST_F(VfioDeviceTest, ADeviceOfTheKernelsOwnDriverIsLeftAlone) {
  int driver = 0;
  iommu::Device& device = machine->device_of(fd).slot().device();
  machine->close(fd);
  const u32 resets = endpoint().resets;
  ASSERT_TRUE(machine->core.claim_owner(device, &driver).ok());
  EXPECT_EQ(machine->vfio_devices.open_device(0).code(), Code::Busy);
  EXPECT_EQ(endpoint().resets, resets);
  machine->core.release_owner(device, &driver);
  const i32 open = machine->open_device(0);  // and one that is opened before the driver comes
  ASSERT_TRUE(machine->core.claim_owner(device, &driver).ok());
  u32 id = 0;
  EXPECT_EQ(machine->bind(open, iommufd, id), Code::Busy);
  machine->close(open);
  EXPECT_EQ(endpoint().resets, resets + 1) << "by the open alone";
  machine->core.release_owner(device, &driver);
}

TEST_F(VfioDeviceTest, NothingWorksBeforeItIsBound) {
  u32 pt = 1;
  EXPECT_EQ(machine->attach(fd, pt), Code::Invalid);
  EXPECT_EQ(machine->detach(fd), Code::Invalid);
  vfio_device_info info{};
  info.argsz = sizeof info;
  EXPECT_EQ(machine->call(fd, VFIO_DEVICE_GET_INFO, info), Code::Invalid);
  EXPECT_EQ(machine->process.pread(machine->file(fd), &info, 4, config_at).code(), Code::Invalid);
  EXPECT_EQ(machine->process.pwrite(machine->file(fd), &info, 4, config_at).code(), Code::Invalid);
}

TEST_F(VfioDeviceTest, BindingAnswersAsLinux) {
  vfio_device_bind_iommufd command{};
  command.argsz = sizeof command;
  command.iommufd = iommufd;
  command.flags = 2;
  EXPECT_EQ(machine->call(fd, VFIO_DEVICE_BIND_IOMMUFD, command), Code::Invalid);
  command.flags = 0;
  command.argsz = 15;
  EXPECT_EQ(machine->call(fd, VFIO_DEVICE_BIND_IOMMUFD, command), Code::Invalid);
  u32 id = 0;
  EXPECT_EQ(machine->bind(fd, -1, id), Code::Invalid);
  EXPECT_EQ(machine->bind(fd, 99, id), Code::BadFd);
  EXPECT_EQ(machine->bind(fd, fd, id), Code::BadFdState);
  machine->process.user.read_only = true;
  EXPECT_EQ(machine->bind(fd, iommufd, id), Code::Fault);
  machine->process.user.read_only = false;
  command.argsz = 16;  // the first release of the struct
  EXPECT_EQ(machine->call(fd, VFIO_DEVICE_BIND_IOMMUFD, command), Code::Ok);
  EXPECT_EQ(command.out_devid, 1u);
  EXPECT_EQ(machine->bind(fd, iommufd, id), Code::Invalid) << "once";
  const i32 second = machine->open_device(0);
  EXPECT_EQ(machine->bind(second, iommufd, id), Code::Invalid);
  const i32 other = machine->open_device(1);
  EXPECT_EQ(machine->bind(other, iommufd, id), Code::Ok);
  EXPECT_EQ(machine->destroy(iommufd, id), Code::Busy);
  machine->close(other);
  EXPECT_EQ(machine->destroy(iommufd, id), Code::NotFound);
}

TEST_F(VfioDeviceTest, AttachingAnswersAsLinux) {
  const u32 id = bind();
  const u32 ioas = machine->ioas(iommufd);
  vfio_device_attach_iommufd_pt command{
      .argsz = sizeof command, .flags = VFIO_DEVICE_ATTACH_PASID, .pt_id = ioas, .pasid = 1};
  EXPECT_EQ(machine->call(fd, VFIO_DEVICE_ATTACH_IOMMUFD_PT, command), Code::NotSupported);
  command.flags = 2;
  EXPECT_EQ(machine->call(fd, VFIO_DEVICE_ATTACH_IOMMUFD_PT, command), Code::Invalid);
  u32 pt = 77;
  EXPECT_EQ(machine->attach(fd, pt), Code::NotFound);
  pt = id;
  EXPECT_EQ(machine->attach(fd, pt), Code::Invalid);
  pt = ioas;
  EXPECT_EQ(machine->attach(fd, pt), Code::Ok);
  EXPECT_NE(pt, ioas) << "the page table in use";
  u32 other = machine->hwpt(iommufd, id, ioas);
  EXPECT_EQ(machine->attach(fd, other), Code::Ok);
  EXPECT_EQ(machine->count("replace"), 1u);
  EXPECT_EQ(machine->detach(fd), Code::Ok);
  EXPECT_EQ(machine->detach(fd), Code::Ok);
  u64 nothing = 8;
  EXPECT_EQ(machine->call(fd, 0x3b79, nothing), Code::NotIoctl);
}

TEST_F(VfioDeviceTest, DescribesItself) {
  bind();
  vfio_device_info info{};
  info.argsz = 16;
  info.pad = 7;
  EXPECT_EQ(machine->call(fd, VFIO_DEVICE_GET_INFO, info), Code::Ok);
  EXPECT_EQ(info.flags, VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET);
  EXPECT_EQ(info.num_regions, 9u);
  EXPECT_EQ(info.num_irqs, 5u);
  EXPECT_EQ(info.pad, 7u) << "nothing is written beyond argsz";
  info.argsz = 15;
  EXPECT_EQ(machine->call(fd, VFIO_DEVICE_GET_INFO, info), Code::Invalid);
  const auto region = [&](u32 index) {
    vfio_region_info command{};
    command.argsz = sizeof command;
    command.index = index;
    EXPECT_EQ(machine->call(fd, VFIO_DEVICE_GET_REGION_INFO, command), index < 8 ? Code::Ok : Code::Invalid);
    return command;
  };
  EXPECT_EQ(region(VFIO_PCI_BAR0_REGION_INDEX).size, 0x1000u);
  EXPECT_EQ(region(VFIO_PCI_BAR0_REGION_INDEX).flags, 3u);
  EXPECT_EQ(region(VFIO_PCI_CONFIG_REGION_INDEX).size, 0x1000u);
  EXPECT_EQ(region(VFIO_PCI_CONFIG_REGION_INDEX).offset, config_at);
  EXPECT_EQ(region(1).size, 0u);
  EXPECT_EQ(region(VFIO_PCI_ROM_REGION_INDEX).flags, 0u);
  region(VFIO_PCI_VGA_REGION_INDEX);
  region(~u32{0});
}

TEST_F(VfioDeviceTest, ReadsConfigurationSpaceAndBar) {
  bind();
  std::array<u8, 6> bytes{};
  EXPECT_EQ(machine->process.pread(machine->file(fd), bytes.data(), 3, config_at + 1).value(), 3u);
  EXPECT_EQ(bytes, (std::array<u8, 6>{0xf0, 0x01, 0x00}));
  u64 value = 0x1122334455667788;
  EXPECT_EQ(machine->process.pwrite(machine->file(fd), &value, 8, bar_at + 8).code(), Code::Io) << "decoding is off";
  const u16 memory_on = 2;
  ASSERT_TRUE(machine->process.pwrite(machine->file(fd), &memory_on, 2, config_at + 4).ok());
  EXPECT_EQ(machine->process.pwrite(machine->file(fd), &value, 8, bar_at + 8).value(), 8u);
  u64 back = 0;
  EXPECT_EQ(machine->process.pread(machine->file(fd), &back, 8, bar_at + 8).value(), 8u);
  EXPECT_EQ(back, value);
  EXPECT_EQ(machine->process.pread(machine->file(fd), &back, 8, bar_at + 0xffe).value(), 2u) << "up to the end";
  EXPECT_EQ(machine->process.pread(machine->file(fd), &back, 8, bar_at + 0x1000).code(), Code::Invalid);
  EXPECT_EQ(machine->process.pread(machine->file(fd), &back, 8, VFIO_PCI_INDEX_TO_OFFSET(1)).code(), Code::Invalid);
  EXPECT_EQ(machine->process.pread(machine->file(fd), &back, 8, ~u64{0}).code(), Code::Invalid);
  EXPECT_EQ(machine->file(fd).pread(machine->process.call, TestUser::faulting, 4, config_at).code(), Code::Fault);
}

TEST_F(VfioDeviceTest, OnlyTheCommandRegisterIsWritable) {
  bind();
  const auto before = endpoint().config;
  std::array<u8, 64> ones{};
  ones.fill(0xff);
  EXPECT_EQ(machine->process.pwrite(machine->file(fd), ones.data(), 64, config_at).value(), 64u);
  EXPECT_EQ(machine->process.pwrite(machine->file(fd), ones.data(), 64, config_at + 0x40).value(), 64u);
  auto expected = before;
  expected[4] = 0x47;
  expected[5] = 0x05;  // every defined bit of the command register
  EXPECT_EQ(endpoint().config, expected);
  EXPECT_TRUE(endpoint().is_bus_master());
  const u8 zero = 0;
  EXPECT_TRUE(machine->process.pwrite(machine->file(fd), &zero, 1, config_at + 4).ok()) << "one byte of it";
  EXPECT_FALSE(endpoint().is_bus_master());
  EXPECT_EQ(endpoint().config[5], 0x05);
}

TEST_F(VfioDeviceTest, ResetsOnRequest) {
  bind();
  EXPECT_EQ(machine->process.ioctl_at(machine->file(fd), VFIO_DEVICE_RESET, 0), Code::Ok);
  EXPECT_EQ(endpoint().resets, 2u);
}

TEST_F(VfioDeviceTest, ClosingDetachesUnbindsAndGivesTheIommufdBack) {
  std::optional<StateSnapshot> before;
  for (int round = 0; round < 2; ++round) {
    bind();
    u32 pt = machine->ioas(iommufd);
    const u32 ioas = pt;
    ASSERT_EQ(machine->attach(fd, pt), Code::Ok);
    machine->close(fd);
    EXPECT_TRUE(machine->entries().empty());
    EXPECT_EQ(machine->destroy(iommufd, ioas), Code::Ok);
    fd = machine->open_device(0);
    if (!before) before = machine->snapshot();  // with the unit's own tables, which stay
  }
  EXPECT_EQ(machine->snapshot(), *before);
}

TEST_F(VfioDeviceTest, TheIommufdOutlivesItsDescriptorWhileADeviceUsesIt) {
  bind();
  u32 pt = machine->ioas(iommufd);
  ASSERT_EQ(machine->attach(fd, pt), Code::Ok);
  machine->close(iommufd);
  EXPECT_EQ(machine->entries().size(), 1u);
  machine->close(fd);
  EXPECT_TRUE(machine->entries().empty());
}

}  // namespace
}  // namespace holdfast::vfio

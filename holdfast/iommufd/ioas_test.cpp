// Address spaces, by the ioctls of a process.
#include <gtest/gtest.h>

#include "holdfast/iommufd/test_support.hpp"

namespace holdfast::iommufd {
namespace {

constexpr u64 kib = 1024;
constexpr u64 mib = 1024 * kib;
constexpr u64 gib = 1024 * mib;
constexpr u32 readable = IOMMU_IOAS_MAP_READABLE;
constexpr u32 writable = IOMMU_IOAS_MAP_WRITEABLE;
constexpr u32 fixed = IOMMU_IOAS_MAP_FIXED_IOVA;

class IoasTest : public ::testing::Test {
 protected:
  /// A page table over the IOAS for the first device, which is bound but not attached.
  u32 add_hwpt() {
    device = machine->iommufd_of(fd).bind(*machine->devices[0]).value().value;
    return machine->hwpt(fd, device, ioas);
  }
  void unbind() {
    if (device != 0) machine->iommufd_of(fd).unbind(ObjectId(std::exchange(device, 0u)));
  }
  void TearDown() override { unbind(); }
  Code map(u64 iova, u64 length, u64 start = 0, u32 flags = 7) {
    return machine->map(fd, ioas, memory, iova, length, start, flags);
  }
  Code unmap(u64 iova, u64 length) { return machine->unmap(fd, ioas, iova, length); }
  std::vector<std::pair<u64, u64>> ranges(Code expected = Code::Ok, u32 room = 8) {
    std::vector<iommu_iova_range> found(room + 1);
    iommu_ioas_iova_ranges command{};
    command.size = sizeof command;
    command.ioas_id = ioas;
    command.num_iovas = room;
    command.allowed_iovas = reinterpret_cast<u64>(found.data());
    EXPECT_EQ(machine->call(fd, IOMMU_IOAS_IOVA_RANGES, command), expected);
    alignment = command.out_iova_alignment;
    count = command.num_iovas;
    std::vector<std::pair<u64, u64>> answer;
    for (u32 i = 0; i < std::min(room, count); ++i) answer.emplace_back(found[i].start, found[i].last);
    return answer;
  }
  Code option(u32 id, u16 op, u32 object, u64& value) {
    iommu_option command{};
    command.size = sizeof command;
    command.option_id = id;
    command.op = op;
    command.object_id = object;
    command.val64 = value;
    const Code code = machine->call(fd, IOMMU_OPTION, command);
    value = command.val64;
    return code;
  }

  Machine<TestKernel> machine{64 * mib};
  i32 fd = machine->open_iommufd();
  u32 ioas = machine->ioas(fd);
  i32 memory = machine->make_memfd(8 * mib);
  u32 device = 0;
  u64 alignment = 0;
  u32 count = 0;
};

TEST_F(IoasTest, IdsStartAtOneAndTheLowestIsReused) {
  EXPECT_EQ(ioas, 1u);
  const u32 second = machine->ioas(fd);
  const u32 third = machine->ioas(fd);
  EXPECT_EQ(second, 2u);
  EXPECT_EQ(machine->destroy(fd, second), Code::Ok);
  EXPECT_EQ(machine->ioas(fd), second);
  EXPECT_EQ(machine->destroy(fd, third), Code::Ok);
  EXPECT_EQ(machine->destroy(fd, third), Code::NotFound);
  EXPECT_EQ(machine->destroy(fd, 0), Code::NotFound);
}

TEST_F(IoasTest, UnknownCommandsAreNoIoctls) {
  RecordProperty("acceptance", "D27");
  u64 nothing = 8;
  for (const u32 command : {0x3b7fu, 0x3b85u, 0x3b92u, 0x3b96u, 0x3be3u, 0u})
    EXPECT_EQ(machine->call(fd, command, nothing), Code::NotIoctl) << std::hex << command;
}

TEST_F(IoasTest, AStructKnowsItsOwnLength) {
  struct {
    iommu_destroy command;
    u64 tail;
  } longer{{sizeof longer, 77}, 0};
  EXPECT_EQ(machine->call(fd, IOMMU_DESTROY, longer), Code::NotFound);
  longer.tail = 1;
  EXPECT_EQ(machine->call(fd, IOMMU_DESTROY, longer), Code::TooBig);
  longer.command.size = 7;
  EXPECT_EQ(machine->call(fd, IOMMU_DESTROY, longer), Code::Invalid);
  EXPECT_EQ(machine->process.ioctl_at(machine->file(fd), IOMMU_DESTROY, 0), Code::Fault);
}

TEST_F(IoasTest, AnIdThatCannotBeAnsweredIsTakenBack) {
  iommu_ioas_alloc command{.size = sizeof command, .flags = 0, .out_ioas_id = 0};
  const auto before = machine->snapshot();
  machine->process.user.read_only = true;
  EXPECT_EQ(machine->call(fd, IOMMU_IOAS_ALLOC, command), Code::Fault);
  EXPECT_EQ(map(0x1000, 0x1000), Code::Fault);
  machine->process.user.read_only = false;
  EXPECT_EQ(machine->snapshot(), before);
  command.flags = 1;
  EXPECT_EQ(machine->call(fd, IOMMU_IOAS_ALLOC, command), Code::NotSupported);
}

TEST_F(IoasTest, MappingAnswersAsLinux) {
  add_hwpt();
  EXPECT_EQ(map(0x10000, 64 * kib), Code::Ok);
  EXPECT_EQ(map(0x10000, 64 * kib), Code::Exists);
  EXPECT_EQ(map(0x1f000, 8 * kib), Code::Exists);
  EXPECT_EQ(map(0xf000, 8 * kib), Code::Exists);
  EXPECT_EQ(map(0x80800, 4 * kib), Code::Invalid) << "unaligned IOVA";
  EXPECT_EQ(map(0x80000, 2 * kib), Code::Invalid) << "unaligned length";
  EXPECT_EQ(map(0x80000, 4 * kib, 2 * kib), Code::Invalid) << "unaligned offset";
  EXPECT_EQ(map(0x80000, 0), Code::Invalid) << "nothing to map";
  EXPECT_EQ(map(0x80000, 4 * kib, 0, fixed), Code::Invalid) << "no permission";
  EXPECT_EQ(map(0x80000, 4 * kib, 0, 8), Code::NotSupported) << "unknown flag";
  EXPECT_EQ(map(u64{1} << 39, 4 * kib), Code::Invalid) << "beyond the aperture";
  EXPECT_EQ(map(~u64{0xfff}, 8 * kib), Code::Overflow);
  EXPECT_EQ(map(~u64{0}, 4 * kib), Code::Overflow);
  EXPECT_EQ(map(0x80000, ~u64{0}), Code::Overflow);
  EXPECT_EQ(map(0x80000, 4 * kib, 8 * mib), Code::Invalid) << "beyond the end of the file";
  EXPECT_EQ(map(0x80000, 8 * kib, 8 * mib - 4 * kib), Code::Invalid);
  EXPECT_EQ(machine->map(fd, 77, memory, 0x80000, 4 * kib), Code::NotFound);
  EXPECT_EQ(machine->map(fd, device, memory, 0x80000, 4 * kib), Code::NotFound) << "a device is no IOAS";
  EXPECT_EQ(machine->map(fd, ioas, 99, 0x80000, 4 * kib), Code::BadFd);
  EXPECT_EQ(machine->map(fd, ioas, fd, 0x80000, 4 * kib), Code::Invalid) << "no memory file";
}

TEST_F(IoasTest, WhatIsSealedOrReadOnlyIsNotMappedWritable) {
  const i32 sealed = machine->make_memfd(4 * kib, F_SEAL_WRITE);
  EXPECT_EQ(machine->map(fd, ioas, sealed, 0x1000, 4 * kib), Code::NotPermitted);
  EXPECT_EQ(machine->map(fd, ioas, sealed, 0x1000, 4 * kib, 0, fixed | readable), Code::Ok);
  machine->memory_of(memory).set_open_flags(0);
  EXPECT_EQ(map(0x10000, 4 * kib), Code::NotPermitted);
  EXPECT_EQ(map(0x10000, 4 * kib, 0, fixed | readable), Code::Ok);
}

TEST_F(IoasTest, AMapReachesEveryPageTableWithItsPermissions) {
  const u32 first = add_hwpt();
  const u32 second = machine->hwpt(fd, device, ioas);
  ASSERT_EQ(map(0x200000, 4 * kib, 12 * kib, fixed | readable), Code::Ok);
  ASSERT_EQ(map(0x400000, 4 * kib, 0, fixed | writable), Code::Ok);
  std::optional<u64> difference;
  EXPECT_EQ(machine->compare(fd, first, second, difference), Code::Ok);
  EXPECT_FALSE(difference);
  u32 domains = 0;
  const auto check = [&](const iommu::Domain& domain) {
    ++domains;
    const auto read = machine->core.lookup(domain, Iova(0x200010)).value();
    const auto write = machine->core.lookup(domain, Iova(0x400000)).value();
    EXPECT_EQ(read.address, machine->memory_of(memory).extents()[0].start + 12 * kib + 16);
    EXPECT_EQ(read.prot, pt::Prot::Read);
    EXPECT_EQ(write.prot, pt::Prot::Write);
  };
  auto& iommufd = machine->iommufd_of(fd);
  for (const u32 hwpt : {first, second}) {
    ASSERT_TRUE(iommufd.attach(ObjectId(device), ObjectId(hwpt)).ok());
    check(*machine->devices[0]->domain());
  }
  EXPECT_EQ(domains, 2u);
  ASSERT_TRUE(iommufd.detach(ObjectId(device)).ok());
  unbind();
}

TEST_F(IoasTest, ANewPageTableIsFilledWithWhatIsMapped) {
  ASSERT_EQ(map(4 * gib, 8 * mib), Code::Ok);
  ASSERT_EQ(map(8 * gib, 8 * mib), Code::Ok);
  const u32 hwpt = add_hwpt();
  auto& iommufd = machine->iommufd_of(fd);
  ASSERT_TRUE(iommufd.attach(ObjectId(device), ObjectId(hwpt)).ok());
  const iommu::Domain& domain = *machine->devices[0]->domain();
  EXPECT_EQ(machine->core.lookup(domain, Iova(4 * gib)).value().page_size, 2 * mib);
  EXPECT_TRUE(machine->core.lookup(domain, Iova(8 * gib + 8 * mib - 1)).ok());
  EXPECT_FALSE(machine->core.lookup(domain, Iova(8 * gib + 8 * mib)).ok());
  unbind();
}

TEST_F(IoasTest, EveryFailedAllocationOfAMapLeavesNoPageTableChanged) {
  const u32 first = add_hwpt();
  const u32 second = machine->hwpt(fd, device, ioas);
  for (u64 i = 0; i < 31; ++i) ASSERT_EQ(map((8 + i) * gib, 4 * kib), Code::Ok);  // until the next table needs memory
  const u64 before = machine->snapshot().files;
  u64 refused = 0;
  u64 k = 1;
  for (bool failed = true; failed; ++k) {
    Code code = Code::Ok;
    failed = machine->world.failing(k, [&] { code = map(4 * gib + 4 * kib, 1 * mib); });
    if (code != Code::NoMemory) continue;
    ++refused;
    EXPECT_EQ(machine->snapshot().files, before) << "allocation " << k;  // empty tables may stay, as after an unmap
    std::optional<u64> difference;
    for (const auto& [a, b] : {std::pair(first, second), std::pair(second, first)}) {
      EXPECT_EQ(machine->compare(fd, a, b, difference), Code::Ok);
      EXPECT_FALSE(difference) << "allocation " << k;
    }
  }
  EXPECT_GE(refused, 1u);
}

TEST_F(IoasTest, UnmappingTakesWholeAreasOnly) {
  add_hwpt();
  for (u64 i = 0; i < 4; ++i) ASSERT_EQ(map(0x100000 + i * 0x10000, 32 * kib), Code::Ok);
  EXPECT_EQ(unmap(0x100000, 4 * kib), Code::NotFound);
  EXPECT_EQ(unmap(0x104000, 4 * kib), Code::NotFound);
  EXPECT_EQ(unmap(0xff000, 8 * kib), Code::NotFound);
  EXPECT_EQ(unmap(0x134000, 64 * kib), Code::NotFound);
  EXPECT_EQ(unmap(0x500000, 4 * kib), Code::NotFound);
  EXPECT_EQ(unmap(0x100800, 1), Code::NotFound);
  EXPECT_EQ(unmap(0x100000, 0), Code::Invalid);
  EXPECT_EQ(unmap(0x100000, ~u64{0}), Code::Overflow);
  EXPECT_EQ(unmap(~u64{0xfff}, 8 * kib), Code::Overflow);
  EXPECT_EQ(unmap(0xff000, 0x39000), Code::Ok) << "gaps between areas do not matter";
  EXPECT_EQ(machine->unmapped_bytes, 4 * 32 * kib);
  EXPECT_EQ(unmap(0, ~u64{0}), Code::Ok) << "everything, though nothing is left";
  EXPECT_EQ(machine->unmapped_bytes, 0u);
}

TEST_F(IoasTest, AnUnmapThatWouldCutAnAreaTakesNothing) {
  ASSERT_EQ(map(0x100000, 32 * kib), Code::Ok);
  ASSERT_EQ(map(0x200000, 32 * kib), Code::Ok);
  EXPECT_EQ(unmap(0x100000, 0x104000), Code::NotFound);
  EXPECT_EQ(unmap(0, ~u64{0}), Code::Ok);
  EXPECT_EQ(machine->unmapped_bytes, 64 * kib);
}

TEST_F(IoasTest, AreasHoldTheirFiles) {
  ASSERT_EQ(map(0x100000, 32 * kib), Code::Ok);
  EXPECT_EQ(machine->memory_of(memory).pins(), 1u);
  const i32 unsealed = machine->make_memfd(32 * kib, 0);
  ASSERT_EQ(machine->map(fd, ioas, unsealed, 0x200000, 32 * kib), Code::Ok);
  EXPECT_EQ(machine->memory_of(unsealed).truncate(0).code(), Code::Busy);
  machine->close(unsealed);
  EXPECT_EQ(unmap(0, ~u64{0}), Code::Ok);
  EXPECT_EQ(machine->memory_of(memory).pins(), 0u);
}

TEST_F(IoasTest, ChoosesAddressesWithRoomForLargeLeaves) {
  add_hwpt();
  const u32 automatic = readable | writable;
  ASSERT_EQ(map(0, 8 * kib, 0, automatic), Code::Ok);
  EXPECT_EQ(machine->mapped_iova, 0x2000u);
  ASSERT_EQ(map(0, 4 * kib, 0, automatic), Code::Ok);
  EXPECT_EQ(machine->mapped_iova, 0x1000u) << "never 0";
  ASSERT_EQ(map(0, 2 * mib, 0, automatic), Code::Ok);
  EXPECT_EQ(machine->mapped_iova, 0x200000u);
  ASSERT_EQ(map(0, 12 * kib, 4 * kib, automatic), Code::Ok);
  EXPECT_EQ(machine->mapped_iova, 0x4000u);
  // The rest of the aperture below the window for messages is taken.
  for (u64 at = 4 * mib; at + 8 * mib <= 0xfee00000; at += 8 * mib) ASSERT_EQ(map(at, 8 * mib), Code::Ok);
  ASSERT_EQ(map(0, 8 * mib, 0, automatic), Code::Ok);
  EXPECT_GE(machine->mapped_iova, 0xfe000000u);
}

TEST_F(IoasTest, UsableRangesFollowPageTablesAndDevices) {
  using Ranges = std::vector<std::pair<u64, u64>>;
  EXPECT_EQ(ranges(), (Ranges{{0, ~u64{0}}}));
  EXPECT_EQ(alignment, 1u);
  const u32 hwpt = add_hwpt();
  EXPECT_EQ(ranges(), (Ranges{{0, (u64{1} << 39) - 1}}));
  EXPECT_EQ(alignment, 4 * kib);
  auto& iommufd = machine->iommufd_of(fd);
  ASSERT_TRUE(iommufd.attach(ObjectId(device), ObjectId(hwpt)).ok());
  const Ranges attached{{0, 0xfedfffff}, {0xfef00000, 0x7fffffffff}};
  EXPECT_EQ(ranges(), attached);
  EXPECT_EQ(ranges(Code::MessageSize, 1), (Ranges{attached[0]}));
  EXPECT_EQ(count, 2u);
  EXPECT_EQ(map(0xfee00000, 4 * kib), Code::Invalid);
  ASSERT_TRUE(iommufd.detach(ObjectId(device)).ok());
  EXPECT_EQ(ranges(), (Ranges{{0, 0x7fffffffff}}));
  ASSERT_EQ(machine->destroy(fd, hwpt), Code::Ok);
  EXPECT_EQ(ranges(), (Ranges{{0, ~u64{0}}}));
  unbind();
}

TEST_F(IoasTest, AMappingInTheWindowForMessagesKeepsDevicesOut) {
  const u32 hwpt = add_hwpt();
  ASSERT_EQ(map(0xfee00000, 4 * kib), Code::Ok);
  auto& iommufd = machine->iommufd_of(fd);
  EXPECT_EQ(iommufd.attach(ObjectId(device), ObjectId(hwpt)).code(), Code::AddressInUse);
  EXPECT_EQ(iommufd.attach(ObjectId(device), ObjectId(ioas)).code(), Code::AddressInUse);
  ASSERT_EQ(unmap(0xfee00000, 4 * kib), Code::Ok);
  EXPECT_TRUE(iommufd.attach(ObjectId(device), ObjectId(hwpt)).ok());
  unbind();
}

TEST_F(IoasTest, AreasThatNoPageTableCouldTakeAreAllowedUntilThereIsOne) {
  ASSERT_EQ(map(0x80001, 5, 3), Code::Ok);
  device = machine->iommufd_of(fd).bind(*machine->devices[0]).value().value;
  u32 hwpt = 0;
  const auto before = machine->snapshot();
  EXPECT_EQ(machine->alloc_hwpt(fd, device, ioas, hwpt), Code::AddressInUse);
  EXPECT_EQ(machine->snapshot(), before);
  ASSERT_EQ(unmap(0x80001, 5), Code::Ok);
  ASSERT_EQ(map(u64{1} << 39, 4 * kib), Code::Ok);
  EXPECT_EQ(machine->alloc_hwpt(fd, device, ioas, hwpt), Code::AddressInUse);
  ASSERT_EQ(unmap(u64{1} << 39, 4 * kib), Code::Ok);
  EXPECT_EQ(machine->alloc_hwpt(fd, device, ioas, hwpt), Code::Ok);
  unbind();
}

TEST_F(IoasTest, WithoutHugePagesEveryLeafIsSmall) {
  u64 value = 7;
  EXPECT_EQ(option(IOMMU_OPTION_HUGE_PAGES, IOMMU_OPTION_OP_GET, ioas, value), Code::Ok);
  EXPECT_EQ(value, 1u);
  value = 0;
  EXPECT_EQ(option(IOMMU_OPTION_HUGE_PAGES, IOMMU_OPTION_OP_SET, ioas, value), Code::Ok);
  EXPECT_EQ(map(0x800, 4 * kib), Code::Invalid) << "whole pages from now on";
  ASSERT_EQ(map(4 * gib, 8 * mib), Code::Ok);
  const u32 hwpt = add_hwpt();
  auto& iommufd = machine->iommufd_of(fd);
  ASSERT_TRUE(iommufd.attach(ObjectId(device), ObjectId(hwpt)).ok());
  EXPECT_EQ(machine->core.lookup(*machine->devices[0]->domain(), Iova(4 * gib)).value().page_size, 4 * kib);
  unbind();
}

TEST_F(IoasTest, OptionsAnswerAsLinux) {
  u64 value = 2;
  EXPECT_EQ(option(IOMMU_OPTION_HUGE_PAGES, IOMMU_OPTION_OP_SET, ioas, value), Code::Invalid);
  EXPECT_EQ(option(IOMMU_OPTION_HUGE_PAGES, IOMMU_OPTION_OP_SET, 0, value), Code::NotFound);
  EXPECT_EQ(option(IOMMU_OPTION_HUGE_PAGES, 2, ioas, value), Code::NotSupported);
  EXPECT_EQ(option(2, IOMMU_OPTION_OP_GET, 0, value), Code::NotSupported);
  EXPECT_EQ(option(IOMMU_OPTION_RLIMIT_MODE, IOMMU_OPTION_OP_GET, 1, value), Code::NotSupported);
  EXPECT_EQ(option(IOMMU_OPTION_RLIMIT_MODE, IOMMU_OPTION_OP_GET, 0, value), Code::Ok);
  EXPECT_EQ(value, 0u);
  value = 1;
  EXPECT_EQ(option(IOMMU_OPTION_RLIMIT_MODE, IOMMU_OPTION_OP_SET, 0, value), Code::Busy) << "objects exist";
  ASSERT_EQ(machine->destroy(fd, ioas), Code::Ok);
  EXPECT_EQ(option(IOMMU_OPTION_RLIMIT_MODE, IOMMU_OPTION_OP_SET, 0, value), Code::Ok);
  value = 2;
  EXPECT_EQ(option(IOMMU_OPTION_RLIMIT_MODE, IOMMU_OPTION_OP_SET, 0, value), Code::Invalid);
  EXPECT_EQ(option(IOMMU_OPTION_RLIMIT_MODE, IOMMU_OPTION_OP_GET, 0, value), Code::Ok);
  EXPECT_EQ(value, 1u);
}

TEST_F(IoasTest, ClosingTheFileFreesEverything) {
  machine->close(memory);
  machine->close(fd);
  const auto before = machine->snapshot();
  fd = machine->open_iommufd();
  ioas = machine->ioas(fd);
  memory = machine->make_memfd(8 * mib);
  ASSERT_EQ(map(4 * gib, 8 * mib), Code::Ok);
  add_hwpt();
  unbind();
  machine->close(memory);
  machine->close(fd);
  EXPECT_EQ(machine->snapshot(), before);
}

}  // namespace
}  // namespace holdfast::iommufd

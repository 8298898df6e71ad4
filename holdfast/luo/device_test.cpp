// The ioctls of /dev/liveupdate and its sessions: numbers, sizes, addresses, and the answers of both policies.
#include "holdfast/luo/device.hpp"

#include <gtest/gtest.h>

#include "holdfast/luo/spies.hpp"

namespace holdfast::luo {
namespace {

constexpr u64 base = TestUser::user_base;

TEST(LiveupdateUapi, NumbersAndLayoutsAreLinuxs) {
  EXPECT_EQ(LIVEUPDATE_IOCTL_CREATE_SESSION, 0xba00);
  EXPECT_EQ(LIVEUPDATE_IOCTL_RETRIEVE_SESSION, 0xba01);
  EXPECT_EQ(LIVEUPDATE_SESSION_PRESERVE_FD, 0xba40);
  EXPECT_EQ(LIVEUPDATE_SESSION_RETRIEVE_FD, 0xba41);
  EXPECT_EQ(LIVEUPDATE_SESSION_FINISH, 0xba42);
  EXPECT_EQ(LIVEUPDATE_IOCTL_DROP_SESSION, 0xba80);
  EXPECT_EQ(sizeof(liveupdate_ioctl_create_session), 72u);
  EXPECT_EQ(offsetof(liveupdate_ioctl_create_session, name), 8u);
  EXPECT_EQ(sizeof(liveupdate_ioctl_retrieve_session), 72u);
  EXPECT_EQ(sizeof(liveupdate_ioctl_drop_session), 72u);
  EXPECT_EQ(sizeof(liveupdate_session_preserve_fd), 16u);
  EXPECT_EQ(offsetof(liveupdate_session_preserve_fd, token), 8u);
  EXPECT_EQ(sizeof(liveupdate_session_retrieve_fd), 16u);
  EXPECT_EQ(sizeof(liveupdate_session_finish), 8u);
}

class DeviceTest : public testing::TestWithParam<Policy> {
 protected:
  DeviceTest() { (void)kernel.device(); }
  /// CREATE_SESSION with a size of its own, and a byte behind the structure.
  Code create(std::string_view name, u32 size, u64 tail_at = 0) {
    std::ranges::fill(kernel.process.user.memory, std::byte{0});
    std::memcpy(kernel.process.user.memory.data(), &size, 4);
    std::memcpy(kernel.process.user.memory.data() + 8, name.data(), name.size());
    if (tail_at != 0) kernel.process.user.memory[tail_at] = std::byte{1};
    return kernel.process.ioctl(kernel.device(), LIVEUPDATE_IOCTL_CREATE_SESSION, base).code();
  }
  Code call(i32 fd, u32 command, u64 argument = base) { return kernel.process.ioctl(fd, command, argument).code(); }

  Kernel kernel{64 << 20, GetParam()};
};

TEST_P(DeviceTest, HasOneOpenerAtATime) {
  RecordProperty("acceptance", "L1");
  EXPECT_EQ(kernel.luo.open_device().code(), Code::Busy);
  ASSERT_TRUE(kernel.process.fds.close(kernel.device()).ok());
  kernel.device_fd = -1;
  const i32 session = kernel.create("one").value();
  ASSERT_TRUE(kernel.process.fds.close(kernel.device()).ok());
  EXPECT_EQ(kernel.preserve_fd(session, 777, 1), Code::BadFd) << "a session does not need the device to be open";
  kernel.device_fd = -1;
  EXPECT_EQ(kernel.create("one").code(), Code::Exists);
}

TEST_P(DeviceTest, IsNeitherReadNorWrittenNorMapped) {
  const auto file = kernel.process.fds.get(kernel.device()).value();
  EXPECT_EQ(file->pread(kernel.process.call, base, 8, 0).code(), Code::Invalid);
  EXPECT_EQ(file->pwrite(kernel.process.call, base, 8, 0).code(), Code::Invalid);
  EXPECT_EQ(file->mmap(kernel.process.call, 4096, 3, 0).code(), Code::NoDevice);
  EXPECT_EQ(file->open_flags(), 2u);
}

TEST_P(DeviceTest, UnknownNumbersAndForeignTypesAreToldApart) {
  const i32 device = kernel.device();
  const i32 session = kernel.create("one").value();
  const u32 size = 72;
  std::memcpy(kernel.process.user.memory.data(), &size, 4);
  EXPECT_EQ(call(device, 0xba02), Code::Invalid);
  EXPECT_EQ(call(device, 0xba40), Code::Invalid) << "a session's number";
  EXPECT_EQ(call(device, 0xbb00), Code::NotIoctl);
  EXPECT_EQ(call(device, 0xc048ba00), Code::NotIoctl) << "direction and size bits";
  EXPECT_EQ(call(device, 0xba00, 0), Code::Fault);
  EXPECT_EQ(call(device, 0xba00, base - 1), Code::Fault);
  EXPECT_EQ(call(session, 0xba43), Code::Invalid);
  EXPECT_EQ(call(session, 0xba3f), Code::Invalid);
  EXPECT_EQ(call(session, 0xba00), Code::Invalid) << "the device's number";
  EXPECT_EQ(call(session, 0xbb40), Code::NotIoctl);
  EXPECT_EQ(call(session, 0xba40, 0), Code::Fault);
}

TEST_P(DeviceTest, SizesDecideBeforeContents) {
  EXPECT_EQ(create("a", 0), Code::Invalid);
  EXPECT_EQ(create("a", 8), Code::Invalid);
  EXPECT_EQ(create("a", 71), Code::Invalid);
  EXPECT_EQ(create("b", 80), Code::Ok);
  EXPECT_EQ(create("c", 80, 79), Code::TooBig);
  EXPECT_EQ(create("c", 4097, 4096), Code::TooBig);
  EXPECT_EQ(create("c", 4096), Code::Ok);
  EXPECT_EQ(create("d", 4097), Code::Ok);
  EXPECT_EQ(create("e", 0xffffffff, 65000), Code::TooBig);
  EXPECT_EQ(create("e", 0xffffffff), Code::Fault) << "the tail runs out of the process";
  EXPECT_EQ(kernel.luo.outgoing_session_count(), 3u);
  const i32 session = kernel.create("s").value();
  for (const auto& [command, too_small] : std::vector<std::pair<u32, u32>>{{0xba40, 15}, {0xba41, 15}, {0xba42, 4}}) {
    std::memcpy(kernel.process.user.memory.data(), &too_small, 4);
    EXPECT_EQ(call(session, command), Code::Invalid);
    const u32 nothing = 0;
    std::memcpy(kernel.process.user.memory.data(), &nothing, 4);
    EXPECT_EQ(call(session, command), Code::Invalid);
  }
}

TEST_P(DeviceTest, TheDescriptorIsWrittenBackAndTheRestIsLeftAlone) {
  liveupdate_ioctl_create_session argument{.size = sizeof argument, .fd = -1, .name = {'x'}};
  ASSERT_TRUE(kernel.process.ioctl(kernel.device(), LIVEUPDATE_IOCTL_CREATE_SESSION, argument).ok());
  EXPECT_EQ(argument.size, sizeof argument);
  EXPECT_TRUE(kernel.process.fds.get(argument.fd).ok());
  EXPECT_EQ(argument.name[0], 'x');
}

TEST_P(DeviceTest, DroppingASessionIsOurs) {
  EXPECT_EQ(kernel.drop("nobody"), GetParam() == Policy::Linux ? Code::Invalid : Code::NotFound);
}

INSTANTIATE_TEST_SUITE_P(Both, DeviceTest, testing::Values(Policy::Holdfast, Policy::Linux),
                         [](const auto& policy) { return policy.param == Policy::Linux ? "Linux" : "Holdfast"; });

TEST(PolicyLinux, NamesAreCutAfter63BytesAndMayBeEmpty) {
  Kernel kernel(64 << 20, Policy::Linux);
  EXPECT_TRUE(kernel.create("").ok());
  EXPECT_EQ(kernel.create("").code(), Code::Exists);
  EXPECT_TRUE(kernel.create(std::string(63, 'a')).ok());
  EXPECT_EQ(kernel.create(std::string(64, 'a')).code(), Code::Exists);
  EXPECT_TRUE(kernel.create(std::string(64, 'b')).ok());
}

TEST(PolicyLinux, SizesAreLinuxs) {
  Kernel kernel(64 << 20, Policy::Linux);
  kernel.add_handler();
  const i32 session = kernel.create("many").value();
  for (u64 number = 0; number < 128; ++number) ASSERT_EQ(kernel.preserve(session, number), Code::Ok);
  EXPECT_EQ(kernel.preserve(session, 128), Code::NoSpace);
  for (u64 number = 1; number < 819; ++number) ASSERT_TRUE(kernel.create("s" + std::to_string(number)).ok());
  EXPECT_EQ(kernel.create("one-more").code(), Code::NoMemory);
}

TEST(PolicyLinux, AFileMayBePreservedTwice) {
  Kernel kernel(64 << 20, Policy::Linux);
  kernel.add_handler();
  const i32 session = kernel.create("a").value();
  const i32 other = kernel.create("b").value();
  const i32 file = kernel.open_file(1);
  EXPECT_EQ(kernel.preserve_fd(session, file, 1), Code::Ok);
  EXPECT_EQ(kernel.preserve_fd(session, file, 2), Code::Ok);
  EXPECT_EQ(kernel.preserve_fd(other, file, 1), Code::Ok);
  ASSERT_TRUE(kernel.process.fds.close(session).ok());
  ASSERT_TRUE(kernel.process.fds.close(other).ok());
}

TEST(PolicyLinux, CallsOfTheOtherDirectionDoNoHarm) {
  Kernel kernel(64 << 20, Policy::Linux);
  kernel.add_handler();
  const i32 session = kernel.create("a").value();
  EXPECT_EQ(kernel.finish(session), Code::Ok) << "nothing in it";
  EXPECT_EQ(kernel.retrieve_fd(session, 5).code(), Code::NotFound);
  ASSERT_EQ(kernel.preserve(session, 1), Code::Ok);
  const auto before = kernel.snapshot();
  EXPECT_EQ(kernel.finish(session), Code::Invalid);
  EXPECT_EQ(kernel.retrieve_fd(session, 1001).code(), Code::Invalid);
  EXPECT_EQ(kernel.snapshot(), before);
  ASSERT_TRUE(kernel.luo.freeze().ok());

  Kernel next(kernel, AfterJump{}, Policy::Linux);
  next.add_handler();
  const i32 incoming = next.retrieve("a").value();
  const i32 file = next.open_file(2);
  EXPECT_EQ(next.preserve_fd(incoming, file, 1001), Code::Exists);
  EXPECT_EQ(next.preserve_fd(incoming, file, 7), Code::Invalid);
}

TEST(PolicyLinux, AClosedSessionThatCannotFinishIsLost) {
  Kernel kernel(64 << 20, Policy::Linux);
  kernel.add_handler();
  ASSERT_EQ(kernel.preserve(kernel.create("a").value(), 1), Code::Ok);
  ASSERT_TRUE(kernel.luo.freeze().ok());
  Kernel next(kernel, AfterJump{}, Policy::Linux);
  next.add_handler().refuse_finish = {1};
  ASSERT_TRUE(next.process.fds.close(next.retrieve("a").value()).ok());
  EXPECT_EQ(next.retrieve("a").code(), Code::Invalid);
}

}  // namespace
}  // namespace holdfast::luo

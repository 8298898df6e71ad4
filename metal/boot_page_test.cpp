#include <gtest/gtest.h>

#include <functional>
#include <initializer_list>

#include "metal/boot_page.hpp"

namespace metal {
namespace {

constexpr u64 ram = static_cast<u64>(MemoryKind::Ram);
constexpr u64 reserved = static_cast<u64>(MemoryKind::Reserved);

/// As the kernel of a machine with 6 GiB leaves it.
BootPage good_page() {
  BootPage page{};
  page.magic = boot_page_magic;
  page.version = boot_page_version;
  page.generation = 1;
  page.tsc_hz = 999'971'706;
  page.handover = {0x1234000, 0x1000, 0x2000000, 0x10};
  page.module_start = 0x7fe00123;
  page.module_bytes = 0x1000;
  page.watched_register = 0xfebc2810;
  page.memory_entries = 4;
  page.memory[0] = {0, 0x100000, reserved};
  page.memory[1] = {0x100000, 0x7fd00000, ram};
  page.memory[2] = {0x7fe00000, 0x200000, reserved};
  page.memory[3] = {0x100000000, 0x100000000, ram};
  page.command_line_bytes = max_command_line_bytes;
  return page;
}

Code check_after(const std::function<void(BootPage&)>& change) {
  BootPage page = good_page();
  change(page);
  std::string_view bad;
  const Code code = check(page, bad).code();
  EXPECT_EQ(bad.empty(), code == Code::Ok) << "what is refused is named";
  return code;
}

TEST(BootPageCheck, TakesWhatAKernelLeaves) {
  EXPECT_EQ(check_after([](BootPage&) {}), Code::Ok);
  EXPECT_EQ(check_after([](BootPage& page) { page.module_start = page.module_bytes = 0; }), Code::Ok);
  EXPECT_EQ(check_after([](BootPage& page) { page.watched_register = 0; }), Code::Ok);
  EXPECT_EQ(check_after([](BootPage& page) { page.watched_register = 0x1fffffffc; }), Code::Corrupt) << "that is RAM";
  EXPECT_EQ(check_after([](BootPage& page) {
              page.memory[3].size_bytes = 0xfff00000;
              page.watched_register = 0x1fffffffc;
            }),
            Code::Ok)
      << "the last register of the page map";
}

TEST(BootPageCheck, RefusesAnotherPageAndAnotherVersion) {
  EXPECT_EQ(check_after([](BootPage& page) { page = {}; }), Code::Corrupt);
  EXPECT_EQ(check_after([](BootPage& page) { page.magic ^= 1; }), Code::Corrupt);
  EXPECT_EQ(check_after([](BootPage& page) { ++page.version; }), Code::UnknownVersion);
}

TEST(BootPageCheck, RefusesAMemoryMapThatCannotBeOne) {
  for (const std::function<void(BootPage&)>& change : std::initializer_list<std::function<void(BootPage&)>>{
           [](BootPage& page) { page.memory_entries = 0; },
           [](BootPage& page) { page.memory_entries = max_memory_ranges + 1; },
           [](BootPage& page) { page.memory[1].kind = 2; },
           [](BootPage& page) { page.memory[1].start = 0xff000; },
           [](BootPage& page) { page.memory[1].start += 8; },
           [](BootPage& page) { page.memory[1].size_bytes = 0; },
           [](BootPage& page) { page.memory[1].size_bytes -= 1; },
           [](BootPage& page) { page.memory[1].size_bytes += page_size_bytes; },
           [](BootPage& page) { page.memory[3].start = u64{16} << 30; },
           [](BootPage& page) { page.memory[3].size_bytes = u64{16} << 30; },
           [](BootPage& page) { page.memory[3].size_bytes = ~(page_size_bytes - 1); },
       })
    EXPECT_EQ(check_after(change), Code::Corrupt);
}

TEST(BootPageCheck, RefusesNumbersThatNoKernelLeaves) {
  EXPECT_EQ(check_after([](BootPage& page) { ++page.command_line_bytes; }), Code::Corrupt);
  EXPECT_EQ(check_after([](BootPage& page) { page.generation = 0; }), Code::Corrupt);
  EXPECT_EQ(check_after([](BootPage& page) { page.handover = {}; }), Code::Corrupt) << "never a cold boot by accident";
  EXPECT_EQ(check_after([](BootPage& page) { page.tsc_hz = 0; }), Code::Corrupt);
  EXPECT_EQ(check_after([](BootPage& page) { page.tsc_hz = 999'999; }), Code::Corrupt);
  EXPECT_EQ(check_after([](BootPage& page) { page.tsc_hz = ~u64{0}; }), Code::Corrupt);
}

TEST(BootPageCheck, RefusesAModuleOutsideReservedMemory) {
  EXPECT_EQ(check_after([](BootPage& page) { page.module_start = 0x200000; }), Code::Corrupt) << "given out as RAM";
  EXPECT_EQ(check_after([](BootPage& page) { page.module_bytes = 0x200000; }), Code::Corrupt)
      << "longer than its place";
  EXPECT_EQ(check_after([](BootPage& page) { page.module_bytes = ~u64{0}; }), Code::Corrupt);
  EXPECT_EQ(check_after([](BootPage& page) { page.module_start = 0xe0000000; }), Code::Corrupt) << "no memory at all";
  EXPECT_EQ(check_after([](BootPage& page) { page.module_start = 8; }), Code::Corrupt) << "page 0 is not mapped";
}

TEST(BootPageCheck, RefusesARegisterThatCannotBeRead) {
  EXPECT_EQ(check_after([](BootPage& page) { page.watched_register = 0xfebc2812; }), Code::Corrupt);
  EXPECT_EQ(check_after([](BootPage& page) { page.watched_register = 0x200000000; }), Code::Corrupt);
  EXPECT_EQ(check_after([](BootPage& page) { page.watched_register = ~u64{3}; }), Code::Corrupt);
  EXPECT_EQ(check_after([](BootPage& page) { page.watched_register = 0x200000; }), Code::Corrupt) << "memory";
  EXPECT_EQ(check_after([](BootPage& page) {
              page.memory[0] = {page_size_bytes, 0xff000, reserved};
              page.watched_register = 4;
            }),
            Code::Corrupt)
      << "page 0 is not mapped";
}

}  // namespace
}  // namespace metal

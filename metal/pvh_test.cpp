#include "metal/pvh.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

namespace metal {
namespace {

constexpr u64 start_info_at = 0x6000;
constexpr u64 map_at = 0x7000;
constexpr u64 line_at = 0x8000;
constexpr u64 module_at = 0x9000;
constexpr PhysRange image{PhysAddr(0x100000), 0x180000};

/// A loader's memory with one start_info in it: 4 MiB that stand for the first 4 MiB of a machine.
class Pvh : public testing::Test {
 protected:
  Pvh() : bytes(0x400000) {
    put(start_info_at, u32{0x336ec578});
    put(start_info_at + 4, u32{1});
    put(start_info_at + 12, u32{1});  // one module
    put(start_info_at + 16, module_at);
    put(start_info_at + 24, line_at);
    put(start_info_at + 32, u64{0xf5a20});
    put(start_info_at + 40, map_at);
    std::strcpy(reinterpret_cast<char*>(bytes.data() + line_at), "mode=legacy");
    put(module_at, u64{0x9800});
    put(module_at + 8, u64{0x234});
    set_map({{0, 0x9fc00, 1},
             {0x9fc00, 0x400, 2},
             {0xf0000, 0x10000, 2},
             {0x100000, 0x1fedf000, 1},
             {0x1ffdf000, 0x21000, 2},
             {0xb0000000, 0x10000000, 2},
             {0xfd00000000, 0x300000000, 2}});
  }
  struct Entry {
    u64 start;
    u64 size;
    u32 type;
  };
  void set_map(const std::vector<Entry>& entries) {
    for (std::size_t i = 0; i < entries.size(); ++i) {
      put(map_at + i * 24, entries[i].start);
      put(map_at + i * 24 + 8, entries[i].size);
      put(map_at + i * 24 + 16, u64{entries[i].type});
    }
    put(start_info_at + 48, static_cast<u32>(entries.size()));
  }
  template <class T>
  void put(u64 at, T value) {
    std::memcpy(bytes.data() + at, &value, sizeof value);
  }
  Status read() {
    return read_start_info({reinterpret_cast<u64>(bytes.data()), bytes.size()}, start_info_at, image, page, bad);
  }

  std::vector<std::byte> bytes;
  BootPage page;
  std::string_view bad;
};

TEST_F(Pvh, AMachineAsQemuDescribesIt) {
  ASSERT_TRUE(read().ok());
  EXPECT_EQ(page.rsdp, 0xf5a20u);
  EXPECT_EQ(std::string_view(page.command_line.data(), page.command_line_bytes), "mode=legacy");
  EXPECT_EQ(page.module_start, 0x9800u);
  EXPECT_EQ(page.module_bytes, 0x234u);
  ASSERT_GE(page.memory_entries, 3u);
  const auto kind_at = [&](u64 address) -> int {
    for (u32 i = 0; i < page.memory_entries; ++i)
      if (address >= page.memory[i].start && address - page.memory[i].start < page.memory[i].size_bytes)
        return static_cast<int>(page.memory[i].kind);
    return -1;
  };
  constexpr int ram = static_cast<int>(MemoryKind::Ram);
  constexpr int reserved = static_cast<int>(MemoryKind::Reserved);
  EXPECT_EQ(kind_at(0x10000), reserved) << "the boot page lies below 1 MiB";
  EXPECT_EQ(kind_at(0xf5a20), reserved) << "the RSDP can be read";
  EXPECT_EQ(kind_at(image.start.value), reserved);
  EXPECT_EQ(kind_at(image.start.value + image.size_bytes - 1), reserved);
  EXPECT_EQ(kind_at(image.start.value + image.size_bytes), ram);
  EXPECT_EQ(kind_at(0x1ffdefff), ram);
  EXPECT_EQ(kind_at(0x1ffdf000), reserved) << "tables of the firmware";
  EXPECT_EQ(kind_at(0xb0000000), -1) << "configuration space is no memory";
  EXPECT_EQ(kind_at(0xfd00000000), -1);
}

TEST_F(Pvh, ThePagesOfTheModuleAreNeverGivenOut) {
  put(module_at, u64{0x300123});
  put(module_at + 8, u64{0x2000});
  ASSERT_TRUE(read().ok());
  EXPECT_EQ(page.module_start, 0x300123u);
  bool found = false;
  for (u32 i = 0; i < page.memory_entries; ++i)
    found = found || (page.memory[i].start == 0x300000 && page.memory[i].size_bytes == 0x3000 &&
                      page.memory[i].kind == static_cast<u64>(MemoryKind::Reserved));
  EXPECT_TRUE(found);
}

TEST_F(Pvh, NothingInItIsBelieved) {
  const std::vector<std::byte> good = bytes;
  const auto expect = [&](Code code, const char* part, const char* what) {
    EXPECT_EQ(read().code(), code) << what;
    EXPECT_NE(bad.find(part), std::string_view::npos) << what << ": " << bad;
    bytes = good;
  };
  put(start_info_at, u32{0x336ec579});
  expect(Code::Invalid, "start_info", "magic");
  put(start_info_at + 4, u32{0});
  expect(Code::Invalid, "memory map", "a version without a memory map");
  put(start_info_at + 48, u32{100000});
  expect(Code::Invalid, "memory map", "more entries than any machine has");
  put(start_info_at + 40, bytes.size() - 8);
  expect(Code::Invalid, "memory map", "a map that leaves memory");
  put(start_info_at + 24, ~u64{0});
  expect(Code::Invalid, "command line", "a command line beyond memory");
  std::memset(bytes.data() + line_at, 'x', 0x900);
  expect(Code::TooBig, "command line", "a command line without an end");
  put(start_info_at + 16, ~u64{0} - 8);
  expect(Code::Invalid, "module", "a module list beyond memory");
  put(module_at, u64{0x3fffff});
  expect(Code::Invalid, "module", "a module beyond memory");
  put(module_at + 8, ~u64{0});
  expect(Code::Invalid, "module", "a module that wraps");
  std::vector<Entry> many;
  for (u64 i = 0; i < 100; ++i) many.push_back({0x200000 + i * 0x2000, 0x1000, 1});
  set_map(many);
  expect(Code::TooBig, "memory map", "more pieces than the boot page holds");
  EXPECT_TRUE(read().ok());
  EXPECT_TRUE(bad.empty());
}

}  // namespace
}  // namespace metal

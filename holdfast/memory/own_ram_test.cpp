#include "holdfast/memory/own_ram.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <vector>

namespace holdfast {
namespace {

/// Memory of the test that starts at a page.
class Pages {
 public:
  explicit Pages(u64 size)
      : x_size(size), x_at(mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) {}
  ~Pages() { munmap(x_at, x_size); }
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;
  [[nodiscard]] std::span<std::byte> bytes() const { return {static_cast<std::byte*>(x_at), x_size}; }

 private:
  u64 x_size;
  void* x_at;
};

/// Every page that can still be allocated.
std::vector<PhysAddr> take_all(Memory& memory) {
  std::vector<PhysAddr> pages;
  for (auto page = memory.buddy.allocate(0); page.ok(); page = memory.buddy.allocate(0)) pages.push_back(*page);
  return pages;
}

TEST(OwnRam, GivesOutEveryPageButThoseOfItsFrameTable) {
  const Pages pages(u64{4} << 20);
  OwnRam ram(pages.bytes(), PhysAddr(0x40'0000));
  ASSERT_TRUE(ram.open().ok());
  const auto all = take_all(ram.memory());
  EXPECT_EQ(all.size(), 1024 - Memory::frames_size_bytes(ram.memory().map) / page_size_bytes);
  for (const PhysAddr page : all) EXPECT_TRUE(ram.memory().map.is_ram(page, page_size_bytes));
}

TEST(OwnRam, RefusesARangeThatIsTooSmallForAFrameTableFromAddressZero) {
  const Pages pages(u64{4} << 20);
  OwnRam ram(pages.bytes(), PhysAddr(0x4000'0000));  // 1 GiB: 4 MiB of frames
  EXPECT_EQ(ram.open().code(), Code::NoMemory);
}

TEST(OwnRam, AnAddressLeadsToTheByteAtItsDistanceFromTheStart) {
  const Pages pages(u64{1} << 20);
  OwnRam ram(pages.bytes(), PhysAddr(0x10'0000));
  ASSERT_TRUE(ram.open().ok());
  EXPECT_EQ(ram.memory().map.bytes(PhysAddr(0x10'0000)), pages.bytes().data());
  EXPECT_EQ(ram.memory().map.bytes(PhysAddr(0x1f'ffff)), &pages.bytes().back());
}

TEST(OwnRam, RefusesWhatIsNotWholePages) {
  const Pages pages(u64{1} << 20);
  const auto open = [](std::span<std::byte> bytes, u64 start) {
    OwnRam ram(bytes, PhysAddr(start));
    return ram.open().code();
  };
  EXPECT_EQ(open(pages.bytes().subspan(8), 8), Code::Invalid);
  EXPECT_EQ(open(pages.bytes().first(0x10008), 0x10'0000), Code::Invalid);
  EXPECT_EQ(open(pages.bytes(), 0x10'0800), Code::Invalid);
  EXPECT_EQ(open(pages.bytes(), 0x10'0000), Code::Ok);
}

TEST(OwnRam, RefusesARangeThatIsEmptyOrWraps) {
  const Pages pages(u64{1} << 20);
  OwnRam empty(pages.bytes().first(0), PhysAddr(0x1000));
  EXPECT_EQ(empty.open().code(), Code::Invalid);
  OwnRam wrapping(pages.bytes(), PhysAddr(~u64{0xfff}));
  EXPECT_EQ(wrapping.open().code(), Code::Invalid);
}

TEST(OwnRam, AnswersAsAMachineWithoutDevicesOrAJump) {
  const Pages pages(u64{1} << 20);
  OwnRam ram(pages.bytes(), PhysAddr(0));
  ASSERT_TRUE(ram.open().ok());
  EXPECT_EQ(ram.mmio_read(PhysAddr(0xfed9'0000), Width::Byte), 0xffu);
  EXPECT_EQ(ram.mmio_read(PhysAddr(0xfed9'0000), Width::Dword), 0xffff'ffffu);
  EXPECT_EQ(ram.mmio_read(PhysAddr(0xfed9'0000), Width::Qword), ~u64{0});
  const u64 before = ram.now_ns();
  EXPECT_LT(before, ram.now_ns());
  EXPECT_EQ(ram.prepare_jump({}).code(), Code::NotSupported);
  EXPECT_EQ(ram.jump({}), Code::NotSupported);
}

}  // namespace
}  // namespace holdfast

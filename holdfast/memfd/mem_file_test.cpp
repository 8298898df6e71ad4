#include "holdfast/memfd/mem_file.hpp"

#include <gtest/gtest.h>

#include <numeric>

#include "holdfast/memfd/test_support.hpp"
#include "uapi/holdfast/memfd.h"

namespace holdfast::memfd {
namespace {

constexpr u64 kib = 1024;
constexpr u64 mib = 1024 * kib;
constexpr u32 all_size_seals = F_SEAL_SEAL | F_SEAL_GROW | F_SEAL_SHRINK;

class MemFileTest : public ::testing::Test {
 protected:
  luo::FileRef make(u64 size_bytes, Sealing sealing = Sealing::Allowed) {
    luo::FileRef file = MemFile::create(host.memory, sealing).value();
    EXPECT_TRUE(of(file).truncate(size_bytes).ok());
    return file;
  }
  static MemFile& of(const luo::FileRef& file) { return *luo::file_cast<MemFile>(file.get()); }

  GrantWorld world{64 * mib};
  TestMemory host{world};
  TestProcess process;
};

TEST_F(MemFileTest, IsBornEmptyReadWriteAndUnsealed) {
  const luo::FileRef file = MemFile::create(host.memory, Sealing::Allowed).value();
  EXPECT_EQ(of(file).size_bytes(), 0u);
  EXPECT_EQ(of(file).seals(), 0u);
  EXPECT_EQ(file->open_flags(), 0100002u);
  EXPECT_EQ(of(file).mode(), 0100777u);
}

TEST_F(MemFileTest, TakesTheLargestBlocksThatFit) {
  const luo::FileRef file = make(8 * mib + 12 * kib);
  std::vector<u32> orders;
  for (const Extent& extent : of(file).extents()) orders.push_back(extent.order);
  EXPECT_EQ(orders, (std::vector<u32>{10, 10, 1, 0}));
}

TEST_F(MemFileTest, KeepsBlocksCongruentWithTheirOffsetWhenItGrows) {
  const luo::FileRef file = make(4 * kib);
  ASSERT_TRUE(of(file).truncate(4 * mib).ok());
  for (const Extent& extent : of(file).extents()) {
    EXPECT_EQ(extent.first_page % extent.page_count(), 0u);
    EXPECT_TRUE(extent.start.is_aligned(extent.range().size_bytes));
  }
}

TEST_F(MemFileTest, ReadsZeroesWhereNothingWasWritten) {
  // Memory that was used before.
  const PhysAddr block = host.memory.buddy.allocate(8).value();
  std::memset(host.memory.map.bytes(block), 0x5a, mib);
  host.memory.buddy.release(block, 8);
  const luo::FileRef file = make(mib);
  std::vector<u8> bytes(mib, 1);
  EXPECT_EQ(process.pread(*file, bytes.data(), mib, 0).value(), mib);
  EXPECT_EQ(std::accumulate(bytes.begin(), bytes.end(), u64{0}), 0u);
}

TEST_F(MemFileTest, GivesEveryPageBack) {
  const auto before = host.memory.buddy.free_blocks();
  {
    const luo::FileRef file = make(5 * mib + 1);
    EXPECT_NE(host.memory.buddy.free_blocks(), before);
  }
  EXPECT_EQ(host.memory.buddy.free_blocks(), before);
}

TEST_F(MemFileTest, GrowsWhollyOrNotAtAll) {
  u64 refused = 0;
  u64 k = 1;
  for (bool failed = true; failed; ++k) {
    const luo::FileRef file = make(16 * kib);
    const auto before = host.memory.buddy.free_blocks();
    const u64 objects = host.memory.heap.live_objects();
    failed = world.failing(k, [&] {
      // A block that cannot be had is replaced by smaller ones; only the list of blocks has no replacement.
      if (of(file).truncate(6 * mib).ok()) return;
      ++refused;
      EXPECT_EQ(of(file).size_bytes(), 16 * kib);
      EXPECT_EQ(host.memory.buddy.free_blocks(), before);
      EXPECT_EQ(host.memory.heap.live_objects(), objects);
      EXPECT_EQ(world.pages(GuestMemory::Granted), 4u);
    });
  }
  EXPECT_GE(refused, 2u);
}

TEST_F(MemFileTest, RefusesMoreThanThereIs) {
  const luo::FileRef file = make(16 * kib);
  const auto before = host.memory.buddy.free_blocks();
  EXPECT_EQ(of(file).truncate(u64{1} << 40).code(), Code::NoMemory);
  EXPECT_EQ(of(file).truncate(64 * mib).code(), Code::NoMemory);
  EXPECT_EQ(host.memory.buddy.free_blocks(), before);
  EXPECT_EQ(of(file).size_bytes(), 16 * kib);
}

TEST_F(MemFileTest, ForgetsWhatAShrinkCutOff) {
  const luo::FileRef file = make(8 * kib);
  const std::vector<u8> ones(8 * kib, 1);
  ASSERT_EQ(process.pwrite(*file, ones.data(), ones.size(), 0).value(), 8 * kib);
  ASSERT_TRUE(of(file).truncate(100).ok());
  ASSERT_TRUE(of(file).truncate(8 * kib).ok());
  std::vector<u8> bytes(8 * kib);
  ASSERT_EQ(process.pread(*file, bytes.data(), bytes.size(), 0).value(), 8 * kib);
  EXPECT_EQ(std::accumulate(bytes.begin(), bytes.end(), u64{0}), 100u);
}

TEST_F(MemFileTest, ReadsBackWhatWasWrittenAcrossBlocks) {
  const luo::FileRef file = make(12 * kib);
  std::vector<u8> written(9 * kib);
  std::iota(written.begin(), written.end(), u8{3});
  EXPECT_EQ(process.pwrite(*file, written.data(), written.size(), 1000).value(), written.size());
  std::vector<u8> read(written.size());
  EXPECT_EQ(process.pread(*file, read.data(), read.size(), 1000).value(), read.size());
  EXPECT_EQ(read, written);
}

TEST_F(MemFileTest, ReadsUpToTheEndAndNothingBeyond) {
  const luo::FileRef file = make(10);
  std::vector<u8> bytes(100, 7);
  EXPECT_EQ(process.pread(*file, bytes.data(), 100, 4).value(), 6u);
  EXPECT_EQ(process.pread(*file, bytes.data(), 100, 10).value(), 0u);
  EXPECT_EQ(process.pread(*file, bytes.data(), 100, ~u64{0}).value(), 0u);
}

TEST_F(MemFileTest, GrowsWithAWritePastTheEnd) {
  const luo::FileRef file = make(0);
  EXPECT_EQ(process.pwrite(*file, "abc", 3, 8190).value(), 3u);
  EXPECT_EQ(of(file).size_bytes(), 8193u);
}

TEST_F(MemFileTest, AWriteThatFaultsLeavesTheSize) {
  const luo::FileRef file = make(10);
  EXPECT_EQ(file->pwrite(process.call, TestUser::faulting, 100, 5000).code(), Code::Fault);
  EXPECT_EQ(of(file).size_bytes(), 10u);
  EXPECT_EQ(file->pread(process.call, TestUser::faulting, 10, 0).code(), Code::Fault);
}

TEST_F(MemFileTest, SealsAgainstGrowingAndShrinking) {
  const luo::FileRef file = make(8 * kib);
  ASSERT_TRUE(of(file).add_seals(F_SEAL_GROW).ok());
  EXPECT_EQ(of(file).truncate(9 * kib).code(), Code::NotPermitted);
  EXPECT_EQ(process.pwrite(*file, "ab", 2, 8 * kib - 1).value(), 1u);  // cut short
  EXPECT_EQ(process.pwrite(*file, "ab", 2, 8 * kib).code(), Code::NotPermitted);
  EXPECT_TRUE(of(file).truncate(4 * kib).ok());
  ASSERT_TRUE(of(file).add_seals(F_SEAL_SHRINK).ok());
  EXPECT_EQ(of(file).truncate(1 * kib).code(), Code::NotPermitted);
  EXPECT_TRUE(of(file).truncate(4 * kib).ok());
}

TEST_F(MemFileTest, SealsAgainstWriting) {
  const luo::FileRef file = make(4 * kib);
  ASSERT_TRUE(of(file).add_seals(F_SEAL_WRITE).ok());
  EXPECT_EQ(process.pwrite(*file, "a", 1, 0).code(), Code::NotPermitted);
  EXPECT_EQ(of(file).fallocate(3, 0, 4 * kib).code(), Code::NotPermitted);
}

TEST_F(MemFileTest, SealsAgainstSealing) {
  const luo::FileRef file = make(4 * kib);
  EXPECT_EQ(of(file).add_seals(0x40).code(), Code::Invalid);
  ASSERT_TRUE(of(file).add_seals(all_size_seals).ok());
  EXPECT_EQ(of(file).add_seals(F_SEAL_WRITE).code(), Code::NotPermitted);
  const luo::FileRef forbidden = make(4 * kib, Sealing::Forbidden);
  EXPECT_EQ(of(forbidden).seals(), static_cast<u32>(F_SEAL_SEAL));
  EXPECT_EQ(of(forbidden).add_seals(F_SEAL_GROW).code(), Code::NotPermitted);
}

TEST_F(MemFileTest, RefusesTheWriteSealWhileDevicesMayWrite) {
  const luo::FileRef file = make(4 * kib);
  of(file).pin(PinAccess::Read);
  of(file).pin(PinAccess::Write);
  EXPECT_EQ(of(file).add_seals(F_SEAL_WRITE).code(), Code::Busy);
  of(file).unpin(PinAccess::Write);
  EXPECT_TRUE(of(file).add_seals(F_SEAL_WRITE).ok());
  of(file).unpin(PinAccess::Read);
}

TEST_F(MemFileTest, RefusesToShrinkWhileItIsMapped) {
  const luo::FileRef file = make(8 * kib);
  of(file).pin(PinAccess::Read);
  EXPECT_EQ(of(file).truncate(4 * kib).code(), Code::Busy);
  EXPECT_TRUE(of(file).truncate(12 * kib).ok());
  of(file).unpin(PinAccess::Read);
  EXPECT_TRUE(of(file).truncate(4 * kib).ok());
}

TEST_F(MemFileTest, HonoursTheModeItWasOpenedWith) {
  const luo::FileRef file = make(4 * kib);
  char byte = 0;
  of(file).set_open_flags(0);
  EXPECT_EQ(process.pwrite(*file, "a", 1, 0).code(), Code::BadFd);
  EXPECT_EQ(of(file).add_seals(F_SEAL_GROW).code(), Code::NotPermitted);
  of(file).set_open_flags(1);
  EXPECT_EQ(process.pread(*file, &byte, 1, 0).code(), Code::BadFd);
}

TEST_F(MemFileTest, DescribesItsMemoryInAsFewRunsAsPossible) {
  const luo::FileRef file = make(8 * mib);
  Vec<PhysRange> runs(host.memory.heap);
  ASSERT_TRUE(of(file).runs(0, 8 * mib, runs).ok());
  u64 sum = 0;
  for (const PhysRange& run : runs) sum += run.size_bytes;
  EXPECT_EQ(sum, 8 * mib);
  for (u64 i = 1; i < runs.size(); ++i) EXPECT_NE(runs[i - 1].start + runs[i - 1].size_bytes, runs[i].start);
}

TEST_F(MemFileTest, DescribesAPartOfItsMemory) {
  const luo::FileRef file = make(8 * mib);
  ASSERT_EQ(process.pwrite(*file, "marker", 6, 4 * mib - 3).value(), 6u);
  Vec<PhysRange> runs(host.memory.heap);
  ASSERT_TRUE(of(file).runs(4 * mib - 3, 6, runs).ok());
  std::string found;
  for (const PhysRange& run : runs)
    found.append(reinterpret_cast<const char*>(host.memory.map.bytes(run.start)), run.size_bytes);
  EXPECT_EQ(found, "marker");
  EXPECT_EQ(of(file).runs(0, 0, runs).code(), Code::Invalid);
  EXPECT_EQ(of(file).runs(8 * mib - 1, 2, runs).code(), Code::Invalid);
  EXPECT_EQ(of(file).runs(~u64{0}, 2, runs).code(), Code::Invalid);
}

TEST_F(MemFileTest, AllocatesAndPunchesByFallocate) {
  const luo::FileRef file = make(4 * kib);
  const std::vector<u8> ones(4 * kib, 1);
  ASSERT_TRUE(process.pwrite(*file, ones.data(), ones.size(), 0).ok());
  EXPECT_TRUE(of(file).fallocate(0, 4 * kib, 4 * kib).ok());
  EXPECT_EQ(of(file).size_bytes(), 8 * kib);
  EXPECT_TRUE(of(file).fallocate(3, 1 * kib, 1 * kib).ok());
  std::vector<u8> bytes(4 * kib);
  ASSERT_TRUE(process.pread(*file, bytes.data(), bytes.size(), 0).ok());
  EXPECT_EQ(std::accumulate(bytes.begin(), bytes.end(), u64{0}), 3 * kib);
  EXPECT_EQ(of(file).fallocate(0, 0, 0).code(), Code::Invalid);
  EXPECT_EQ(of(file).fallocate(2, 0, 1).code(), Code::NotSupported);
}

TEST_F(MemFileTest, TellsTheMachineWhatDevicesMayWrite) {
  {
    const luo::FileRef file = make(24 * kib);
    EXPECT_EQ(world.pages(GuestMemory::Granted), 6u);
    ASSERT_TRUE(of(file).truncate(4 * kib).ok());
    EXPECT_EQ(world.pages(GuestMemory::Granted), of(file).extents()[0].page_count());
  }
  EXPECT_TRUE(world.granted.empty());
}

}  // namespace
}  // namespace holdfast::memfd

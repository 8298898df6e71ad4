#include "holdfast/vtd/invalidation_queue.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "holdfast/vtd/test_hardware.hpp"

namespace holdfast::vtd {
namespace {

using testing::ElementsAre;

class QueueTest : public testing::TestWithParam<InvalidationQueue::Width> {
 protected:
  QueueTest() {
    auto made = InvalidationQueue::allocate(early, GetParam());
    EXPECT_TRUE(made.ok());
    storage = *made;
    queue.emplace(world, map, registers, storage, GetParam());
  }
  [[nodiscard]] u64 slot_bytes() const { return GetParam() == InvalidationQueue::Width::Bits256 ? 32 : 16; }
  [[nodiscard]] u64 tail() { return unit().get<u64>(hw::vtd::iqt_offset); }
  FakeUnit& unit() { return world.unit(); }

  HardwareWorld world;
  DirectMap map{world, world.memory_map};
  EarlyAllocator early{map, {PhysAddr(0x100000), 0x100000}};
  UnitRegisters registers{world, test_base};
  InvalidationQueue::Storage storage;
  std::optional<InvalidationQueue> queue;
};
INSTANTIATE_TEST_SUITE_P(Widths, QueueTest,
                         testing::Values(InvalidationQueue::Width::Bits128, InvalidationQueue::Width::Bits256));

TEST_P(QueueTest, StartTellsHardwareAddressAndWidth) {
  ASSERT_TRUE(queue->start().ok());
  const u64 wide = GetParam() == InvalidationQueue::Width::Bits256 ? 0x801 : 0;
  EXPECT_EQ(unit().get<u64>(hw::vtd::iqa_offset), storage.ring.value | wide);
  EXPECT_EQ(unit().get<u32>(hw::vtd::gsts_offset) >> 26 & 1, 1u);
}

TEST_P(QueueTest, StartLeavesTranslationOn) {
  RecordProperty("acceptance", "IV18");
  unit().set<u32>(hw::vtd::gsts_offset, 0x84000000);  // TES, QIES: another kernel's
  registers = UnitRegisters(world, test_base);
  queue.emplace(world, map, registers, storage, GetParam());
  ASSERT_TRUE(queue->start().ok());
  EXPECT_EQ(unit().times_disabled, 0u);
  EXPECT_TRUE(unit().translating());
  for (const FakeUnit::Write& write : unit().writes)
    EXPECT_TRUE(write.offset != hw::vtd::gcmd_offset || write.value >> 31 == 1);
}

TEST_P(QueueTest, StartWaitsUntilTheOldQueueIsIdleAndGivesUpInTime) {
  unit().set<u32>(hw::vtd::gsts_offset, 0x84000000);
  unit().set<u64>(hw::vtd::iqh_offset, 0);
  unit().set<u64>(hw::vtd::iqt_offset, 64);  // work that never gets done
  registers = UnitRegisters(world, test_base);
  queue.emplace(world, map, registers, storage, GetParam());
  EXPECT_EQ(queue->start().code(), Code::TimedOut);
  EXPECT_EQ(unit().writes_to(hw::vtd::gcmd_offset), 0u);
  unit().set<u64>(hw::vtd::iqh_offset, 64);
  EXPECT_TRUE(queue->start().ok());
}

TEST_P(QueueTest, StartTakesOverAQueueThatStoppedAtAnError) {
  unit().set<u32>(hw::vtd::gsts_offset, 0x84000000);
  unit().set<u64>(hw::vtd::iqt_offset, 64);
  unit().set<u32>(hw::vtd::fsts_offset, 0x10);
  registers = UnitRegisters(world, test_base);
  queue.emplace(world, map, registers, storage, GetParam());
  ASSERT_TRUE(queue->start().ok());
  EXPECT_TRUE(queue->run({}).ok());
}

TEST_P(QueueTest, RunReturnsWhenTheWaitHasBeenWritten) {
  ASSERT_TRUE(queue->start().ok());
  const std::array<Descriptor, 1> batch{iotlb_global({})};
  ASSERT_TRUE(queue->run(batch).ok());
  ASSERT_EQ(unit().executed.size(), 2u);
  EXPECT_EQ(unit().executed[0], batch[0]);
  EXPECT_EQ(unit().executed[1].lo & 0xffffffff, 0x25u) << "wait with status write";
  EXPECT_EQ(unit().executed[1].hi, storage.status.value);
  EXPECT_EQ(tail(), 2 * slot_bytes());
  EXPECT_TRUE(queue->is_idle());
}

TEST_P(QueueTest, TypesAreKeptInOrderByAFence) {
  ASSERT_TRUE(queue->start().ok());
  const std::array<Descriptor, 3> batch{context_cache_global(), iotlb_domain({}, DomainId(3)),
                                        iotlb_domain({}, DomainId(4))};
  ASSERT_TRUE(queue->run(batch).ok());
  std::vector<u64> types;
  for (const Quad& one : unit().executed) types.push_back(one.lo & 0xff);
  EXPECT_THAT(types, ElementsAre(0x11, 0x65, 0x22, 0x22, 0x25));
}

TEST_P(QueueTest, TheRingGoesAroundManyTimes) {
  ASSERT_TRUE(queue->start().ok());
  std::array<Descriptor, InvalidationQueue::max_batch> batch;
  batch.fill(iotlb_domain({}, DomainId(9)));
  for (unsigned i = 0; i < 100; ++i) {
    ASSERT_TRUE(queue->run(batch).ok());
    EXPECT_LT(tail(), InvalidationQueue::entry_count * slot_bytes());
  }
  EXPECT_EQ(unit().executed.size(), 100u * 17);
}

TEST_P(QueueTest, ASilentQueueTimesOutAndIsUsableWhenItAnswersAgain) {
  ASSERT_TRUE(queue->start().ok());
  unit().queue = FakeUnit::Queue::Silent;
  const std::array<Descriptor, 1> batch{iotlb_global({})};
  for (unsigned i = 0; i < 200; ++i)
    EXPECT_EQ(queue->run(batch).code(), Code::TimedOut) << "and never overruns the ring";
  EXPECT_EQ(world.thread_locks().count, 0);
  unit().queue = FakeUnit::Queue::Answers;
  registers.write(hw::vtd::iqt_offset, hw::vtd::Iqt(tail()));  // the stand-in works only when the doorbell rings
  EXPECT_TRUE(queue->run(batch).ok());
  EXPECT_TRUE(queue->is_idle());
}

TEST_P(QueueTest, ARefusedDescriptorIsReplacedAndReported) {
  ASSERT_TRUE(queue->start().ok());
  unit().refused_type = 1;
  const std::array<Descriptor, 2> batch{context_cache_global(), iotlb_global({})};
  EXPECT_EQ(queue->run(batch).code(), Code::Io);
  EXPECT_EQ(unit().get<u32>(hw::vtd::fsts_offset) & 0x10, 0u);
  EXPECT_THAT(unit().take_types(), ElementsAre(2)) << "what follows the refused one is done";
  unit().refused_type = 0xff;
  EXPECT_TRUE(queue->run(batch).ok());
  EXPECT_THAT(unit().take_types(), ElementsAre(1, 2));
}

TEST_P(QueueTest, WaitsCarryADifferentNumberEachTime) {
  ASSERT_TRUE(queue->start().ok());
  std::set<u64> numbers;
  for (unsigned i = 0; i < 10; ++i) {
    unit().executed.clear();
    ASSERT_TRUE(queue->run({}).ok());
    EXPECT_TRUE(numbers.insert(unit().executed.at(0).lo >> 32).second);
  }
}

// Golden values typed from the manual, 6.5.2.
TEST(Descriptors, HaveTheirGoldenValues) {
  EXPECT_EQ(context_cache_global(), (Quad{0x11, 0}));
  EXPECT_EQ(context_cache_device(DomainId(0x1234), SourceId(0xabcd)), (Quad{0x0000abcd12340031, 0}));
  EXPECT_EQ(pasid_cache_global(), (Quad{0x37, 0}));
  EXPECT_EQ(pasid_cache_pasid(DomainId(0x1234), 0), (Quad{0x12340017, 0}));
  EXPECT_EQ(iotlb_global({}), (Quad{0x12, 0}));
  EXPECT_EQ(iotlb_global({.reads = true, .writes = true}), (Quad{0xd2, 0}));
  EXPECT_EQ(iotlb_domain({}, DomainId(0x1234)), (Quad{0x12340022, 0}));
  EXPECT_EQ(iotlb_pages({}, DomainId(0x1234), Iova(0x40000000), 9, TableChange::LeavesOnly),
            (Quad{0x12340032, 0x40000000 | 0x40 | 9}));
  EXPECT_EQ(iotlb_pages({}, DomainId(0x1234), Iova(0x40000000), 0, TableChange::Tables),
            (Quad{0x12340032, 0x40000000}));
}

}  // namespace
}  // namespace holdfast::vtd

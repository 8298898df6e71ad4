// Many blocks of one size in one call: what it does is what one call for each does.
#include <algorithm>
#include <random>

#include "holdfast/kho/test_handover.hpp"

namespace holdfast::kho {
namespace {

class HandoverBatch : public HandoverTest {
 protected:
  std::vector<PhysAddr> take_blocks(std::size_t count, unsigned order) {
    std::vector<PhysAddr> starts(count);
    for (PhysAddr& start : starts) start = allocate(order);
    std::shuffle(starts.begin(), starts.end(), random);
    return starts;
  }
  std::mt19937_64 random{11};
};

TEST_F(HandoverBatch, PreservesAndUnpreservesWhatSingleCallsDo) {
  for (const unsigned order : {0u, 2u, 4u}) {
    const std::vector<PhysAddr> starts = take_blocks(300, order);
    const auto before = snapshot();
    for (const PhysAddr start : starts) ASSERT_TRUE(handover.preserve(Block{start, order}).ok());
    const auto singly = snapshot();
    for (const PhysAddr start : starts) handover.unpreserve(Block{start, order});
    ASSERT_EQ(snapshot(), before);
    ASSERT_TRUE(handover.preserve(starts, order).ok());
    EXPECT_EQ(snapshot(), singly);
    std::set<Key> expected = own_pages();
    for (const PhysAddr start : starts) expected.insert({order, start.value});
    EXPECT_EQ(read_naively(), expected);
    const auto half = std::span(starts).first(150);
    handover.unpreserve(half, order);
    for (const PhysAddr start : half) expected.erase({order, start.value});
    EXPECT_EQ(read_naively(), expected);
    // Those that are not in the set any more come last, when the bitmap is gone.
    handover.unpreserve(std::vector(starts.rbegin(), starts.rend()), order);
    EXPECT_EQ(snapshot(), before);
  }
}

TEST_F(HandoverBatch, PreservingASetAgainIsPreservingItOnce) {
  const std::vector<PhysAddr> starts = take_blocks(40, 0);
  ASSERT_TRUE(handover.preserve(starts, 0).ok());
  const auto once = snapshot();
  ASSERT_TRUE(handover.preserve(starts, 0).ok());
  EXPECT_EQ(snapshot(), once);
}

TEST_F(HandoverBatch, OneBadBlockAmongManyPreservesNone) {
  std::vector<PhysAddr> below = take_blocks(64, 1);
  std::vector<PhysAddr> above;
  const PhysAddr large = allocate(max_order);
  for (u64 i = 0; i < below.size(); ++i) above.push_back(large + i * 2 * page_size_bytes);
  ASSERT_TRUE(below[0] < scratch_range.start && scratch_range.start < above[0]);
  const auto before = snapshot();
  const std::vector<PhysAddr> bad{
      large + page_size_bytes,                                                // misaligned
      PhysAddr(world.ram_bytes()),                                            // beyond RAM
      PhysAddr(~u64{0x1fff}),                                                 // at the end of everything
      scratch_range.start,                                                    // scratch, from its first page
      scratch_range.start + (scratch_range.size_bytes - 2 * page_size_bytes)  // to its last
  };
  for (std::vector<PhysAddr>* starts : {&below, &above})
    for (const PhysAddr start : bad)
      for (const std::size_t place : {std::size_t{0}, std::size_t{31}, std::size_t{63}}) {
        const PhysAddr good = std::exchange((*starts)[place], start);
        EXPECT_EQ(handover.preserve(*starts, 1).code(), Code::Invalid) << start.value << " at " << place;
        EXPECT_EQ(snapshot(), before);
        (*starts)[place] = good;
      }
  EXPECT_EQ(handover.preserve(below, max_order + 1).code(), Code::Invalid);
  EXPECT_TRUE(handover.preserve(std::span<const PhysAddr>(), 0).ok());
  EXPECT_EQ(snapshot(), before);
}

TEST_F(HandoverBatch, BothSidesOfScratchAndOfAHoleArePreservable) {
  const std::vector<PhysAddr> around{scratch_range.start - page_size_bytes,
                                     scratch_range.start + scratch_range.size_bytes, PhysAddr(0x1000)};
  ASSERT_TRUE(handover.preserve(around, 0).ok());
  for (const PhysAddr page : around) EXPECT_TRUE(handover.contains(Block{page, 0}));

  TestWorld holed(64 << 20);
  holed.memory_map = {{{PhysAddr(0), 16 << 20}, MemoryKind::Ram},
                      {{PhysAddr(16 << 20), 1 << 20}, MemoryKind::Reserved},
                      {{PhysAddr(20 << 20), 44 << 20}, MemoryKind::Ram}};
  TestMemory memory(holed);
  const PhysRange region = memory.scratch();
  Handover other(memory.memory);
  ASSERT_TRUE(other.open({&region, 1}).ok());
  std::vector<PhysAddr> pages{PhysAddr(15 << 20), PhysAddr(16 << 20), PhysAddr(20 << 20), PhysAddr(15 << 20)};
  EXPECT_TRUE(other.preserve(pages, 0).ok());
  pages[3] = PhysAddr((17 << 20));
  EXPECT_EQ(other.preserve(pages, 0).code(), Code::Invalid) << "in the hole";
  pages[3] = PhysAddr((20 << 20) - 0x1000);
  EXPECT_EQ(other.preserve(pages, 0).code(), Code::Invalid) << "its last page";
}

TEST_F(HandoverBatch, UnpreservingMisalignedBlocksLeavesTheirNeighboursAlone) {
  const std::vector<PhysAddr> starts = take_blocks(3, 1);
  ASSERT_TRUE(handover.preserve(starts, 1).ok());
  handover.unpreserve(std::vector{starts[0] + page_size_bytes, starts[1]}, 1);
  EXPECT_TRUE(handover.contains(Block{starts[0], 1}));
  EXPECT_FALSE(handover.contains(Block{starts[1], 1}));
  const auto before = snapshot();
  handover.unpreserve(starts, max_order + 1);
  EXPECT_EQ(snapshot(), before);
}

TEST_F(HandoverBatch, AnAllocationThatFailsLeavesNoTrace) {
  // RAM that spans several bitmaps: 32,768 pages each.
  TestWorld large(u64{1} << 30);
  TestMemory memory(large);
  const PhysRange region = memory.scratch();
  Handover other(memory.memory);
  ASSERT_TRUE(other.open({&region, 1}).ok());
  std::vector<PhysAddr> pages;
  for (u64 at = u64{256} << 20; at < u64{1} << 30; at += u64{32} << 20) pages.push_back(PhysAddr(at));
  std::shuffle(pages.begin(), pages.end(), random);
  ASSERT_TRUE(other.preserve(Block{pages[5], 0}).ok());
  const u64 hash = other.state_hash();
  const u64 nodes = other.node_count();
  const auto free = memory.memory.buddy.free_blocks();
  Status status;
  u64 k = 1;
  for (; large.failing(k, [&] { status = other.preserve(pages, 0); }); ++k) {
    ASSERT_EQ(status.code(), Code::NoMemory);
    ASSERT_EQ(other.state_hash(), hash);
    ASSERT_EQ(other.node_count(), nodes);
    ASSERT_EQ(memory.memory.buddy.free_blocks(), free);
  }
  EXPECT_TRUE(status.ok());
  EXPECT_EQ(k, 6u) << "a bitmap for each 128 MiB but that of the page that was there";
  for (const PhysAddr page : pages) EXPECT_TRUE(other.contains(Block{page, 0}));
  other.unpreserve(pages, 0);
  EXPECT_FALSE(other.contains(Block{pages[5], 0}));
}

TEST_F(HandoverBatch, EachIsRestoredOnceAndTheFirstThatIsNotIncomingStops) {
  const std::vector<PhysAddr> pages = take_blocks(100, 0);
  const std::vector<PhysAddr> larger = take_blocks(10, 2);
  ASSERT_TRUE(handover.preserve(pages, 0).ok());
  ASSERT_TRUE(handover.preserve(larger, 2).ok());
  Successor next(world, handover.numbers(), scratch_range);
  next.boot();
  Handover& incoming = next.handover;
  EXPECT_EQ(incoming.restore(larger, 1), 0u) << "another order";
  EXPECT_TRUE(incoming.is_incoming({larger[0], 2}));
  EXPECT_EQ(incoming.restore(larger, 2), larger.size());
  EXPECT_EQ(incoming.restore(larger, 2), 0u) << "once";
  EXPECT_FALSE(incoming.is_incoming({larger[9], 2}));

  ASSERT_TRUE(incoming.restore(pages[40]).ok());
  EXPECT_EQ(incoming.restore(pages, 0), 40u);
  EXPECT_NE(next.world.log_lines.back().find("nothing to restore"), std::string::npos);
  EXPECT_TRUE(incoming.is_incoming({pages[41], 0})) << "those after it wait";
  EXPECT_EQ(incoming.restore(std::span(pages).subspan(41), 0), 59u);
  EXPECT_EQ(incoming.restore(std::vector{PhysAddr(~u64{0xfff}), pages[0]}, 0), 0u) << "nonsense";
  EXPECT_EQ(incoming.restore(std::vector{pages[0] + 8}, 0), 0u);
  next.host.memory.buddy.release(pages, 0);
  next.host.memory.buddy.release(larger, 2);
  EXPECT_EQ(incoming.restore(pages, 0), 0u);
  u64 unrestored = 0;
  incoming.for_each_unrestored([&](const Block&) { ++unrestored; });
  EXPECT_EQ(unrestored, 0u);
}

}  // namespace
}  // namespace holdfast::kho

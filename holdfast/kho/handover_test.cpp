// The outgoing set, the jump and the restoring, with the state in memory read by a reader of its own.
#include "holdfast/kho/test_handover.hpp"

#include <gtest/gtest.h>

#include <random>
#include <set>

#include "holdfast/kho/scratch.hpp"

namespace holdfast::kho {
namespace {

void fill(World& world, Block block, u64 seed) {
  std::mt19937_64 random(seed);
  for (u64 at = 0; at < block.size_bytes(); at += 8) {
    const u64 word = random();
    std::memcpy(world.direct_map() + block.start.value + at, &word, 8);
  }
}
bool is_filled(World& world, Block block, u64 seed) {
  std::mt19937_64 random(seed);
  for (u64 at = 0; at < block.size_bytes(); at += 8) {
    const u64 word = random();
    if (std::memcmp(world.direct_map() + block.start.value + at, &word, 8) != 0) return false;
  }
  return true;
}

TEST_F(HandoverTest, BlocksOfEveryOrderCrossTheJumpWithTheirContents) {
  RecordProperty("acceptance", "K1 K6 K7 K8 K19");
  std::vector<Block> blocks;
  for (u32 order = 0; order <= max_order; ++order) {
    blocks.push_back({allocate(order), order});
    fill(world, blocks.back(), order);
    ASSERT_TRUE(handover.preserve(blocks.back()).ok());
  }
  Successor next(world, handover.numbers(), scratch_range);
  const auto early = IncomingMap::open(next.host.memory.map, next.host.boot.handover);
  ASSERT_TRUE(early.ok());
  for (Block block : blocks) {
    EXPECT_TRUE(early->contains(block));
    EXPECT_TRUE(is_filled(next.world, block, block.order)) << "readable before restore";
  }
  next.boot();
  // The allocator hands out everything it has; none of it is preserved.
  std::vector<PhysAddr> taken;
  while (true) {
    const auto page = next.host.memory.buddy.allocate(0);
    if (!page.ok()) break;
    taken.push_back(*page);
    for (Block block : blocks)
      ASSERT_FALSE((PhysRange{block.start, block.size_bytes()}.contains(*page, 4096))) << "handed out a preserved page";
  }
  u64 restored_frames = 0;
  for (Block block : blocks) {
    const auto restored = next.handover.restore(block.start);
    ASSERT_TRUE(restored.ok());
    EXPECT_EQ(*restored, block);
    EXPECT_TRUE(is_filled(next.world, block, block.order));
    next.host.memory.buddy.release(restored->start, restored->order);
    restored_frames += u64{1} << block.order;
  }
  EXPECT_EQ(next.host.memory.buddy.free_frames(), restored_frames);
}

TEST_F(HandoverTest, PreservingTwiceAndUnpreservingOnceLeavesTheBlockUnpreserved) {
  RecordProperty("acceptance", "K2");
  const Block block{allocate(3), 3};
  ASSERT_TRUE(handover.preserve(block).ok());
  ASSERT_TRUE(handover.preserve(block).ok());
  EXPECT_EQ(handover.count(), 3u);
  handover.unpreserve(block);
  Successor next(world, handover.numbers(), scratch_range);
  next.boot();
  EXPECT_EQ(next.handover.restore(block.start).code(), Code::NotFound);
}

TEST_F(HandoverTest, UnpreservingWhatWasNeverPreservedChangesNothing) {
  RecordProperty("acceptance", "K3");
  ASSERT_TRUE(handover.preserve({allocate(2), 2}).ok());
  const auto before = snapshot();
  handover.unpreserve({PhysAddr(0x123000), 0});
  handover.unpreserve({PhysAddr(0x3f000000), 10});
  handover.unpreserve({PhysAddr(0x1000), 3});   // not aligned
  handover.unpreserve({PhysAddr(0x1000), 63});  // no such order
  handover.unpreserve_range({PhysAddr(0x7000), 0x9000});
  EXPECT_EQ(snapshot(), before);
}

TEST_F(HandoverTest, ABlockIsRestoredExactlyOnce) {
  RecordProperty("acceptance", "K4");
  const Block block{allocate(1), 1};
  ASSERT_TRUE(handover.preserve(block).ok());
  Successor next(world, handover.numbers(), scratch_range);
  next.boot();
  EXPECT_TRUE(next.handover.restore(block.start).ok());
  next.world.log_lines.clear();
  EXPECT_EQ(next.handover.restore(block.start).code(), Code::NotFound);
  EXPECT_EQ(next.world.log_lines.size(), 1u) << "a second restore warns";
}

TEST_F(HandoverTest, RestoringWhatWasNotPreservedChangesNothing) {
  RecordProperty("acceptance", "K5");
  const Block block{allocate(4), 4};
  ASSERT_TRUE(handover.preserve(block).ok());
  Successor next(world, handover.numbers(), scratch_range);
  next.boot();
  const auto before = next.host.memory.buddy.free_blocks();
  std::mt19937_64 random(5);
  for (int i = 0; i < 2000; ++i) {
    const PhysAddr address((random() % (128 << 20)) & ~u64{0xfff});
    if (address == block.start) continue;
    EXPECT_EQ(next.handover.restore(address).code(), Code::NotFound);
  }
  EXPECT_EQ(next.handover.restore(PhysAddr(~u64{0})).code(), Code::NotFound);
  EXPECT_EQ(next.handover.restore(block.start + 4096).code(), Code::NotFound) << "not the head";
  EXPECT_EQ(next.host.memory.buddy.free_blocks(), before);
  EXPECT_TRUE(next.handover.is_incoming(block));
}

TEST_F(HandoverTest, ScratchCannotBePreserved) {
  RecordProperty("acceptance", "K10");
  const auto before = snapshot();
  EXPECT_EQ(handover.preserve({scratch_range.start, 0}).code(), Code::Invalid);
  EXPECT_EQ(handover.preserve_range({scratch_range.start - 0x2000, 0x3000}).code(), Code::Invalid);
  EXPECT_EQ(handover.preserve_range({scratch_range.start + (scratch_range.size_bytes - 4096), 0x2000}).code(),
            Code::Invalid);
  EXPECT_EQ(snapshot(), before);
}

TEST_F(HandoverTest, OnlyAlignedBlocksOfRamArePreserved) {
  const auto before = snapshot();
  EXPECT_EQ(handover.preserve({PhysAddr(0x1000), 1}).code(), Code::Invalid);
  EXPECT_EQ(handover.preserve({PhysAddr(0), 11}).code(), Code::Invalid);
  EXPECT_EQ(handover.preserve({PhysAddr(0x1800), 0}).code(), Code::Invalid);
  EXPECT_EQ(handover.preserve({PhysAddr(64 << 20), 0}).code(), Code::Invalid);
  EXPECT_EQ(handover.preserve_range({PhysAddr(0x1000), 0}).code(), Code::Invalid);
  EXPECT_EQ(handover.preserve_range({PhysAddr(~u64{0xfff}), 0x2000}).code(), Code::Invalid);
  EXPECT_EQ(handover.preserve_range({PhysAddr(0x1000), 100}).code(), Code::Invalid);
  EXPECT_EQ(snapshot(), before);
}

TEST_F(HandoverTest, AllocPreserveAnswersEverySize) {
  RecordProperty("acceptance", "K11");
  EXPECT_EQ(handover.alloc_preserve(0).code(), Code::Invalid);
  EXPECT_EQ(handover.alloc_preserve((u64{4} << 20) + 1).code(), Code::TooBig);
  EXPECT_EQ(handover.alloc_preserve(~u64{0}).code(), Code::TooBig);
  for (const auto& [size, order] :
       std::vector<std::pair<u64, u32>>{{1, 0}, {4096, 0}, {4097, 1}, {65536, 4}, {4 << 20, 10}}) {
    const auto free_before = free_blocks();
    const PhysAddr dirty = allocate(order);
    std::memset(world.direct_map() + dirty.value, 0xff, page_size_bytes << order);
    host.memory.buddy.release(dirty, order);
    const auto made = handover.alloc_preserve(size);
    ASSERT_TRUE(made.ok());
    EXPECT_NE(made->value, 0u);
    EXPECT_TRUE(handover.contains({*made, order}));
    const auto* bytes = reinterpret_cast<const u8*>(world.direct_map() + made->value);
    EXPECT_TRUE(std::all_of(bytes, bytes + (page_size_bytes << order), [](u8 b) { return b == 0; }));
    handover.unpreserve_free(*made, size);
    EXPECT_EQ(free_blocks(), free_before);
  }
}

TEST_F(HandoverTest, FreeingOnEitherSideOfTheJumpLeavesNothingBehind) {
  RecordProperty("acceptance", "K12");
  const auto before = snapshot();
  const PhysAddr first = handover.alloc_preserve(3 * 4096).value();
  handover.unpreserve_free(first, 3 * 4096);
  EXPECT_EQ(snapshot(), before);

  const PhysAddr second = handover.alloc_preserve(3 * 4096).value();
  Successor next(world, handover.numbers(), scratch_range);
  next.boot();
  next.handover.restore_free(second);
  next.handover.release_incoming_map();
  Successor empty(world, handover.numbers(), scratch_range);
  EXPECT_TRUE(empty.host.memory.buddy.free_frames() == 0);
  empty.host.memory.open();
  EXPECT_EQ(next.host.memory.buddy.free_blocks(), empty.host.memory.buddy.free_blocks());
}

TEST_F(HandoverTest, PreservingUnderASpinlockIsCaught) {
  RecordProperty("acceptance", "K13");
  SpinLock lock(world, LockRank::UnitQueue);
  const auto preserve_under_it = [&](Block block) {
    Guard guard(lock);
    (void)handover.preserve(block);
  };
  EXPECT_DEATH(preserve_under_it({allocate(0), 0}), "");
}

TEST_F(HandoverTest, ARangeIsCutIntoAlignedBlocksAndRestoredAlike) {
  RecordProperty("acceptance", "K15 K16");
  const PhysAddr base = allocate(10);
  std::mt19937_64 random(16);
  for (int round = 0; round < 200; ++round) {
    const u64 first = random() % 1023;
    const u64 count = 1 + random() % (1023 - first);
    const PhysRange range{base + first * 4096, count * 4096};
    ASSERT_TRUE(handover.preserve_range(range).ok());
    EXPECT_TRUE(handover.contains_range(range));
    std::set<Key> expected = own_pages();
    u64 at = Pfn(range.start).value;
    for (u64 left = count; left != 0;) {
      u32 order = 0;
      while (order < 10 && (u64{2} << order) <= left && at % (u64{2} << order) == 0) ++order;
      expected.insert({order, at << 12});
      at += u64{1} << order;
      left -= u64{1} << order;
    }
    ASSERT_EQ(read_naively(), expected);
    handover.unpreserve_range(range);
    ASSERT_EQ(read_naively(), own_pages());
  }
  const PhysRange odd{base + 4096, 6 * 4096};
  ASSERT_TRUE(handover.preserve_range(odd).ok());
  Successor next(world, handover.numbers(), scratch_range);
  next.boot();
  EXPECT_TRUE(next.handover.is_incoming_range(odd));
  EXPECT_FALSE(next.handover.is_incoming_range({base, 7 * 4096}));
  EXPECT_EQ(next.handover.restore_range({odd.start, 4 * 4096}).code(), Code::NotFound) << "another cut";
  EXPECT_EQ(next.handover.restore_range({base, 7 * 4096}).code(), Code::NotFound);
  EXPECT_TRUE(next.handover.is_incoming_range(odd)) << "a refused restore takes nothing";
  EXPECT_TRUE(next.handover.restore_range(odd).ok());
  EXPECT_EQ(next.handover.restore_range(odd).code(), Code::NotFound);
}

TEST_F(HandoverTest, TheMapInMemoryIsValidAfterEveryOperation) {
  RecordProperty("acceptance", "K17 K18");
  std::mt19937_64 random(18);
  std::set<Key> reference = own_pages();
  const auto before = snapshot();
  std::vector<Block> candidates;
  for (int i = 0; i < 60; ++i) {
    const u32 order = static_cast<u32>(random() % 6);
    if (const auto at = host.memory.buddy.allocate(order); at.ok()) candidates.push_back({*at, order});
  }
  for (int i = 0; i < 600; ++i) {
    const Block block = candidates[random() % candidates.size()];
    if (random() % 2 == 0) {
      ASSERT_TRUE(handover.preserve(block).ok());
      reference.insert({block.order, block.start.value});
    } else {
      handover.unpreserve(block);
      reference.erase({block.order, block.start.value});
    }
    ASSERT_EQ(read_naively(), reference);
    ASSERT_EQ(handover.count(), reference.size());
    const auto reader = IncomingMap::open(host.memory.map, handover.numbers());
    ASSERT_TRUE(reader.ok());
    std::set<Key> ours;
    ASSERT_TRUE(reader->walk([&](Block b) { ours.insert({b.order, b.start.value}); }).ok());
    ASSERT_EQ(ours, reference);
  }
  for (Block block : candidates) {
    handover.unpreserve(block);
    host.memory.buddy.release(block.start, block.order);
  }
  EXPECT_EQ(snapshot(), before) << "undone is undone, nodes included";
}

TEST_F(HandoverTest, AnAllocationThatFailsLeavesNoTrace) {
  RecordProperty("acceptance", "K21");
  const PhysAddr base = allocate(10);
  const Block lonely{allocate(7), 7};
  ASSERT_TRUE(handover.preserve({base, 0}).ok());
  const auto before = snapshot();
  const auto set_before = read_naively();
  unsigned failures = 0;
  for (u64 k = 1;; ++k) {
    Status done = Code::Invalid;
    const bool failed = world.failing(k, [&] { done = handover.preserve_range({base + 4096, 1023 * 4096}); });
    if (!failed) {
      ASSERT_TRUE(done.ok());
      handover.unpreserve_range({base + 4096, 1023 * 4096});
      break;
    }
    ++failures;
    EXPECT_EQ(done.code(), Code::NoMemory);
    EXPECT_EQ(snapshot(), before);
    EXPECT_EQ(read_naively(), set_before) << "earlier keys are intact";
  }
  EXPECT_GT(failures, 20u) << "each of ten orders needs nodes of its own";
  for (u64 k = 1;; ++k) {
    Status done = Code::Invalid;
    if (!world.failing(k, [&] { done = handover.preserve(lonely); })) break;
    EXPECT_EQ(done.code(), Code::NoMemory);
    EXPECT_EQ(snapshot(), before);
  }
  handover.unpreserve(lonely);
  for (u64 k = 1;; ++k) {
    Result<PhysAddr> made = Code::Invalid;
    if (!world.failing(k, [&] { made = handover.alloc_preserve(1 << 20); })) {
      handover.unpreserve_free(*made, 1 << 20);
      break;
    }
    EXPECT_EQ(made.code(), Code::NoMemory);
    EXPECT_EQ(snapshot(), before);
  }
  EXPECT_EQ(snapshot(), before);
}

TEST_F(HandoverTest, OpeningThatFailsLeavesNoTraceAndClosingGivesEverythingBack) {
  handover.close();
  const auto before = free_blocks();
  for (u64 k = 1;; ++k) {
    Status done = Code::Invalid;
    const bool failed = world.failing(k, [&] { done = handover.open(scratch); });
    if (!failed) break;
    EXPECT_EQ(done.code(), Code::NoMemory);
    EXPECT_EQ(free_blocks(), before);
  }
  ASSERT_TRUE(handover.preserve({allocate(0), 0}).ok());
  handover.close();
}

TEST_F(HandoverTest, SubtreesComeAndGoInTheRootFdt) {
  const auto before = snapshot();
  const PhysAddr blob = handover.alloc_preserve(4096).value();
  EXPECT_EQ(handover.add_subtree("", blob).code(), Code::Invalid);
  EXPECT_EQ(handover.add_subtree("a/b", blob).code(), Code::Invalid);
  EXPECT_EQ(handover.add_subtree("a-name-longer-than-31-characters", blob).code(), Code::Invalid);
  ASSERT_TRUE(handover.add_subtree("LUO", blob).ok());
  ASSERT_TRUE(handover.add_subtree("second", PhysAddr(0x5000)).ok());
  EXPECT_EQ(handover.add_subtree("LUO", blob).code(), Code::Exists);
  EXPECT_EQ(handover.find_subtree("LUO")->value, blob.value);
  const auto reader = IncomingMap::open(host.memory.map, handover.numbers());
  ASSERT_TRUE(reader.ok());
  EXPECT_EQ(reader->find_subtree("LUO")->value, blob.value);
  EXPECT_EQ(reader->find_subtree("second").code(), Code::Corrupt) << "its blob is not preserved";
  handover.remove_subtree("LUO");
  EXPECT_EQ(handover.find_subtree("LUO").code(), Code::NotFound);
  EXPECT_TRUE(handover.find_subtree("second").ok());
  handover.remove_subtree("second");
  handover.remove_subtree("second");
  handover.unpreserve_free(blob, 4096);
  EXPECT_EQ(snapshot(), before);
}

TEST_F(HandoverTest, AFullRootFdtRefusesOneMoreSubtree) {
  std::string name = "subtree-000";
  Status status;
  int added = 0;
  u64 hash = 0;
  for (; status.ok(); ++added) {
    hash = handover.state_hash();
    name.replace(8, 3, std::to_string(100 + added));
    status = handover.add_subtree(name, PhysAddr(0x1000));
  }
  EXPECT_EQ(status.code(), Code::NoMemory);
  EXPECT_GT(added, 80);
  EXPECT_EQ(handover.state_hash(), hash);
}

TEST_F(HandoverTest, AMapOfAnotherVersionIsNotInterpreted) {
  RecordProperty("acceptance", "K20");
  auto* fdt = world.direct_map() + handover.numbers().fdt;
  ASSERT_EQ(fdt_setprop_inplace(fdt, 0, "compatible", "kho-v3", 7), 0);
  const u64 wild = ~u64{0};
  ASSERT_EQ(fdt_setprop_inplace(fdt, 0, "preserved-memory-map", &wild, 8), 0);
  EXPECT_EQ(IncomingMap::open(host.memory.map, handover.numbers()).code(), Code::UnknownVersion);
  EXPECT_EQ(IncomingMap::open(host.memory.map, {}).code(), Code::NoData);
}

TEST_F(HandoverTest, NeverRestoredBlocksCanBeListedAndReclaimed) {
  RecordProperty("acceptance", "K22");
  std::set<Key> waiting;
  std::vector<Block> blocks;
  for (u32 order : {0u, 2u, 5u, 0u, 9u, 1u}) {
    blocks.push_back({allocate(order), order});
    ASSERT_TRUE(handover.preserve(blocks.back()).ok());
  }
  Successor next(world, handover.numbers(), scratch_range);
  next.boot();
  u64 frames = 0;
  for (size_t i = 0; i < blocks.size(); ++i) {
    if (i % 2 == 0) {
      ASSERT_TRUE(next.handover.restore(blocks[i].start).ok());
      continue;
    }
    waiting.insert({blocks[i].order, blocks[i].start.value});
    frames += u64{1} << blocks[i].order;
  }
  std::set<Key> listed;
  next.handover.for_each_unrestored([&](Block b) { listed.insert({b.order, b.start.value}); });
  EXPECT_EQ(listed, waiting);
  const u64 free_before = next.host.memory.buddy.free_frames();
  EXPECT_EQ(next.handover.reclaim_unrestored(), waiting.size());
  EXPECT_EQ(next.host.memory.buddy.free_frames(), free_before + frames);
  EXPECT_EQ(next.handover.reclaim_unrestored(), 0u);
}

TEST_F(HandoverTest, TheIncomingMapIsKeptUntilItIsReleased) {
  ASSERT_TRUE(handover.preserve({allocate(0), 0}).ok());
  const u64 pages = handover.node_count() + 2;  // with root FDT and scratch array
  Successor next(world, handover.numbers(), scratch_range);
  next.boot();
  EXPECT_TRUE(next.handover.holds_incoming_map());
  while (next.host.memory.buddy.allocate_zeroed(0).ok()) {
  }
  EXPECT_TRUE(IncomingMap::open(next.host.memory.map, handover.numbers()).ok()) << "nobody got its pages";
  next.handover.release_incoming_map();
  EXPECT_EQ(next.host.memory.buddy.free_frames(), pages);
  next.handover.release_incoming_map();
  EXPECT_EQ(next.host.memory.buddy.free_frames(), pages);
  EXPECT_FALSE(next.handover.holds_incoming_map());
}

TEST(Scratch, IsLargeEnoughAndLiesInRam) {
  const std::vector<MemoryRange> small{{{PhysAddr(0), 64 << 20}, MemoryKind::Ram}};
  EXPECT_EQ(default_scratch_bytes(small), u64{2} << 20);
  const std::vector<MemoryRange> ram{{{PhysAddr(0), u64{1} << 30}, MemoryKind::Ram},
                                     {{PhysAddr(u64{1} << 30), 1 << 20}, MemoryKind::Reserved},
                                     {{PhysAddr(u64{5} << 30), u64{3} << 20}, MemoryKind::Ram}};
  const u64 size = default_scratch_bytes(ram);
  EXPECT_EQ(size, ((u64{1} << 30) + (u64{3} << 20)) / 64);
  const auto chosen = choose_scratch(ram, size);
  ASSERT_TRUE(chosen.ok());
  EXPECT_TRUE(ram[0].range.contains(chosen->start, chosen->size_bytes)) << "the higher range is too small";
  EXPECT_GE(chosen->size_bytes, size);
  EXPECT_TRUE(chosen->start.is_aligned(u64{4} << 20));
  const auto all_but_page_zero = choose_scratch(small, (u64{64} << 20) - page_size_bytes);
  ASSERT_TRUE(all_but_page_zero.ok());
  EXPECT_EQ(all_but_page_zero->start.value, page_size_bytes);
  EXPECT_EQ(choose_scratch(small, u64{64} << 20).code(), Code::NoMemory) << "page 0 is never handed out";
  EXPECT_EQ(choose_scratch(ram, u64{2} << 30).code(), Code::NoMemory);
}

}  // namespace
}  // namespace holdfast::kho

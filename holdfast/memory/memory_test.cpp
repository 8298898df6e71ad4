// Memory: direct map, early memory, frame table, buddy, heap, Vec.
#include "holdfast/memory/memory.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <set>

#include "holdfast/memory/test_world.hpp"
#include "holdfast/memory/vec.hpp"

namespace holdfast {
namespace {

constexpr u64 mib = u64{1} << 20;

TEST(DirectMap, BelievesOnlyAddressesInsideRam) {
  TestWorld world(16 * mib);
  world.memory_map = {{{PhysAddr(0), 4 * mib}, MemoryKind::Ram},
                      {{PhysAddr(4 * mib), mib}, MemoryKind::Reserved},
                      {{PhysAddr(8 * mib), 8 * mib}, MemoryKind::Ram}};
  const DirectMap map(world, world.memory_map);
  EXPECT_EQ(map.end(), PhysAddr(16 * mib));
  EXPECT_TRUE(map.is_ram(PhysAddr(0), 5 * mib)) << "neighbours of different kinds are one piece";
  EXPECT_FALSE(map.is_ram(PhysAddr(0), 5 * mib + 1));
  EXPECT_FALSE(map.is_ram(PhysAddr(6 * mib), 1));
  EXPECT_FALSE(map.is_ram(PhysAddr(8 * mib), 0));
  EXPECT_FALSE(map.is_ram(PhysAddr(~u64{0} - 7), 16));
  EXPECT_FALSE(map.is_ram(PhysAddr(8 * mib), ~u64{0}));
  EXPECT_TRUE(map.find<u64>(PhysAddr(16 * mib - 8)).ok());
  EXPECT_EQ(map.find<u64>(PhysAddr(16 * mib - 8), 2).code(), Code::Corrupt);
  EXPECT_EQ(map.find<u64>(PhysAddr(4)).code(), Code::Corrupt) << "misaligned";
  EXPECT_EQ(map.find<u64>(PhysAddr(8), u64{1} << 61).code(), Code::Corrupt) << "overflow of the size";
  EXPECT_EQ(map.find<u64>(PhysAddr(7 * mib)).code(), Code::Corrupt) << "hole";
  EXPECT_EQ(map.phys(map.at<u64>(PhysAddr(8 * mib))), PhysAddr(8 * mib));
  EXPECT_DEATH((void)map.bytes(PhysAddr(16 * mib)), "");
}

TEST(EarlyAllocator, HandsOutZeroedPiecesUntilItsRangeIsUsedUp) {
  TestWorld world(4 * mib);
  const DirectMap map(world, world.memory_map);
  std::memset(map.bytes(PhysAddr(mib)), 0xff, 64 << 10);
  EarlyAllocator early(map, {PhysAddr(mib), 64 << 10});
  EXPECT_EQ(early.allocate(0, 8).code(), Code::Invalid);
  const PhysAddr first = early.allocate(3, 1).value();
  const PhysAddr second = early.allocate(8192, 4096).value();
  EXPECT_EQ(first, PhysAddr(mib));
  EXPECT_EQ(second, PhysAddr(mib + 4096));
  EXPECT_EQ(early.used(), 4096u + 8192u);
  for (u64 i = 0; i < 8192; ++i) ASSERT_EQ(map.bytes(second)[i], std::byte{0});
  EXPECT_EQ(early.allocate(64 << 10, 8).code(), Code::NoMemory);
  EXPECT_EQ(early.allocate(~u64{0}, 8).code(), Code::NoMemory);
  EXPECT_TRUE(early.allocate((64 << 10) - 4096 - 8192, 1).ok());
  EXPECT_EQ(early.allocate(1, 1).code(), Code::NoMemory);
  EXPECT_TRUE(world.failing(1, [&] { EXPECT_EQ(early.allocate(1, 1).code(), Code::NoMemory); }));
}

TEST(Memory, NeverHandsOutReservedRangesScratchTheOwnImageOrPageZero) {
  TestWorld world(32 * mib);
  world.memory_map = {{{PhysAddr(0), 0x9fc00}, MemoryKind::Ram},
                      {{PhysAddr(0x9fc00), 0x60400}, MemoryKind::Reserved},
                      {{PhysAddr(mib), 31 * mib}, MemoryKind::Ram}};
  const PhysRange image{PhysAddr(20 * mib + 0x800), 3 * mib};
  const BootInfo boot{
      .memory_map = world.memory_map, .own_image = image, .rsdp = {}, .command_line = {}, .handover = {}};
  Memory memory(world, boot);
  EarlyAllocator early(memory.map, {PhysAddr(8 * mib), 2 * mib});
  ASSERT_TRUE(memory.place_frames(early).ok());
  EXPECT_LE(early.used(), Memory::frames_size_bytes(memory.map));
  memory.mark(early.range(), FrameState::Scratch);
  memory.open();
  const u64 image_pages = 3 * mib / page_size_bytes + 1;
  EXPECT_EQ(memory.buddy.free_frames(), 0x9f - 1 + (31 * mib - 2 * mib) / page_size_bytes - image_pages);
  while (true) {
    auto page = memory.buddy.allocate(0);
    if (!page.ok()) break;
    const PhysRange got{*page, page_size_bytes};
    ASSERT_NE(*page, PhysAddr(0));
    ASSERT_FALSE(got.overlaps(image));
    ASSERT_FALSE(got.overlaps(early.range()));
    ASSERT_FALSE(got.overlaps({PhysAddr(0x9f000), 0x61000}));
  }
}

TEST(Memory, FramesOfAGigabyteArePlacedInMilliseconds) {
  TestWorld world(1024 * mib);
  TestMemory host(world, TestOpen::Later);
  EXPECT_LE(host.early.used(), Memory::frames_size_bytes(host.memory.map));
  EXPECT_LT(Memory::frames_size_bytes(host.memory.map), 16 * mib) << "fits a scratch of 1/64 of RAM";
  host.memory.open();
  EXPECT_EQ(host.memory.buddy.free_frames(), (1024 - 64) * mib / page_size_bytes - 1);
}

TEST(FrameTable, IncomingBlocksAreNeverAllocatedAndAreTakenOnce) {
  RecordProperty("acceptance", "K8");
  TestWorld world(16 * mib);
  TestMemory host(world, TestOpen::Later);
  Memory& memory = host.memory;
  const std::vector<Block> incoming{{PhysAddr(4 * mib), 10}, {PhysAddr(8 * mib), 0}, {PhysAddr(8 * mib + 0x2000), 1}};
  for (const Block& block : incoming) ASSERT_TRUE(memory.mark_incoming(block).ok());
  ASSERT_TRUE(memory.mark_kept(PhysAddr(12 * mib)).ok());
  EXPECT_EQ(memory.mark_incoming({PhysAddr(4 * mib + 0x1000), 0}).code(), Code::Corrupt) << "inside another block";
  EXPECT_EQ(memory.mark_incoming({PhysAddr(8 * mib), 2}).code(), Code::Corrupt) << "around another block";
  EXPECT_EQ(memory.mark_incoming({host.scratch().start, 0}).code(), Code::Corrupt);
  EXPECT_EQ(memory.mark_incoming({PhysAddr(0), 0}).code(), Code::Corrupt);
  EXPECT_EQ(memory.mark_incoming({PhysAddr(16 * mib), 0}).code(), Code::Corrupt);
  EXPECT_EQ(memory.mark_incoming({PhysAddr(~u64{0xfff}), 0}).code(), Code::Corrupt);
  EXPECT_EQ(memory.mark_incoming({PhysAddr(9 * mib), 11}).code(), Code::Corrupt);
  EXPECT_EQ(memory.mark_incoming({PhysAddr(9 * mib), ~u32{0}}).code(), Code::Corrupt);
  EXPECT_EQ(memory.mark_incoming({PhysAddr(9 * mib + 0x1000), 1}).code(), Code::Corrupt) << "misaligned";
  memory.open();

  EXPECT_EQ(memory.frames.find_incoming(PhysAddr(5 * mib + 17)), (Block{PhysAddr(4 * mib), 10}));
  EXPECT_EQ(memory.frames.find_incoming(PhysAddr(8 * mib)), (Block{PhysAddr(8 * mib), 0}));
  EXPECT_EQ(memory.frames.find_incoming(PhysAddr(8 * mib + 0x3fff)), (Block{PhysAddr(8 * mib + 0x2000), 1}));
  EXPECT_EQ(memory.frames.find_incoming(PhysAddr(8 * mib + 0x1000)), std::nullopt);
  EXPECT_EQ(memory.frames.find_incoming(PhysAddr(12 * mib)), std::nullopt);
  EXPECT_EQ(memory.frames.find_incoming(PhysAddr(~u64{0})), std::nullopt);

  std::vector<PhysAddr> pages;
  for (auto page = memory.buddy.allocate(0); page.ok(); page = memory.buddy.allocate(0)) pages.push_back(*page);
  for (const PhysAddr page : pages)
    for (const Block& block : incoming)
      ASSERT_FALSE((PhysRange{page, page_size_bytes}).overlaps({block.start, block.size_bytes()}));

  EXPECT_EQ(memory.frames.take_incoming(PhysAddr(4 * mib + 0x1000)).code(), Code::NotFound);
  EXPECT_EQ(memory.frames.take_incoming(std::vector{PhysAddr(8 * mib + 0x2000)}, 0), 0u) << "another order";
  for (const Block& block : incoming) {
    EXPECT_EQ(memory.frames.take_incoming(block.start).value(), block);
    EXPECT_EQ(memory.frames.take_incoming(block.start).code(), Code::NotFound);
    memory.buddy.release(block.start, block.order);
  }
  memory.release_kept(PhysAddr(12 * mib));
  for (const PhysAddr page : pages) memory.buddy.release(page, 0);
  EXPECT_EQ(memory.buddy.free_frames(), (16 - 2) * mib / page_size_bytes - 1);
}

TEST(Buddy, EqualFreeSetsGiveEqualListsAndEqualAnswers) {
  TestWorld world(32 * mib);
  TestMemory host(world);
  Buddy& buddy = host.memory.buddy;
  const auto before = buddy.free_blocks();
  std::mt19937_64 random(1);
  std::vector<Block> held;
  std::set<u64> taken;
  for (int step = 0; step < 20000; ++step) {
    if (random() % 100 < (step / 1000 % 2 == 0 ? 65u : 35u)) {
      const auto order = static_cast<u32>(random() % 7);
      auto got = buddy.allocate(order);
      if (!got.ok()) continue;
      ASSERT_TRUE(got->is_aligned(page_size_bytes << order));
      for (u64 i = 0; i < u64{1} << order; ++i) ASSERT_TRUE(taken.insert(Pfn(*got).value + i).second);
      held.push_back({*got, order});
    } else if (!held.empty()) {
      std::swap(held[random() % held.size()], held.back());
      for (u64 i = 0; i < u64{1} << held.back().order; ++i) taken.erase(Pfn(held.back().start).value + i);
      buddy.release(held.back().start, held.back().order);
      held.pop_back();
    }
  }
  const auto middle = buddy.free_blocks();
  const PhysAddr answer = buddy.allocate(3).value();
  buddy.release(answer, 3);
  EXPECT_EQ(buddy.free_blocks(), middle);
  EXPECT_EQ(buddy.allocate(3).value(), answer) << "history does not matter";
  buddy.release(answer, 3);
  while (!held.empty()) {
    buddy.release(held.back().start, held.back().order);
    held.pop_back();
  }
  EXPECT_EQ(buddy.free_blocks(), before) << "fully coalesced";
}

TEST(Buddy, PanicsOnADoubleReleaseAndOnAWrongOrder) {
  TestWorld world(8 * mib);
  TestMemory host(world);
  Buddy& buddy = host.memory.buddy;
  const PhysAddr block = buddy.allocate(2).value();
  EXPECT_DEATH(buddy.release(block, 1), "");
  EXPECT_DEATH(buddy.release(block + page_size_bytes, 0), "");
  buddy.release(block, 2);
  EXPECT_DEATH(buddy.release(block, 2), "");
  EXPECT_EQ(buddy.allocate(max_order + 1).code(), Code::TooBig);
}

TEST(Buddy, ReleasesManyAsOneAfterTheOther) {
  TestWorld world(32 * mib);
  TestMemory host(world);
  Buddy& buddy = host.memory.buddy;
  const auto before = buddy.free_blocks();
  for (const unsigned order : {0u, 1u, 3u}) {
    std::array<u64, max_order + 1> one_by_one{};
    for (const bool at_once : {false, true}) {
      std::vector<PhysAddr> starts(700);
      for (PhysAddr& start : starts) start = buddy.allocate(order).value();
      std::shuffle(starts.begin(), starts.end(), std::mt19937_64(order));
      const std::span some = std::span(starts).first(300);
      if (at_once) {
        buddy.release(some, order);
        EXPECT_EQ(buddy.free_blocks(), one_by_one);
      } else {
        for (const PhysAddr start : some) buddy.release(start, order);
        one_by_one = buddy.free_blocks();
      }
      for (const PhysAddr start : some) EXPECT_NE(host.memory.frames.at(start).state, FrameState::Allocated);
      buddy.release(std::span<const PhysAddr>(), order);
      buddy.release(std::span(starts).subspan(300), order);
      EXPECT_EQ(buddy.free_blocks(), before);
    }
  }
}

TEST(Buddy, PanicsWhenOneOfManyIsNotAllocated) {
  TestWorld world(8 * mib);
  TestMemory host(world);
  Buddy& buddy = host.memory.buddy;
  const PhysAddr page = buddy.allocate(0).value();
  const PhysAddr pair = buddy.allocate(1).value();
  EXPECT_DEATH(buddy.release(std::vector{pair, page}, 0), "");
  EXPECT_DEATH(buddy.release(std::vector{page, page}, 0), "");
}

TEST(Buddy, AllocatesTheLargestBlockThereIsUpToWhatIsAsked) {
  TestWorld world(16 * mib);
  TestMemory host(world);
  Buddy& buddy = host.memory.buddy;
  const auto before = buddy.free_blocks();
  EXPECT_EQ(buddy.allocate_up_to(max_order + 1, 0).code(), Code::TooBig);
  const Block whole = buddy.allocate_up_to(9, 0).value();
  EXPECT_EQ(whole.order, 9u);
  buddy.release(whole.start, whole.order);
  std::vector<Block> held;
  for (unsigned order = max_order; order > 5; --order)
    for (auto start = buddy.allocate(order); start.ok(); start = buddy.allocate(order)) held.push_back({*start, order});
  std::vector<Block> small;
  for (auto block = buddy.allocate_up_to(9, 2); block.ok(); block = buddy.allocate_up_to(9, 2)) {
    ASSERT_TRUE(small.empty() || block->order <= small.back().order) << "the largest first";
    ASSERT_GE(block->order, 2u);
    small.push_back(*block);
  }
  for (unsigned order = 2; order <= max_order; ++order) EXPECT_EQ(buddy.free_blocks()[order], 0u);
  ASSERT_FALSE(small.empty());
  EXPECT_EQ(small.front().order, 5u);
  for (const auto* blocks : {&held, &small})
    for (const Block& block : *blocks) buddy.release(block.start, block.order);
  EXPECT_EQ(buddy.free_blocks(), before);
  world.fail_allocation_at = world.allocations + 1;
  EXPECT_EQ(buddy.allocate_up_to(9, 2).code(), Code::NoMemory);
}

TEST(Buddy, GivesZeroesWhenAskedAndFailsWhenTold) {
  TestWorld world(8 * mib);
  TestMemory host(world);
  Buddy& buddy = host.memory.buddy;
  const PhysAddr dirty = buddy.allocate(1).value();
  std::memset(host.memory.map.bytes(dirty), 0xff, 2 * page_size_bytes);
  buddy.release(dirty, 1);
  const PhysAddr clean = buddy.allocate_zeroed(1).value();
  EXPECT_EQ(clean, dirty);
  for (u64 i = 0; i < 2 * page_size_bytes; ++i) ASSERT_EQ(host.memory.map.bytes(clean)[i], std::byte{0});
  const auto before = buddy.free_blocks();
  EXPECT_TRUE(world.failing(1, [&] { EXPECT_EQ(buddy.allocate(0).code(), Code::NoMemory); }));
  EXPECT_EQ(buddy.free_blocks(), before);
}

TEST(Heap, ObjectsDoNotOverlapAndEverythingGoesBack) {
  TestWorld world(32 * mib);
  TestMemory host(world);
  Heap& heap = host.memory.heap;
  const auto before = host.memory.buddy.free_blocks();
  std::mt19937_64 random(2);
  struct Held {
    std::byte* at;
    std::size_t size;
    std::size_t align;
    std::byte pattern;
  };
  std::vector<Held> held;
  u64 bytes = 0;
  const auto release = [&](std::size_t index) {
    std::swap(held[index], held.back());
    const Held object = held.back();
    for (std::size_t i = 0; i < object.size; ++i) ASSERT_EQ(object.at[i], object.pattern);
    heap.release(object.at, object.size, object.align);
    bytes -= object.size;
    held.pop_back();
  };
  for (int step = 0; step < 20000; ++step) {
    if (random() % 100 < (step / 1000 % 2 == 0 ? 60u : 40u)) {
      const std::size_t size = 1 + random() % (random() % 20 == 0 ? 40000 : 3000) % (u64{1} << random() % 16);
      const std::size_t align = std::size_t{1} << random() % 8;
      auto got = heap.allocate(size, align);
      ASSERT_TRUE(got.ok());
      ASSERT_TRUE(host.memory.map.phys(*got).is_aligned(align));
      const auto pattern = static_cast<std::byte>(random());
      std::memset(*got, static_cast<int>(pattern), size);
      held.push_back({static_cast<std::byte*>(*got), size, align, pattern});
      bytes += size;
    } else if (!held.empty()) {
      release(random() % held.size());
    }
    ASSERT_EQ(heap.live_objects(), held.size());
    ASSERT_EQ(heap.live_bytes(), bytes);
  }
  while (!held.empty()) release(0);
  EXPECT_EQ(host.memory.buddy.free_blocks(), before);
  EXPECT_EQ(heap.live_objects(), 0u);
}

TEST(Heap, EveryFailingAllocationLeavesNothingBehind) {
  TestWorld world(8 * mib);
  TestMemory host(world);
  Heap& heap = host.memory.heap;
  const auto before = host.memory.buddy.free_blocks();
  for (const std::size_t size : {16u, 700u, 2048u, 5000u}) {
    u64 k = 1;
    while (world.failing(k, [&] { EXPECT_EQ(heap.allocate(size).code(), Code::NoMemory); })) {
      EXPECT_EQ(host.memory.buddy.free_blocks(), before);
      if (++k > 2) break;
    }
    EXPECT_EQ(k, 3u) << "the object itself, then its slab or block";
  }
  EXPECT_EQ(heap.allocate(0).code(), Code::Invalid);
  EXPECT_EQ(heap.allocate((4 * mib) + 1).code(), Code::TooBig);
  void* only = heap.allocate(4 * mib).value();
  EXPECT_EQ(heap.allocate(4 * mib).code(), Code::NoMemory) << "no second block of 4 MiB is free here";
  heap.release(only, 4 * mib);
  EXPECT_EQ(heap.live_objects(), 0u);
}

TEST(Heap, PanicsOnADoubleRelease) {
  TestWorld world(8 * mib);
  TestMemory host(world);
  Heap& heap = host.memory.heap;
  void* keeps_the_slab = heap.allocate(40).value();
  void* object = heap.allocate(40).value();
  EXPECT_DEATH(heap.release(object, 400), "");
  EXPECT_DEATH(heap.release(static_cast<std::byte*>(object) + 16, 40), "");
  heap.release(object, 40);
  EXPECT_DEATH(heap.release(object, 40), "");
  heap.release(keeps_the_slab, 40);
  EXPECT_DEATH(heap.release(keeps_the_slab, 40), "");
}

struct Counted {
  explicit Counted(int& count) : live(&count) { ++*live; }
  Counted(Counted&& other) noexcept : live(other.live) { ++*live; }
  Counted& operator=(Counted&&) noexcept = default;
  ~Counted() { --*live; }
  int* live;
};

TEST(Heap, CreatesAndDestroysObjects) {
  TestWorld world(8 * mib);
  TestMemory host(world);
  int live = 0;
  auto* object = host.memory.heap.create<Counted>(live).value();
  EXPECT_EQ(live, 1);
  host.memory.heap.destroy(object);
  host.memory.heap.destroy(static_cast<Counted*>(nullptr));
  EXPECT_EQ(live, 0);
  EXPECT_EQ(host.memory.heap.live_objects(), 0u);
}

TEST(Vec, BehavesLikeAVectorAndOwnsNothingWhenEmpty) {
  TestWorld world(8 * mib);
  TestMemory host(world);
  std::mt19937_64 random(3);
  {
    Vec<u64> vec(host.memory.heap);
    std::vector<u64> model;
    for (int step = 0; step < 3000; ++step) {
      if (model.empty() || random() % 3 != 0) {
        const std::size_t at = random() % (model.size() + 1);
        const u64 value = random();
        ASSERT_TRUE(vec.insert(at, value).ok());
        model.insert(model.begin() + static_cast<std::ptrdiff_t>(at), value);
      } else {
        const std::size_t at = random() % model.size();
        vec.erase(at);
        model.erase(model.begin() + static_cast<std::ptrdiff_t>(at));
      }
      ASSERT_TRUE(std::ranges::equal(vec, model));
    }
    const std::size_t capacity = vec.capacity();
    u64 value = 0;
    while (vec.size() != capacity) ASSERT_TRUE(vec.push_back(value++).ok());
    const auto before = host.memory.buddy.free_blocks();
    EXPECT_TRUE(world.failing(1, [&] { EXPECT_EQ(vec.push_back(1).code(), Code::NoMemory); }));
    EXPECT_EQ(host.memory.buddy.free_blocks(), before);
    EXPECT_EQ(vec.size(), capacity);
    EXPECT_EQ(vec.reserve(std::size_t{1} << 62).code(), Code::TooBig);
    while (!vec.empty()) vec.pop_back();
    EXPECT_EQ(host.memory.heap.live_objects(), 0u);
    EXPECT_DEATH((void)vec[0], "");
  }
  int live = 0;
  {
    Vec<Counted> vec(host.memory.heap);
    for (int i = 0; i < 100; ++i) ASSERT_TRUE(vec.push_back(Counted(live)).ok());
    Vec<Counted> other = std::move(vec);
    EXPECT_EQ(live, 100);
    other.erase(50);
    EXPECT_EQ(live, 99);
  }
  EXPECT_EQ(live, 0);
  EXPECT_EQ(host.memory.heap.live_objects(), 0u);
}

TEST(Vec, OwnsAsMuchAfterAddingAndRemovingAsBefore) {
  TestWorld world(8 * mib);
  TestMemory host(world);
  Vec<u64> vec(host.memory.heap);
  for (const std::size_t size : {1u, 4u, 5u, 64u, 511u, 512u, 513u, 2000u}) {
    while (vec.size() < size) ASSERT_TRUE(vec.push_back(1).ok());
    const u64 frames = host.memory.buddy.free_frames();
    const u64 bytes = host.memory.heap.live_bytes();
    for (int i = 0; i < 3000; ++i) ASSERT_TRUE(vec.push_back(2).ok());
    while (vec.size() > size) vec.pop_back();
    EXPECT_EQ(host.memory.heap.live_bytes(), bytes);
    EXPECT_EQ(host.memory.buddy.free_frames(), frames);
    ASSERT_TRUE(vec.reserve(5000).ok());
    ASSERT_TRUE(vec.push_back(3).ok());
    vec.pop_back();
    EXPECT_GE(vec.capacity(), 5000u) << "a reservation outlives a removal";
    vec.shrink_to_fit();
    EXPECT_EQ(host.memory.heap.live_bytes(), bytes);
    EXPECT_EQ(host.memory.buddy.free_frames(), frames);
  }
}

TEST(Allocators, MayNotBeCalledWithTheAllocatorLockHeld) {
  TestWorld world(8 * mib);
  TestMemory host(world);
  SpinLock lock(world, LockRank::Allocator);
  const Guard guard(lock);
  EXPECT_DEATH((void)host.memory.buddy.allocate(0), "");
}

}  // namespace
}  // namespace holdfast

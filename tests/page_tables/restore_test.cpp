// Preserving, jumping, restoring, passing on and freeing, in every format and configuration that the library knows by
// number.
#include <random>

#include "tests/page_tables/handover.hpp"

namespace page_tables {
namespace {

class PreserveTest : public OverVariants {};

TEST_P(PreserveTest, MarksTheTablesAndNothingElseAndTakesTheMarksBack) {
  RecordProperty("acceptance", "P1 P5 P16 G1 G2");
  for (const Filling filling : all_fillings) {
    Handover handover(GetParam(), filling);
    Scene& scene = handover.scene;
    Table& table = *scene.table;
    table.unpreserve(handover.sink);
    EXPECT_EQ(handover.sink.blocks, handover.guest_blocks.blocks);

    SetSink marked;
    ASSERT_TRUE(table.preserve(marked).ok());
    const Walked walked = scene.walk_naively();
    std::set<u64> covered;
    for (const auto& [start, order] : marked.blocks) {
      EXPECT_FALSE(handover.is_guest(start)) << "a data page";
      for (u64 i = 0; i < u64{1} << order; ++i) covered.insert(start + i * page_size_bytes);
    }
    EXPECT_TRUE(std::ranges::includes(covered, walked.pages)) << "all that hardware reads";
    if (GetParam().mode == TableMode::Page) {
      EXPECT_EQ(marked.blocks.size(), walked.tables);
      for (const auto& [start, order] : marked.blocks) {
        EXPECT_TRUE(walked.pages.contains(start)) << "a block that is no table";
        EXPECT_EQ(order, scene.order_of(handover.tables.at(start)));
      }
    } else {
      std::set<std::pair<u64, u32>> expected;
      for (const Block& block : table.arena().blocks()) expected.insert({block.start.value, block.order});
      EXPECT_EQ(marked.blocks, expected);
    }
    const std::size_t count = marked.blocks.size();
    table.unpreserve(marked);
    EXPECT_TRUE(marked.blocks.empty());
    for (std::size_t k = 0; k < count; ++k) {
      SetSink full;
      full.fail_at = k;
      EXPECT_EQ(table.preserve(full).code(), Code::NoMemory);
      EXPECT_TRUE(full.blocks.empty()) << "at block " << k;
      EXPECT_FALSE(table.preserved());
    }
    ASSERT_TRUE(table.preserve(handover.sink).ok());
  }
}

TEST_P(PreserveTest, APreservedTableDoesNotChange) {
  RecordProperty("acceptance", "P15");
  Handover handover(GetParam(), Filling::Everything);
  Scene& scene = handover.scene;
  const Snapshot before = scene.snapshot();
  const auto marked = handover.sink.blocks;
  const PhysRange run{handover.guest[0].start, of().granule()};
  Gather gather;
  std::vector<u64> words(1);
  for (const auto& [iova, leaf] : scene.model) {
    for (const u64 at : {iova, iova + (u64{1} << leaf.size_lg2)}) {
      EXPECT_EQ(scene.table->map(Iova(at), {&run, 1}, Prot::ReadWrite, gather).code(), Code::Busy);
      EXPECT_EQ(scene.table->unmap(Iova(at), of().granule(), gather).code(), Code::Busy);
      EXPECT_EQ(scene.table->cut(Iova(at), gather).code(), Code::Busy);
      const DirtyBitmap bitmap{Iova(at), of().granule_lg2(), words};
      if (of().dirty) {
        EXPECT_EQ(scene.table->read_dirty({Iova(at), of().granule()}, DirtyRead::Clear, &bitmap, gather).code(),
                  Code::Busy);
      }
    }
  }
  EXPECT_EQ(scene.table->preserve(handover.sink).code(), Code::Busy);
  EXPECT_TRUE(gather.empty());
  EXPECT_EQ(scene.snapshot(), before);
  EXPECT_EQ(handover.sink.blocks, marked);
  EXPECT_EQ(scene.table->saved(), handover.saved) << "and says the same again";
}

TEST_P(PreserveTest, SaysOfItselfWhatTheWalkFinds) {
  RecordProperty("acceptance", "P2 P3");
  for (const Filling filling : all_fillings) {
    Handover handover(GetParam(), filling);
    const SavedTable& saved = handover.saved;
    const Scene& scene = handover.scene;
    EXPECT_EQ(saved.top, scene.table->top());
    EXPECT_EQ(saved.top_level + 1, scene.table->levels());
    EXPECT_EQ(saved.table_count, scene.walk_naively().tables);
    EXPECT_EQ(saved.extent, of().config.extent);
    EXPECT_EQ(saved.encryption, of().config.encryption);
    const unsigned covered = std::min<unsigned>(of().config.iova_bits, of().item_lg2(scene.table->levels()));
    EXPECT_EQ(saved.iova_bits, of().config.dynamic_top ? covered : of().config.iova_bits);
    u64 sum = 0;
    for (const auto& [page, level] : handover.tables)
      sum += of().items.digest(PhysAddr(page), level, {handover.scene.words(PhysAddr(page)), handover.words_of(level)});
    EXPECT_EQ(saved.checksum, sum);
  }
}

class RestoreTest : public OverVariants {};

/// The features that made the table are not known to the next kernel: format, extent and encryption are all it has.
template <class T>
concept HasFeatures = requires(T t) { t.features; };
static_assert(HasFeatures<TableConfig> && !HasFeatures<SavedTable>);

TEST_P(RestoreTest, IsVerifiedReadAndFreedWithoutALeakAndWithoutAnAllocation) {
  RecordProperty("acceptance", "P6 P7 P8 P9 P10 P11 P12 P13 P14 P16 G3 G4");
  for (const Filling filling : all_fillings) {
    Handover handover(GetParam(), filling);
    handover.jump();
    Memory& memory = handover.next->memory;
    for (const auto& [page, level] : handover.tables) {  // whatever the descriptors held
      memory.frames.at(PhysAddr(page)).live = 0xdead;
      memory.frames.at(PhysAddr(page)).link = 0xdead'dead'dead'dead;
    }
    const u64 free_before = memory.buddy.free_frames();
    const u64 objects = memory.heap.live_objects();
    RestoredTable* restored = &handover.restore();
    const u64 free_with_object = memory.buddy.free_frames();
    handover.next->world.allocations = 0;
    handover.next->world.fail_allocation_at = 1;
    VerifyReport report;
    ASSERT_TRUE(restored->verify(report).ok()) << to_string(report.reason) << " at level " << unsigned{report.level};
    EXPECT_EQ(report.tables_met, handover.saved.table_count);
    const TreeReader reader = restored->reader().value();
    EXPECT_EQ(read_all(reader), handover.model());
    std::mt19937_64 random(3);
    for (const Span& span : of().spans()) {
      for (unsigned i = 0; i < 500; ++i) {
        const u64 iova = span.first + (random() & (span.last - span.first));
        const auto leaf = find_covering(handover.model(), iova);
        const auto found = reader.lookup(Iova(iova));
        ASSERT_EQ(found.ok(), leaf != handover.model().end());
        if (found.ok()) {
          ASSERT_EQ(found->address.value, leaf->second.address + (iova - leaf->first));
        }
      }
    }
    CountingRestorer restorer(memory);
    ASSERT_TRUE(RestoredTable::destroy(restored, restorer).ok());
    EXPECT_EQ(handover.next->world.allocations, 0u) << "nothing that could fail";
    handover.next->world.fail_allocation_at = 0;
    u64 handed_pages = 0;
    for (const auto& [start, order] : handover.sink.blocks)
      if (!handover.guest_blocks.blocks.contains({start, order})) handed_pages += u64{1} << order;
    EXPECT_EQ(restorer.pages, handed_pages) << "all that the old kernel held for tables";
    EXPECT_EQ(memory.heap.live_objects(), objects);
    EXPECT_GE(memory.buddy.free_frames(), free_with_object + handed_pages);
    EXPECT_EQ(memory.buddy.free_frames(), free_before + handed_pages) << "and all of it is free";
  }
}

TEST_P(RestoreTest, IsPassedOnOverThreeKernelsUnchanged) {
  Handover handover(GetParam(), Filling::Everything);
  for (unsigned kernel = 0; kernel < 3; ++kernel) {
    handover.jump();
    RestoredTable& restored = handover.restore();
    SetSink onward;
    EXPECT_EQ(restored.pass_on(onward).code(), GetParam().mode == TableMode::Page ? Code::NotSupported : Code::Ok);
    onward.blocks.clear();
    VerifyReport report;
    ASSERT_TRUE(restored.verify(report).ok()) << to_string(report.reason);
    ASSERT_EQ(read_all(restored.reader().value()), handover.model());
    ASSERT_EQ(restored.pass_on(onward).value(), handover.saved);
    auto expected = handover.sink.blocks;
    for (const auto& block : handover.guest_blocks.blocks) expected.erase(block);
    EXPECT_EQ(onward.blocks, expected);
    restored.cancel_pass_on(onward);
    EXPECT_TRUE(onward.blocks.empty());
    for (std::size_t k = 0; k < expected.size(); ++k) {
      SetSink full;
      full.fail_at = k;
      EXPECT_EQ(restored.pass_on(full).code(), Code::NoMemory);
      EXPECT_TRUE(full.blocks.empty()) << "at block " << k;
    }
    RestoredTable::forget(&restored);
  }
}

TEST_P(RestoreTest, ATableThatWasNotHandedOverIsMissed) {
  RecordProperty("acceptance", "G5");
  Handover handover(GetParam(), Filling::Everything);
  std::vector<std::pair<u64, u32>> own;
  for (const auto& block : handover.sink.blocks)
    if (!handover.guest_blocks.blocks.contains(block)) own.push_back(block);
  const auto missing = own[own.size() / 2];
  handover.sink.blocks.erase(missing);
  handover.jump();
  handover.sink.blocks.insert(missing);
  const auto made = RestoredTable::create(handover.next->memory, of().config.format, handover.saved, GetParam().mode,
                                          handover.blocks);
  if (GetParam().mode == TableMode::Arena) {
    EXPECT_EQ(made.code(), Code::Corrupt) << "its block list is not to be believed";
    return;
  }
  VerifyReport report;
  EXPECT_EQ((*made)->verify(report).code(), Code::Corrupt);
  EXPECT_EQ(report.reason, VerifyReason::NotOwned);
  EXPECT_TRUE(report.table.value == handover.saved.top.value || handover.tables.contains(report.table.value))
      << "named by the entry that leads to it";
  EXPECT_FALSE((*made)->reader().ok());
  EXPECT_EQ(RestoredTable::destroy(*made, handover.next->restorer).code(), Code::NotSupported);
  RestoredTable::forget(*made);
}

TEST_P(RestoreTest, AGrownTopIsFoundAtEveryHeight) {
  RecordProperty("acceptance", "P2 P3 P6");
  if (!of().config.dynamic_top) return;
  for (unsigned levels = of().config.levels; levels <= of().max_levels; ++levels) {
    const unsigned covered = std::min<unsigned>(of().config.iova_bits, of().item_lg2(levels));
    Handover handover(GetParam(), Iova(low_bits(covered) & ~(of().granule() - 1)));
    EXPECT_EQ(handover.saved.top_level + 1u, levels);
    EXPECT_EQ(handover.saved.iova_bits, covered);
    EXPECT_EQ(handover.saved.table_count, handover.walked.tables);
    handover.jump();
    RestoredTable& restored = handover.restore();
    VerifyReport report;
    ASSERT_TRUE(restored.verify(report).ok()) << to_string(report.reason);
    EXPECT_EQ(read_all(restored.reader().value()), handover.model());
    EXPECT_TRUE(RestoredTable::destroy(&restored, handover.next->restorer).ok());
  }
}

bool is_restorable(const Variant& variant) { return variant.of->restorable; }
INSTANTIATE_TEST_SUITE_P(All, PreserveTest, testing::ValuesIn(variants_that(&is_restorable)), name_of);
INSTANTIATE_TEST_SUITE_P(All, RestoreTest, testing::ValuesIn(variants_that(&is_restorable)), name_of);

class LargeLeafTest : public OverVariants {};

/// A machine with room for leaves of up to 1 GiB at every level; the next kernel overwrites nothing, for there is much.
TEST_P(LargeLeafTest, LeavesOfEveryLevelAreVerifiedAndTheirTargetsAreNotFreed) {
  RecordProperty("acceptance", "P6 P11");
  constexpr u64 gib = u64{1} << 30;
  Scene scene(GetParam(), 4 * gib);
  SetSink sink;
  std::vector<PhysAddr> below;
  for (u64 next = 0; next < 2 * gib;) {  // everything from 1 GiB to 2 GiB
    const PhysAddr block = scene.memory.buddy.allocate(max_order).value();
    next = block.value + (page_size_bytes << max_order);
    if (block.value < gib)
      below.push_back(block);
    else
      ASSERT_TRUE(sink.preserve(Block{block, max_order}).ok());
  }
  for (const PhysAddr block : below) scene.memory.buddy.release(block, max_order);
  const auto guest = sink.blocks;
  u64 levels = 0;
  for (const Span& span : of().spans()) {
    u64 at = span.first + (span.last - span.first) / 2 + 1;
    for (const unsigned size_lg2 : of().all_sizes()) {
      const u64 size = u64{1} << size_lg2;
      if (size > gib || at - span.first < 3 * size) continue;
      at = (at - size) & ~(size - 1);
      ASSERT_TRUE(scene.map(at, 2 * gib - size, size).ok());
      levels |= u64{1} << of().level_of(size_lg2);
    }
  }
  EXPECT_GE(std::popcount(levels), 2);
  ASSERT_TRUE(scene.table->preserve(sink).ok());
  const SavedTable saved = scene.table->saved();
  const std::vector<Block> blocks(scene.table->arena().blocks().begin(), scene.table->arena().blocks().end());
  const Model model = scene.model;
  scene.leave();

  TestWorld world(scene.world, AfterJump{});
  TestMemory host(world, TestOpen::Later);
  for (const auto& [start, order] : sink.blocks) ASSERT_TRUE(host.memory.mark_incoming({PhysAddr(start), order}).ok());
  host.memory.open();
  RestoredTable* restored =
      RestoredTable::create(host.memory, of().config.format, saved, GetParam().mode, blocks).value();
  VerifyReport report;
  ASSERT_TRUE(restored->verify(report).ok()) << to_string(report.reason);
  EXPECT_EQ(read_all(restored->reader().value()), model);
  CountingRestorer restorer(host.memory);
  EXPECT_TRUE(RestoredTable::destroy(restored, restorer).ok());
  for (const auto& [start, order] : sink.blocks)
    EXPECT_EQ(restorer.restore(PhysAddr(start)).ok(), guest.contains({start, order})) << std::hex << start;
}

bool is_restorable_alone(const Variant& variant) {
  return variant.of->restorable && variant.sharing == Sharing::Exclusive;
}
INSTANTIATE_TEST_SUITE_P(All, LargeLeafTest, testing::ValuesIn(variants_that(&is_restorable_alone)), name_of);

}  // namespace
}  // namespace page_tables

// Cutting leaves and reading dirtiness, in the formats that can.
#include "tests/page_tables/scene.hpp"

namespace page_tables {
namespace {

class CutTest : public OverVariants {};

TEST_P(CutTest, ALeafOfAnySizeIsCutAnywhereIntoTheLargestPieces) {
  if (!of().exchange) return;
  Scene scene(GetParam());
  const u64 page = of().granule();
  for (const unsigned size_lg2 : of().all_sizes()) {
    if (size_lg2 == of().granule_lg2()) continue;
    const u64 size = u64{1} << size_lg2;
    const Span span = of().spans().back();
    const u64 iova = span.last - low_bits(size_lg2);
    for (const u64 offset : {page, size / 2, size - page, (size / 3) & ~(page - 1)}) {
      if (offset == 0) continue;
      ASSERT_TRUE(scene.map(iova, of().target(size_lg2).value, size, of().permitted(Prot::Read)).ok());
      ASSERT_TRUE(scene.cut(iova + offset).ok());
      ASSERT_GE(scene.model.size(), 2u);
      ASSERT_TRUE(scene.cut(iova + offset).ok()) << "nothing crosses it any more";
      ASSERT_TRUE(scene.cut(iova).ok());
      ASSERT_EQ(scene.unmap(iova, offset), offset) << "just the part before the boundary";
      ASSERT_EQ(scene.unmap(iova + offset, size - offset), size - offset);
    }
  }
}

TEST_P(CutTest, WhatCannotBeCutIsRefusedAndNothingChanges) {
  Scene scene(GetParam());
  const u64 page = of().granule();
  const Span span = of().spans().back();
  const unsigned size_lg2 = of().all_sizes().back();
  const u64 iova = span.last - low_bits(size_lg2);
  ASSERT_TRUE(scene.map(iova, of().target(size_lg2).value, u64{1} << size_lg2).ok());
  const Snapshot before = scene.snapshot();
  Gather gather;
  EXPECT_EQ(scene.table->cut(Iova(iova + page / 2), gather).code(), Code::Invalid);
  if (!of().exchange) {
    EXPECT_EQ(scene.table->cut(Iova(iova + page), gather).code(), Code::NotSupported);
    EXPECT_TRUE(scene.table->cut(Iova(iova), gather).ok()) << "nothing needs to be exchanged";
  }
  EXPECT_TRUE(span.first == 0 || scene.table->cut(Iova(span.first - page), gather).code() == Code::OutOfRange);
  EXPECT_TRUE(gather.empty());
  EXPECT_EQ(scene.snapshot(), before);
}

TEST_P(CutTest, WithoutASmallerSizeThereIsNoCut) {
  if (!of().exchange || of().sizes.size() < 2 || of().sizes[0].size() < 2) return;
  // A contiguous leaf of the lowest level can be cut; that needs the smallest size, which every table has.
  Scene scene(GetParam());
  const unsigned size_lg2 = of().sizes[0][1];
  const u64 iova = of().boundary(of().spans().back());
  ASSERT_TRUE(scene.map(iova, of().target(size_lg2).value, u64{1} << size_lg2).ok());
  const u64 tables = scene.table->table_count();
  ASSERT_TRUE(scene.cut(iova + of().granule()).ok());
  EXPECT_EQ(scene.table->table_count(), tables) << "its items are rewritten in place";
}

INSTANTIATE_TEST_SUITE_P(All, CutTest, testing::ValuesIn(all_variants()), name_of);

class DirtyTest : public OverVariants {
 protected:
  /// A bitmap of one bit a granule.
  struct Bits {
    explicit Bits(const Configuration& of, u64 from, u64 pages)
        : words((pages + 63) / 64), bitmap{Iova(from), of.granule_lg2(), words} {}
    std::vector<u64> words;
    DirtyBitmap bitmap;
    [[nodiscard]] u64 count() const {
      u64 bits = 0;
      for (const u64 word : words) bits += static_cast<u64>(std::popcount(word));
      return bits;
    }
    [[nodiscard]] bool is_set(u64 page) const { return (words[page / 64] >> (page % 64) & 1) != 0; }
  };
  /// As hardware marks the item that translates @p iova: the bit or bits of each format, typed from its manual.
  static void mark_dirty(Scene& scene, u64 iova) {
    u64* slot = nullptr;
    const walk::ReadWord read = [&](PhysAddr at) -> std::optional<u64> {
      u64 word = 0;
      std::memcpy(&word, scene.world.direct_map() + at.value, 8);
      return word;
    };
    (void)scene.of.enumerate(read, scene.config, scene.table->top(), scene.table->levels(),
                             [&](const walk::FoundLeaf& leaf) {
                               const u64 offset = iova - leaf.mapping.iova;
                               if (offset >> leaf.mapping.page_lg2 != 0) return;
                               const u64 item = offset >> scene.of.item_lg2(leaf.level);
                               slot = scene.memory.map.at<u64>(leaf.entry) + item;
                             });
    ASSERT_NE(slot, nullptr);
    switch (scene.config.format) {
      case Format::VtdSecondStage: *slot |= u64{1} << 9; break;
      case Format::AmdV1: *slot |= u64{1} << 6; break;
      case Format::ArmStage1Granule4K:
      case Format::ArmStage1Granule16K:
      case Format::ArmStage1Granule64K: *slot &= ~(u64{1} << 7); break;
      case Format::ArmStage2Granule4K:
      case Format::ArmStage2Granule16K:
      case Format::ArmStage2Granule64K: *slot |= u64{1} << 7; break;
      default:
        if (scene.of.name.starts_with("amdv1_2k"))
          *slot |= u64{1} << 6;
        else if (scene.of.name.starts_with("tiny_own"))
          *slot &= ~(u64{1} << 7);
        else
          *slot |= u64{1} << 9;
    }
  }
  static u64 read(Scene& scene, u64 iova, u64 bytes, DirtyRead how, Bits& bits, u64* invalidated = nullptr) {
    Gather gather;
    EXPECT_TRUE(scene.table->read_dirty({Iova(iova), bytes}, how, &bits.bitmap, gather).ok());
    if (invalidated != nullptr) *invalidated = gather.empty() ? 0 : gather.ranges()[0].size_bytes;
    gather.complete(*scene.table);
    return bits.count();
  }
};

TEST_P(DirtyTest, AnyItemOfALeafMakesAllOfItDirtyUntilItIsCleared) {
  Scene scene(GetParam());
  const u64 page = of().granule();
  const Span span = of().spans().back();
  for (const unsigned size_lg2 : of().all_sizes()) {
    const u64 size = u64{1} << size_lg2;
    const u64 pages = size >> of().granule_lg2();
    if (pages > 1 << 16 || low_bits(size_lg2 + 1) > span.last - span.first) continue;
    const u64 iova = span.first + size;
    ASSERT_TRUE(scene.map(iova, of().target(size_lg2).value, size).ok());
    for (const u64 at : {iova, iova + size / 2, iova + size - page}) {
      for (const DirtyRead how : {DirtyRead::Clear, DirtyRead::ClearAtomic}) {
        Bits clean(of(), iova, pages);
        ASSERT_EQ(read(scene, iova, size, DirtyRead::Keep, clean), 0u) << "a new leaf is clean";
        ASSERT_NO_FATAL_FAILURE(mark_dirty(scene, at));
        Bits part(of(), iova, pages);
        ASSERT_EQ(read(scene, iova + size - page, page, DirtyRead::Keep, part), 1u) << "only what is asked";
        EXPECT_TRUE(part.is_set(pages - 1));
        u64 invalidated = 0;
        Bits kept(of(), iova, pages);
        ASSERT_EQ(read(scene, iova, size, DirtyRead::Keep, kept, &invalidated), pages) << "a leaf is dirty as a whole";
        EXPECT_EQ(invalidated, 0u);
        Bits cleared(of(), iova, pages);
        ASSERT_EQ(read(scene, iova, size, how, cleared, &invalidated), pages);
        EXPECT_EQ(invalidated, size);
        scene.check();
      }
    }
    ASSERT_EQ(scene.unmap(iova, size), size);
  }
}

TEST_P(DirtyTest, ACutLeavesEveryPieceDirty) {
  if (!of().exchange) return;
  Scene scene(GetParam());
  const unsigned size_lg2 = of().all_sizes()[1];
  const u64 size = u64{1} << size_lg2;
  const u64 pages = size >> of().granule_lg2();
  const u64 iova = of().spans().back().first + size;
  for (const bool dirty : {true, false}) {
    ASSERT_TRUE(scene.map(iova, of().target(size_lg2).value, size).ok());
    if (dirty) {
      ASSERT_NO_FATAL_FAILURE(mark_dirty(scene, iova + size / 2));
    }
    ASSERT_TRUE(scene.cut(iova + of().granule()).ok());
    Bits bits(of(), iova, pages);
    EXPECT_EQ(read(scene, iova, size, DirtyRead::Keep, bits), dirty ? pages : 0);
    scene.unmap_everything();
  }
}

INSTANTIATE_TEST_SUITE_P(All, DirtyTest, testing::ValuesIn(variants_that([](const Variant& v) { return v.of->dirty; })),
                         name_of);

class CleanTest : public OverVariants {};

TEST_P(CleanTest, FormatsThatCannotTellSayThatTheyCannot) {
  Scene scene(GetParam());
  std::vector<u64> words(1);
  const DirtyBitmap bitmap{Iova(of().spans()[0].first), of().granule_lg2(), words};
  Gather gather;
  EXPECT_EQ(scene.table->read_dirty({bitmap.first, of().granule()}, DirtyRead::Keep, &bitmap, gather).code(),
            Code::NotSupported);
}

INSTANTIATE_TEST_SUITE_P(All, CleanTest,
                         testing::ValuesIn(variants_that([](const Variant& v) { return !v.of->dirty; })), name_of);

}  // namespace
}  // namespace page_tables

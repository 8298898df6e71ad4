// Mapping: every size at every place, next to everything, with every permission; what is refused and how.
#include <random>

#include "tests/page_tables/scene.hpp"

namespace page_tables {
namespace {

class MapTest : public OverVariants {};

/// The first, the last and a middle place for a page of this size.
std::vector<u64> places(const Span& span, unsigned size_lg2) {
  const u64 offset = low_bits(size_lg2);
  std::vector<u64> all{span.first};
  if (span.last - span.first == offset) return all;
  all.push_back(span.last - offset);
  all.push_back((span.first + (span.last - span.first) / 2 + 0x1234'5678'9abc % ((span.last - span.first) / 4 + 1)) &
                ~offset);
  return all;
}

TEST_P(MapTest, EverySizeAloneIsOneLeafAtEveryPlaceAndLeavesNothing) {
  Scene scene(GetParam());
  for (const Span& span : of().spans()) {
    for (const unsigned size_lg2 : of().all_sizes()) {
      for (const u64 iova : places(span, size_lg2)) {
        const u64 size = u64{1} << size_lg2;
        ASSERT_TRUE(scene.map(iova, of().target(size_lg2).value, size).ok());
        ASSERT_EQ(scene.model.size(), 1u);
        EXPECT_EQ(scene.model.begin()->second.size_lg2, size_lg2);
        for (const u64 offset : {u64{0}, size / 2 + 1, size - 1})
          EXPECT_EQ(scene.table->lookup(Iova(iova + offset)).value(),
                    (Translation{PhysAddr(of().target(size_lg2).value + offset), size, of().granted(Prot::ReadWrite)}));
        ASSERT_EQ(scene.unmap(iova, size), size);
      }
    }
  }
  EXPECT_TRUE(scene.model.empty());
}

TEST_P(MapTest, EverySizeStandsBesideItsNeighbours) {
  Scene scene(GetParam());
  const auto sizes = of().all_sizes();
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    const unsigned size_lg2 = sizes[i];
    const u64 size = u64{1} << size_lg2;
    const Span span = of().spans().back();
    if ((span.last - span.first) >> size_lg2 < 3) continue;
    const u64 iova = span.first + size;
    for (const unsigned beside : {sizes[0], sizes[i == 0 ? 0 : i - 1], size_lg2}) {
      ASSERT_TRUE(scene.map(iova, of().target(size_lg2).value, size).ok());
      ASSERT_TRUE(scene.map(iova - (u64{1} << beside), of().target(beside, 1).value, u64{1} << beside).ok());
      ASSERT_TRUE(scene.map(iova + size, of().target(beside, 2).value, u64{1} << beside).ok());
      EXPECT_EQ(scene.model.size(), 3u);
      ASSERT_EQ(scene.unmap(iova, size), size) << "and not its neighbours";
      ASSERT_TRUE(scene.map(iova, of().target(size_lg2, 3).value, size).ok());
      ASSERT_EQ(scene.unmap(iova - (u64{1} << beside), size + (u64{2} << beside)), size + (u64{2} << beside));
      ASSERT_TRUE(scene.model.empty());
    }
  }
}

TEST_P(MapTest, EveryPermissionIsGrantedAsAskedOrRefused) {
  Scene scene(GetParam());
  const auto sizes = of().all_sizes();
  for (unsigned bits = 0; bits < 64; ++bits) {
    const Prot prot = static_cast<Prot>(bits);
    for (const unsigned size_lg2 : {sizes.front(), sizes[sizes.size() / 2]}) {
      const u64 iova = of().spans().back().first + (u64{1} << size_lg2);
      if (of().may_map(prot)) {
        ASSERT_TRUE(scene.map(iova, of().target(size_lg2).value, u64{1} << size_lg2, prot).ok()) << bits;
        EXPECT_EQ(scene.model.begin()->second.prot, of().granted(prot));
        scene.unmap_everything();
        continue;
      }
      const Snapshot before = scene.snapshot();
      const PhysRange run{of().target(size_lg2), u64{1} << size_lg2};
      Gather gather;
      EXPECT_EQ(scene.table->map(Iova(iova), {&run, 1}, prot, gather).code(), Code::Invalid) << bits;
      gather.complete(*scene.table);
      EXPECT_EQ(scene.snapshot(), before);
    }
  }
}

TEST_P(MapTest, RefusesWhatCannotBeMappedAndSaysWhy) {
  Scene scene(GetParam());
  const Span span = of().spans().back();
  const u64 page = of().granule();
  const u64 iova = of().boundary(span) - page;
  const u64 beyond = u64{1} << of().config.phys_bits;
  ASSERT_TRUE(scene.map(iova, 0, page).ok());  // so that the tables are there, for the shortest way through
  const Snapshot before = scene.snapshot();
  const auto map = [&](u64 from, std::vector<PhysRange> runs) {
    Gather gather;
    const Code code = scene.table->map(Iova(from), runs, Prot::ReadWrite, gather).code();
    EXPECT_TRUE(gather.empty());
    return code;
  };
  const auto unmap = [&](u64 from, u64 bytes) {
    Gather gather;
    const Code code = scene.table->unmap(Iova(from), bytes, gather).code();
    EXPECT_TRUE(gather.empty());
    return code;
  };
  const u64 free = iova - page;
  EXPECT_EQ(map(free, {}), Code::Invalid);
  EXPECT_EQ(map(free, {{PhysAddr(0), 0}}), Code::Invalid);
  EXPECT_EQ(map(free, {{PhysAddr(0), page}, {PhysAddr(page), 0}}), Code::Invalid);
  EXPECT_EQ(map(free + page / 2, {{PhysAddr(0), page}}), Code::Invalid);
  EXPECT_EQ(map(free, {{PhysAddr(page / 2), page}}), Code::Invalid);
  EXPECT_EQ(map(free, {{PhysAddr(0), page / 2}}), Code::Invalid);
  EXPECT_EQ(map(free, {{PhysAddr(0), page + page / 2}}), Code::Invalid);
  EXPECT_EQ(map(free, {{PhysAddr(beyond), page}}), Code::OutOfRange);
  EXPECT_EQ(map(free, {{PhysAddr(beyond - page), 2 * page}}), Code::OutOfRange);
  EXPECT_EQ(map(free, {{PhysAddr(0), ~u64{0} & ~(page - 1)}}), Code::OutOfRange);
  EXPECT_EQ(map(span.last - page + 1, {{PhysAddr(0), 2 * page}}), Code::OutOfRange) << "around the last address";
  EXPECT_EQ(map(~(page - 1), {{PhysAddr(0), 2 * page}}), Code::OutOfRange) << "around the end of all addresses";
  EXPECT_EQ(unmap(free, 0), Code::Invalid);
  EXPECT_EQ(unmap(free + page / 2, page), Code::Invalid);
  EXPECT_EQ(unmap(free, page / 2), Code::Invalid);
  EXPECT_EQ(unmap(span.last - page + 1, 2 * page), Code::OutOfRange);
  if (span.first != 0 || span.last != ~u64{0}) {
    const u64 outside = span.last != ~u64{0} ? span.last + 1 : span.first - page;
    EXPECT_EQ(map(outside, {{PhysAddr(0), page}}), Code::OutOfRange);
    EXPECT_EQ(unmap(outside, page), Code::OutOfRange);
    EXPECT_EQ(scene.table->lookup(Iova(outside)).code(), Code::OutOfRange);
    const u64 across = span.last != ~u64{0} ? span.last - page + 1 : span.first - page;
    EXPECT_EQ(map(across, {{PhysAddr(0), 2 * page}}), Code::OutOfRange) << "into the hole";
  }
  EXPECT_EQ(scene.snapshot(), before);
  ASSERT_TRUE(scene.map(span.last - page + 1, beyond - page, page).ok()) << "last page to last page";
}

TEST_P(MapTest, TheFirstAddressInUseIsNamed) {
  Scene scene(GetParam());
  const u64 page = of().granule();
  const u64 middle = of().boundary(of().spans().back());
  ASSERT_TRUE(scene.map(middle - page, of().target(of().granule_lg2()).value, page).ok());
  ASSERT_TRUE(scene.map(middle + 2 * page, of().target(of().granule_lg2(), 1).value, page).ok());
  const auto sizes = of().all_sizes();
  // The scene compares the name with the model and every word with before.
  for (const unsigned size_lg2 : sizes) {
    const u64 size = u64{1} << size_lg2;
    if (low_bits(size_lg2) >= middle - of().spans().back().first) continue;
    EXPECT_EQ(scene.map(middle - size, of().target(size_lg2).value, size).code(), Code::AddressInUse) << "below a leaf";
    EXPECT_EQ(scene.map(middle - size, of().target(size_lg2).value, 2 * size).code(), Code::AddressInUse);
  }
  EXPECT_EQ(scene.map(middle, of().target(20).value, 4 * page).code(), Code::AddressInUse) << "in the middle";
  EXPECT_EQ(scene.map(middle + 2 * page, of().target(20).value, page).code(), Code::AddressInUse) << "one page";
  EXPECT_EQ(scene.map(middle + page, of().target(20).value, 2 * page).code(), Code::AddressInUse) << "the last";
  for (const unsigned size_lg2 : sizes) {
    scene.unmap_everything();
    const u64 size = u64{1} << size_lg2;
    if (size_lg2 == sizes[0] || low_bits(size_lg2) >= middle - of().spans().back().first) continue;
    ASSERT_TRUE(scene.map(middle - size, of().target(size_lg2).value, size).ok());
    EXPECT_EQ(scene.map(middle - page, 0, page).code(), Code::AddressInUse) << "inside a large leaf";
    EXPECT_EQ(scene.map(middle - size / 2, 0, size / 2).code(), Code::AddressInUse);
  }
}

/// Filled with the smallest pages, unmapped so that empty tables stay behind, then mapped with the next size.
TEST_P(MapTest, ALargeLeafTakesThePlaceOfEmptyTables) {
  Scene scene(GetParam());
  const u64 page = of().granule();
  const Span span = of().spans().back();
  const u64 most_pages = of().index_bits > 9 ? 1 << 13 : 1 << 12;
  u64 replaced = 0;
  for (const unsigned size_lg2 : of().all_sizes()) {
    const u64 size = u64{1} << size_lg2;
    if (size >> of().granule_lg2() > most_pages || size > of().boundary(span) - span.first) continue;
    const u64 iova = of().boundary(span) - size;
    // The last page alone keeps every table from being covered; then it goes by itself.
    const u64 odd = of().target(size_lg2).value + page;  // out of step with the IOVA: the smallest pages only
    ASSERT_TRUE(scene.map(iova, odd & low_bits(of().config.phys_bits - 1), size).ok());
    if (size_lg2 != of().granule_lg2()) {
      ASSERT_EQ(scene.unmap(iova, size / 2), size / 2);
      for (u64 at = iova + size / 2; at != iova + size; at += size / 8 >= page ? size / 8 : page)
        scene.unmap(at, size / 8 >= page ? size / 8 : page);
    } else {
      ASSERT_EQ(scene.unmap(iova, size), size);
    }
    ASSERT_TRUE(scene.model.empty());
    ASSERT_TRUE(scene.map(iova, of().target(size_lg2).value, size).ok());
    ASSERT_EQ(scene.model.size(), 1u) << "one leaf";
    replaced += scene.gathered.tables;
    ASSERT_EQ(scene.unmap(iova, size), size);
  }
  EXPECT_GT(replaced, 0u);
}

TEST_P(MapTest, RunsThatContinueEachOtherShareALeafAndOthersKeepTheirPlace) {
  Scene scene(GetParam());
  const auto sizes = of().all_sizes();
  const u64 page = of().granule();
  for (std::size_t i = 1; i < sizes.size() && sizes[i] <= 34; ++i) {
    const u64 size = u64{1} << sizes[i];
    const Span span = of().spans().back();
    if (low_bits(sizes[i] + 2) > span.last - span.first) continue;
    const u64 iova = span.first + size;
    const u64 to = of().target(sizes[i]).value & low_bits(of().config.phys_bits - 1);
    const PhysRange runs[] = {{PhysAddr(to), page},
                              {PhysAddr(to + page), size - page},           // goes on: one leaf
                              {of().target(sizes[i], 7), size - page},      // aligned like the IOVA, not whole
                              {of().target(of().granule_lg2(), 9), page}};  // elsewhere
    if (size >> of().granule_lg2() > 1 << 15 && i > 2) {
      ASSERT_TRUE(scene.map(iova, std::span(runs).first(2)).ok());
      EXPECT_EQ(scene.model.size(), 1u);
    } else {
      ASSERT_TRUE(scene.map(iova, runs).ok());
      EXPECT_EQ(scene.model.begin()->second.size_lg2, sizes[i]);
      EXPECT_GE(scene.model.size(), 3u);
    }
    ASSERT_NO_FATAL_FAILURE(scene.unmap_everything());
  }
}

/// Ranges at random: what collides says so and changes nothing, and can be mapped when the others are gone.
TEST_P(MapTest, RandomRangesAreMappedOrCollideExactly) {
  std::mt19937_64 random(0x5eed);
  Scene scene(GetParam());
  const u64 page = of().granule();
  const auto spans = of().spans();
  const unsigned rounds = of().index_bits > 9 ? 10 : 30;
  for (unsigned round = 0; round < rounds; ++round) {
    scene.policy = random() % 2 == 0 ? GatherPolicy::NoGaps : GatherPolicy::Merging;
    const Span span = spans[random() % spans.size()];
    const unsigned window_lg2 =
        std::min<unsigned>(of().granule_lg2() + 2 * of().index_bits + 2, of().config.iova_bits - 1);
    const u64 window_first = round % 2 == 0 ? span.first : span.last - low_bits(window_lg2);
    const u64 pages = (low_bits(window_lg2) >> of().granule_lg2()) + 1;
    const u64 length = random() % 3 == 0 ? 1 + random() % std::min<u64>(pages, 200) : 1 + random() % 8;
    const u64 first = random() % pages;
    const u64 iova = window_first + first * page;
    const u64 bytes = std::min(length, pages - first) * page;
    u64 to = of().target(of().granule_lg2(), round).value & low_bits(of().config.phys_bits - 1);
    if (random() % 2 == 0) to = (to & ~low_bits(window_lg2)) | (iova & low_bits(window_lg2));
    to &= low_bits(of().config.phys_bits - 1);
    const Prot prot = of().permitted(static_cast<Prot>(1 + random() % 3));
    if (bytes > u64{1} << (of().config.phys_bits - 1)) continue;
    if (scene.map(iova, to, bytes, prot).ok()) continue;
    while (const auto used = first_mapped(scene.model, iova, iova + (bytes - 1))) {
      const auto [from, leaf] = *find_covering(scene.model, *used);
      ASSERT_EQ(scene.unmap(from, page), u64{1} << leaf.size_lg2);
    }
    ASSERT_TRUE(scene.map(iova, to, bytes, prot).ok());
  }
  scene.unmap_everything();
}

INSTANTIATE_TEST_SUITE_P(All, MapTest, testing::ValuesIn(all_variants()), name_of);

class FourKibibyteTest : public OverVariants {};

bool has_4k_2m_1g(const Variant& variant) {
  const auto sizes = variant.of->all_sizes();
  const auto has_size = [&](unsigned size_lg2) { return std::ranges::count(sizes, size_lg2) != 0; };
  return variant.of->granule_lg2() == 12 && has_size(21) && has_size(30) && variant.of->config.iova_bits >= 36 &&
         variant.of->config.extent != IovaExtent::Upper;
}
constexpr u64 only_4k_2m_1g = u64{1} << 12 | u64{1} << 21 | u64{1} << 30;

TEST_P(FourKibibyteTest, AnUnevenRangeBecomesExactlyTwentyLeaves) {
  Scene scene(GetParam(), Scene::default_ram, only_4k_2m_1g);
  const u64 start = u64{0x3f'e400} << 12;
  const u64 end = u64{0x4c'0600} << 12;
  ASSERT_TRUE(scene.map(start, start, end - start).ok());
  std::vector<unsigned> sizes;
  for (const auto& [iova, leaf] : scene.model) sizes.push_back(leaf.size_lg2);
  std::vector<unsigned> expected(14, 21);
  expected.insert(expected.end(), 3, 30);
  expected.insert(expected.end(), 3, 21);
  EXPECT_EQ(sizes, expected);
  EXPECT_EQ(scene.unmap(start, end - start), end - start);
}

TEST_P(FourKibibyteTest, ARangeOutOfStepWithItsTargetIsMappedPageByPage) {
  Scene scene(GetParam(), Scene::default_ram, only_4k_2m_1g);
  ASSERT_TRUE(scene.map(0xfef8'0000, 0x20'8b95'd000, 0x2'0000).ok());
  EXPECT_EQ(scene.model.size(), 32u);
  EXPECT_EQ(scene.table->lookup(Iova(0xfef9'ffff)).value().address, PhysAddr(0x20'8b97'cfff));
  EXPECT_EQ(scene.unmap(0xfef8'0000, 0x2'0000), 0x2'0000u);
}

INSTANTIATE_TEST_SUITE_P(All, FourKibibyteTest, testing::ValuesIn(variants_that(&has_4k_2m_1g)), name_of);

}  // namespace
}  // namespace page_tables

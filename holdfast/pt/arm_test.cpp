// Arm entries against values typed by hand from the Architecture Reference Manual.
#include <bit>

#include "holdfast/pt/arm_stage1.hpp"
#include "holdfast/pt/arm_stage2.hpp"
#include "holdfast/pt/test_format_conformance.hpp"
#include "holdfast/pt/test_format_support.hpp"

namespace holdfast::pt {
namespace {

using Stage1 = testing::Types<ArmStage1Granule4K, ArmStage1Granule16K, ArmStage1Granule64K>;
using Stage2 = testing::Types<ArmStage2Granule4K, ArmStage2Granule16K, ArmStage2Granule64K>;
using Both = testing::Types<ArmStage1Granule4K, ArmStage1Granule16K, ArmStage1Granule64K, ArmStage2Granule4K,
                            ArmStage2Granule16K, ArmStage2Granule64K>;
INSTANTIATE_TYPED_TEST_SUITE_P(Arm, FormatConformance, Both);

template <class F>
class ArmTest : public testing::Test {};
TYPED_TEST_SUITE(ArmTest, Both);
template <class F>
class ArmStage1Test : public testing::Test {};
TYPED_TEST_SUITE(ArmStage1Test, Stage1);
template <class F>
class ArmStage2Test : public testing::Test {};
TYPED_TEST_SUITE(ArmStage2Test, Stage2);

constexpr u64 kib = u64{1} << 10;
constexpr u64 mib = u64{1} << 20;
constexpr u64 gib = u64{1} << 30;
constexpr u64 tib = u64{1} << 40;

template <class F>
u64 leaf(u64 address, unsigned level, u64 size, Prot prot, Features features = Features::None) {
  return F::leaf(PhysAddr(address), level, static_cast<unsigned>(std::countr_zero(size)),
                 *F::attributes_of(prot, features));
}

/// Attributes of a page at 0, as one golden number.
template <class F>
u64 page(Prot prot, Features features = Features::None) {
  return leaf<F>(0, 0, u64{1} << F::granule_lg2, prot, features);
}

TYPED_TEST(ArmStage1Test, EncodesTheGoldenAttributes) {
  using F = TypeParam;
  EXPECT_EQ(page<F>(Prot::ReadWrite), 0xe43u);
  EXPECT_EQ(page<F>(Prot::Write), 0xe43u) << "what may be written may be read";
  EXPECT_EQ(page<F>(Prot::Read), 0xec3u);
  EXPECT_EQ(page<F>(Prot::ReadWrite | Prot::Cache), 0xf47u);
  EXPECT_EQ(page<F>(Prot::ReadWrite | Prot::Mmio), 0xe4bu);
  EXPECT_EQ(page<F>(Prot::ReadWrite | Prot::Mmio | Prot::Cache), 0xf4bu) << "device memory, inner shareable";
  EXPECT_EQ(page<F>(Prot::ReadWrite | Prot::Privileged), 0xe03u);
  EXPECT_EQ(page<F>(Prot::ReadWrite | Prot::NoExecute), 0x0060'0000'0000'0e43u);
  EXPECT_EQ(page<F>(Prot::ReadWrite, Features::NonSecure), 0xe63u);
  EXPECT_EQ(page<F>(Prot::ReadWrite, Features::DirtyTracking), 0x0008'0000'0000'0ec3u);
  EXPECT_EQ(page<F>(Prot::Read, Features::DirtyTracking), 0xec3u);
}

TYPED_TEST(ArmStage2Test, EncodesTheGoldenAttributes) {
  using F = TypeParam;
  EXPECT_EQ(page<F>(Prot::ReadWrite), 0x6d7u);
  EXPECT_EQ(page<F>(Prot::Read), 0x657u);
  EXPECT_EQ(page<F>(Prot::Write), 0x697u);
  EXPECT_EQ(page<F>(Prot::ReadWrite | Prot::Privileged), 0x6d7u) << "has no place";
  EXPECT_EQ(page<F>(Prot::ReadWrite | Prot::Cache), 0x7ffu);
  EXPECT_EQ(page<F>(Prot::ReadWrite | Prot::Mmio), 0x6c7u);
  EXPECT_EQ(page<F>(Prot::ReadWrite | Prot::Cache, Features::ForceWriteBack), 0x7dbu);
  EXPECT_EQ(page<F>(Prot::ReadWrite, Features::ForceWriteBack), 0x6d7u);
  EXPECT_EQ(page<F>(Prot::ReadWrite | Prot::Mmio, Features::ForceWriteBack), 0x6c7u);
  EXPECT_EQ(page<F>(Prot::ReadWrite | Prot::NoExecute), 0x0040'0000'0000'06d7u);
  EXPECT_EQ(page<F>(Prot::ReadWrite, Features::DirtyTracking), 0x0008'0000'0000'0657u);
  EXPECT_EQ(page<F>(Prot::Write, Features::DirtyTracking), 0x0008'0000'0000'0617u);
  EXPECT_EQ(page<F>(Prot::Read, Features::DirtyTracking), 0x657u);
}

TEST(ArmGranule4K, EncodesTheGoldenItems) {
  using F = ArmStage1Granule4K;
  EXPECT_EQ(leaf<F>(0x12345000, 0, 4 * kib, Prot::ReadWrite), 0x12345e43u);
  EXPECT_EQ(leaf<F>(0x12350000, 0, 64 * kib, Prot::ReadWrite), 0x0010'0000'1235'0e43u);
  EXPECT_EQ(leaf<F>(0x40200000, 1, 2 * mib, Prot::ReadWrite), 0x40200e41u);
  EXPECT_EQ(leaf<F>(0x42000000, 1, 32 * mib, Prot::ReadWrite), 0x0010'0000'4200'0e41u);
  EXPECT_EQ(leaf<F>(0xffff'c000'0000, 2, gib, Prot::ReadWrite), 0xffff'c000'0e41u);
  EXPECT_EQ(leaf<F>(0xfffc'0000'0000, 2, 16 * gib, Prot::ReadWrite), 0x0010'fffc'0000'0e41u);
  EXPECT_EQ(F::table(PhysAddr(0xffff'ffff'f000), 1), 0xffff'ffff'f003u);
  EXPECT_EQ(F::flushed_bit, 0x0080'0000'0000'0000u);
  EXPECT_EQ(leaf<ArmStage2Granule4K>(0x40200000, 1, 2 * mib, Prot::Read), 0x40200655u);
}

TEST(ArmGranule16K, EncodesTheGoldenItems) {
  using F = ArmStage1Granule16K;
  EXPECT_EQ(leaf<F>(0x12344000, 0, 16 * kib, Prot::ReadWrite), 0x12344e43u);
  EXPECT_EQ(leaf<F>(0x12200000, 0, 2 * mib, Prot::ReadWrite), 0x0010'0000'1220'0e43u);
  EXPECT_EQ(leaf<F>(0x42000000, 1, 32 * mib, Prot::ReadWrite), 0x42000e41u);
  EXPECT_EQ(leaf<F>(0xffff'c000'0000, 1, gib, Prot::ReadWrite), 0x0010'ffff'c000'0e41u);
  EXPECT_EQ(F::table(PhysAddr(0x7c000), 2), 0x7c003u);
}

TEST(ArmGranule64K, KeepsTheHighestAddressBitsBelowTheOthers) {
  using F = ArmStage1Granule64K;
  EXPECT_EQ(leaf<F>(0x000a'1234'5678'0000, 0, 64 * kib, Prot::ReadWrite), 0x1234'5678'ae43u);
  EXPECT_EQ(leaf<F>(0x000a'1234'5660'0000, 0, 2 * mib, Prot::ReadWrite), 0x0010'1234'5660'ae43u);
  EXPECT_EQ(leaf<F>(0x000f'0000'2000'0000, 1, 512 * mib, Prot::ReadWrite), 0x2000'fe41u);
  EXPECT_EQ(leaf<F>(0x0001'0004'0000'0000, 1, 16 * gib, Prot::ReadWrite), 0x0010'0004'0000'1e41u);
  EXPECT_EQ(leaf<F>(0x000f'fc00'0000'0000, 2, 4 * tib, Prot::ReadWrite), 0xfc00'0000'fe41u);
  EXPECT_EQ(F::table(PhysAddr(0x000b'0000'0003'0000), 1), 0x3b003u);
  EXPECT_EQ(F::table_address(0x3b003), PhysAddr(0x000b'0000'0003'0000));
  EXPECT_EQ(F::linear_lg2, 48u);
  EXPECT_EQ(F::max_phys_bits, 52u);
}

template <class F>
void expect_sizes(const std::vector<u64>& by_level) {
  for (unsigned level = 0; level < 6; ++level)
    EXPECT_EQ(F::leaf_sizes(level), level < by_level.size() ? by_level[level] : 0) << level;
  for (unsigned level = 0; level < by_level.size(); ++level)
    EXPECT_EQ(F::next_in_leaf(level), u64{1} << std::countr_zero(by_level[level])) << "each item has its own address";
}

TEST(ArmItems, HaveTheSizesOfTheirGranules) {
  const std::vector<u64> sizes_4k = {4 * kib | 64 * kib, 2 * mib | 32 * mib, gib | 16 * gib};
  const std::vector<u64> sizes_16k = {16 * kib | 2 * mib, 32 * mib | gib};
  const std::vector<u64> sizes_64k = {64 * kib | 2 * mib, 512 * mib | 16 * gib, 4 * tib};
  expect_sizes<ArmStage1Granule4K>(sizes_4k);
  expect_sizes<ArmStage2Granule4K>(sizes_4k);
  expect_sizes<ArmStage1Granule16K>(sizes_16k);
  expect_sizes<ArmStage2Granule16K>(sizes_16k);
  expect_sizes<ArmStage1Granule64K>(sizes_64k);
  expect_sizes<ArmStage2Granule64K>(sizes_64k);
}

TYPED_TEST(ArmTest, LeavesReadBack) {
  using F = TypeParam;
  constexpr Features single[] = {Features::DirtyTracking, Features::ForceWriteBack, Features::NonSecure};
  for (unsigned set = 0; set < 8; ++set) {
    Features features = Features::None;
    for (unsigned i = 0; i < 3; ++i)
      if ((set >> i & 1) != 0) features = features | single[i];
    if (only(features, F::features)) test::expect_leaves_read_back<F>(features);
  }
}

TYPED_TEST(ArmTest, ReadsTypesAsHardwareDoes) {
  using F = TypeParam;
  for (unsigned level = 0; level < F::max_levels; ++level) {
    const bool block = level != 0 && F::leaf_sizes(level) != 0;
    EXPECT_EQ(F::kind(0, level), EntryKind::Empty);
    EXPECT_EQ(F::kind(0x70e40, level), EntryKind::Empty);
    EXPECT_EQ(F::kind(0x70e42, level), EntryKind::Empty) << "type without valid";
    EXPECT_EQ(F::kind(0x70e41, level), block ? EntryKind::Leaf : EntryKind::Empty) << level;
    EXPECT_EQ(F::kind(0x70e43, level), level == 0 ? EntryKind::Leaf : EntryKind::Table) << level;
    EXPECT_EQ(F::unknown_bits(0x70e42, level), 0x70e42u) << "all of an item that is empty and not 0";
    EXPECT_EQ(F::unknown_bits(0x70e41, level) & 0x70000, 0x70000u) << "too small for a block, and nothing elsewhere";
  }
}

TYPED_TEST(ArmTest, FindsTheLeafFromEachOfItsItems) {
  using F = TypeParam;
  test::for_each_leaf_size<F>([](unsigned level, unsigned size_lg2) {
    const u64 size = u64{1} << size_lg2;
    const u64 first = leaf<F>(3 * size, level, size, Prot::Read);
    const u64 last = first + (items_of_leaf<F>(level, size_lg2) - 1) * F::next_in_leaf(level);
    EXPECT_EQ(F::leaf_address(last, level), PhysAddr(3 * size));
    EXPECT_EQ(F::leaf_size_lg2(last, level), size_lg2);
    EXPECT_EQ(last - first, size - item_size<F>(level));
  });
}

/// Where an item of 2^lg2 bytes has its address.
template <class F>
constexpr u64 address_mask(unsigned lg2) {
  const u64 below_48 = 0x0000'ffff'ffff'ffff & ~low_bits(lg2);
  return F::granule_lg2 == 16 ? below_48 | 0xf000 : below_48;
}

TYPED_TEST(ArmStage1Test, NamesEveryBitThatNobodyWrites) {
  using F = TypeParam;
  constexpr u64 base = 0x0060'0000'0000'0e40;  // no bit of it makes another unknown when it is set
  // DBM UXN PXN, nG AF SH AP NS, AttrIndx 0..2 (bit 4 would make it 4), type.
  constexpr u64 known = 0x0068'0000'0000'0fef;
  for (unsigned level = 0; level < F::max_levels; ++level) {
    if (F::leaf_sizes(level) == 0) continue;
    const u64 run = std::popcount(F::leaf_sizes(level)) == 2 ? u64{1} << 52 : 0;
    const u64 item = base | (level == 0 ? 3 : 1);
    // A block whose type becomes 11 is a table with attributes.
    const u64 type = level == 0 ? 0 : 2;
    test::expect_unknown<F>(item, level, (known | run | address_mask<F>(item_lg2<F>(level))) & ~type);
  }
}

TYPED_TEST(ArmStage2Test, NamesEveryBitThatNobodyWrites) {
  using F = TypeParam;
  constexpr u64 base = 0x0040'0000'0000'063c;  // write-back
  // DBM XN, AF SH S2AP, MemAttr, type.
  constexpr u64 known = 0x0068'0000'0000'07ff;
  for (unsigned level = 0; level < F::max_levels; ++level) {
    if (F::leaf_sizes(level) == 0) continue;
    const u64 run = std::popcount(F::leaf_sizes(level)) == 2 ? u64{1} << 52 : 0;
    const u64 item = base | (level == 0 ? 3 : 1);
    const u64 type = level == 0 ? 0 : 2;
    test::expect_unknown<F>(item, level, (known | run | address_mask<F>(item_lg2<F>(level))) & ~type);
  }
}

TYPED_TEST(ArmTest, NamesEveryBitOfATableThatNobodyWrites) {
  using F = TypeParam;
  for (unsigned level = 1; level < F::max_levels; ++level)
    test::expect_unknown<F>(3, level, 3 | u64{1} << 55 | address_mask<F>(F::granule_lg2));
  for (unsigned bit = 59; bit < 64; ++bit) EXPECT_FALSE(F::passes_all(3 | u64{1} << bit)) << bit;
}

TYPED_TEST(ArmStage1Test, NamesValuesOfFieldsThatNobodyWrites) {
  using F = TypeParam;
  EXPECT_EQ(F::unknown_bits(0xd43, 0), 0x100u) << "SH 1 is reserved";
  for (u64 index = 0; index < 8; ++index)
    EXPECT_EQ(F::unknown_bits(0xe43 | index << 2, 0), index <= 2 ? 0 : index << 2) << "MAIR has no more in use";
  EXPECT_EQ(F::unknown_bits(0x0020'0000'0000'0e43, 0), 0x0020'0000'0000'0000u);
  EXPECT_EQ(F::unknown_bits(0x0040'0000'0000'0e43, 0), 0x0040'0000'0000'0000u);
  EXPECT_EQ(F::unknown_bits(0x0060'0000'0000'0e43, 0), 0u);
}

TYPED_TEST(ArmStage2Test, NamesValuesOfFieldsThatNobodyWrites) {
  using F = TypeParam;
  EXPECT_EQ(F::unknown_bits(0x5d7, 0), 0x100u) << "SH 1 is reserved";
  for (u64 type = 1; type < 16; ++type) {
    const bool written = type == 1 || type == 5 || type == 6 || type == 15;
    EXPECT_EQ(F::unknown_bits(0x6c3 | type << 2, 0), written ? 0 : type << 2) << type;
  }
  EXPECT_EQ(F::unknown_bits(0x0020'0000'0000'06d7, 0), 0x0020'0000'0000'0000u);
  EXPECT_EQ(F::unknown_bits(0x0060'0000'0000'06d7, 0), 0u) << "as Linux writes it";
  EXPECT_EQ(F::prot(0x0060'0000'0000'06d7), Prot::ReadWrite | Prot::NoExecute);
}

TYPED_TEST(ArmStage1Test, ReadsBackWhatWasAllowed) {
  using F = TypeParam;
  for (const Features features : {Features::None, Features::DirtyTracking})
    for (const Prot prot : test::all_prots()) {
      const Result<u64> attributes = F::attributes_of(prot, features);
      if ((prot & Prot::ReadWrite) == Prot::None)
        EXPECT_EQ(attributes.code(), Code::Invalid);
      else
        EXPECT_EQ(F::prot(*attributes), prot | Prot::Read);
    }
}

TYPED_TEST(ArmStage2Test, ReadsBackWhatWasAllowed) {
  using F = TypeParam;
  constexpr Prot kept = Prot::ReadWrite | Prot::Cache | Prot::NoExecute | Prot::Mmio;
  for (const Features features : {Features::None, Features::DirtyTracking, Features::ForceWriteBack})
    for (const Prot prot : test::all_prots()) {
      const Result<u64> attributes = F::attributes_of(prot, features);
      if ((prot & Prot::ReadWrite) == Prot::None)
        EXPECT_EQ(attributes.code(), Code::Invalid);
      else
        EXPECT_EQ(F::prot(*attributes), prot & kept);
    }
}

TYPED_TEST(ArmTest, LeavesStartCleanAndHardwareMakesThemDirty) {
  using F = TypeParam;
  EXPECT_FALSE(F::dirty_bits(Features::None).known());
  const DirtyBits dirty = F::dirty_bits(Features::DirtyTracking);
  ASSERT_TRUE(dirty.known());
  test::for_each_leaf_size<F>([&](unsigned level, unsigned size_lg2) {
    const u64 size = u64{1} << size_lg2;
    const u64 clean = leaf<F>(size, level, size, Prot::ReadWrite, Features::DirtyTracking);
    EXPECT_FALSE(dirty.is_dirty(clean));
    const u64 written = clean ^ 0x80;  // what hardware does: AP[2] goes, S2AP[1] comes
    EXPECT_TRUE(dirty.is_dirty(written));
    EXPECT_EQ(written ^ dirty.flip, clean);
    EXPECT_EQ(F::prot(written), F::prot(clean)) << "dirty or not, it may be written";
    EXPECT_EQ(F::unknown_bits(written, level), 0u);
    EXPECT_EQ(F::leaf_address(written, level), PhysAddr(size));
    EXPECT_EQ((written ^ clean) & ~changing_bits<F>(clean), 0u) << "nothing that a digest counts";
    EXPECT_FALSE(dirty.is_dirty(leaf<F>(size, level, size, Prot::Read, Features::DirtyTracking)));
    EXPECT_FALSE(dirty.is_dirty(leaf<F>(size, level, size, Prot::ReadWrite))) << "mapped without tracking";
  });
}

TYPED_TEST(ArmTest, AWritePermissionIsNoHardwareBit) {
  using F = TypeParam;
  const u64 read_only = page<F>(Prot::Read);
  const u64 writable = page<F>(Prot::ReadWrite);
  EXPECT_EQ(read_only ^ writable, 0x80u);
  EXPECT_EQ(changing_bits<F>(read_only), 0u);
  EXPECT_EQ(changing_bits<F>(writable), 0u);
  EXPECT_EQ(changing_bits<F>(F::table(PhysAddr(0), 1)), 0u);
  EXPECT_EQ(changing_bits<F>(page<F>(Prot::ReadWrite, Features::DirtyTracking)), 0x80u);
  EXPECT_EQ(F::hardware_bits, 0x80u);
}

TYPED_TEST(ArmTest, ExchangesOnlyWhereHardwareSaysSo) {
  EXPECT_FALSE(TypeParam::allows_exchange(Features::None));
  EXPECT_FALSE(TypeParam::allows_exchange(Features::DirtyTracking));
  EXPECT_TRUE(TypeParam::allows_exchange(Features::Exchange));
}

TEST(ArmStage1, HeightFollowsFromWidth) {
  test::expect_shapes<ArmStage1Granule4K>({{}, {25, 30}, {31, 39}, {40, 48}});
  test::expect_shapes<ArmStage1Granule16K>({{}, {26, 36}, {37, 47}, {48, 48}});
  test::expect_shapes<ArmStage1Granule64K>({{}, {30, 42}, {43, 52}});
  EXPECT_TRUE(is_valid_tree<ArmStage1Granule4K>(4, 48, IovaExtent::Lower, 40)) << "IOVA may be wider than output";
  EXPECT_TRUE(is_valid_tree<ArmStage1Granule4K>(4, 48, IovaExtent::Upper, 40));
  EXPECT_FALSE(is_valid_tree<ArmStage1Granule4K>(4, 48, IovaExtent::SignExtended, 40));
  EXPECT_FALSE(is_valid_tree<ArmStage1Granule4K>(4, 48, IovaExtent::Lower, 52));
}

TEST(ArmStage2, UpTo16TablesLieSideBySideAtTheTop) {
  test::expect_shapes<ArmStage2Granule4K>({{}, {25, 34}, {31, 43}, {40, 48}});
  test::expect_shapes<ArmStage2Granule16K>({{}, {26, 40}, {37, 48}});
  test::expect_shapes<ArmStage2Granule64K>({{}, {30, 46}, {43, 52}});
  EXPECT_EQ(top_order<ArmStage2Granule4K>(2, 43), 4u) << "16 tables of 4 KiB";
  EXPECT_EQ(top_order<ArmStage2Granule16K>(2, 48), 3u) << "2 tables of 16 KiB";
  EXPECT_EQ(top_order<ArmStage2Granule64K>(1, 46), 8u) << "16 tables of 64 KiB";
  EXPECT_EQ(top_order<ArmStage2Granule64K>(1, 30), 4u) << "never less than a table";
}

TEST(ArmStage2, TheHighestStartLevelWantsWideAddresses) {
  for (unsigned phys = 32; phys <= 48; ++phys) {
    EXPECT_EQ(is_valid_tree<ArmStage2Granule4K>(4, 40, IovaExtent::Lower, phys), phys >= 44) << phys;
    EXPECT_EQ(is_valid_tree<ArmStage2Granule4K>(3, 40, IovaExtent::Lower, phys), phys >= 40) << phys;
    EXPECT_EQ(is_valid_tree<ArmStage2Granule16K>(3, 40, IovaExtent::Lower, phys), phys >= 42) << phys;
    EXPECT_EQ(is_valid_tree<ArmStage2Granule16K>(2, 40, IovaExtent::Lower, phys), phys >= 40) << phys;
    EXPECT_EQ(is_valid_tree<ArmStage2Granule64K>(3, 43, IovaExtent::Lower, phys), phys >= 44) << phys;
    EXPECT_EQ(is_valid_tree<ArmStage2Granule64K>(2, 42, IovaExtent::Lower, phys), phys >= 42) << phys;
  }
  EXPECT_FALSE(is_valid_tree<ArmStage2Granule4K>(4, 48, IovaExtent::Lower, 46)) << "wider than the output";
  EXPECT_TRUE(is_valid_tree<ArmStage2Granule4K>(4, 48, IovaExtent::Lower, 48));
  EXPECT_FALSE(is_valid_tree<ArmStage2Granule4K>(4, 48, IovaExtent::Upper, 48));
}

static_assert(ArmStage1Granule4K::format == Format{6} && ArmStage1Granule16K::format == Format{7});
static_assert(ArmStage1Granule64K::format == Format{8} && ArmStage2Granule4K::format == Format{9});
static_assert(ArmStage2Granule16K::format == Format{10} && ArmStage2Granule64K::format == Format{11});

}  // namespace
}  // namespace holdfast::pt

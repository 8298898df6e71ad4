// The formats for tests: that they keep what formats must, and differ as test_formats.hpp says; against values typed by
// hand.
#include "holdfast/pt/test_formats.hpp"

#include "holdfast/pt/test_format_conformance.hpp"

namespace holdfast::pt {
namespace {

using ForTests = ::testing::Types<AmdV1Granule2K, TinyFormat, TinyReplicated, TinyOwnAddress>;
INSTANTIATE_TYPED_TEST_SUITE_P(ForTests, FormatConformance, ForTests);
INSTANTIATE_TYPED_TEST_SUITE_P(VtdSecondStage, FormatConformance, VtdSecondStage);

template <class F>
u64 leaf(u64 address, unsigned level, unsigned size_lg2, Prot prot = Prot::ReadWrite,
         Features features = Features::None) {
  return F::leaf(PhysAddr(address), level, size_lg2, *F::attributes_of(prot, features));
}

TEST(AmdV1Granule2K, CountsAddressesInPagesOf2K) {
  using F = AmdV1Granule2K;
  EXPECT_EQ(leaf<F>(0x1234'5800, 0, 11), 0x6000'0000'2468'b001u);
  EXPECT_EQ(leaf<F>(0x1234'5000, 0, 12), 0x6000'0000'2468'ae01u) << "two items, no ones before the zero";
  EXPECT_EQ(leaf<F>(0x1234'4000, 0, 14), 0x6000'0000'2468'be01u);
  EXPECT_EQ(leaf<F>(0x4010'0000, 1, 20), 0x6000'0000'8020'0001u);
  EXPECT_EQ(leaf<F>(0x0007'ffff'ffff'f800, 0, 11), 0x600f'ffff'ffff'f001u);
  EXPECT_EQ(F::table(PhysAddr(0x7000), 1), 0x6000'0000'0000'e201u);
  EXPECT_EQ(F::table_address(0x6000'0000'0000'f201), PhysAddr(0x7000));
  EXPECT_EQ(F::unknown_bits(0x6000'0000'0000'f201, 1), 0x1000u) << "tables are pages of 4 KiB";
}

TEST(AmdV1Granule2K, HasTheSizesOfItsGranule) {
  using F = AmdV1Granule2K;
  EXPECT_EQ(F::leaf_sizes(0), 0xf'f800u);          // 2 KiB .. 512 KiB
  EXPECT_EQ(F::leaf_sizes(1), 0x1ff0'0000u);       // 1 MiB .. 256 MiB
  EXPECT_EQ(F::leaf_sizes(2), 0x3f'e000'0000u);    // 512 MiB .. 128 GiB
  EXPECT_EQ(F::leaf_sizes(3), 0x7f40'0000'0000u);  // 256 GiB, 1 TiB .. 64 TiB
  EXPECT_EQ(F::leaf_sizes(4), 0u);
  EXPECT_TRUE(F::is_valid_shape(5, 56));
  EXPECT_FALSE(F::is_valid_shape(5, 57));
  EXPECT_FALSE(F::is_valid_shape(6, 56));
  EXPECT_EQ(table_order<F>, 0u);
}

TEST(TinyFormat, HasTheBitsOfTheSecondStageAndTablesOfFour) {
  using F = TinyFormat;
  EXPECT_EQ(leaf<F>(0x7000, 0, 12), 0x7003u);
  EXPECT_EQ(leaf<F>(0x1'4000, 1, 14), 0x1'4083u);
  EXPECT_EQ(leaf<F>(0x3'0000, 2, 16, Prot::Read), 0x3'0081u);
  EXPECT_EQ(F::table(PhysAddr(0x9000), 3), 0x9003u);
  EXPECT_EQ(items_per_table<F>, 4u);
  EXPECT_EQ(F::leaf_sizes(2), 0x1'0000u);
  EXPECT_EQ(F::leaf_sizes(3), 0u);
  EXPECT_TRUE(F::is_valid_shape(6, 24));
  EXPECT_TRUE(F::is_valid_shape(2, 16));
  EXPECT_FALSE(F::is_valid_shape(2, 17));
  EXPECT_TRUE(F::dynamic_top);
}

TEST(TinyReplicated, RepeatsTheSizeInEveryItem) {
  using F = TinyReplicated;
  EXPECT_EQ(leaf<F>(0x7000, 0, 12), 0x7003u);
  EXPECT_EQ(leaf<F>(0x6000, 0, 13), 0x8000'0000'0000'7003u);
  EXPECT_EQ(leaf<F>(0x4000, 0, 14), 0x8000'0000'0000'6003u);
  EXPECT_EQ(leaf<F>(0x1'8000, 1, 15), 0x1'8083u);
  EXPECT_EQ(leaf<F>(0x6'0000, 1, 17), 0x8000'0000'0007'0083u);
  EXPECT_EQ(F::next_in_leaf(0), 0u);
  EXPECT_EQ(F::leaf_sizes(0), 0x7000u);
  EXPECT_EQ(F::leaf_sizes(1), 0x3'8000u);
  EXPECT_EQ(F::leaf_sizes(2), 0x4'0000u);
  EXPECT_EQ(F::leaf_sizes(3), 0u);
  EXPECT_EQ(F::unknown_bits(0x8000'0000'0000'8003, 0), 0x8000'0000'0000'8003u) << "64 KiB of 4 KiB items";
  EXPECT_EQ(F::unknown_bits(0x7403, 1), 0x400u) << "nobody marks \"flushed\"";
}

TEST(TinyOwnAddress, GivesEveryItemItsOwnAddress) {
  using F = TinyOwnAddress;
  EXPECT_EQ(leaf<F>(0x7000, 0, 12), 0x7403u);
  EXPECT_EQ(leaf<F>(0x7000, 0, 12, Prot::Read), 0x7483u);
  EXPECT_EQ(leaf<F>(0x7000, 0, 12, Prot::ReadWrite, Features::DirtyTracking), 0x0008'0000'0000'7483u);
  EXPECT_EQ(leaf<F>(0x4000, 0, 14), 0x0010'0000'0000'4403u);
  EXPECT_EQ(leaf<F>(0x4000, 0, 14) + 3 * F::next_in_leaf(0), 0x0010'0000'0000'7403u);
  EXPECT_EQ(F::leaf_address(0x0010'0000'0000'7403, 0), PhysAddr(0x4000));
  EXPECT_EQ(leaf<F>(0x1'0000, 1, 16), 0x0010'0000'0001'0401u);
  EXPECT_EQ(F::leaf_address(0x0010'0000'0001'8401, 1), PhysAddr(0x1'0000));
  EXPECT_EQ(F::leaf_sizes(0), 0x5000u);
  EXPECT_EQ(F::leaf_sizes(1), 0x1'8000u);
  EXPECT_EQ(F::leaf_sizes(2), 0x4'0000u);
  EXPECT_EQ(F::unknown_bits(0x0010'0000'0004'0401, 2), u64{1} << 52) << "nothing is joined at level 2";
  EXPECT_EQ(F::kind(0x7401, 0), EntryKind::Empty) << "a page has bit 1";
}

TEST(TinyOwnAddress, IsDirtyWhenReadOnlyWasTakenAway) {
  using F = TinyOwnAddress;
  EXPECT_FALSE(F::dirty_bits(Features::None).known());
  const DirtyBits bits = F::dirty_bits(Features::DirtyTracking);
  EXPECT_FALSE(bits.is_dirty(0x0008'0000'0000'7483));
  EXPECT_TRUE(bits.is_dirty(0x0008'0000'0000'7403));
  EXPECT_FALSE(bits.is_dirty(0x7483)) << "read-only for good";
  EXPECT_EQ(F::hardware_bits_of(0x7483), 0x400u);
  EXPECT_EQ(F::hardware_bits_of(0x0008'0000'0000'7483), 0x480u);
  EXPECT_FALSE(F::allows_exchange(Features::None));
  EXPECT_TRUE(F::allows_exchange(Features::Exchange));
}

}  // namespace
}  // namespace holdfast::pt

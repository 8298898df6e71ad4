// AMDv1 entries against values typed by hand from the specification (2.2.3, tables 14 and 15) and from what Linux
// writes.
#include "holdfast/pt/amd_v1.hpp"

#include "holdfast/pt/test_format_conformance.hpp"

namespace holdfast::pt {
namespace {

using F = AmdV1;

INSTANTIATE_TYPED_TEST_SUITE_P(AmdV1, FormatConformance, AmdV1);

u64 leaf(u64 address, unsigned level, unsigned size_lg2, Prot prot = Prot::ReadWrite,
         Features features = Features::None) {
  return F::leaf(PhysAddr(address), level, size_lg2, *F::attributes_of(prot, features));
}

TEST(AmdV1, EncodesTheGoldenEntries) {
  EXPECT_EQ(leaf(0x12345000, 0, 12), 0x6000'0000'1234'5001u);  // IW IR PR
  EXPECT_EQ(leaf(0x12345000, 0, 12, Prot::Read), 0x2000'0000'1234'5001u);
  EXPECT_EQ(leaf(0x12345000, 0, 12, Prot::Write), 0x4000'0000'1234'5001u);
  EXPECT_EQ(leaf(0x12345000, 0, 12, Prot::ReadWrite, Features::ForceCoherence), 0x7000'0000'1234'5001u);
  EXPECT_EQ(leaf(0x40200000, 1, 21), 0x6000'0000'4020'0001u) << "NextLevel 0 where one item suffices";
  EXPECT_EQ(leaf(0x40000000, 2, 30), 0x6000'0000'4000'0001u);
  EXPECT_EQ(leaf(0x0001'0000'0000'0000, 4, 48), 0x6001'0000'0000'0001u);
  EXPECT_EQ(F::table(PhysAddr(0x7000), 1), 0x6000'0000'0000'7201u);
  EXPECT_EQ(F::table(PhysAddr(0x7000), 2), 0x6000'0000'0000'7401u);
  EXPECT_EQ(F::table(PhysAddr(0x7000), 3), 0x6000'0000'0000'7601u);
  EXPECT_EQ(F::table(PhysAddr(0x7000), 4), 0x6000'0000'0000'7801u);
  EXPECT_EQ(F::table(PhysAddr(0x000f'ffff'ffff'f000), 5), 0x600f'ffff'ffff'fa01u);
  EXPECT_EQ(F::flushed_bit, 0u);
  EXPECT_EQ(F::hardware_bits, 0x60u);
}

// Table 14: the address has ones up to a zero at half the page's size.
TEST(AmdV1, EncodesTheSizeOfAContiguousLeaf) {
  EXPECT_EQ(leaf(0, 0, 13), 0x6000'0000'0000'0e01u);
  EXPECT_EQ(leaf(0x12344000, 0, 14), 0x6000'0000'1234'5e01u);
  EXPECT_EQ(leaf(0x12340000, 0, 16), 0x6000'0000'1234'7e01u);
  EXPECT_EQ(leaf(0x12300000, 0, 20), 0x6000'0000'1237'fe01u);
  EXPECT_EQ(leaf(0x40400000, 1, 22), 0x6000'0000'405f'fe01u);
  EXPECT_EQ(leaf(0x60000000, 1, 29), 0x6000'0000'6fff'fe01u);
  EXPECT_EQ(leaf(0x80000000, 2, 31), 0x6000'0000'bfff'fe01u);
  EXPECT_EQ(leaf(0x40'0000'0000, 2, 38), 0x6000'005f'ffff'fe01u);
  EXPECT_EQ(leaf(0x100'0000'0000, 3, 40), 0x6000'017f'ffff'fe01u);
  EXPECT_EQ(leaf(0x8000'0000'0000, 3, 47), 0x6000'bfff'ffff'fe01u);
  EXPECT_EQ(leaf(0x0008'0000'0000'0000, 4, 51), 0x600b'ffff'ffff'fe01u);
}

TEST(AmdV1, ReadsTheGoldenEntries) {
  EXPECT_EQ(F::kind(0x6000'0000'1234'5001, 0), EntryKind::Leaf);
  EXPECT_EQ(F::kind(0x6000'0000'4020'0001, 1), EntryKind::Leaf);
  EXPECT_EQ(F::kind(0x6000'0000'405f'fe01, 1), EntryKind::Leaf);
  EXPECT_EQ(F::kind(0x6000'0000'0000'7201, 1), EntryKind::Table);
  EXPECT_EQ(F::kind(0x6000'0000'0000'7a01, 5), EntryKind::Table);
  EXPECT_EQ(F::kind(0x6000'0000'0000'7201, 0), EntryKind::Leaf) << "the smallest pages have no tables below them";
  EXPECT_EQ(F::kind(0x6000'0000'1234'5000, 0), EntryKind::Empty) << "not present, whatever else it says";
  EXPECT_EQ(F::table_address(0x6008'0000'0000'7201), PhysAddr(0x0008'0000'0000'7000));
  EXPECT_EQ(F::leaf_size_lg2(0x6000'0000'405f'fe01, 1), 22u);
  EXPECT_EQ(F::leaf_address(0x6000'0000'405f'fe01, 1), PhysAddr(0x40400000));
  EXPECT_EQ(F::leaf_size_lg2(0x6000'0000'4020'0001, 1), 21u);
  EXPECT_EQ(F::leaf_address(0x6000'0000'403f'f001, 1), PhysAddr(0x40200000));
  EXPECT_EQ(F::prot(0x6000'0000'1234'5001), Prot::ReadWrite);
  EXPECT_EQ(F::prot(0x3000'0000'1234'5001), Prot::Read);
  EXPECT_EQ(F::prot(0xd000'0000'1234'5001), Prot::Write);
}

TEST(AmdV1, HasEverySizeButHalfATerabyte) {
  EXPECT_EQ(F::leaf_sizes(0), 0x1f'f000u);           // 4 KiB .. 1 MiB
  EXPECT_EQ(F::leaf_sizes(1), 0x3fe0'0000u);         // 2 MiB .. 512 MiB
  EXPECT_EQ(F::leaf_sizes(2), 0x7f'c000'0000u);      // 1 GiB .. 256 GiB
  EXPECT_EQ(F::leaf_sizes(3), 0xff00'0000'0000u);    // 1 TiB .. 128 TiB
  EXPECT_EQ(F::leaf_sizes(4), 0xf'0000'0000'0000u);  // 256 TiB .. 2 PiB
  EXPECT_EQ(F::leaf_sizes(5), 0u);
}

TEST(AmdV1, HasTreesOfUpToSixLevelsAndAll64Bits) {
  EXPECT_FALSE(F::is_valid_shape(1, 21));
  EXPECT_TRUE(F::is_valid_shape(2, 30));
  EXPECT_TRUE(F::is_valid_shape(3, 39));
  EXPECT_FALSE(F::is_valid_shape(3, 40));
  EXPECT_TRUE(F::is_valid_shape(5, 57));
  EXPECT_FALSE(F::is_valid_shape(5, 58));
  EXPECT_TRUE(F::is_valid_shape(6, 64));
  EXPECT_FALSE(F::is_valid_shape(6, 65)) << "six full levels would decode 66 bits";
  EXPECT_FALSE(F::is_valid_shape(7, 64));
  EXPECT_TRUE(F::dynamic_top);
  EXPECT_EQ(top_index_bits<F>(5, 64), 7u);
  EXPECT_EQ(top_order<F>(5, 64), 0u);
  EXPECT_TRUE(F::supports(IovaExtent::Lower));
  EXPECT_FALSE(F::supports(IovaExtent::SignExtended));
  EXPECT_FALSE(F::supports(IovaExtent::Upper));
}

TEST(AmdV1, NamesEveryBitThatNobodyWrites) {
  for (unsigned bit = 1; bit < 64; ++bit) {
    const u64 flag = u64{1} << bit;
    const bool address = bit >= 12 && bit < 52;
    const bool attribute = bit == 5 || bit == 6 || bit == 60 || bit == 61 || bit == 62;
    const bool next_level = bit >= 9 && bit <= 11;
    const auto knows = [flag](u64 item, unsigned level) { return (F::unknown_bits(item | flag, level) & flag) == 0; };
    const u64 contiguous = leaf(0, 1, 24, Prot::Read);
    const bool in_code = bit < 23;
    if (!next_level) {  // which makes something else of the item; see the next test
      EXPECT_EQ(knows(1, 0), attribute || address) << bit;
      EXPECT_EQ(knows(1, 1), attribute || (address && bit >= 21)) << bit;
      EXPECT_EQ(knows(1, 2), attribute || (address && bit >= 30)) << bit;
      EXPECT_EQ(knows(1, 4), attribute || (address && bit >= 48)) << bit;
      for (unsigned level = 1; level <= 5; ++level)
        EXPECT_EQ(knows(1 | u64{level} << 9, level), bit == 5 || bit == 61 || bit == 62 || address) << bit;
    }
    // The zero that ends the code is bit 23; filled in, it tells a page twice as large.
    EXPECT_EQ(knows(contiguous, 1), attribute || next_level || (address && (in_code || bit >= 23))) << bit;
  }
}

TEST(AmdV1, KnowsANextLevelOnlyWhereItBelongs) {
  for (unsigned level = 1; level <= 5; ++level)
    for (u64 next = 1; next <= 6; ++next)
      EXPECT_EQ(F::unknown_bits(0x6000'0000'0000'7001 | next << 9, level), next == level ? 0 : next << 9) << level;
  for (u64 next = 1; next <= 6; ++next)
    EXPECT_NE(F::unknown_bits(0x6000'0000'0000'7001 | next << 9, 0) & 0xe00, 0u) << next;
}

TEST(AmdV1, KnowsNoSizeThatItsLevelHasNot) {
  for (unsigned level = 0; level <= 5; ++level) {
    for (unsigned size_lg2 = 13; size_lg2 <= 53; ++size_lg2) {
      const u64 ones = (u64{1} << (size_lg2 - 1)) - 0x1000;
      const u64 item = 0x6000'0000'0000'0e01 | ones;
      const bool is_one_item = size_lg2 == 12 + 9 * level;
      const bool known = size_lg2 <= 51 && (F::leaf_sizes(level) >> size_lg2 & 1) != 0 && !is_one_item;
      EXPECT_EQ(F::unknown_bits(item, level) == 0, known) << level << " " << size_lg2;
      if (!known) {
        EXPECT_EQ(F::unknown_bits(item, level) & 0xe00, 0xe00u) << level << " " << size_lg2;
      }
    }
  }
  EXPECT_NE(F::unknown_bits(0x6000'0000'0000'0001, 3), 0u) << "512 GiB in one item";
  EXPECT_NE(F::unknown_bits(0x6000'0000'0000'0001, 5), 0u) << "the highest table has no leaves";
}

TEST(AmdV1, AWrongSizeIsReadAsOneThatFits) {
  EXPECT_EQ(F::leaf_size_lg2(0x6000'0000'0000'0e01, 1), 21u) << "8 KiB among 2 MiB";
  EXPECT_EQ(F::leaf_size_lg2(0x600f'ffff'ffff'fe01, 0), 20u) << "without any zero";
  EXPECT_EQ(F::leaf_size_lg2(0x600f'ffff'ffff'fe01, 5), 57u);
}

TEST(AmdV1, ALinkThatWithholdsReadingOrWritingDoesNotPassAll) {
  EXPECT_TRUE(F::passes_all(0x6000'0000'0000'7201));
  EXPECT_FALSE(F::passes_all(0x4000'0000'0000'7201));
  EXPECT_FALSE(F::passes_all(0x2000'0000'0000'7201));
}

TEST(AmdV1, HardwareMarksWhatWasWrittenInBit6) {
  const DirtyBits bits = F::dirty_bits(Features::None);
  EXPECT_TRUE(bits.is_dirty(0x6000'0000'1234'5041));
  EXPECT_FALSE(bits.is_dirty(0x6000'0000'1234'5001));
  EXPECT_EQ(0x6000'0000'1234'5041 ^ bits.flip, 0x6000'0000'1234'5001u);
}

}  // namespace
}  // namespace holdfast::pt

// RISC-V entries against values typed by hand from the privileged specification.
#include "holdfast/pt/riscv_first_stage.hpp"
#include "holdfast/pt/riscv_second_stage.hpp"
#include "holdfast/pt/test_format_conformance.hpp"
#include "holdfast/pt/test_format_support.hpp"

namespace holdfast::pt {
namespace {

template <class F>
class RiscvTest : public testing::Test {};
using Stages = testing::Types<RiscvFirstStage, RiscvSecondStage>;
TYPED_TEST_SUITE(RiscvTest, Stages);
INSTANTIATE_TYPED_TEST_SUITE_P(Riscv, FormatConformance, Stages);

template <class F>
u64 leaf(u64 address, unsigned level, unsigned size_lg2, Prot prot) {
  return F::leaf(PhysAddr(address), level, size_lg2, *F::attributes_of(prot, Features::None));
}

TYPED_TEST(RiscvTest, EncodesTheGoldenItems) {
  using F = TypeParam;
  EXPECT_EQ(leaf<F>(0x12345000, 0, 12, Prot::ReadWrite), 0x048d14dfu);
  EXPECT_EQ(leaf<F>(0x12345000, 0, 12, Prot::ReadWrite | Prot::NoExecute), 0x048d14d7u);
  EXPECT_EQ(leaf<F>(0x12345000, 0, 12, Prot::Read), 0x048d145bu);
  EXPECT_EQ(leaf<F>(0x12345000, 0, 12, Prot::Read | Prot::NoExecute), 0x048d1453u);
  EXPECT_EQ(leaf<F>(0x40200000, 1, 21, Prot::Read), 0x1008005bu);
  EXPECT_EQ(leaf<F>(0x00ff'ffff'c000'0000, 2, 30, Prot::Read | Prot::NoExecute), 0x003f'ffff'f000'0053u);
  EXPECT_EQ(leaf<F>(0x0000'0080'0000'0000, 3, 39, Prot::Read), 0x0000'0020'0000'005bu);
  EXPECT_EQ(leaf<F>(0x0001'0000'0000'0000, 4, 48, Prot::Read), 0x0000'4000'0000'005bu);
  EXPECT_EQ(leaf<F>(0x12350000, 0, 16, Prot::ReadWrite), 0x8000'0000'048d'60dfu) << "N, and 0b1000 below the number";
  EXPECT_EQ(F::table(PhysAddr(0x00ff'ffff'ffff'f000), 2), 0x003f'ffff'ffff'fc01u);
  EXPECT_EQ(F::table(PhysAddr(0x7000), 1), 0x1c01u);
}

TYPED_TEST(RiscvTest, HasEverySizeAtItsLevel) {
  using F = TypeParam;
  EXPECT_EQ(F::leaf_sizes(0), u64{1} << 12 | u64{1} << 16);
  EXPECT_EQ(F::leaf_sizes(1), u64{1} << 21);
  EXPECT_EQ(F::leaf_sizes(2), u64{1} << 30);
  EXPECT_EQ(F::leaf_sizes(3), u64{1} << 39);
  EXPECT_EQ(F::leaf_sizes(4), u64{1} << 48);
  EXPECT_EQ(F::next_in_leaf(0), 0u) << "the 16 items of 64 KiB are alike";
}

TYPED_TEST(RiscvTest, LeavesReadBack) { test::expect_leaves_read_back<TypeParam>(Features::None); }

TYPED_TEST(RiscvTest, TellsTablesFromLeavesAndHoles) {
  using F = TypeParam;
  for (unsigned level = 0; level < 5; ++level) {
    EXPECT_EQ(F::kind(0, level), EntryKind::Empty);
    EXPECT_EQ(F::kind(0x1cde, level), EntryKind::Empty) << "V is not set";
    EXPECT_EQ(F::kind(0x1c03, level), EntryKind::Leaf);
    EXPECT_EQ(F::kind(0x1c09, level), EntryKind::Leaf) << "X alone is a leaf";
    EXPECT_EQ(F::kind(0x1c01, level), level == 0 ? EntryKind::Empty : EntryKind::Table);
  }
  EXPECT_EQ(F::leaf_address(0x1008'fcdf, 1), PhysAddr(0x40200000)) << "bits below the size do not count";
  EXPECT_EQ(F::leaf_size_lg2(0x8000'0000'048d'60df, 1), 21u) << "N counts at level 0 only";
}

TYPED_TEST(RiscvTest, WriteAloneReadsToo) {
  using F = TypeParam;
  EXPECT_EQ(F::attributes_of(Prot::Write, Features::None).value(), 0xdeu);
  EXPECT_EQ(F::prot(0xdf), Prot::ReadWrite);
  for (const Prot prot : test::all_prots()) {
    const Result<u64> attributes = F::attributes_of(prot, Features::None);
    if ((prot & Prot::ReadWrite) == Prot::None) {
      EXPECT_EQ(attributes.code(), Code::Invalid);
      continue;
    }
    EXPECT_EQ(F::prot(*attributes), (prot & (Prot::Write | Prot::NoExecute)) | Prot::Read);
    EXPECT_EQ((*attributes & 0x50), 0x50u) << "U and A always";
    EXPECT_EQ((*attributes & 0x80) != 0, allows(prot, Prot::Write)) << "D as W";
  }
}

TYPED_TEST(RiscvTest, NamesEveryBitThatNobodyWrites) {
  using F = TypeParam;
  constexpr u64 attributes = 0xdf;  // D A U X W R V
  test::expect_unknown<F>(0x048d14df, 0, attributes | 0x003f'ffff'ffff'fc00);
  test::expect_unknown<F>(0xdf, 1, attributes | 0x003f'ffff'fff8'0000);
  test::expect_unknown<F>(0xdf, 2, attributes | 0x003f'ffff'f000'0000);
  test::expect_unknown<F>(0xdf, 3, attributes | 0x003f'ffe0'0000'0000);
  test::expect_unknown<F>(0xdf, 4, attributes | 0x003f'c000'0000'0000);
  test::expect_unknown<F>(0x8000'0000'048d'60df, 0, 0x803f'ffff'ffff'c000 | 0x2000 | attributes);
  EXPECT_EQ(F::unknown_bits(0x1cde, 1), 0x1cdeu) << "all of an item that is empty and not 0";
  EXPECT_EQ(F::unknown_bits(0x1c01, 0), 0x1c01u);

  constexpr u64 pointer = 0x1c01;
  for (unsigned bit = 0; bit < 64; ++bit) {
    const u64 flag = u64{1} << bit;
    if ((flag & 0xe) != 0) continue;  // a leaf then
    const bool known = bit == 0 || (bit >= 10 && bit < 54);
    EXPECT_EQ(F::unknown_bits(pointer | flag, 3), known ? 0u : flag) << bit;
  }
}

TYPED_TEST(RiscvTest, NamesCombinationsThatNobodyWrites) {
  using F = TypeParam;
  EXPECT_EQ(F::unknown_bits(0x1cd5, 0), 0x4u) << "W without R is reserved";
  EXPECT_EQ(F::unknown_bits(0x1c59, 0), 0x8u) << "X alone";
  EXPECT_EQ(F::unknown_bits(0x1cd3, 0), 0x80u) << "dirty, and may not be written";
  EXPECT_EQ(F::unknown_bits(0x1c57, 0), 0x4u) << "may be written, and not dirty";
  for (u64 order = 0; order < 16; ++order) {
    const u64 item = 0x8000'0000'048d'40df | order << 10;
    EXPECT_EQ(F::unknown_bits(item, 0) == 0, order == 8) << "reserved order of a 64 KiB page: " << order;
    EXPECT_EQ((F::unknown_bits(item, 0) >> 63) != 0, order != 8);
  }
}

TEST(RiscvFirstStage, HasTheShapesOfTheSpecification) {
  using F = RiscvFirstStage;
  test::expect_shapes<F>({{}, {}, {22, 39}, {22, 48}, {22, 57}});
  EXPECT_TRUE(F::supports(IovaExtent::Lower));
  EXPECT_TRUE(F::supports(IovaExtent::SignExtended));
  EXPECT_FALSE(F::supports(IovaExtent::Upper));
}

TEST(RiscvFirstStage, ExtendsTheSignOfAFullTreeOnly) {
  using F = RiscvFirstStage;
  for (unsigned levels = 3; levels <= 5; ++levels) {
    const unsigned full = 12 + 9 * levels;
    for (unsigned bits = 22; bits <= full; ++bits) {
      EXPECT_EQ(is_valid_tree<F>(levels, bits, IovaExtent::SignExtended, 56), bits == full) << bits;
      EXPECT_EQ(is_valid_tree<F>(levels, bits, IovaExtent::Lower, 56), bits < full) << bits;
      EXPECT_FALSE(is_valid_tree<F>(levels, bits, IovaExtent::Upper, 56));
    }
    EXPECT_FALSE(is_valid_tree<F>(levels, full, IovaExtent::SignExtended, 57)) << "no such output address";
  }
}

TEST(RiscvSecondStage, HasATopTableOf16KiB) {
  using F = RiscvSecondStage;
  test::expect_shapes<F>({{}, {}, {41, 41}, {50, 50}, {59, 59}});
  for (unsigned levels = 3; levels <= 5; ++levels) {
    EXPECT_EQ(top_index_bits<F>(levels - 1, 12 + 9 * levels + 2), 11u);
    EXPECT_EQ(top_order<F>(levels - 1, 12 + 9 * levels + 2), 2u);
    EXPECT_TRUE(is_valid_tree<F>(levels, 12 + 9 * levels + 2, IovaExtent::Lower, 56));
  }
  EXPECT_TRUE(F::supports(IovaExtent::Lower));
  EXPECT_FALSE(F::supports(IovaExtent::SignExtended));
  EXPECT_FALSE(F::supports(IovaExtent::Upper));
}

TYPED_TEST(RiscvTest, HardwareChangesNothing) {
  using F = TypeParam;
  EXPECT_FALSE(F::dirty_bits(Features::None).known());
  EXPECT_EQ(changing_bits<F>(~u64{0}), 0u);
  EXPECT_EQ(F::flushed_bit, 0u);
  EXPECT_EQ(F::features, Features::None);
  EXPECT_TRUE(F::allows_exchange(Features::None));
}

static_assert(PageTableFormat<RiscvFirstStage> && PageTableFormat<RiscvSecondStage>);
static_assert(RiscvFirstStage::format == Format{4} && RiscvSecondStage::format == Format{5});

}  // namespace
}  // namespace holdfast::pt

// x86-64 first-stage entries against values typed by hand from the manuals (VT-d 5.0, 9.7; SDM 4.5) and from what Linux
// writes, and against what QEMU holds reserved.
#include "holdfast/pt/x86_first_stage.hpp"

#include "holdfast/pt/test_format_conformance.hpp"

namespace holdfast::pt {
namespace {

using F = X86FirstStage;

INSTANTIATE_TYPED_TEST_SUITE_P(X86FirstStage, FormatConformance, X86FirstStage);

u64 leaf(u64 address, unsigned level, unsigned size_lg2, Prot prot) {
  return F::leaf(PhysAddr(address), level, size_lg2, *F::attributes_of(prot, Features::None));
}

TEST(X86FirstStage, EncodesTheGoldenEntries) {
  EXPECT_EQ(leaf(0x12345000, 0, 12, Prot::ReadWrite), 0x12345067u);  // P RW US A D
  EXPECT_EQ(leaf(0x12345000, 0, 12, Prot::Read), 0x12345025u);       // P US A
  EXPECT_EQ(leaf(0x40200000, 1, 21, Prot::ReadWrite), 0x402000e7u);  // and PS
  EXPECT_EQ(leaf(0x40200000, 1, 21, Prot::Read), 0x402000a5u);
  EXPECT_EQ(leaf(0x0008'0000'4000'0000, 2, 30, Prot::ReadWrite), 0x0008'0000'4000'00e7u);
  EXPECT_EQ(leaf(0x000f'ffff'ffff'f000, 0, 12, Prot::Read), 0x000f'ffff'ffff'f025u);
  EXPECT_EQ(F::table(PhysAddr(0x7000), 1), 0x7027u);  // P RW US A
  EXPECT_EQ(F::table(PhysAddr(0x000f'ffff'ffff'f000), 4), 0x000f'ffff'ffff'f027u);
  EXPECT_EQ(F::flushed_bit, 0x200u);
  EXPECT_EQ(F::hardware_bits, 0x60u);
}

TEST(X86FirstStage, ReadsTheGoldenEntries) {
  EXPECT_EQ(F::kind(0x12345067, 0), EntryKind::Leaf);
  EXPECT_EQ(F::kind(0x402000e7, 1), EntryKind::Leaf);
  EXPECT_EQ(F::kind(0x400000e7, 2), EntryKind::Leaf);
  EXPECT_EQ(F::kind(0x7027, 1), EntryKind::Table);
  EXPECT_EQ(F::kind(0x7227, 4), EntryKind::Table);
  EXPECT_EQ(F::kind(0x12345066, 0), EntryKind::Empty) << "not present, whatever else it says";
  EXPECT_EQ(F::table_address(0x8004'0000'0000'7227), PhysAddr(0x0004'0000'0000'7000));
  EXPECT_EQ(F::leaf_address(0x403ff0e7, 1), PhysAddr(0x40200000));
  EXPECT_EQ(F::leaf_size_lg2(0x67, 0), 12u);
  EXPECT_EQ(F::leaf_size_lg2(0xe7, 1), 21u);
  EXPECT_EQ(F::leaf_size_lg2(0xe7, 2), 30u);
  EXPECT_EQ(F::prot(0x12345067), Prot::ReadWrite);
  EXPECT_EQ(F::prot(0x12345025), Prot::Read);
  EXPECT_EQ(F::prot(0x12345063), Prot::ReadWrite | Prot::Privileged) << "not for users";
  EXPECT_EQ(F::prot(0x12345021), Prot::Read | Prot::Privileged);
}

TEST(X86FirstStage, CannotForbidReadingOrExecution) {
  for (unsigned bits = 0; bits < 64; ++bits) {
    const Prot prot = static_cast<Prot>(bits);
    const auto attributes = F::attributes_of(prot, Features::None);
    if (allows(prot, Prot::Write))
      EXPECT_EQ(*attributes, 0x66u) << bits;
    else if (allows(prot, Prot::Read))
      EXPECT_EQ(*attributes, 0x24u) << bits;
    else
      EXPECT_EQ(attributes.code(), Code::Invalid) << bits;
  }
  EXPECT_EQ(F::prot(leaf(0, 0, 12, Prot::Write)), Prot::ReadWrite);
}

TEST(X86FirstStage, NamesEveryBitThatNobodyWrites) {
  for (unsigned bit = 1; bit < 64; ++bit) {
    const u64 flag = u64{1} << bit;
    const bool address = bit >= 12 && bit < 52;
    const bool attribute = bit == 1 || bit == 2 || bit == 5 || bit == 6;
    const auto knows = [flag](u64 item, unsigned level) { return (F::unknown_bits(item | flag, level) & flag) == 0; };
    EXPECT_EQ(knows(0x7001, 0), attribute || address) << bit;
    EXPECT_EQ(knows(0x81, 1), attribute || bit == 7 || (address && bit >= 21)) << bit;
    EXPECT_EQ(knows(0x81, 2), attribute || bit == 7 || (address && bit >= 30)) << bit;
    if (bit == 7) continue;
    for (unsigned level = 1; level < 5; ++level)
      EXPECT_EQ(knows(0x7001, level), bit == 1 || bit == 2 || bit == 5 || bit == 9 || address) << bit;
  }
  EXPECT_EQ(F::unknown_bits(0xe7, 3), 0x80u) << "no leaf of 512 GiB exists";
  EXPECT_EQ(F::unknown_bits(0xe7, 4), 0x80u);
  EXPECT_EQ(F::unknown_bits(0x12345066, 0), 0x12345066u) << "not present and yet not 0";
}

TEST(X86FirstStage, WritesNoBitThatQemuHoldsReserved) {
  // QEMU's first-stage masks without the address width.
  constexpr u64 reserved_2m = 0x1fe000;
  constexpr u64 reserved_1g = 0x3fffe000;
  constexpr u64 reserved_pml4e_pml5e = 0x80;
  EXPECT_EQ(leaf(0x000f'ffff'ffe0'0000, 1, 21, Prot::ReadWrite) & reserved_2m, 0u);
  EXPECT_EQ(leaf(0x000f'ffff'c000'0000, 2, 30, Prot::ReadWrite) & reserved_1g, 0u);
  EXPECT_EQ((F::table(PhysAddr(0x000f'ffff'ffff'f000), 3) | F::flushed_bit) & reserved_pml4e_pml5e, 0u);
  EXPECT_NE(F::unknown_bits(leaf(0, 1, 21, Prot::Read) | reserved_2m, 1), 0u);
  EXPECT_NE(F::unknown_bits(leaf(0, 2, 30, Prot::Read) | reserved_1g, 2), 0u);
}

TEST(X86FirstStage, ALinkThatWithholdsWritingOrUsersDoesNotPassAll) {
  EXPECT_TRUE(F::passes_all(0x7007));
  EXPECT_TRUE(F::passes_all(0x7227));
  EXPECT_FALSE(F::passes_all(0x7025));
  EXPECT_FALSE(F::passes_all(0x7023));
}

TEST(X86FirstStage, HasFourOrFiveLevelsAndLeavesAtTheLowestThree) {
  EXPECT_FALSE(F::is_valid_shape(3, 39));
  EXPECT_TRUE(F::is_valid_shape(4, 47));
  EXPECT_TRUE(F::is_valid_shape(4, 48));
  EXPECT_FALSE(F::is_valid_shape(4, 49));
  EXPECT_TRUE(F::is_valid_shape(5, 56));
  EXPECT_TRUE(F::is_valid_shape(5, 57));
  EXPECT_FALSE(F::is_valid_shape(5, 58));
  EXPECT_FALSE(F::is_valid_shape(6, 57));
  EXPECT_TRUE(F::supports(IovaExtent::Lower));
  EXPECT_TRUE(F::supports(IovaExtent::SignExtended));
  EXPECT_FALSE(F::supports(IovaExtent::Upper));
  EXPECT_EQ(F::leaf_sizes(0), 0x1000u);
  EXPECT_EQ(F::leaf_sizes(1), 0x20'0000u);
  EXPECT_EQ(F::leaf_sizes(2), 0x4000'0000u);
  EXPECT_EQ(F::leaf_sizes(3), 0u);
  EXPECT_EQ(F::leaf_sizes(4), 0u);
}

TEST(X86FirstStage, ExtendsTheSignOfFullTreesAndLeavesItOutOfOthers) {
  EXPECT_TRUE(is_valid_tree<F>(4, 48, IovaExtent::SignExtended, 52));
  EXPECT_TRUE(is_valid_tree<F>(5, 57, IovaExtent::SignExtended, 46));
  EXPECT_FALSE(is_valid_tree<F>(5, 48, IovaExtent::SignExtended, 46));
  EXPECT_TRUE(is_valid_tree<F>(4, 47, IovaExtent::Lower, 46));
  EXPECT_TRUE(is_valid_tree<F>(5, 56, IovaExtent::Lower, 46));
  EXPECT_FALSE(is_valid_tree<F>(4, 48, IovaExtent::Lower, 46));
  EXPECT_FALSE(is_valid_tree<F>(4, 47, IovaExtent::Lower, 53));
}

TEST(X86FirstStage, CannotTellWhatWasWritten) { EXPECT_FALSE(F::dirty_bits(Features::None).known()); }

}  // namespace
}  // namespace holdfast::pt

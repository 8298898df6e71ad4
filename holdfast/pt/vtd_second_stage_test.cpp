// VT-d second-stage entries against values typed by hand from the manual (5.0, 9.8), and against what QEMU holds
// reserved.
#include "holdfast/pt/vtd_second_stage.hpp"

#include <gtest/gtest.h>

namespace holdfast::pt {
namespace {

using F = VtdSecondStage;

u64 leaf(PhysAddr address, unsigned level, Prot prot, Features features = Features::None) {
  return F::leaf(address, level, 12 + 9 * level, F::attributes_of(prot, features).value());
}

TEST(VtdSecondStage, EncodesTheGoldenEntries) {
  EXPECT_EQ(leaf(PhysAddr(0x12345000), 0, Prot::ReadWrite), 0x12345003u);
  EXPECT_EQ(leaf(PhysAddr(0x12345000), 0, Prot::Read), 0x12345001u);
  EXPECT_EQ(leaf(PhysAddr(0x12345000), 0, Prot::Write), 0x12345002u);
  EXPECT_EQ(leaf(PhysAddr(0x40200000), 1, Prot::ReadWrite), 0x40200083u);
  EXPECT_EQ(leaf(PhysAddr(0x0008'0000'4000'0000), 2, Prot::Read), 0x0008'0000'4000'0081u);
  EXPECT_EQ(F::table(PhysAddr(0x7000), 1), 0x7003u);
  EXPECT_EQ(F::table(PhysAddr(0x7000), 1) | F::flushed_bit, 0x7403u);
  EXPECT_EQ(leaf(PhysAddr(0x12345000), 0, Prot::Read, Features::ForceCoherence), 0x12345801u);
  EXPECT_EQ(F::hardware_bits, 0x300u);
}

TEST(VtdSecondStage, RefusesWhatItCannotGrant) {
  EXPECT_EQ(F::attributes_of(Prot::Cache, Features::None).code(), Code::Invalid);
  EXPECT_EQ(F::attributes_of(Prot::Read, Features::NoReadOnly).code(), Code::Invalid);
  EXPECT_TRUE(F::attributes_of(Prot::Write, Features::NoReadOnly).ok());
}

TEST(VtdSecondStage, TellsTablesFromLeaves) {
  EXPECT_EQ(F::kind(0, 0), EntryKind::Empty);
  EXPECT_EQ(F::kind(0, 3), EntryKind::Empty);
  EXPECT_EQ(F::kind(0x7003, 0), EntryKind::Leaf);
  EXPECT_EQ(F::kind(0x7003, 1), EntryKind::Table);
  EXPECT_EQ(F::kind(0x40200083, 1), EntryKind::Leaf);
  EXPECT_EQ(F::table_address(0x000f'ffff'ffff'f403), PhysAddr(0x000f'ffff'ffff'f000));
  EXPECT_EQ(F::leaf_address(0x403ff083, 1), PhysAddr(0x40200000));
}

TEST(VtdSecondStage, NoEntryWeReadHasABitThatQemuHoldsReserved) {
  // QEMU's masks without the address width: bit 11 counts only in legacy mode, and we never write it.
  constexpr u64 legacy_reserved_pte = 0x800;
  constexpr u64 reserved_2m = 0x1ff000 | 0x800;
  constexpr u64 reserved_1g = 0x3ffff000 | 0x800;
  constexpr u64 reserved_table = 0x800;
  constexpr u64 reserved_pml4e = 0x880;
  const PhysAddr high(0x000f'ffff'c000'0000);
  EXPECT_EQ(leaf(high, 0, Prot::ReadWrite) & legacy_reserved_pte, 0u);
  EXPECT_EQ(leaf(high, 1, Prot::ReadWrite) & reserved_2m, 0u);
  EXPECT_EQ(leaf(high, 2, Prot::ReadWrite) & reserved_1g, 0u);
  EXPECT_EQ((F::table(high, 1) | F::flushed_bit) & reserved_table, 0u);
  EXPECT_EQ((F::table(high, 1) | F::flushed_bit) & reserved_pml4e, 0u);
}

TEST(VtdSecondStage, NamesEveryBitThatNobodyWrites) {
  for (unsigned bit = 0; bit < 64; ++bit) {
    const u64 flag = u64{1} << bit;
    const bool address = bit >= 12 && bit < 52;
    const bool hardware_or_snoop = bit == 8 || bit == 9 || bit == 11;
    EXPECT_EQ((F::unknown_bits(0x7003 | flag, 0) & flag) == 0, bit <= 1 || hardware_or_snoop || address) << bit;
    EXPECT_EQ((F::unknown_bits(0x83 | flag, 1) & flag) == 0,
              bit <= 1 || bit == 7 || hardware_or_snoop || (address && bit >= 21))
        << bit;
    EXPECT_EQ((F::unknown_bits(0x83 | flag, 2) & flag) == 0,
              bit <= 1 || bit == 7 || hardware_or_snoop || (address && bit >= 30))
        << bit;
    if (bit == 7) continue;
    EXPECT_EQ((F::unknown_bits(0x7003 | flag, 2) & flag) == 0, bit <= 1 || bit == 8 || bit == 10 || address) << bit;
  }
  EXPECT_NE(F::unknown_bits(0x83, 3), 0u) << "no leaf of 512 GiB exists";
  EXPECT_NE(F::unknown_bits(0x83, 4), 0u);
  EXPECT_TRUE(F::passes_all(0x7003));
  EXPECT_FALSE(F::passes_all(0x7001));
  EXPECT_FALSE(F::passes_all(0x7002));
}

}  // namespace
}  // namespace holdfast::pt

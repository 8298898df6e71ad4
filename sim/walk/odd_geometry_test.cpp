#include "sim/walk/odd_geometry.hpp"

#include <array>

#include "sim/walk/words.hpp"

namespace sim::walk {
namespace {

TEST(OddGeometryWalk, WalksSixLevelsOfTwoBits) {
  Words memory;
  for (u64 table = 0x1000; table < 0x6000; table += 0x1000) memory.store(table + 8, (table + 0x1000) | 3);
  memory.store(0x6010, 0x1234567003);
  const OddTables tables{.top_table = PhysAddr(0x1000), .levels = 6};
  // Index 1 five times, then 2: 01 01 01 01 01 10.
  expect_found(memory, tables, 0x556abc, {0x1234567abc, 12, 0});
  expect_fault(memory, tables, u64{1} << 24, Access::Read, Fault::InputRange, 0x83);
  expect_fault(memory, tables, 0x557000, Access::Read, Fault::NotPresent, 0x86);
  const std::vector<Mapping> expected{{0x556000, PhysAddr(0x1234567000), 12, everything}};
  EXPECT_EQ(mappings_of(memory, tables), expected);
}

TEST(OddGeometryWalk, EveryRefusalHasItsReason) {
  Words memory;
  const OddTables tables{.top_table = PhysAddr(0x1000), .levels = 2, .page_levels = 0b01};
  struct Case {
    u64 root;
    u64 leaf;
    Access access;
    Fault fault;
    u32 code;
  };
  for (const Case& c : {Case{0x2003, 0, Access::Write, Fault::NotPresent, 0x85},
                        Case{0x2000, 0x7003, Access::Read, Fault::NotPresent, 0x86},
                        Case{0x2001, 0x7003, Access::Write, Fault::Permission, 0x85},
                        Case{0x2003, 0x7002, Access::Read, Fault::Permission, 0x86},
                        Case{0x4083, 0x7003, Access::Read, Fault::Reserved, 0x7a},
                        Case{0x2803, 0x7003, Access::Read, Fault::Reserved, 0x7a},
                        Case{0x2003, 0x1000000007003, Access::Read, Fault::Reserved, 0x7a},
                        Case{0x2003, 0x4000000000007003, Access::Read, Fault::Reserved, 0x7a},
                        Case{0x9003, 0, Access::Read, Fault::TableAccess, 0x78}}) {
    memory.store(0x1000, c.root);
    memory.store(0x2000, c.leaf);
    expect_fault(memory, tables, 0, c.access, c.fault, c.code);
  }
  for (const OddTables& bad : {OddTables{.top_table = PhysAddr(0x1800)}, OddTables{.granule_lg2 = 11},
                               OddTables{.index_bits = 10}, OddTables{.levels = 7}, OddTables{.levels = 0}})
    expect_fault(memory, bad, 0, Access::Read, Fault::Configuration, 0);
}

TEST(OddGeometryWalk, PagesStandWhereTheTestAllowsThem) {
  Words memory;
  memory.store(0x1018, 0x38083);  // granule 13, two bits of index: 32K
  const OddTables tables{.top_table = PhysAddr(0x1000), .granule_lg2 = 13, .levels = 2, .page_levels = 0b10};
  expect_found(memory, tables, 0x1c123, {0x3c123, 15, 1});
  for (unsigned bit = 12; bit <= 14; ++bit) {
    memory.store(0x1018, 0x38083 | u64{1} << bit);
    expect_fault(memory, tables, 0x1c123, Access::Read, Fault::Reserved, 0x7a);
  }
}

TEST(OddGeometryWalk, SetsAccessedAndDirty) {
  Words memory;
  memory.store(0x1000, 0x2003);
  memory.store(0x2000, 0x7003);
  const OddTables tables{.top_table = PhysAddr(0x1000), .levels = 2, .accessed_dirty = AccessedDirty::Set};
  const std::vector<Update> expected{{PhysAddr(0x1000), 0x2003, 0x2103}, {PhysAddr(0x2000), 0x7003, 0x7303}};
  EXPECT_EQ(walk(memory.reader(), tables, 0, Access::Write).updates, expected);
  EXPECT_EQ(walk(memory.reader(), tables, 0, Access::Read).updates.back().after, 0x7103u);
}

// Two levels of two bits, every root out of seven kinds of entry: an address is translated by the walk exactly when a
// leaf of the enumeration covers it, and to the same place.
TEST(OddGeometryWalk, WalkAndEnumerationAgreeOnEverySmallTree) {
  constexpr std::array<u64, 7> kinds{0, 0x2003, 0x2001, 0x100083, 0x101083, 0x900003, 0x4000000000002003};
  Words memory;
  for (u64 i = 0; i < 4; ++i) memory.store(0x2000 + i * 8, std::array<u64, 4>{0, 0x7003, 0x8002, 0x1000000009003}[i]);
  const OddTables tables{.top_table = PhysAddr(0x1000), .levels = 2};
  for (u64 tree = 0; tree < 7 * 7 * 7 * 7; ++tree) {
    u64 digits = tree;
    bool faulty = false;
    for (u64 i = 0; i < 4; ++i, digits /= 7) {
      memory.store(0x1000 + i * 8, kinds[digits % 7]);
      faulty = faulty || digits % 7 == 1 || digits % 7 == 2 || digits % 7 > 3;
    }
    Enumeration end;
    const std::vector<Mapping> all = collect_mappings(memory.reader(), tables, end);
    EXPECT_EQ(end.ok(), !faulty) << tree;
    std::array<std::optional<PhysAddr>, 16> expected;
    for (const Mapping& m : all)
      for (u64 page = 0; page < u64{1} << (m.page_lg2 - 12); ++page)
        expected[(m.iova >> 12) + page] = m.address + (page << 12);
    for (u64 page = 0; page < 16; ++page) {
      const WalkResult found = walk(memory.reader(), tables, page << 12, Access::Read);
      const bool translated = found.ok() || found.fault == Fault::Permission;
      ASSERT_EQ(translated, expected[page].has_value()) << tree << " " << page;
      if (translated) {
        ASSERT_EQ(found.address, *expected[page]) << tree << " " << page;
      }
    }
  }
}

// The same tables, once read by vtd_second_stage.cpp and once as a geometry.
class OneArray : public PhysicalMemory {
 public:
  [[nodiscard]] const std::byte* find(PhysAddr address, u64 size) const override {
    const PhysRange range{PhysAddr(0x1000), sizeof x_words};
    return range.contains(address, size) ? reinterpret_cast<const std::byte*>(x_words.data()) + (address.value - 0x1000)
                                         : nullptr;
  }
  void store(u64 address, u64 value) { x_words[(address - 0x1000) / 8] = value; }

 private:
  alignas(16) std::array<u64, 2048> x_words{};
};

TEST(OddGeometryWalk, SaysOfSecondStageTablesWhatTheirOwnWalkerSays) {
  constexpr std::array<u64, 12> leaves{
      0,        0x5003, 0x5001, 0x5002, 0x5803, 0x1000000005003, 0x200083, 0x40000083, 0x40001083, 0x4000000005003003,
      0x900003, 0x5703};
  const std::array<u64, 4> tables_at{0x1008, 0x2008, 0x3008, 0x4008};
  constexpr u64 iova = 0x8040201000;
  unsigned translated = 0;
  for (u64 position = 0; position < 4; ++position) {
    for (u64 word : leaves) {
      OneArray memory;
      for (u64 i = 0; i < 4; ++i) memory.store(tables_at[i], (0x2000 + i * 0x1000) | 3);
      memory.store(tables_at[position], word);
      const SecondStage stage{.top_table = PhysAddr(0x1000), .pages_1g = true};
      const WalkResult found = walk(words_of(memory), stage, iova, Access::Read);
      const Lookup other = lookup(memory, stage, iova);
      EXPECT_EQ(other.fault == WalkFault::None, found.ok() || found.fault == Fault::Permission) << std::hex << word;
      if (other.fault == WalkFault::None) {
        ++translated;
        EXPECT_EQ(other.address, found.address) << std::hex << word;
        EXPECT_EQ(other.page_bytes, u64{1} << found.page_lg2);
        EXPECT_EQ(other.read, found.permissions.read);
        EXPECT_EQ(other.write, found.permissions.write);
      }
      std::vector<Leaf> theirs;
      const WalkFault their_fault = for_each_leaf(memory, stage, [&](const Leaf& leaf) { theirs.push_back(leaf); });
      Enumeration end;
      const std::vector<Mapping> ours = collect_mappings(words_of(memory), stage, end);
      EXPECT_EQ(their_fault == WalkFault::None, end.ok());
      ASSERT_EQ(theirs.size(), ours.size());
      for (u64 i = 0; i < ours.size(); ++i) {
        EXPECT_EQ(theirs[i].iova, ours[i].iova);
        EXPECT_EQ(theirs[i].address, ours[i].address);
        EXPECT_EQ(theirs[i].page_bytes, u64{1} << ours[i].page_lg2);
      }
    }
  }
  EXPECT_EQ(translated, 12u);
  EXPECT_EQ(
      walk(words_of(OneArray()), SecondStage{.top_table = PhysAddr(0x1000), .levels = 3}, u64{1} << 39, Access::Read)
          .fault,
      Fault::InputRange);
}

}  // namespace
}  // namespace sim::walk

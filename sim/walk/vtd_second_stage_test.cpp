#include "sim/walk/vtd_second_stage.hpp"

#include <gtest/gtest.h>

#include <array>
#include <vector>

namespace sim::walk {
namespace {

// Eight zeroed pages from 0x1000; entries are typed as the manual prints them.
class Pages : public PhysicalMemory {
 public:
  [[nodiscard]] const std::byte* find(PhysAddr address, u64 size) const override {
    const PhysRange range{PhysAddr(0x1000), sizeof x_words};
    return range.contains(address, size) ? reinterpret_cast<const std::byte*>(x_words.data()) + (address.value - 0x1000)
                                         : nullptr;
  }
  void store(u64 address, u64 value) { x_words[(address - 0x1000) / 8] = value; }

 private:
  alignas(16) std::array<u64, 4096> x_words{};
};

// 0x1000 -> 0x2000 -> 0x3000 -> 0x4000, IOVA 0x8040201000 + offsets: index 1 at every level.
struct FourLevels {
  FourLevels() {
    memory.store(0x1008, 0x2003);
    memory.store(0x2008, 0x3003);
    memory.store(0x3008, 0x4003);
    memory.store(0x4008, 0x0000000123456003u);
  }
  static constexpr u64 iova = 0x8040201000u;
  Pages memory;
  SecondStage stage{.top_table = PhysAddr(0x1000)};
};

TEST(SecondStageWalk, TranslatesA4KPage) {
  FourLevels t;
  const Lookup found = lookup(t.memory, t.stage, t.iova + 0xabc);
  EXPECT_EQ(found.fault, WalkFault::None);
  EXPECT_EQ(found.address, PhysAddr(0x123456abc));
  EXPECT_EQ(found.page_bytes, 0x1000u);
  EXPECT_EQ(found.level, 1u);
  EXPECT_TRUE(found.read && found.write);
}

TEST(SecondStageWalk, TranslatesLargePages) {
  FourLevels t;
  t.memory.store(0x3008, 0x40000083u);
  EXPECT_EQ(lookup(t.memory, t.stage, t.iova + 0x3abc).address, PhysAddr(0x40004abc));
  EXPECT_EQ(lookup(t.memory, t.stage, t.iova).page_bytes, u64{1} << 21);
  t.stage.pages_1g = true;
  t.memory.store(0x2008, 0x80000081u);
  const Lookup found = lookup(t.memory, t.stage, t.iova);
  EXPECT_EQ(found.page_bytes, u64{1} << 30);
  EXPECT_EQ(found.address, PhysAddr(0x80201000));
  EXPECT_TRUE(found.read && !found.write);
}

TEST(SecondStageWalk, AndsPermissionsAlongTheWalk) {
  FourLevels t;
  t.memory.store(0x2008, 0x3001);
  EXPECT_FALSE(lookup(t.memory, t.stage, t.iova).write);
  t.memory.store(0x1008, 0x2002);
  const Lookup found = lookup(t.memory, t.stage, t.iova);
  EXPECT_EQ(found.fault, WalkFault::None);
  EXPECT_FALSE(found.read || found.write);
}

TEST(SecondStageWalk, SaysWhatStoppedIt) {
  FourLevels t;
  EXPECT_EQ(lookup(t.memory, t.stage, u64{1} << 48).fault, WalkFault::BeyondWidth);
  EXPECT_EQ(lookup(t.memory, t.stage, 0).fault, WalkFault::NotPresent);
  EXPECT_EQ(lookup(t.memory, t.stage, 0).level, 4u);
  t.memory.store(0x3008, 0x900003);
  EXPECT_EQ(lookup(t.memory, t.stage, t.iova).fault, WalkFault::TableAccess);
}

TEST(SecondStageWalk, ChecksEveryReservedBitOfEveryKindOfEntry) {
  struct Case {
    u64 at;
    u64 entry;
  };
  const std::vector<Case> cases{
      {0x1008, 0x2003 | ss_page_size},       // no pages at level 4
      {0x2008, 0x3003 | ss_page_size},       // no 1G pages in this unit
      {0x1008, 0x2003 | ss_snoop},           // SNP in a table entry
      {0x4008, 0x123456003 | u64{1} << 48},  // beyond the host address width
      {0x4008, 0x123456003 | u64{1} << 51}, {0x4008, 0x123456003 | ss_transient},
      {0x3008, 0x40000083 | u64{1} << 12},  // misaligned 2M page
      {0x3008, 0x40000083 | u64{1} << 20},
  };
  for (const Case& c : cases) {
    FourLevels t;
    t.memory.store(c.at, c.entry);
    EXPECT_EQ(lookup(t.memory, t.stage, t.iova).fault, WalkFault::ReservedSet) << std::hex << c.entry;
  }
}

TEST(SecondStageWalk, LetsIgnoredBitsAlone) {
  FourLevels t;
  t.memory.store(0x4008, 0x123456003u | u64{0xbff} << 52 | 0x780 | ss_snoop);  // 63, 61:52, 10:7, SNP
  EXPECT_EQ(lookup(t.memory, t.stage, t.iova).fault, WalkFault::None);
  t.stage.snoop = SnoopBit::Reserved;
  EXPECT_EQ(lookup(t.memory, t.stage, t.iova).fault, WalkFault::ReservedSet);
}

TEST(SecondStageWalk, WalksThreeAndFiveLevels) {
  FourLevels t;
  t.stage.levels = 3;
  t.stage.top_table = PhysAddr(0x2000);
  EXPECT_EQ(lookup(t.memory, t.stage, 0x40201000).address, PhysAddr(0x123456000));
  EXPECT_EQ(lookup(t.memory, t.stage, u64{1} << 39).fault, WalkFault::BeyondWidth);
  t.memory.store(0x5010, 0x1003);
  t.stage.levels = 5;
  t.stage.top_table = PhysAddr(0x5000);
  EXPECT_EQ(lookup(t.memory, t.stage, (u64{2} << 48) + t.iova).address, PhysAddr(0x123456000));
}

TEST(SecondStageWalk, VisitsEveryLeafInOrder) {
  FourLevels t;
  t.memory.store(0x4000, 0x7001);
  t.memory.store(0x3010, 0x600083);
  std::vector<Leaf> leaves;
  EXPECT_EQ(for_each_leaf(t.memory, t.stage, [&](const Leaf& leaf) { leaves.push_back(leaf); }), WalkFault::None);
  const std::vector<Leaf> expected{{t.iova - 0x1000, PhysAddr(0x7000), 0x1000, true, false},
                                   {t.iova, PhysAddr(0x123456000), 0x1000, true, true},
                                   {0x8040400000u, PhysAddr(0x600000), 0x200000, true, true}};
  EXPECT_EQ(leaves, expected);
}

TEST(SecondStageWalk, EndsOnATableThatContainsItself) {
  FourLevels t;
  t.memory.store(0x4008, 0x4003);
  t.memory.store(0x1010, 0x900003);
  unsigned leaves = 0;
  EXPECT_EQ(for_each_leaf(t.memory, t.stage, [&](const Leaf&) { ++leaves; }), WalkFault::TableAccess);
  EXPECT_EQ(leaves, 1u);
}

}  // namespace
}  // namespace sim::walk

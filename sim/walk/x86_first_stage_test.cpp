#include "sim/walk/x86_first_stage.hpp"

#include "sim/walk/words.hpp"

namespace sim::walk {
namespace {

// 0x1000 -> 0x2000 -> 0x3000 -> 0x4000 with index 1 at every level. 7 is P, R/W and U/S; 0x67 has A and D besides.
struct FirstStageWalk : testing::Test {
  FirstStageWalk() {
    memory.store(0x1008, 0x2007);
    memory.store(0x2008, 0x3007);
    memory.store(0x3008, 0x4007);
    memory.store(0x4008, 0x123456067);
  }
  static constexpr u64 iova = 0x8040201000;
  Words memory;
  FirstStage tables{.top_table = PhysAddr(0x1000)};
};

TEST_F(FirstStageWalk, TranslatesA4KPage) {
  expect_found(memory, tables, iova + 0xabc, {0x123456abc, 12, 0});
  const WalkResult found = walk(memory.reader(), tables, iova, Access::Write);
  EXPECT_TRUE(found.ok());
  EXPECT_EQ(found.entry, PhysAddr(0x4008));
  EXPECT_EQ(found.word, 0x123456067u);
}

TEST_F(FirstStageWalk, TranslatesLargePagesAndTakesBit12ForPat) {
  memory.store(0x3008, 0x400000e7);
  expect_found(memory, tables, iova + 0x3abc, {0x40004abc, 21, 1});
  memory.store(0x3008, 0x400010e7);
  expect_found(memory, tables, iova, {0x40001000, 21, 1});
  memory.store(0x2008, 0x800010e7);
  expect_found(memory, tables, iova + 5, {0x80201005, 30, 2});
}

TEST_F(FirstStageWalk, WalksFiveLevels) {
  memory.store(0x5010, 0x1007);
  tables.levels = 5;
  tables.top_table = PhysAddr(0x5000);
  expect_found(memory, tables, 0x2000000000000 + iova, {0x123456000, 12, 0});
  expect_fault(memory, tables, u64{1} << 56, Access::Read, Fault::InputRange, 0x80);
}

TEST_F(FirstStageWalk, BothEndsOfBothHalvesAreTranslated) {
  memory.store(0x1000, 0x2007);
  memory.store(0x2000, 0x3007);
  memory.store(0x3000, 0x4007);
  memory.store(0x4000, 0x7027);
  memory.store(0x17f8, 0x2007);
  memory.store(0x1ff8, 0x2007);
  memory.store(0x2ff8, 0x3007);
  memory.store(0x3ff8, 0x4007);
  memory.store(0x4ff8, 0x8027);
  expect_found(memory, tables, 0, {0x7000, 12, 0});
  expect_found(memory, tables, 0x00007fffffffffff, {0x8fff, 12, 0});
  expect_found(memory, tables, 0xfffffffffffff000, {0x8000, 12, 0});
  expect_found(memory, tables, 0xffffffffffffffff, {0x8fff, 12, 0});
  for (u64 hole : {0x0000800000000000u, 0xffff7fffffffffffu, u64{1} << 63})
    expect_fault(memory, tables, hole, Access::Read, Fault::InputRange, 0x80);
}

TEST_F(FirstStageWalk, WithoutSignTheUpperHalfIsOrdinary) {
  tables.form = AddressForm::ZeroExtended;
  memory.store(0x1ff8, 0x2007);
  expect_found(memory, tables, 0xff8040201000, {0x123456000, 12, 0});
  expect_fault(memory, tables, u64{1} << 48, Access::Read, Fault::InputRange, 0x80);
  expect_fault(memory, tables, 0xffffff8040201000, Access::Read, Fault::InputRange, 0x80);
}

TEST_F(FirstStageWalk, AndsPermissionsAlongTheWalk) {
  memory.store(0x2008, 0x3005);
  EXPECT_TRUE(walk(memory.reader(), tables, iova, Access::Read).ok());
  expect_fault(memory, tables, iova, Access::Write, Fault::Permission, 0x85);
  memory.store(0x1008, 0x2003);
  expect_fault(memory, tables, iova, Access::Read, Fault::Permission, 0x81);
  tables.requester = Requester::Supervisor;
  const WalkResult found = walk(memory.reader(), tables, iova, Access::Read);
  EXPECT_EQ(found.permissions, (Permissions{true, false, true}));
}

TEST_F(FirstStageWalk, ExecuteDisableMeansWhatTheUnitSays) {
  memory.store(0x2008, 0x8000000000003007);
  EXPECT_TRUE(walk(memory.reader(), tables, iova, Access::Execute).ok());
  tables.execute_disable = ExecuteDisable::Honoured;
  expect_fault(memory, tables, iova, Access::Execute, Fault::Permission, 0x82);
  EXPECT_TRUE(walk(memory.reader(), tables, iova, Access::Write).ok());
  tables.execute_disable = ExecuteDisable::Reserved;
  expect_fault(memory, tables, iova, Access::Read, Fault::Reserved, 0x72);
}

TEST_F(FirstStageWalk, SaysWhatIsNotThere) {
  expect_fault(memory, tables, 0x1000, Access::Read, Fault::NotPresent, 0x71);
  EXPECT_EQ(walk(memory.reader(), tables, 0x1000, Access::Read).level, 3u);
  memory.store(0x4008, 0x123456066);
  expect_fault(memory, tables, iova, Access::Read, Fault::NotPresent, 0x71);
  memory.store(0x3008, 0x900007);
  expect_fault(memory, tables, iova, Access::Read, Fault::TableAccess, 0x70);
  tables.top_table = PhysAddr(0x900000);
  expect_fault(memory, tables, iova, Access::Read, Fault::TableAccess, 0x73);
  tables.top_table = PhysAddr(0x1008);
  expect_fault(memory, tables, iova, Access::Read, Fault::Configuration, 0);
  tables = {.top_table = PhysAddr(0x1000), .levels = 3};
  expect_fault(memory, tables, iova, Access::Read, Fault::Configuration, 0);
}

TEST_F(FirstStageWalk, ChecksEveryReservedBit) {
  tables.host_address_bits = 46;
  tables.pages_1g = false;
  struct Case {
    u64 at;
    u64 entry;
  };
  std::vector<Case> cases{{0x1008, 0x2087}, {0x2008, 0x40000087}};  // PS at level 3; no 1G pages
  for (unsigned bit = 46; bit <= 51; ++bit)
    for (u64 at : {0x1008u, 0x2008u, 0x3008u, 0x4008u}) cases.push_back({at, memory.load(at) | u64{1} << bit});
  for (unsigned bit = 13; bit <= 20; ++bit) cases.push_back({0x3008, 0x40000087 | u64{1} << bit});
  for (const Case& c : cases) {
    const u64 before = memory.load(c.at);
    memory.store(c.at, c.entry);
    expect_fault(memory, tables, iova, Access::Read, Fault::Reserved, 0x72);
    memory.store(c.at, before);
  }
  tables.pages_1g = true;
  for (unsigned bit = 13; bit <= 29; ++bit) {
    memory.store(0x2008, 0x40000087 | u64{1} << bit);
    expect_fault(memory, tables, iova, Access::Read, Fault::Reserved, 0x72);
  }
  tables.levels = 5;
  tables.top_table = PhysAddr(0x5000);
  memory.store(0x5000, 0x1087);
  expect_fault(memory, tables, iova, Access::Read, Fault::Reserved, 0x72);
}

TEST_F(FirstStageWalk, LetsIgnoredBitsAlone) {
  memory.store(0x4008, 0x123456067 | 0xfff0000000000000 | 0xf98);  // 63:52, 11:7, PCD, PWT
  expect_found(memory, tables, iova, {0x123456000, 12, 0});
}

TEST_F(FirstStageWalk, TakesTheEncryptionBitOutOfAddresses) {
  tables.host_address_bits = 47;
  tables.encryption_mask = u64{1} << 47;
  memory.store(0x1008, 0x800000002007);
  memory.store(0x4008, 0x800123456067);
  expect_found(memory, tables, iova, {0x123456000, 12, 0});
}

TEST_F(FirstStageWalk, SetsAccessedOnThePathAndDirtyInTheLeaf) {
  tables.accessed_dirty = AccessedDirty::Set;
  memory.store(0x2008, 0x3027);
  memory.store(0x4008, 0x123456007);
  const std::vector<Update> read{{PhysAddr(0x1008), 0x2007, 0x2027},
                                 {PhysAddr(0x3008), 0x4007, 0x4027},
                                 {PhysAddr(0x4008), 0x123456007, 0x123456027}};
  EXPECT_EQ(walk(memory.reader(), tables, iova, Access::Read).updates, read);
  const WalkResult write = walk(memory.reader(), tables, iova, Access::Write);
  EXPECT_EQ(write.updates.back(), (Update{PhysAddr(0x4008), 0x123456007, 0x123456067}));
  memory.store(0x4008, 0x123456005);
  expect_fault(memory, tables, iova, Access::Write, Fault::Permission, 0x85);
}

TEST_F(FirstStageWalk, VisitsEveryLeafInOrder) {
  memory.store(0x4000, 0x7005);
  memory.store(0x3010, 0x6000e7);
  memory.store(0x1800, 0x9007);  // first of the upper half
  memory.store(0x9000, 0xc00000a7);
  const std::vector<Mapping> expected{{0x8040200000, PhysAddr(0x7000), 12, {true, false, true}},
                                      {0x8040201000, PhysAddr(0x123456000), 12, everything},
                                      {0x8040400000, PhysAddr(0x600000), 21, everything},
                                      {0xffff800000000000, PhysAddr(0xc0000000), 30, everything}};
  EXPECT_EQ(mappings_of(memory, tables), expected);
  tables.form = AddressForm::ZeroExtended;
  EXPECT_EQ(mappings_of(memory, tables).back().iova, 0x800000000000u);
}

TEST_F(FirstStageWalk, EnumerationNamesTheFirstFaultAndGoesOn) {
  memory.store(0x3000, 0x4007 | u64{1} << 51);
  tables.host_address_bits = 46;
  unsigned leaves = 0;
  bool dirty = false;
  const Enumeration end = enumerate_leaves(memory.reader(), tables, [&](const FoundLeaf& leaf) {
    ++leaves;
    dirty = leaf.dirty;
  });
  EXPECT_EQ(end.fault, Fault::Reserved);
  EXPECT_EQ(end.entry, PhysAddr(0x3000));
  EXPECT_EQ(end.level, 1u);
  EXPECT_EQ(end.iova, 0x8040000000u);
  EXPECT_EQ(end.tables, 4u);
  EXPECT_EQ(leaves, 1u);
  EXPECT_TRUE(dirty);
}

TEST_F(FirstStageWalk, EnumerationEndsOnATableThatContainsItselfEverywhere) {
  const ReadWord everywhere = [](PhysAddr) { return 0x1007; };
  u64 leaves = 0;
  const Enumeration end = enumerate_leaves(everywhere, tables, [&](const FoundLeaf&) { ++leaves; });
  EXPECT_EQ(end.fault, Fault::TooMany);
  EXPECT_EQ(end.tables, max_tables);
  EXPECT_GT(leaves, max_tables);
}

}  // namespace
}  // namespace sim::walk

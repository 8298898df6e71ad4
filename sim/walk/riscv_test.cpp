#include "sim/walk/riscv.hpp"

#include "sim/walk/words.hpp"

namespace sim::walk {
namespace {

constexpr u64 napot = 0x8000000000000000;

// A PTE is PA >> 2 with the flags below: 1 is a table, d7 is D A U W R V. Index 1 at every level of Sv48.
struct RiscvWalk : testing::Test {
  RiscvWalk() {
    memory.store(0x1008, 0x801);
    memory.store(0x2008, 0xc01);
    memory.store(0x3008, 0x1001);
    memory.store(0x4008, 0x48d158d7);
  }
  void expect_page_fault(u64 at, u64 entry, Fault fault) {
    const u64 before = memory.load(at);
    memory.store(at, entry);
    expect_fault(memory, tables, iova, Access::Read, fault, 13);
    memory.store(at, before);
  }
  static constexpr u64 iova = 0x8040201000;
  static constexpr Permissions read_write{true, true, false};
  Words memory;
  RiscvTables tables{.top_table = PhysAddr(0x1000)};
};

TEST_F(RiscvWalk, TranslatesA4KPage) {
  expect_found(memory, tables, iova + 0xabc, {0x123456abc, 12, 0});
  EXPECT_TRUE(walk(memory.reader(), tables, iova, Access::Write).ok());
  EXPECT_EQ(walk(memory.reader(), tables, iova, Access::Read).entry, PhysAddr(0x4008));
}

TEST_F(RiscvWalk, TranslatesAPageAtEveryLevel) {
  memory.store(0x3008, 0x100000d7);
  expect_found(memory, tables, iova + 5, {0x40001005, 21, 1});
  memory.store(0x2008, 0x200000d7);
  expect_found(memory, tables, iova, {0x80201000, 30, 2});
  memory.store(0x1008, 0x20000000d7);
  expect_found(memory, tables, iova, {0x8040201000, 39, 3});
  memory.store(0x5008, 0x4000000000d7);
  tables = {.top_table = PhysAddr(0x5000), .levels = 5};
  expect_found(memory, tables, 0x1000000000000 + iova, {0x1008040201000, 48, 4});
}

TEST_F(RiscvWalk, WalksThreeAndFiveLevels) {
  tables = {.top_table = PhysAddr(0x2000), .levels = 3};
  expect_found(memory, tables, 0x40201000, {0x123456000, 12, 0});
  memory.store(0x5008, 0x401);
  tables = {.top_table = PhysAddr(0x5000), .levels = 5};
  expect_found(memory, tables, 0x1008040201000, {0x123456000, 12, 0});
}

TEST_F(RiscvWalk, TheFirstStageIsSigned) {
  memory.store(0x17f8, 0x801);
  memory.store(0x1ff8, 0x801);
  expect_found(memory, tables, 0x00007f8040201000, {0x123456000, 12, 0});
  expect_found(memory, tables, 0xffffff8040201fff, {0x123456fff, 12, 0});
  for (u64 hole : {0x0000800000000000u, 0x0000ff8040201000u, 0xffff7fffffffffffu}) {
    expect_fault(memory, tables, hole, Access::Read, Fault::InputRange, 13);
    expect_fault(memory, tables, hole, Access::Write, Fault::InputRange, 15);
    expect_fault(memory, tables, hole, Access::Execute, Fault::InputRange, 12);
  }
}

TEST_F(RiscvWalk, TheSecondStageHasTwoMoreBitsAndNoSign) {
  for (unsigned levels : {3u, 4u, 5u}) {
    tables = {.top_table = PhysAddr(0x8000), .levels = levels, .stage = RiscvStage::Second};
    memory.zero(0x8000, 0x4000);
    memory.store(0xbff8, levels == 3 ? 0xc01 : levels == 4 ? 0x801 : 0x401);  // entry 2047, then index 1
    const u64 top = u64{2047} << (3 + 9 * levels);
    const u64 low = levels == 3 ? 0x201000 : levels == 4 ? 0x40201000 : 0x8040201000;
    EXPECT_EQ(tables.width(), levels == 3 ? 41u : levels == 4 ? 50u : 59u);
    expect_found(memory, tables, top + low, {0x123456000, 12, 0});
    for (Access access : {Access::Read, Access::Write, Access::Execute}) {
      const u32 code = access == Access::Read ? 21 : access == Access::Write ? 23 : 20;
      expect_fault(memory, tables, u64{1} << tables.width(), access, Fault::InputRange, code);
      expect_fault(memory, tables, 0, access, Fault::NotPresent, code);
    }
    const std::vector<Mapping> expected{{top + low, PhysAddr(0x123456000), 12, read_write}};
    EXPECT_EQ(mappings_of(memory, tables), expected);
  }
  tables.top_table = PhysAddr(0x9000);
  expect_fault(memory, tables, 0, Access::Read, Fault::Configuration, 259);
}

TEST_F(RiscvWalk, TranslatesA64KNaturallyAlignedPage) {
  // PA 0x80000: PPN 0x80, 3:0 become 1000.
  for (u64 at = 0x4080; at < 0x4100; at += 8) memory.store(at, 0x80000000000220d7);
  expect_found(memory, tables, 0x8040213456, {0x83456, 16, 0});
  const std::vector<Mapping> expected{{iova, PhysAddr(0x123456000), 12, read_write},
                                      {0x8040210000, PhysAddr(0x80000), 16, read_write}};
  EXPECT_EQ(mappings_of(memory, tables), expected);
  memory.store(0x40c0, 0x8000000000022017 | 0x40);  // D differs: that is hardware's to do
  EXPECT_EQ(mappings_of(memory, tables), expected);
  memory.store(0x40f8, 0x80000000000260d7);
  Enumeration end;
  (void)collect_mappings(memory.reader(), tables, end);
  EXPECT_EQ(end.fault, Fault::Disagreement);
  EXPECT_EQ(end.entry, PhysAddr(0x40f8));
}

TEST_F(RiscvWalk, ChecksWhatIsReservedInALeaf) {
  for (unsigned bit = 54; bit <= 60; ++bit) expect_page_fault(0x4008, 0x48d158d7 | u64{1} << bit, Fault::Reserved);
  expect_page_fault(0x4008, 0x48d158d5, Fault::Reserved);                 // W without R
  expect_page_fault(0x4008, 0x48d158dd, Fault::Reserved);                 // W and X without R
  expect_page_fault(0x4008, 0x48d158d7 | u64{3} << 61, Fault::Reserved);  // PBMT 3
  expect_page_fault(0x4008, napot | 0x48d158d7, Fault::Reserved);         // PPN 3:0 = 0110
  expect_page_fault(0x3008, napot | 0x100020d7, Fault::Reserved);         // N on a 2M page
  for (unsigned bit = 10; bit <= 18; ++bit) expect_page_fault(0x3008, 0x100000d7 | u64{1} << bit, Fault::Reserved);
  for (unsigned bit = 10; bit <= 27; ++bit) expect_page_fault(0x2008, 0x200000d7 | u64{1} << bit, Fault::Reserved);
  for (unsigned bit = 10; bit <= 36; ++bit) expect_page_fault(0x1008, 0x20000000d7 | u64{1} << bit, Fault::Reserved);
  for (u64 type : {1u, 2u}) {
    memory.store(0x4008, 0x48d158d7 | type << 61);
    expect_found(memory, tables, iova, {0x123456000, 12, 0});
  }
  tables.svpbmt = false;
  expect_page_fault(0x4008, 0x48d158d7 | u64{1} << 61, Fault::Reserved);
  tables.svnapot = false;
  expect_page_fault(0x4008, 0x80000000000220d7, Fault::Reserved);
}

TEST_F(RiscvWalk, ChecksWhatIsReservedInATableEntry) {
  for (unsigned bit : {4u, 6u, 7u, 54u, 60u, 61u, 62u, 63u})
    for (u64 at : {0x1008u, 0x2008u, 0x3008u}) expect_page_fault(at, memory.load(at) | u64{1} << bit, Fault::Reserved);
  expect_page_fault(0x3008, 0x1005, Fault::Reserved);  // W alone
  expect_page_fault(0x4008, 0x801, Fault::Reserved);   // a table below the last level
  memory.store(0x3008, 0x1001 | 0x320);                // G and RSW are nobody's business
  expect_found(memory, tables, iova, {0x123456000, 12, 0});
}

TEST_F(RiscvWalk, SaysWhatIsNotThere) {
  expect_page_fault(0x4008, 0x48d158d6, Fault::NotPresent);
  expect_page_fault(0x1008, 0x800, Fault::NotPresent);
  memory.store(0x3008, 0x240001);
  expect_fault(memory, tables, iova, Access::Read, Fault::TableAccess, 5);
  expect_fault(memory, tables, iova, Access::Write, Fault::TableAccess, 7);
  expect_fault(memory, tables, iova, Access::Execute, Fault::TableAccess, 1);
  memory.store(0x3008, 0x1001);
  tables.physical_address_bits = 32;
  expect_fault(memory, tables, iova, Access::Write, Fault::AddressSize, 7);
  tables = {.top_table = PhysAddr(0x1000), .levels = 2};
  expect_fault(memory, tables, iova, Access::Read, Fault::Configuration, 259);
}

TEST_F(RiscvWalk, AllowsWhatTheLeafSays) {
  struct Case {
    u64 flags;
    Permissions expected;
  };
  for (const Case& c : {Case{0xd3, {true, false, false}}, Case{0xd9, {false, false, true}},
                        Case{0xdb, {true, false, true}}, Case{0xdf, everything}, Case{0xcf, {}}}) {
    memory.store(0x4008, 0x48d15800 | c.flags);
    for (Access access : {Access::Read, Access::Write, Access::Execute}) {
      const WalkResult found = walk(memory.reader(), tables, iova, access);
      EXPECT_EQ(found.permissions, c.expected) << std::hex << c.flags;
      EXPECT_EQ(found.fault, c.expected.allows(access) ? Fault::None : Fault::Permission) << std::hex << c.flags;
      EXPECT_EQ(found.code, found.ok() ? 0u : access == Access::Read ? 13u : access == Access::Write ? 15u : 12u);
    }
  }
}

TEST_F(RiscvWalk, ASupervisorNeedsSumForAUsersPage) {
  tables.requester = Requester::Supervisor;
  memory.store(0x4008, 0x48d158df);
  expect_fault(memory, tables, iova, Access::Read, Fault::Permission, 13);
  tables.supervisor_user_access = true;
  EXPECT_TRUE(walk(memory.reader(), tables, iova, Access::Write).ok());
  expect_fault(memory, tables, iova, Access::Execute, Fault::Permission, 12);
  memory.store(0x4008, 0x48d158cf);
  EXPECT_TRUE(walk(memory.reader(), tables, iova, Access::Execute).ok());
}

TEST_F(RiscvWalk, TheSecondStageTakesEveryoneForAUser) {
  memory.zero(0x8000, 0x4000);
  memory.store(0x8008, 0x801);
  tables.top_table = PhysAddr(0x8000);
  tables.stage = RiscvStage::Second;
  tables.requester = Requester::Supervisor;
  EXPECT_TRUE(walk(memory.reader(), tables, iova, Access::Read).ok());
  memory.store(0x4008, 0x48d158c7);
  expect_fault(memory, tables, iova, Access::Read, Fault::Permission, 21);
}

TEST_F(RiscvWalk, FaultsOnAccessedAndDirtyUnlessHardwareSetsThem) {
  memory.store(0x4008, 0x48d15857);
  EXPECT_TRUE(walk(memory.reader(), tables, iova, Access::Read).ok());
  expect_fault(memory, tables, iova, Access::Write, Fault::AccessFlag, 15);
  memory.store(0x4008, 0x48d15817);
  expect_fault(memory, tables, iova, Access::Read, Fault::AccessFlag, 13);
  tables.accessed_dirty = AccessedDirty::Set;
  const std::vector<Update> read{{PhysAddr(0x4008), 0x48d15817, 0x48d15857}};
  EXPECT_EQ(walk(memory.reader(), tables, iova, Access::Read).updates, read);
  const std::vector<Update> write{{PhysAddr(0x4008), 0x48d15817, 0x48d158d7}};
  EXPECT_EQ(walk(memory.reader(), tables, iova, Access::Write).updates, write);
}

TEST_F(RiscvWalk, VisitsEveryLeafInOrder) {
  memory.store(0x4000, 0x1cdb);
  memory.store(0x3010, 0x1800d7);
  memory.store(0x1800, 0x2401);
  memory.store(0x9000, 0x300000d7);
  const std::vector<Mapping> expected{{0x8040200000, PhysAddr(0x7000), 12, {true, false, true}},
                                      {iova, PhysAddr(0x123456000), 12, read_write},
                                      {0x8040400000, PhysAddr(0x600000), 21, read_write},
                                      {0xffff800000000000, PhysAddr(0xc0000000), 30, read_write}};
  EXPECT_EQ(mappings_of(memory, tables), expected);
}

}  // namespace
}  // namespace sim::walk

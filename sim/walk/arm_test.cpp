#include "sim/walk/arm.hpp"

#include "sim/walk/words.hpp"

namespace sim::walk {
namespace {

// Stage 1 leaf bits: 0xf47 is nG, AF, inner shareable, AP[1], AttrIndx 1, page; 0xf45 the same of a block.
// Stage 2: 0x7ff is AF, inner shareable, S2AP read and write, MemAttr 1111, page.
constexpr u64 contiguous = u64{1} << 52;
constexpr u64 dbm = u64{1} << 51;
constexpr u64 no_execute = u64{3} << 53;

// Granule 4K, 48 bits: index 1 at every level.
struct ArmWalk4K : testing::Test {
  ArmWalk4K() {
    memory.store(0x1008, 0x2003);
    memory.store(0x2008, 0x3003);
    memory.store(0x3008, 0x4003);
    memory.store(0x4008, 0x123456f47);
  }
  void make_stage_2() {
    tables.stage = ArmStage::Two;
    memory.store(0x4008, 0x1234567ff);
  }
  static constexpr u64 iova = 0x8040201000;
  Words memory;
  ArmTables tables{.top_table = PhysAddr(0x1000)};
};

TEST_F(ArmWalk4K, TranslatesAPage) {
  expect_found(memory, tables, iova + 0xabc, {0x123456abc, 12, 0});
  EXPECT_TRUE(walk(memory.reader(), tables, iova, Access::Write).ok());
  EXPECT_EQ(walk(memory.reader(), tables, iova, Access::Read).entry, PhysAddr(0x4008));
}

TEST_F(ArmWalk4K, TranslatesBlocksOf2MAnd1G) {
  memory.store(0x3008, 0x40000f45);
  expect_found(memory, tables, iova + 0x1234, {0x40002234, 21, 1});
  memory.store(0x2008, 0x80000f45);
  expect_found(memory, tables, iova, {0x80201000, 30, 2});
  memory.store(0x1008, 0x8000000f45);  // no block of 512G
  expect_fault(memory, tables, iova, Access::Read, Fault::NotPresent, 0x10);
}

TEST_F(ArmWalk4K, InvalidDescriptorsAreTranslationFaults) {
  for (u64 at : {0x1008u, 0x2008u, 0x3008u, 0x4008u}) {
    const u64 before = memory.load(at);
    for (u64 type : {0u, 2u}) {
      memory.store(at, (before & ~u64{3}) | type);
      expect_fault(memory, tables, iova, Access::Read, Fault::NotPresent, 0x10);
    }
    memory.store(at, before);
  }
  memory.store(0x4008, 0x123456f45);  // 01 at the last level
  expect_fault(memory, tables, iova, Access::Read, Fault::NotPresent, 0x10);
  memory.store(0x3008, 0x900003);
  expect_fault(memory, tables, iova, Access::Read, Fault::TableAccess, 0x0b);
}

TEST_F(ArmWalk4K, TheTopLevelFollowsFromTheInputSize) {
  tables.input_bits = 39;
  tables.top_table = PhysAddr(0x2000);
  expect_found(memory, tables, 0x40201000, {0x123456000, 12, 0});
  expect_fault(memory, tables, u64{1} << 39, Access::Read, Fault::InputRange, 0x10);
  tables.input_bits = 40;
  tables.top_table = PhysAddr(0x1000);
  expect_found(memory, tables, iova, {0x123456000, 12, 0});
  tables.input_bits = 30;
  tables.top_table = PhysAddr(0x3000);
  expect_found(memory, tables, 0x201000, {0x123456000, 12, 0});
  tables.input_bits = 32;  // four entries, aligned to 64 bytes
  memory.store(0x2048, 0x3003);
  tables.top_table = PhysAddr(0x2040);
  expect_found(memory, tables, 0x40201000, {0x123456000, 12, 0});
}

TEST_F(ArmWalk4K, TheUpperHalfHasAllOnesAbove) {
  tables.half = ArmHalf::Upper;
  tables.input_bits = 40;
  expect_found(memory, tables, 0xffffff8040201000, {0x123456000, 12, 0});
  for (u64 outside : {iova, 0xfffffe8040201000u, 0x7fffff8040201000u})
    expect_fault(memory, tables, outside, Access::Read, Fault::InputRange, 0x10);
  const std::vector<Mapping> expected{{0xffffff8040201000, PhysAddr(0x123456000), 12, everything}};
  EXPECT_EQ(mappings_of(memory, tables), expected);
  memory.store(0x1008, 0x2003);
  memory.store(0x2ff8, 0x3003);
  memory.store(0x3ff8, 0x4003);
  memory.store(0x4ff8, 0x7f47);
  expect_found(memory, tables, ~u64{0}, {0x7fff, 12, 0});
}

TEST_F(ArmWalk4K, StageOnePermissions) {
  struct Case {
    u64 leaf;
    Permissions user;
    Permissions supervisor;
  };
  for (const Case& c :
       {Case{0x123456f47, everything, {true, true, false}}, Case{0x123456fc7, {true, false, true}, {true, false, true}},
        Case{0x123456f07, {false, false, true}, everything},
        Case{0x123456f87, {false, false, true}, {true, false, true}},
        Case{0x123456f47 | no_execute, {true, true, false}, {true, true, false}},
        Case{0x123456f07 | u64{1} << 53, {false, false, true}, {true, true, false}},
        Case{0x123456f07 | u64{1} << 54, {}, everything}}) {
    memory.store(0x4008, c.leaf);
    tables.requester = Requester::User;
    EXPECT_EQ(walk(memory.reader(), tables, iova, Access::Read).permissions, c.user) << std::hex << c.leaf;
    tables.requester = Requester::Supervisor;
    EXPECT_EQ(walk(memory.reader(), tables, iova, Access::Read).permissions, c.supervisor) << std::hex << c.leaf;
  }
  tables.requester = Requester::User;
  memory.store(0x4008, 0x123456fc7);
  expect_fault(memory, tables, iova, Access::Write, Fault::Permission, 0x13);
}

TEST_F(ArmWalk4K, HonoursHierarchicalPermissions) {
  memory.store(0x2008, 0x3003 | u64{1} << 62);
  expect_fault(memory, tables, iova, Access::Write, Fault::Permission, 0x13);
  EXPECT_TRUE(walk(memory.reader(), tables, iova, Access::Read).ok());
  memory.store(0x2008, 0x3003 | u64{1} << 61);
  expect_fault(memory, tables, iova, Access::Read, Fault::Permission, 0x13);
  memory.store(0x2008, 0x3003 | u64{1} << 60);
  expect_fault(memory, tables, iova, Access::Execute, Fault::Permission, 0x13);
  EXPECT_TRUE(walk(memory.reader(), tables, iova, Access::Write).ok());
  memory.store(0x2008, 0x3003 | u64{1} << 61 | u64{1} << 59);
  tables.requester = Requester::Supervisor;
  memory.store(0x4008, 0x123456f07);
  EXPECT_EQ(walk(memory.reader(), tables, iova, Access::Read).permissions, (Permissions{true, true, false}));
  memory.store(0x2008, 0x3003 | u64{1} << 63);  // NSTable
  EXPECT_EQ(walk(memory.reader(), tables, iova, Access::Read).permissions, everything);
  make_stage_2();
  memory.store(0x2008, 0x3003 | u64{0x1f} << 59);
  EXPECT_TRUE(walk(memory.reader(), tables, iova, Access::Write).ok());
}

TEST_F(ArmWalk4K, StageTwoPermissions) {
  make_stage_2();
  struct Case {
    u64 leaf;
    Permissions user;
    Permissions supervisor;
  };
  for (const Case& c :
       {Case{0x1234567ff, everything, everything}, Case{0x12345677f, {true, false, true}, {true, false, true}},
        Case{0x1234567bf, {false, true, true}, {false, true, true}},
        Case{0x12345673f, {false, false, true}, {false, false, true}},
        Case{0x1234567ff | u64{1} << 53, everything, {true, true, false}},
        Case{0x1234567ff | u64{2} << 53, {true, true, false}, {true, true, false}},
        Case{0x1234567ff | u64{3} << 53, {true, true, false}, everything}}) {
    memory.store(0x4008, c.leaf);
    tables.requester = Requester::User;
    EXPECT_EQ(walk(memory.reader(), tables, iova, Access::Read).permissions, c.user) << std::hex << c.leaf;
    tables.requester = Requester::Supervisor;
    EXPECT_EQ(walk(memory.reader(), tables, iova, Access::Read).permissions, c.supervisor) << std::hex << c.leaf;
  }
  memory.store(0x4008, 0x1234567bf);
  expect_fault(memory, tables, iova, Access::Read, Fault::Permission, 0x13);
}

TEST_F(ArmWalk4K, TheAccessFlagComesBeforePermission) {
  memory.store(0x4008, 0x123456bc7);  // AF 0, read-only
  expect_fault(memory, tables, iova, Access::Write, Fault::AccessFlag, 0x12);
  tables.update = ArmUpdate::AccessFlag;
  expect_fault(memory, tables, iova, Access::Write, Fault::Permission, 0x13);
  const std::vector<Update> expected{{PhysAddr(0x4008), 0x123456bc7, 0x123456fc7}};
  EXPECT_EQ(walk(memory.reader(), tables, iova, Access::Read).updates, expected);
}

TEST_F(ArmWalk4K, DbmMakesAReadOnlyPageWritableWhereHardwareKeepsDirtyState) {
  memory.store(0x4008, 0x123456fc7 | dbm);
  tables.update = ArmUpdate::AccessFlag;
  expect_fault(memory, tables, iova, Access::Write, Fault::Permission, 0x13);
  tables.update = ArmUpdate::DirtyState;
  EXPECT_TRUE(walk(memory.reader(), tables, iova, Access::Read).updates.empty());
  const std::vector<Update> dirtied{{PhysAddr(0x4008), 0x123456fc7 | dbm, 0x123456f47 | dbm}};
  EXPECT_EQ(walk(memory.reader(), tables, iova, Access::Write).updates, dirtied);
  memory.store(0x2008, 0x3003 | u64{1} << 62);
  expect_fault(memory, tables, iova, Access::Write, Fault::Permission, 0x13);
  memory.store(0x2008, 0x3003);
  memory.store(0x4008, 0x123456fc7);  // without DBM read-only is read-only
  expect_fault(memory, tables, iova, Access::Write, Fault::Permission, 0x13);
}

TEST_F(ArmWalk4K, DbmOfStageTwoSetsTheWriteBit) {
  make_stage_2();
  memory.store(0x4008, 0x12345677f | dbm);
  expect_fault(memory, tables, iova, Access::Write, Fault::Permission, 0x13);
  tables.update = ArmUpdate::DirtyState;
  const std::vector<Update> dirtied{{PhysAddr(0x4008), 0x12345677f | dbm, 0x1234567ff | dbm}};
  EXPECT_EQ(walk(memory.reader(), tables, iova, Access::Write).updates, dirtied);
}

TEST_F(ArmWalk4K, ALeafIsDirtyByDbmAndBit7) {
  const auto is_dirty = [&](u64 word) {
    memory.store(0x4008, word);
    bool dirty = false;
    EXPECT_TRUE(enumerate_leaves(memory.reader(), tables, [&](const FoundLeaf& leaf) { dirty = leaf.dirty; }).ok());
    return dirty;
  };
  EXPECT_TRUE(is_dirty(0x123456f47 | dbm));
  EXPECT_FALSE(is_dirty(0x123456fc7 | dbm));
  EXPECT_FALSE(is_dirty(0x123456f47));
  tables.stage = ArmStage::Two;
  EXPECT_TRUE(is_dirty(0x1234567ff | dbm));
  EXPECT_FALSE(is_dirty(0x12345677f | dbm));
}

TEST_F(ArmWalk4K, AddressesBeyondTheOutputSizeAreAddressSizeFaults) {
  tables.output_bits = 40;
  memory.store(0x4008, 0xfffffff000 | 0xf47);
  expect_found(memory, tables, iova, {0xfffffff000, 12, 0});
  for (u64 at : {0x1008u, 0x2008u, 0x3008u, 0x4008u}) {
    for (unsigned bit = 40; bit <= 47; ++bit) {
      const u64 before = memory.load(at);
      memory.store(at, before | u64{1} << bit);
      expect_fault(memory, tables, iova, Access::Read, Fault::AddressSize, 0x11);
      memory.store(at, before);
    }
  }
  memory.store(0x4008, 0x10000000b47);  // before the access flag
  expect_fault(memory, tables, iova, Access::Read, Fault::AddressSize, 0x11);
  tables.top_table = PhysAddr(u64{1} << 40);
  expect_fault(memory, tables, iova, Access::Read, Fault::AddressSize, 0x11);
}

TEST_F(ArmWalk4K, Res0BitsAreIgnoredUnlessRefused) {
  struct Case {
    u64 at;
    u64 entry;
  };
  const std::vector<Case> cases{{0x4008, 0x123456f47 | u64{1} << 48},
                                {0x4008, 0x123456f47 | u64{1} << 49},
                                {0x3008, 0x40001f45},
                                {0x3008, 0x40100f45},
                                {0x2008, 0x40200f45},
                                {0x2008, 0x60000f45}};
  for (const Case& c : cases) {
    const u64 before = memory.load(c.at);
    memory.store(c.at, c.entry);
    tables.res0 = Res0::Ignored;
    EXPECT_TRUE(walk(memory.reader(), tables, iova, Access::Read).ok()) << std::hex << c.entry;
    tables.res0 = Res0::Refused;
    expect_fault(memory, tables, iova, Access::Read, Fault::Reserved, 0);
    memory.store(c.at, before);
  }
  // GP, nT, software, contiguous, PBHA: all of them mean something.
  memory.store(0x4008, 0x123456f47 | u64{1} << 50 | u64{0xff} << 55);
  EXPECT_TRUE(walk(memory.reader(), tables, iova, Access::Read).ok());
  memory.store(0x3008, 0x40010f45 | contiguous);
  expect_found(memory, tables, iova, {0x40001000, 21, 1});
  make_stage_2();
  memory.store(0x2008, 0x3003 | u64{1} << 59);
  expect_fault(memory, tables, iova, Access::Read, Fault::Reserved, 0);
  memory.store(0x2008, 0x3003);
  memory.store(0x3008, 0x4003);
  memory.store(0x4008, 0x1234567ff | u64{1} << 50);
  expect_fault(memory, tables, iova, Access::Read, Fault::Reserved, 0);
}

TEST_F(ArmWalk4K, TheContiguousBitIsAHintToTheWalkAndOneLeafToTheEnumeration) {
  for (u64 k = 0; k < 16; ++k) memory.store(0x4080 + k * 8, (0x80000 + k * 0x1000) | 0xf47 | contiguous);
  expect_found(memory, tables, 0x8040213456, {0x83456, 12, 0});
  const std::vector<Mapping> expected{{iova, PhysAddr(0x123456000), 12, everything},
                                      {0x8040210000, PhysAddr(0x80000), 16, everything}};
  EXPECT_EQ(mappings_of(memory, tables), expected);
}

TEST_F(ArmWalk4K, GroupsMakePagesOf32MAnd16G) {
  for (u64 k = 0; k < 16; ++k) memory.store(0x3080 + k * 8, (0x42000000 + k * 0x200000) | 0xf45 | contiguous);
  for (u64 k = 0; k < 16; ++k) memory.store(0x2080 + k * 8, (0x800000000 + k * 0x40000000) | 0xf45 | contiguous);
  const std::vector<Mapping> expected{{iova, PhysAddr(0x123456000), 12, everything},
                                      {0x8042000000, PhysAddr(0x42000000), 25, everything},
                                      {0x8400000000, PhysAddr(0x800000000), 34, everything}};
  EXPECT_EQ(mappings_of(memory, tables), expected);
}

TEST_F(ArmWalk4K, EnumerationFindsWhatIsWrongWithAGroup) {
  const auto fault_after = [&](u64 index, u64 word) {
    for (u64 k = 0; k < 16; ++k) memory.store(0x4080 + k * 8, (0x80000 + k * 0x1000) | 0xfc7 | contiguous | dbm);
    memory.store(0x4080 + index * 8, word);
    Enumeration end;
    (void)collect_mappings(memory.reader(), tables, end);
    return end;
  };
  constexpr u64 good = 0x85fc7 | contiguous | dbm;
  EXPECT_EQ(fault_after(5, good).fault, Fault::None);
  EXPECT_EQ(fault_after(5, good & ~u64{0x480}).fault, Fault::None);   // AF, and dirty: hardware's
  EXPECT_EQ(fault_after(5, good | u64{1} << 55).fault, Fault::None);  // software's
  EXPECT_EQ(fault_after(5, good & ~contiguous).fault, Fault::Disagreement);
  EXPECT_EQ(fault_after(5, good & ~u64{0x40}).fault, Fault::Disagreement);
  EXPECT_EQ(fault_after(5, good ^ 0x1000).fault, Fault::Disagreement);
  EXPECT_EQ(fault_after(5, good & ~dbm).fault, Fault::Disagreement);
  EXPECT_EQ(fault_after(5, 0).entry, PhysAddr(0x40a8));
  EXPECT_EQ(fault_after(0, 0).entry, PhysAddr(0x4088));  // its first member is not there
  for (u64 k = 0; k < 16; ++k) memory.store(0x4080 + k * 8, (0x81000 + k * 0x1000) | 0xf47 | contiguous);
  Enumeration end;
  EXPECT_EQ(collect_mappings(memory.reader(), tables, end).size(), 17u);
  EXPECT_EQ(end.fault, Fault::Disagreement) << "not aligned";
  EXPECT_EQ(end.entry, PhysAddr(0x4080));
}

TEST_F(ArmWalk4K, ImpossibleConfigurationsBeginNoWalk) {
  const auto expect_impossible = [&](const ArmTables& t) {
    expect_fault(memory, t, iova, Access::Read, Fault::Configuration, t.stage == ArmStage::One ? 0x0a : 0x04);
  };
  const PhysAddr top(0x1000);
  expect_impossible({.top_table = top, .granule_lg2 = 13});
  expect_impossible({.top_table = top, .input_bits = 49});
  expect_impossible({.top_table = top, .input_bits = 12});
  expect_impossible({.top_table = top, .output_bits = 52});
  expect_impossible({.top_table = top, .output_bits = 41});
  expect_impossible({.top_table = top, .start_level = 0});
  expect_impossible({.top_table = PhysAddr(0x1800)});
  expect_impossible({.top_table = PhysAddr(0x1020), .input_bits = 40});
  expect_impossible({.top_table = top, .stage = ArmStage::Two, .input_bits = 39, .start_level = 0});
  expect_impossible({.top_table = PhysAddr(0x100000), .stage = ArmStage::Two, .input_bits = 44, .start_level = 1});
  expect_impossible({.top_table = top, .stage = ArmStage::Two, .start_level = 4});
  expect_impossible({.top_table = PhysAddr(0x10000), .stage = ArmStage::Two, .granule_lg2 = 16, .start_level = 0});
}

TEST_F(ArmWalk4K, StageTwoConcatenatesUpToSixteenTables) {
  // 43 bits from level 1: sixteen tables from 0x10000 on, 64 KiB of one index.
  memory.zero(0x10000, 0x10000);
  memory.store(0x1fff8, 0x3003);
  memory.store(0x4008, 0x1234567ff);
  tables = {.top_table = PhysAddr(0x10000), .stage = ArmStage::Two, .input_bits = 43, .start_level = 1};
  expect_found(memory, tables, 0x7ffc0201000, {0x123456000, 12, 0});
  expect_fault(memory, tables, u64{1} << 43, Access::Read, Fault::InputRange, 0x10);
  const std::vector<Mapping> expected{{0x7ffc0201000, PhysAddr(0x123456000), 12, everything}};
  EXPECT_EQ(mappings_of(memory, tables), expected);
  tables.top_table = PhysAddr(0x18000);
  expect_fault(memory, tables, 0, Access::Read, Fault::Configuration, 0x04);
  // 40 bits: two tables, as an output size of 40 bits demands.
  memory.zero(0x6000, 0x2000);
  memory.store(0x7008, 0x3003);
  tables = {
      .top_table = PhysAddr(0x6000), .stage = ArmStage::Two, .input_bits = 40, .output_bits = 40, .start_level = 1};
  expect_found(memory, tables, 0x8040201000, {0x123456000, 12, 0});
}

// Granule 16K, 48 bits: level 0 has two entries; 11 bits a level.
struct ArmWalk16K : testing::Test {
  ArmWalk16K() {
    memory.zero(0x8000, 0x10000);
    memory.store(0x4008, 0x8003);
    memory.store(0x8008, 0xc003);
    memory.store(0xc008, 0x10003);
    memory.store(0x10008, 0x123454f47);
  }
  static constexpr u64 iova = 0x801002004000;  // 1 << 47, 1 << 36, 1 << 25, 1 << 14
  Words memory;
  ArmTables tables{.top_table = PhysAddr(0x4000), .granule_lg2 = 14};
};

TEST_F(ArmWalk16K, TranslatesAPageAndABlockOf32M) {
  expect_found(memory, tables, iova + 0x3abc, {0x123457abc, 14, 0});
  memory.store(0xc008, 0x42000f45);
  expect_found(memory, tables, iova + 5, {0x42004005, 25, 1});
  memory.store(0x8008, 0x1000000f45);  // no block of 64G
  expect_fault(memory, tables, iova, Access::Read, Fault::NotPresent, 0x10);
}

TEST_F(ArmWalk16K, GroupsMakePagesOf2MAnd1G) {
  for (u64 k = 0; k < 128; ++k) memory.store(0x10400 + k * 8, (0x200000 + k * 0x4000) | 0xf47 | contiguous);
  for (u64 k = 0; k < 32; ++k) memory.store(0xc100 + k * 8, (0x80000000 + k * 0x2000000) | 0xf45 | contiguous);
  const std::vector<Mapping> expected{{iova, PhysAddr(0x123454000), 14, everything},
                                      {0x801002200000, PhysAddr(0x200000), 21, everything},
                                      {0x801040000000, PhysAddr(0x80000000), 30, everything}};
  EXPECT_EQ(mappings_of(memory, tables), expected);
}

TEST_F(ArmWalk16K, StageTwoOf48BitsConcatenatesTwoTables) {
  memory.zero(0x20000, 0x8000);
  memory.store(0x24008, 0xc003);  // entry 2049
  memory.store(0x10008, 0x1234547ff);
  tables = {.top_table = PhysAddr(0x20000), .stage = ArmStage::Two, .granule_lg2 = 14, .start_level = 1};
  expect_found(memory, tables, iova, {0x123454000, 14, 0});
}

TEST_F(ArmWalk16K, PageAddressBits13And12AreRes0) {
  memory.store(0x10008, 0x123457f47);
  expect_found(memory, tables, iova, {0x123454000, 14, 0});
  tables.res0 = Res0::Refused;
  expect_fault(memory, tables, iova, Access::Read, Fault::Reserved, 0);
  memory.store(0x10008, 0x123454f47);
  memory.store(0xc008, 0x11003);
  expect_fault(memory, tables, iova, Access::Read, Fault::Reserved, 0);
}

// Granule 64K, 52 bits in and out: level 1 has 1024 entries; 13 bits a level. Descriptor bits 15:12 are OA[51:48].
struct ArmWalk64K : testing::Test {
  ArmWalk64K() {
    memory.zero(0x10000, 0x30000);
    memory.store(0x10008, 0x20003);
    memory.store(0x20008, 0x30003);
    memory.store(0x30008, 0x12345ff47);
  }
  static constexpr u64 iova = 0x40020010000;  // 1 << 42, 1 << 29, 1 << 16
  Words memory;
  ArmTables tables{.top_table = PhysAddr(0x10000), .granule_lg2 = 16, .input_bits = 52, .output_bits = 52};
};

TEST_F(ArmWalk64K, PutsOutFiftyTwoBits) {
  expect_found(memory, tables, iova + 0xabcd, {0xf00012345abcd, 16, 0});
  memory.store(0x20008, 0x600009f45);
  expect_found(memory, tables, iova, {0x9000600010000, 29, 1});
  memory.store(0x10008, 0x400000001f45);
  expect_found(memory, tables, iova, {0x1400020010000, 42, 2});
  memory.store(0x12000 - 8, 0x400000001f45);
  expect_found(memory, tables, 0xfffffffffffff, {0x143ffffffffff, 42, 2});
  expect_fault(memory, tables, u64{1} << 52, Access::Read, Fault::InputRange, 0x10);
}

TEST_F(ArmWalk64K, FollowsATableAbove48Bits) {
  memory.store(0x3000000040008, 0x12345ff47);
  memory.store(0x20008, 0x43003);
  expect_found(memory, tables, iova, {0xf000123450000, 16, 0});
}

TEST_F(ArmWalk64K, NarrowerOutputMakesTheUpperBitsAFault) {
  tables.output_bits = 48;
  tables.input_bits = 48;
  memory.store(0x10008, 0x20003);
  expect_fault(memory, tables, iova, Access::Read, Fault::AddressSize, 0x11);
  memory.store(0x30008, 0x123450f47);
  expect_found(memory, tables, iova, {0x123450000, 16, 0});
  memory.store(0x20008, 0x31003);
  expect_fault(memory, tables, iova, Access::Read, Fault::AddressSize, 0x11);
  memory.store(0x10008, 0x400000000f45);  // no block of 4T
  expect_fault(memory, tables, iova, Access::Read, Fault::NotPresent, 0x10);
}

TEST_F(ArmWalk64K, GroupsMakePagesOf2MAnd16G) {
  for (u64 k = 0; k < 32; ++k) memory.store(0x30100 + k * 8, (0x200000 + k * 0x10000) | 0x1f47 | contiguous);
  for (u64 k = 0; k < 32; ++k) memory.store(0x20100 + k * 8, (0x400000000 + k * 0x20000000) | 0xf45 | contiguous);
  const std::vector<Mapping> expected{{iova, PhysAddr(0xf000123450000), 16, everything},
                                      {0x40020200000, PhysAddr(0x1000000200000), 21, everything},
                                      {0x40400000000, PhysAddr(0x400000000), 34, everything}};
  EXPECT_EQ(mappings_of(memory, tables), expected);
  memory.store(0x301f8, (0x200000 + 31 * 0x10000) | 0x2f47 | contiguous);  // the last one's OA[51:48] differ
  Enumeration end;
  (void)collect_mappings(memory.reader(), tables, end);
  EXPECT_EQ(end.fault, Fault::Disagreement);
  EXPECT_EQ(end.entry, PhysAddr(0x301f8));
}

TEST_F(ArmWalk64K, StageTwoStartsAtLevelTwoWithConcatenation) {
  memory.zero(0x100000, 0x100000);
  memory.store(0x1ffff8, 0x30003);
  memory.store(0x30008, 0x12345f7ff);
  tables = {.top_table = PhysAddr(0x100000),
            .stage = ArmStage::Two,
            .granule_lg2 = 16,
            .input_bits = 46,
            .output_bits = 52,
            .start_level = 2};
  expect_found(memory, tables, 0x3fffe0010000, {0xf000123450000, 16, 0});
}

}  // namespace
}  // namespace sim::walk

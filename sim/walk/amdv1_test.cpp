#include "sim/walk/amdv1.hpp"

#include "sim/walk/words.hpp"

namespace sim::walk {
namespace {

constexpr u64 ir_iw = 0x6000000000000000;

// Levels 4 to 1 at 0x1000, 0x2000, 0x3000, 0x4000 with index 1 in each. 0x601 is PR and NextLevel 3.
struct Amdv1Walk : testing::Test {
  Amdv1Walk() {
    memory.store(0x1008, 0x6000000000002601);
    memory.store(0x2008, 0x6000000000003401);
    memory.store(0x3008, 0x6000000000004201);
    memory.store(0x4008, 0x6000000123456001);
  }
  static constexpr u64 iova = 0x8040201000;
  Words memory;
  Amdv1Tables tables{.top_table = PhysAddr(0x1000)};
};

TEST_F(Amdv1Walk, TranslatesA4KPage) {
  expect_found(memory, tables, iova + 0xabc, {0x123456abc, 12, 0});
  EXPECT_EQ(walk(memory.reader(), tables, iova, Access::Write).entry, PhysAddr(0x4008));
}

TEST_F(Amdv1Walk, TranslatesAPageOfItsOwnSizeAtEveryLevel) {
  memory.store(0x3008, 0x6000000040000001);
  expect_found(memory, tables, iova + 0x1234, {0x40002234, 21, 1});
  memory.store(0x2008, 0x6000000080000001);
  expect_found(memory, tables, iova, {0x80201000, 30, 2});
  memory.store(0x1008, 0x6000008000000001);
  expect_found(memory, tables, iova, {0x8040201000, 39, 3});
  memory.store(0x5008, 0x6001000000000001);
  tables = {.top_table = PhysAddr(0x5000), .mode = 5};
  expect_found(memory, tables, 0x1000000000000 + iova, {0x1008040201000, 48, 4});
}

TEST_F(Amdv1Walk, ReadsTheSizeOfAPageFromItsAddress) {
  memory.store(0x4008, 0x6000000000100e01);  // 8K: no ones
  expect_found(memory, tables, iova, {0x101000, 13, 0});
  memory.store(0x4008, 0x6000000000107e01);  // 64K: three ones
  expect_found(memory, tables, iova + 0x234, {0x101234, 16, 0});
  memory.store(0x4008, 0x600000000017fe01);  // 1M: seven ones
  expect_found(memory, tables, iova, {0x101000, 20, 0});
  memory.store(0x3008, 0x60000000801ffe01);  // 4M
  expect_found(memory, tables, iova, {0x80201000, 22, 1});
  memory.store(0x3008, 0x6000000087fffe01);  // 256M: 12 to 26 are ones
  expect_found(memory, tables, iova, {0x80201000, 28, 1});
  memory.store(0x2008, 0x600001001ffffe01);  // 1G at level 3 is the entry's own size
  expect_fault(memory, tables, iova, Access::Read, Fault::Reserved, 2);
  memory.store(0x2008, 0x600001003ffffe01);  // 2G
  expect_found(memory, tables, iova, {0x10040201000, 31, 2});
  memory.store(0x1008, 0x6000007ffffffe01);  // 1T: 12 to 38 are ones
  expect_found(memory, tables, iova, {0x8040201000, 40, 3});
  memory.store(0x5000, 0x6003fffffffffe01);  // 2^51: 12 to 49 are ones
  tables = {.top_table = PhysAddr(0x5000), .mode = 5};
  expect_found(memory, tables, iova, {iova, 51, 4});
}

TEST_F(Amdv1Walk, WalksOneToSixLevels) {
  memory.store(0x5008, 0x6000000000001801);  // NextLevel 4
  memory.store(0x6000 + 127 * 8, 0x6000000000005a01);
  struct Case {
    unsigned mode;
    u64 top;
    u64 iova;
  };
  for (const Case& c : {Case{1, 0x4000, 0x1000}, Case{2, 0x3000, 0x201000}, Case{3, 0x2000, 0x40201000},
                        Case{4, 0x1000, iova}, Case{5, 0x5000, 0x1008040201000}, Case{6, 0x6000, 0xfe01008040201000}}) {
    tables = {.top_table = PhysAddr(c.top), .mode = c.mode};
    expect_found(memory, tables, c.iova + 7, {0x123456007, 12, 0});
    if (c.mode < 6)
      expect_fault(memory, tables, c.iova | u64{1} << (12 + 9 * c.mode), Access::Read, Fault::InputRange, 2);
  }
}

TEST_F(Amdv1Walk, TranslatesTheLastByteOf64Bits) {
  memory.store(0x6000 + 127 * 8, 0x6000000000007a01);
  memory.store(0x7ff8, 0x6000000000008801);
  memory.store(0x8ff8, 0x6000000000009601);
  memory.store(0x9ff8, 0x600000000000a401);
  memory.store(0xaff8, 0x600000000000b201);
  memory.store(0xbff8, 0x600ffffffffff001);
  tables = {.top_table = PhysAddr(0x6000), .mode = 6};
  expect_found(memory, tables, ~u64{0}, {0xfffffffffffff, 12, 0});
  const std::vector<Mapping> expected{{0xfffffffffffff000, PhysAddr(0xffffffffff000), 12, everything}};
  EXPECT_EQ(mappings_of(memory, tables), expected);
}

TEST_F(Amdv1Walk, SkipsLevelsWhoseAddressBitsAreZero) {
  memory.store(0x1000, 0x6000000000004201);  // level 4 -> level 1
  expect_found(memory, tables, 0x1abc, {0x123456abc, 12, 0});
  for (u64 skipped : {u64{1} << 21, u64{1} << 29, u64{1} << 30, u64{1} << 38})
    expect_fault(memory, tables, 0x1000 | skipped, Access::Read, Fault::NotPresent, 2);
  const std::vector<Mapping> all = mappings_of(memory, tables);
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].iova, 0x1000u);
  EXPECT_EQ(all[1].iova, iova);
}

TEST_F(Amdv1Walk, RefusesATableThatIsNotBelow) {
  for (u64 next : {4u, 5u, 6u}) {
    memory.store(0x1008, ir_iw | 0x2001 | next << 9);
    expect_fault(memory, tables, iova, Access::Read, Fault::Reserved, 2);
  }
  memory.store(0x1008, 0x6000000000002601);
  for (u64 next = 1; next <= 6; ++next) {
    memory.store(0x4008, 0x6000000123456001 | next << 9);
    expect_fault(memory, tables, iova, Access::Read, Fault::Reserved, 2);
  }
}

TEST_F(Amdv1Walk, AndsPermissionsFromTheDeviceTableEntryDown) {
  memory.store(0x2008, 0x2000000000003401);
  EXPECT_TRUE(walk(memory.reader(), tables, iova, Access::Read).ok());
  expect_fault(memory, tables, iova, Access::Write, Fault::Permission, 2);
  memory.store(0x4008, 0x4000000123456001);
  expect_fault(memory, tables, iova, Access::Read, Fault::Permission, 2);
  memory.store(0x2008, 0x6000000000003401);
  memory.store(0x4008, 0x6000000123456001);
  tables.device = {.read = false, .write = true, .execute = false};
  EXPECT_TRUE(walk(memory.reader(), tables, iova, Access::Write).ok());
  expect_fault(memory, tables, iova, Access::Read, Fault::Permission, 2);
}

TEST_F(Amdv1Walk, SaysWhatIsNotThere) {
  expect_fault(memory, tables, 0, Access::Read, Fault::NotPresent, 2);
  memory.store(0x4008, 0x6000000123456000);
  expect_fault(memory, tables, iova, Access::Read, Fault::NotPresent, 2);
  memory.store(0x3008, 0x6000000000900201);
  expect_fault(memory, tables, iova, Access::Read, Fault::TableAccess, 4);
  for (unsigned mode : {0u, 7u}) {
    tables.mode = mode;
    expect_fault(memory, tables, iova, Access::Read, Fault::Configuration, 1);
  }
  tables = {.top_table = PhysAddr(0x1800)};
  expect_fault(memory, tables, iova, Access::Read, Fault::Configuration, 1);
}

TEST_F(Amdv1Walk, ChecksEveryReservedBit) {
  tables.host_address_bits = 48;
  struct Case {
    u64 at;
    u64 entry;
  };
  std::vector<Case> cases{{0x3008, 0x6000000040001001},   // 2M with an address bit inside
                          {0x3008, 0x6000000040100001},   //
                          {0x4008, 0x60000000000ffe01},   // 2M encoded at level 1
                          {0x3008, 0x6000000000100e01},   // 8K encoded at level 2
                          {0x3008, 0x60000000000ffe01},   // 2M encoded at level 2: that is its own size
                          {0x3008, 0x600000001ffffe01}};  // 1G encoded at level 2
  for (unsigned bit = 48; bit <= 58; ++bit)
    for (u64 at : {0x1008u, 0x2008u, 0x3008u, 0x4008u}) cases.push_back({at, memory.load(at) | u64{1} << bit});
  for (unsigned bit : {59u, 60u}) cases.push_back({0x1008, memory.load(0x1008) | u64{1} << bit});
  for (const Case& c : cases) {
    const u64 before = memory.load(c.at);
    memory.store(c.at, c.entry);
    expect_fault(memory, tables, iova, Access::Read, Fault::Reserved, 2);
    memory.store(c.at, before);
  }
  memory.store(0x6000, 0x6000000000000001);
  tables = {.top_table = PhysAddr(0x6000), .mode = 6};
  expect_fault(memory, tables, 0, Access::Read, Fault::Reserved, 2);
}

TEST_F(Amdv1Walk, LetsIgnoredBitsAlone) {
  memory.store(0x4008, 0x6000000123456001 | 0x98000000000001fe);  // 63, FC, U, 8:1
  expect_found(memory, tables, iova, {0x123456000, 12, 0});
  memory.store(0x1008, 0x6000000000002601 | 0x80000000000001fe);
  expect_found(memory, tables, iova, {0x123456000, 12, 0});
}

TEST_F(Amdv1Walk, TakesTheEncryptionBitOutOfAddresses) {
  tables.host_address_bits = 47;
  tables.encryption_mask = u64{1} << 47;
  memory.store(0x1008, 0x6000800000002601);
  memory.store(0x4008, 0x6000800123456001);
  expect_found(memory, tables, iova, {0x123456000, 12, 0});
}

TEST_F(Amdv1Walk, SetsDirtyInTheOneEntryThatItCameBy) {
  tables.accessed_dirty = AccessedDirty::Set;
  memory.store(0x4008, 0x6000000000100e01);
  const WalkResult found = walk(memory.reader(), tables, iova, Access::Write);
  EXPECT_EQ(found.updates.size(), 4u);
  EXPECT_EQ(found.updates.back(), (Update{PhysAddr(0x4008), 0x6000000000100e01, 0x6000000000100e61}));
  const WalkResult read = walk(memory.reader(), tables, iova, Access::Read);
  EXPECT_EQ(read.updates.back().after, 0x6000000000100e21u);
}

TEST_F(Amdv1Walk, AGroupIsOneLeafAndDirtyWhenAnyMemberIs) {
  for (u64 at = 0x4080; at < 0x4100; at += 8) memory.store(at, 0x6000000000107e01);
  memory.store(0x40a8, 0x6000000000107e61);
  std::vector<FoundLeaf> leaves;
  const Enumeration end =
      enumerate_leaves(memory.reader(), tables, [&](const FoundLeaf& leaf) { leaves.push_back(leaf); });
  EXPECT_TRUE(end.ok());
  ASSERT_EQ(leaves.size(), 2u);
  EXPECT_EQ(leaves[1].mapping, (Mapping{0x8040210000, PhysAddr(0x100000), 16, everything}));
  EXPECT_EQ(leaves[1].entry, PhysAddr(0x4080));
  EXPECT_TRUE(leaves[1].dirty);
  EXPECT_FALSE(leaves[0].dirty);
}

TEST_F(Amdv1Walk, EnumerationFindsAGroupThatIsNotWhole) {
  for (u64 at = 0x4080; at < 0x4100; at += 8) memory.store(at, 0x6000000000107e01);
  for (u64 word : {u64{0}, u64{0x2000000000107e01}, u64{0x6000000000117e01}}) {
    memory.store(0x40f8, word);
    std::vector<Mapping> all;
    Enumeration end;
    all = collect_mappings(memory.reader(), tables, end);
    EXPECT_EQ(end.fault, Fault::Disagreement) << end.why;
    EXPECT_EQ(end.entry, PhysAddr(0x40f8));
    EXPECT_EQ(all.at(2), (Mapping{0x8040211000, PhysAddr(0x101000), 12, everything}));
  }
  memory.store(0x40f8, 0x6000000000107e01);
  memory.store(0x4080, 0);
  Enumeration end;
  (void)collect_mappings(memory.reader(), tables, end);
  EXPECT_EQ(end.entry, PhysAddr(0x4088));
}

TEST_F(Amdv1Walk, TheGranuleIsAParameter) {
  // The address field counts 2 KiB: a table at 0x4000 is 8 of them, 2K pages index address bits 19:11.
  memory.store(0x7008, 0x6000000000008201);
  memory.store(0x4008, 0);
  memory.store(0x4010, 0x6000000000005001);  // page 5: 0x2800
  memory.store(0x4020, 0x6000000000008e01);  // 4K at field 8: 0x4000
  memory.store(0x4028, 0x6000000000008e01);
  tables = {.top_table = PhysAddr(0x7000), .mode = 2, .granule_lg2 = 11};
  expect_found(memory, tables, 0x101123, {0x2923, 11, 0});
  expect_found(memory, tables, 0x102923, {0x4923, 12, 0});
  const std::vector<Mapping> expected{{0x101000, PhysAddr(0x2800), 11, everything},
                                      {0x102000, PhysAddr(0x4000), 12, everything}};
  EXPECT_EQ(mappings_of(memory, tables), expected);
  expect_fault(memory, tables, u64{1} << 29, Access::Read, Fault::InputRange, 2);
  memory.store(0x7008, 0x6000000000009201);  // 0x4800
  expect_fault(memory, tables, 0x101000, Access::Read, Fault::Reserved, 2);
}

}  // namespace
}  // namespace sim::walk

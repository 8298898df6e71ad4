// Tables are typed byte by byte after VT-d 5.0 chapter 8, not built from the structures that the parser uses.
#include "holdfast/vtd/dmar.hpp"

#include <gtest/gtest.h>

#include <map>

#include "holdfast/memory/test_world.hpp"

namespace holdfast::vtd {
namespace {

using Table = std::vector<u8>;

/// Two units: 0xfed90000 lists 00:02.0, the bridge 00:1c.0 with all below it, and 01:00.3 behind 00:1d.0's path;
/// 0xfed91000 takes all the rest. In between a reserved-memory structure and one of an unknown type.
const Table golden{
    'D', 'M', 'A', 'R', 0x8a, 0, 0, 0, 1, 0x00, 'H', 'F', 'O', 'E', 'M', ' ',            // signature, length, rev,
                                                                                         // sum
    'T', 'E', 'S', 'T', ' ', ' ', ' ', ' ', 1, 0, 0, 0, 'H', 'F', ' ', ' ', 1, 0, 0, 0,  // OEM
    47, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,                                                 // width - 1, flags
    0, 0, 0x2a, 0, 0, 0, 0, 0, 0x00, 0x00, 0xd9, 0xfe, 0, 0, 0, 0,                       // DRHD, 42 bytes
    1, 8, 0, 0, 0, 0, 0x02, 0,                                                           // endpoint 00:02.0
    2, 8, 0, 0, 0, 0, 0x1c, 0,                                                           // sub-hierarchy 00:1c.0
    1, 10, 0, 0, 7, 0, 0x1d, 0, 0, 3,                                                    // 00:1d.0 -> xx:00.3
    1, 0, 0x18, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0,     // RMRR, no scope
    0x99, 0x99, 8, 0, 1, 2, 3, 4,                                                        // unknown
    0, 0, 0x10, 0, 1, 0, 0, 0, 0x00, 0x10, 0xd9, 0xfe, 0, 0, 0, 0,                       // DRHD include-all
};

Table with_checksum(Table table) {
  table[9] = 0;
  u8 sum = 0;
  for (u8 byte : table) sum = static_cast<u8>(sum + byte);
  table[9] = static_cast<u8>(-sum);
  return table;
}

Table intact() { return with_checksum(golden); }

class FakeBridges final : public BridgeReader {
 public:
  Result<BusRange> buses_below(u16, SourceId bridge) override {
    ++reads;
    const auto found = buses.find(bridge.value);
    if (found == buses.end()) return Code::NoDevice;
    return found->second;
  }
  std::map<u16, BusRange> buses{{SourceId(0, 0x1c, 0).value, {2, 4}}, {SourceId(0, 0x1d, 0).value, {1, 1}}};
  unsigned reads = 0;
};

class DmarTest : public testing::Test {
 protected:
  Result<const Dmar*> open(const Table& table) {
    early.emplace(map, PhysRange{PhysAddr(0x100000), 0x100000});
    return Dmar::open(std::as_bytes(std::span(table)), bridges, map, *early);
  }
  TestWorld world{u64{4} << 20};
  DirectMap map{world, world.memory_map};
  std::optional<EarlyAllocator> early;
  FakeBridges bridges;
};

TEST_F(DmarTest, FindsUnitsByRegisterBase) {
  const auto dmar = open(intact());
  ASSERT_TRUE(dmar.ok());
  const auto units = (*dmar)->units();
  ASSERT_EQ(units.size(), 2u);
  EXPECT_EQ(units[0].register_base, PhysAddr(0xfed90000));
  EXPECT_EQ(units[0].register_bytes, 0x1000u);
  EXPECT_EQ(units[0].scopes.size(), 3u);
  EXPECT_FALSE(units[0].includes_all);
  EXPECT_EQ(units[1].register_base, PhysAddr(0xfed91000));
  EXPECT_TRUE(units[1].includes_all);
  EXPECT_EQ((*dmar)->host_address_bits(), 48);
}

TEST_F(DmarTest, NamesTheUnitOfEachDevice) {
  const auto opened = open(intact());
  ASSERT_TRUE(opened.ok());
  const Dmar& dmar = **opened;
  const DmarUnit* listed = &dmar.units()[0];
  const DmarUnit* rest = &dmar.units()[1];
  EXPECT_EQ(dmar.find_unit(0, SourceId(0, 2, 0)), listed);
  EXPECT_EQ(dmar.find_unit(0, SourceId(0, 2, 1)), rest) << "another function is another device";
  EXPECT_EQ(dmar.find_unit(0, SourceId(0, 0x1c, 0)), listed) << "the bridge itself";
  for (u8 bus : {u8{2}, u8{3}, u8{4}}) {
    EXPECT_EQ(dmar.find_unit(0, SourceId(bus, 0, 0)), listed);
    EXPECT_EQ(dmar.find_unit(0, SourceId(bus, 31, 7)), listed) << "up to devfn 0xff";
  }
  EXPECT_EQ(dmar.find_unit(0, SourceId(5, 0, 0)), rest);
  EXPECT_EQ(dmar.find_unit(0, SourceId(1, 0, 3)), listed) << "through the bridge 00:1d.0";
  EXPECT_EQ(dmar.find_unit(0, SourceId(1, 0, 2)), rest);
  EXPECT_EQ(dmar.find_unit(0, SourceId(0, 0x1d, 0)), rest) << "a bridge on the path is not the endpoint";
  EXPECT_EQ(dmar.find_unit(1, SourceId(0, 2, 0)), nullptr) << "another segment";
}

TEST_F(DmarTest, LeavesOutScopesBehindBridgesThatDoNotExist) {
  bridges.buses.clear();
  const auto dmar = open(intact());
  ASSERT_TRUE(dmar.ok());
  EXPECT_EQ((*dmar)->units()[0].scopes.size(), 1u);
}

TEST_F(DmarTest, ABridgeWithoutBusNumbersClaimsNoBus) {
  bridges.buses = {{SourceId(0, 0x1c, 0).value, {0, 0}}, {SourceId(0, 0x1d, 0).value, {0, 0}}};
  const auto dmar = open(intact());
  ASSERT_TRUE(dmar.ok());
  EXPECT_EQ((*dmar)->find_unit(0, SourceId(0, 0x1c, 0)), &(*dmar)->units()[0]);
  EXPECT_EQ((*dmar)->find_unit(0, SourceId(0, 5, 0)), &(*dmar)->units()[1]);
  EXPECT_EQ((*dmar)->find_unit(0, SourceId(0, 0, 3)), &(*dmar)->units()[1]);
}

TEST_F(DmarTest, RefusesAWrongSignatureChecksumOrLength) {
  Table table = intact();
  table[9] ^= 1;
  EXPECT_EQ(open(table).code(), Code::Corrupt);
  table = intact();
  table[0] = 'X';
  EXPECT_EQ(open(with_checksum(table)).code(), Code::Corrupt);
  table = intact();
  table.pop_back();
  EXPECT_EQ(open(table).code(), Code::Corrupt) << "shorter than it says";
  table = intact();
  table[4] = 47;
  EXPECT_EQ(open(with_checksum(table)).code(), Code::Corrupt) << "shorter than its header";
  EXPECT_EQ(open({}).code(), Code::Corrupt);
  EXPECT_EQ(open({'D', 'M', 'A', 'R'}).code(), Code::Corrupt);
}

TEST_F(DmarTest, IgnoresBytesBeyondItsLength) {
  Table table = intact();
  table.resize(table.size() + 100, 0x5a);
  EXPECT_TRUE(open(table).ok());
}

TEST_F(DmarTest, ALengthOfZeroIsCorruptAndDoesNotLoop) {
  for (std::size_t at : {std::size_t{50}, std::size_t{65}, std::size_t{73}, std::size_t{81}, std::size_t{92}}) {
    Table table = intact();
    table[at] = 0;
    EXPECT_EQ(open(with_checksum(table)).code(), Code::Corrupt) << "length at " << at;
  }
}

TEST_F(DmarTest, RefusesTwoUnitsAtOneAddressOrTwoThatTakeAll) {
  Table table = intact();
  ASSERT_EQ(table[131], 0x10);
  table[131] = 0x00;  // the second unit at the first one's base
  EXPECT_EQ(open(with_checksum(table)).code(), Code::Corrupt);
  table = intact();
  table[48 + 4] = 1;
  EXPECT_EQ(open(with_checksum(table)).code(), Code::Corrupt);
}

TEST_F(DmarTest, RefusesABaseThatIsNotAPage) {
  for (const auto& [at, value] : {std::pair<std::size_t, u8>{48 + 8, 0x10}, {48 + 9, 0x08}}) {
    Table table = intact();
    table[at] = value;
    EXPECT_EQ(open(with_checksum(table)).code(), Code::Corrupt);
  }
}

/// Every byte set to a few values: the answer is a table or Corrupt, and no read leaves the bytes (ASan says so).
TEST_F(DmarTest, SurvivesEveryMutatedByteAndEveryCut) {
  for (std::size_t at = 0; at < intact().size(); ++at)
    for (unsigned value : {0x00u, 0x01u, 0x07u, 0x7fu, 0x80u, 0xffu}) {
      Table table = intact();
      table[at] = static_cast<u8>(value);
      const auto dmar = open(at == 9 ? table : with_checksum(table));
      EXPECT_TRUE(dmar.ok() || dmar.code() == Code::Corrupt);
    }
  for (std::size_t size = 0; size < intact().size(); ++size) {
    Table table = intact();
    table.resize(size);
    EXPECT_EQ(open(table).code(), Code::Corrupt);
    if (size < 10) continue;
    table[4] = static_cast<u8>(size);
    const auto dmar = open(with_checksum(table));
    EXPECT_TRUE(dmar.ok() || dmar.code() == Code::Corrupt);
  }
}

TEST_F(DmarTest, AnswersNoMemoryWhenScratchIsUsedUp) {
  Table table = intact();
  EarlyAllocator small(map, PhysRange{PhysAddr(0x100000), 64});
  EXPECT_EQ(Dmar::open(std::as_bytes(std::span(table)), bridges, map, small).code(), Code::NoMemory);
}

}  // namespace
}  // namespace holdfast::vtd

// RID_PASID other than zero: where the entry stands, what is invalidated, and whose value counts after a jump.
#include "holdfast/vtd/unit_fixture.hpp"

namespace holdfast::vtd {
namespace {

using abi::iommu::IntelDevice;
using abi::iommu::IntelUnit;
using iommu::EntrySpec;
using iommu::LiveEntry;
using testing::HasSubstr;

constexpr u32 chosen = 65;  // second entry of the directory, second of its table
constexpr SourceId device(0, 3, 0);
constexpr SourceId newcomer(0, 4, 0);

/// PASIDs of the selective PASID-cache invalidations that hardware was told since the last call.
std::vector<u64> take_pasids(FakeUnit& unit) {
  std::vector<u64> pasids;
  for (const Quad& one : unit.executed)
    if ((one.lo & 0x3f) == 0x17) pasids.push_back(one.lo >> 32 & 0xfffff);
  unit.executed.clear();
  return pasids;
}

TEST(RidPasid, StandsInTheContextEntryAndSaysWhereTheEntryIs) {
  HardwareWorld world;
  auto kernel = TestKernel::started(world, Mode::Scalable, chosen);
  const EntrySpec spec = kernel->make_spec(0x2000000);
  kernel->attach(device, spec);
  const u64 context = kernel->context_entry(device, Mode::Scalable);
  EXPECT_EQ(kernel->word(context + 8), chosen);
  const u64 directory = kernel->word(context) & ~u64{0xfff};
  for (u64 index = 0; index < 512; ++index) EXPECT_EQ(kernel->word(directory + 8 * index) != 0, index == 1) << index;
  const u64 table = kernel->word(directory + 8) & ~u64{0xfff};
  for (u64 index = 0; index < 64; ++index) EXPECT_EQ(kernel->word(table + 64 * index) & 1, index == 1 ? 1u : 0u);
  EXPECT_EQ(kernel->unit->read_entry(device).spec, spec);
}

TEST(RidPasid, IsWhatReplaceAndBlockInvalidate) {
  HardwareWorld world;
  auto kernel = TestKernel::started(world, Mode::Scalable, chosen);
  const EntrySpec from = kernel->make_spec(0x2000000);
  kernel->attach(device, from);
  world.unit().executed.clear();
  const EntrySpec to = kernel->make_spec(0x3000000);
  ASSERT_TRUE(kernel->unit->replace(device, from, to).ok());
  EXPECT_EQ(take_pasids(world.unit()), (std::vector<u64>{chosen, chosen})) << "under both ids";
  ASSERT_TRUE(kernel->unit->block(device).ok());
  EXPECT_EQ(take_pasids(world.unit()), std::vector<u64>{chosen});
  EXPECT_EQ(kernel->word(kernel->translation_entry(device, Mode::Scalable)), 0u);
  ASSERT_TRUE(kernel->unit->install(device, from).ok());
  world.unit().refused_type = 2;
  EXPECT_EQ(kernel->unit->replace(device, from, to).code(), Code::Io);
  for (u64 pasid : take_pasids(world.unit())) EXPECT_EQ(pasid, chosen);
  EXPECT_EQ(kernel->unit->read_entry(device).spec, from);
}

TEST(RidPasid, IsRefusedWhereNoDirectoryOfOursReaches) {
  HardwareWorld world;
  EXPECT_EQ(TestKernel(world, UnitOptions{Mode::Scalable, rid_pasid_limit - 1}).code, Code::Ok);
  EXPECT_EQ(TestKernel(world, UnitOptions{Mode::Scalable, rid_pasid_limit}).code, Code::Invalid);
}

TEST(RidPasid, IsZeroOnAUnitThatKnowsNoOther) {
  HardwareWorld world(test_cap, test_ecap & ~ecap_rps);
  auto kernel = TestKernel::started(world, Mode::Scalable, chosen);
  EXPECT_THAT(world.log_lines.front(), HasSubstr("RID_PASID is 0: it knows no other"));
  kernel->attach(device, kernel->make_spec(0x2000000));
  EXPECT_EQ(kernel->word(kernel->context_entry(device, Mode::Scalable) + 8), 0u);
}

TEST(RidPasid, IsUsedOnAUnitThatIsAssumedToKnowIt) {
  HardwareWorld world(test_cap, test_ecap & ~ecap_rps);
  TestKernel kernel(
      world, UnitOptions{.mode = Mode::Scalable, .rid_pasid = chosen, .rid_pasid_support = RidPasidSupport::Assumed});
  ASSERT_TRUE(kernel.unit->start_fresh().ok());
  ASSERT_TRUE(kernel.unit->attach_memory(kernel.host.memory).ok());
  EXPECT_TRUE(world.log_lines.empty()) << world.log_lines.front();
  const EntrySpec spec = kernel.make_spec(0x2000000);
  kernel.attach(device, spec);
  EXPECT_EQ(kernel.word(kernel.context_entry(device, Mode::Scalable) + 8), chosen);
  EXPECT_EQ(kernel.unit->read_entry(device).spec, spec);
}

/// Kernel A, with RID_PASID 65, preserves one device; kernel B has another option.
class RidPasidAdoption : public testing::Test {
 protected:
  RidPasidAdoption() {
    auto a = TestKernel::started(world_a, Mode::Scalable, chosen);
    spec = a->make_spec(0x2000000);
    a->attach(device, spec);
    EXPECT_TRUE(a->unit->keep_root(handover).ok());
    EXPECT_TRUE(a->unit->preserve(handover, record).ok());
    EXPECT_TRUE(a->unit->preserve_device(handover, device, device_record).ok());
    context = a->context_entry(device, Mode::Scalable);
    directory = a->word(context) & ~u64{0xfff};
    table = a->word(directory + 8) & ~u64{0xfff};
    EXPECT_TRUE(handover.contains({PhysAddr(directory), 0}) && handover.contains({PhysAddr(table), 0}));
    EXPECT_TRUE(a->unit->cut_off({{device}}).ok());
    world_b = std::make_unique<HardwareWorld>(world_a, AfterJump{});
  }
  /// Adopts the unit; answers what it says of the device.
  Code adopt(u32 option = 0, RidPasidSupport support = RidPasidSupport::Reported) {
    b = std::make_unique<TestKernel>(
        *world_b, UnitOptions{.mode = Mode::Scalable, .rid_pasid = option, .rid_pasid_support = support},
        TestOpen::Later);
    EXPECT_TRUE(b->unit
                    ->adopt({.root_table = PhysAddr(record.root_table), .context_tables = record.context_tables_bitmap},
                            handover)
                    .ok());
    return b->unit->adopt_device(device, device_record, handover).code();
  }
  void open_memory() {
    for (auto [address, order] : handover.blocks)
      ASSERT_TRUE(b->host.memory.mark_incoming({PhysAddr(address), order}).ok());
    b->host.memory.open();
    ASSERT_TRUE(b->unit->attach_memory(b->host.memory).ok());
    ASSERT_TRUE(b->unit->take_ownership(handover).ok());
  }
  u64& word(u64 address) { return *reinterpret_cast<u64*>(world_b->direct_map() + address); }

  HardwareWorld world_a;
  FakeHandover handover;
  EntrySpec spec;
  IntelUnit record{};
  IntelDevice device_record{};
  u64 context = 0;
  u64 directory = 0;
  u64 table = 0;
  std::unique_ptr<HardwareWorld> world_b;
  std::unique_ptr<TestKernel> b;
};

TEST_F(RidPasidAdoption, KeepsWhatTheLiveEntrySaysAndUsesItsOwnForNewEntries) {
  ASSERT_EQ(adopt(7), Code::Ok);
  EXPECT_EQ(b->unit->read_entry(device).spec, spec);
  ASSERT_TRUE(b->unit->reserve_did(spec.did).ok());
  open_memory();
  EXPECT_EQ(handover.restored.size(), handover.blocks.size());
  world_b->unit().executed.clear();
  const EntrySpec to = b->make_spec(0x3000000);
  ASSERT_TRUE(b->unit->replace(device, spec, to).ok());
  EXPECT_EQ(take_pasids(world_b->unit()), (std::vector<u64>{chosen, chosen}));
  EXPECT_EQ(word(context + 8), chosen);
  EXPECT_EQ(word(table + 64) & ~u64{0xfff}, 0x3000000u);

  b->attach(newcomer, b->make_spec(0x4000000));
  EXPECT_EQ(word(b->context_entry(newcomer, Mode::Scalable) + 8), 7u);
  ASSERT_TRUE(b->unit->block(newcomer).ok());
  EXPECT_EQ(take_pasids(world_b->unit()), std::vector<u64>{7});

  FakeHandover next;
  IntelUnit next_record{};
  IntelDevice next_device{};
  ASSERT_TRUE(b->unit->keep_root(next).ok());
  ASSERT_TRUE(b->unit->preserve(next, next_record).ok());
  ASSERT_TRUE(b->unit->preserve_device(next, device, next_device).ok());
  EXPECT_TRUE(next.contains({PhysAddr(table), 0}));
  EXPECT_EQ(next_device.pasid_table, device_record.pasid_table);
}

TEST_F(RidPasidAdoption, BeyondTheDirectoryIsRefusedAndNothingIsFollowed) {
  for (u32 beyond : {u32{32768}, u32{32769}, u32{0xfffff}}) {
    word(context + 8) = beyond;
    EXPECT_EQ(adopt(), Code::OutOfRange) << beyond;
    EXPECT_EQ(b->unit->read_entry(device).state, LiveEntry::State::Other);
    ASSERT_TRUE(b->unit->block(device).ok());
    EXPECT_EQ(word(context), 0u);
    EXPECT_EQ(word(table + 64) & 1, 1u) << "its tables are not written";
    word(context) = directory | 0x401;
  }
}

TEST_F(RidPasidAdoption, AnotherValueLeadsToNoTranslation) {
  for (u32 other : {u32{0}, u32{64}, u32{66}, u32{128}, u32{32767}}) {
    word(context + 8) = other;
    const bool adopted = adopt() == Code::Ok;
    EXPECT_EQ(adopted, directory_index(other) == 1) << other;
    EXPECT_NE(b->unit->read_entry(device).state, LiveEntry::State::Translating) << other;
  }
}

TEST_F(RidPasidAdoption, ADirectoryWithAnotherTableIsRefused) {
  for (u64 index : {u64{0}, u64{2}, u64{511}}) {
    word(directory + 8 * index) = table | 1;
    EXPECT_EQ(adopt(), Code::Corrupt) << index;
    word(directory + 8 * index) = 0;
  }
  EXPECT_EQ(adopt(), Code::Ok);
}

TEST_F(RidPasidAdoption, IsRefusedByAUnitThatDoesNotLookAtIt) {
  world_b->unit().set<u64>(hw::vtd::ecap_offset, test_ecap & ~ecap_rps);
  EXPECT_EQ(adopt(), Code::NotSupported);
  EXPECT_EQ(b->unit->read_entry(device).state, LiveEntry::State::Other);
}

TEST_F(RidPasidAdoption, IsBelievedOfAUnitThatIsAssumedToLookAtIt) {
  world_b->unit().set<u64>(hw::vtd::ecap_offset, test_ecap & ~ecap_rps);
  EXPECT_EQ(adopt(0, RidPasidSupport::Assumed), Code::Ok);
  EXPECT_EQ(b->unit->read_entry(device).spec, spec);
}

}  // namespace
}  // namespace holdfast::vtd

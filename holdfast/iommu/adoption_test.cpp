// Live boot: what is adopted, what is refused, and who may touch what came in.
#include <gtest/gtest.h>

#include <csignal>

#include "holdfast/iommu/test_update.hpp"

namespace holdfast::iommu {
namespace {

using Until = Kernel::Until;

TEST(Adoption, TakesUnitsDevicesAndDomainsOverAsTheyAre) {
  testing::Test::RecordProperty("acceptance", "B1 B2 IV28");
  Update update;
  Kernel& kernel = update.live();
  ASSERT_TRUE(kernel.adopted.ok());
  EXPECT_TRUE(kernel.quarantined().empty());
  const AdoptionReport& report = kernel.core().adoption_report();
  EXPECT_EQ(report.units_adopted, 2u);
  EXPECT_EQ(report.devices_adopted, 4u);
  EXPECT_EQ(report.entries_blocked, 0u);
  Domain* shared = *kernel.core().find_restored(update.shared_record);
  Domain* own = *kernel.core().find_restored(update.own_record);
  EXPECT_EQ(shared->attachments(), 3u);
  EXPECT_EQ(own->attachments(), 1u);
  for (SourceId id : Update::preserved()) {
    EXPECT_TRUE(update.translates_as_before(id));
    EXPECT_EQ(kernel.device(id).state(), Device::State::Incoming);
    EXPECT_EQ(kernel.device(id).domain(), id == Update::c ? own : shared);
  }
  const auto found = kernel.core().lookup(*shared, Update::guest_at + 0x2345);
  ASSERT_TRUE(found.ok());
  EXPECT_EQ(found->address, update.guest.start + 0x2345);
}

TEST(Adoption, ReservesTheIdsOfEachUnitAndNoOthers) {
  testing::Test::RecordProperty("acceptance", "IV22 IV23 IV29");
  Update update;
  const std::set<u16> before[]{update.old.unit(0).dids(), update.old.unit(1).dids()};
  Kernel& kernel = update.live();
  // Unit 0: the shared domain (a and b have one id); the id of u, which did not cross, is free again.
  EXPECT_EQ(kernel.unit(0).dids(), std::set<u16>{2});
  EXPECT_EQ(before[0], (std::set<u16>{2, 3}));
  // Unit 1: the shared domain because of d, and the domain of c.
  EXPECT_EQ(kernel.unit(1).dids(), before[1]);
}

TEST(Adoption, NewDomainsNeverGetAReservedId) {
  testing::Test::RecordProperty("acceptance", "IV25");
  Update update;
  Kernel& kernel = update.live();
  const std::set<u16> reserved = kernel.unit(1).dids();
  for (auto did = kernel.unit(1).allocate_did(); did.ok(); did = kernel.unit(1).allocate_did())
    EXPECT_FALSE(reserved.contains(did->value));
}

TEST(Adoption, OfNothingIsANormalBoot) {
  testing::Test::RecordProperty("acceptance", "B16");
  Update update;
  for (SourceId id : Update::preserved()) update.old.core().unpreserve_device(update.old.device(id));
  ASSERT_TRUE(update.old.core().unpreserve_domain(*update.shared).ok());
  ASSERT_TRUE(update.old.core().unpreserve_domain(*update.own).ok());
  update.old.close_flbs();
  Kernel& kernel = update.live();
  EXPECT_TRUE(kernel.quarantined().empty());
  EXPECT_EQ(kernel.core().adoption_report().units_fresh, 2u);
  for (SourceId id : Update::all()) {
    EXPECT_EQ(kernel.device(id).state(), Device::State::Normal);
    EXPECT_EQ(kernel.device(id).domain(), nullptr);
    EXPECT_TRUE(update.is_blocked(id));
  }
}

TEST(Adoption, CountsTheSameForSmallAndForHugeMappings) {
  Update small(u64{64} << 20, {}, 1);
  Update huge(u64{64} << 20, {}, 4000);
  const TouchCounts few = (small.live(), small.next->memory().touches.counts);
  const TouchCounts many = (huge.live(), huge.next->memory().touches.counts);
  EXPECT_EQ(few, many);
  EXPECT_EQ(few.tables, 0u);
  EXPECT_EQ(few.blocks, 0u);
  EXPECT_EQ(few.frames, 0u);
}

TEST(Adoption, CanBeRepeatedByTheSameKernelStartedAgain) {
  Update update;
  update.live(Until::Adopted);
  EXPECT_EQ(update.next->core().adoption_report().devices_adopted, 4u);
  Kernel& again = update.live();
  EXPECT_EQ(again.core().adoption_report().devices_adopted, 4u);
  EXPECT_TRUE(again.quarantined().empty());
}

TEST(Adoption, OfADeviceThatWasReplacedAlreadyIsRefused) {
  Update update;
  update.live(Until::Adopted);
  FakeUnit::Entry* entry = Update::unit_of(*update.next, Update::a).entry(Update::a);
  entry->lo = update.guest.start.value | 1;
  Kernel& again = update.live();
  EXPECT_TRUE(update.is_blocked(Update::a));
  EXPECT_EQ(again.device(Update::a).state(), Device::State::Quarantined);
  EXPECT_EQ(again.device(Update::b).state(), Device::State::Incoming);
}

TEST(Adoption, ComparesTheLiveEntry) {
  testing::Test::RecordProperty("acceptance", "IV37");
  const std::function<void(FakeUnit::Entry&)> changes[]{
      [](FakeUnit::Entry& entry) { entry.lo += page_size_bytes; },  // another top table
      [](FakeUnit::Entry& entry) { entry.hi += 1 << 8; },           // another id
      [](FakeUnit::Entry& entry) { entry.hi -= 1; },                // another depth
      [](FakeUnit::Entry& entry) { entry.hi |= u64{1} << 60; },     // another kind
      [](FakeUnit::Entry& entry) { entry.hi |= u64{1} << 40; },     // a bit that the attested one had not
      [](FakeUnit::Entry& entry) { entry = {}; },                   // gone
  };
  for (const auto& change : changes) {
    Update update;
    update.jump();
    change(*update.old.unit(1).entry(Update::c));
    Kernel& kernel = update.live();
    EXPECT_TRUE(update.is_blocked(Update::c));
    EXPECT_EQ(kernel.device(Update::c).state(), Device::State::Quarantined);
    EXPECT_FALSE(kernel.device(Update::c).reason().empty());
    for (SourceId id : {Update::a, Update::b, Update::d}) EXPECT_TRUE(update.translates_as_before(id));
  }
}

TEST(Adoption, BlocksEntriesThatNobodyRecorded) {
  Update update;
  update.jump();
  *update.old.unit(0).entry(Update::u) = {update.guest.start.value | 1, 9 << 8 | 4};
  Kernel& kernel = update.live();
  EXPECT_TRUE(update.is_blocked(Update::u));
  EXPECT_EQ(kernel.core().adoption_report().entries_blocked, 1u);
  EXPECT_TRUE(update.translates_as_before(Update::a));
}

TEST(Adoption, RefusesAUnitInAnotherMode) {
  testing::Test::RecordProperty("acceptance", "IV36");
  const std::function<void(UnitLimits&)> changes[]{
      [](UnitLimits& limits) { limits.scalable = true; },
      [](UnitLimits& limits) { limits.iova_bits = 39; },
      [](UnitLimits& limits) { limits.tables[0].levels_mask |= 1 << 5; },
      [](UnitLimits& limits) { limits.tables[0].page_sizes = 0x1000; },
      [](UnitLimits& limits) { limits.domain_ids = 32; },
      [](UnitLimits& limits) { limits.coherent_tables = false; },
      [](UnitLimits& limits) { limits.capability ^= 1; },
      [](UnitLimits& limits) { limits.extended_capability ^= 1; },
  };
  for (const auto& change : changes) {
    Update update;
    update.jump();
    change(update.machine.units[1].limits);
    Kernel& kernel = update.live();
    EXPECT_EQ(kernel.core().adoption_report().units_quarantined, 1u);
    for (SourceId id : {Update::c, Update::d}) {
      EXPECT_TRUE(update.is_blocked(id));
      EXPECT_EQ(kernel.device(id).state(), Device::State::Quarantined);
    }
    for (SourceId id : {Update::a, Update::b}) EXPECT_TRUE(update.translates_as_before(id));
  }
}

TEST(Adoption, FindsUnitsByAddressAndType) {
  testing::Test::RecordProperty("acceptance", "C20");
  for (const bool of_another_type : {true, false}) {
    Update update;
    update.jump();
    auto& map = update.old.memory().map;
    const auto& flb = *map.at<abi::iommu::IommuFlb>(update.old.flb(abi::iommu::compatible));
    const auto& header = *map.at<abi::attest::Header>(update.old.flb(abi::attest::compatible));
    auto* units = map.at<abi::iommu::Unit>(PhysAddr(flb.unit_array + 16));
    auto* attests = map.at<abi::attest::UnitAttest>(PhysAddr(header.unit_array + 16));
    for (unsigned i = 0; i < 2; ++i) {
      if (units[i].token != update.machine.units[1].base.value) continue;
      if (of_another_type)
        units[i].type = 2;
      else
        units[i].token = units[i].intel.phys_addr = attests[i].register_base = 0xfeda0000;
      attests[i].record_checksum = abi::checksum_of_all(units[i]);
      attests[i].checksum = abi::checksum_of(attests[i]);
    }
    Kernel& kernel = update.live();
    EXPECT_EQ(kernel.core().adoption_report().units_adopted, 1u);
    for (SourceId id : {Update::c, Update::d}) EXPECT_TRUE(update.is_blocked(id));
    for (SourceId id : {Update::a, Update::b}) EXPECT_TRUE(update.translates_as_before(id));
    EXPECT_EQ(kernel.core().find_device(1, Update::a).code(), Code::NotFound);  // another segment
  }
}

TEST(Adoption, ReadsTheVersionBeforeAnythingElse) {
  testing::Test::RecordProperty("acceptance", "C25");
  Update update;
  update.jump();
  auto& flb = *update.old.memory().map.at<abi::iommu::IommuFlb>(update.old.flb(abi::iommu::compatible));
  flb = {.version = 2, .unit_array = 0xdeadbeef, .domain_array = ~u64{0}, .device_array = update.guest.start.value};
  Kernel& kernel = update.live();
  EXPECT_TRUE(kernel.adopted.ok());
  EXPECT_EQ(kernel.core().adoption_report().units_quarantined, 2u);
  EXPECT_EQ(kernel.core().incoming_generation(), std::nullopt);  // not even the attestation was read
  for (SourceId id : Update::all()) EXPECT_TRUE(update.is_blocked(id));
}

TEST(Adoption, RefusesWhatIsNotAttestedOrAttestedForAnotherUpdate) {
  Update without;
  without.jump();
  {
    auto& attest = *without.old.memory().map.at<abi::attest::Header>(without.old.flb(abi::attest::compatible));
    attest.generation = Update::number + 1;
    attest.checksum = abi::checksum_of(attest);
  }
  without.live();
  EXPECT_EQ(without.next->core().adoption_report().units_quarantined, 2u);
  for (SourceId id : Update::all()) EXPECT_TRUE(without.is_blocked(id));
}

TEST(Adoption, RefusesAnIdBelowTheDynamicRangeOrBeyondTheUnit) {
  testing::Test::RecordProperty("acceptance", "IV24 IV30");
  for (u16 did : {u16{0}, u16{1}, u16{64}, u16{0xffff}}) {
    Update update;
    // As if the previous kernel had used that id: record, entry and attestation agree.
    update.old.unit(1).entry(Update::c)->hi = u64{did} << 8 | 4;
    update.jump();
    auto& map = update.old.memory().map;
    const auto& attest = *map.at<abi::attest::Header>(update.old.flb(abi::attest::compatible));
    auto* devices = map.at<abi::attest::DeviceAttest>(PhysAddr(attest.device_array + 16));
    for (unsigned i = 0; i < 4; ++i) {
      if (devices[i].devid != Update::c.value) continue;
      auto& record = *map.at<abi::iommu::Device>(PhysAddr(devices[i].record_phys));
      record.domain_iommu.attachment_id = did;
      devices[i].record_checksum = abi::checksum_of_all(record);
      devices[i].checksum = abi::checksum_of(devices[i]);
    }
    Kernel& kernel = update.live();
    EXPECT_TRUE(update.is_blocked(Update::c));
    EXPECT_EQ(kernel.device(Update::c).reason(), "its domain id is out of range");
    EXPECT_TRUE(update.translates_as_before(Update::d));
  }
}

TEST(Adoption, RefusesTwoDomainsUnderOneId) {
  testing::Test::RecordProperty("acceptance", "IV23");
  Update update;
  // c gets the id that the domain of d has on the same unit.
  const u64 did = update.old.unit(1).entry(Update::d)->hi >> 8;
  update.old.unit(1).entry(Update::c)->hi = did << 8 | 4;
  update.jump();
  auto& map = update.old.memory().map;
  const auto& attest = *map.at<abi::attest::Header>(update.old.flb(abi::attest::compatible));
  auto* devices = map.at<abi::attest::DeviceAttest>(PhysAddr(attest.device_array + 16));
  for (unsigned i = 0; i < 4; ++i) {
    if (devices[i].devid != Update::c.value) continue;
    auto& record = *map.at<abi::iommu::Device>(PhysAddr(devices[i].record_phys));
    record.domain_iommu.attachment_id = did;
    devices[i].record_checksum = abi::checksum_of_all(record);
    devices[i].checksum = abi::checksum_of(devices[i]);
  }
  Kernel& kernel = update.live();
  EXPECT_EQ(kernel.core().adoption_report().devices_adopted, 3u);
  EXPECT_TRUE(update.is_blocked(Update::c) != update.is_blocked(Update::d));
  EXPECT_EQ(kernel.quarantined(), std::vector<std::string>{"its domain id belongs to another domain"});
}

TEST(Adoption, RestoresRootAndContextTablesOnce) {
  testing::Test::RecordProperty("acceptance", "IV21");
  Update update;
  Kernel& kernel = update.live();
  EXPECT_TRUE(kernel.core().claim_restored().ok());
  EXPECT_TRUE(kernel.core().claim_restored().ok());
  EXPECT_EQ(kernel.unit(0).ownerships, 1u);
  EXPECT_FALSE(kernel.handover().is_incoming({update.machine.units[0].root, 0}));
}

TEST(Adoption, WithoutScratchStartsNothing) {
  testing::Test::RecordProperty("acceptance", "IV27");
  Update update;
  update.jump();
  const PhysAddr root = update.machine.units[0].root;
  for (u64 k = 1;; ++k) {
    update.machine.units[0].log.clear();
    update.machine.jump();
    TestMemory memory(update.machine.world(), TestOpen::Later, update.numbers);
    kho::Handover handover(memory.memory);
    Core core(memory.memory, handover);
    FakeUnit unit(update.machine.units[0], memory.memory, memory.early);
    ASSERT_TRUE(core.add_unit(unit).ok());
    const auto incoming = kho::IncomingMap::open(memory.memory.map, update.numbers);
    ASSERT_TRUE(incoming.ok());
    Status adopted;
    if (!update.machine.world().failing(k, [&] { adopted = core.adopt(*incoming, memory.early); })) {
      EXPECT_TRUE(adopted.ok());
      EXPECT_GT(k, 4u);
      return;
    }
    ASSERT_EQ(adopted.code(), Code::NoMemory) << k;
    EXPECT_TRUE(update.machine.units[0].log.empty());
    EXPECT_EQ(update.machine.units[0].root, root);
  }
}

TEST(Claim, OnlyTheTokenOwnsARestoredDevice) {
  testing::Test::RecordProperty("acceptance", "B4 B7 R3");
  Update update;
  Kernel& kernel = update.live();
  Core& core = kernel.core();
  Device& device = kernel.device(Update::a);
  Domain& fresh = kernel.new_domain(device);
  int driver = 0;
  int vmm = 0;
  EXPECT_EQ(device.restored_token(), Update::token);
  EXPECT_EQ(core.claim_owner(device, &driver).code(), Code::NotPermitted);
  EXPECT_EQ(core.claim_owner(device, &driver, Update::token + 1).code(), Code::NotPermitted);
  EXPECT_EQ(core.attach(device, fresh).code(), Code::NotPermitted);
  EXPECT_EQ(core.detach(device).code(), Code::NotPermitted);
  EXPECT_TRUE(update.translates_as_before(Update::a));
  ASSERT_TRUE(core.claim_owner(device, &vmm, Update::token).ok());
  EXPECT_EQ(core.claim_owner(device, &driver, Update::token).code(), Code::Busy);
  // Released while still attached, it waits for the same token again.
  core.release_owner(device, &vmm);
  EXPECT_EQ(core.claim_owner(device, &driver).code(), Code::NotPermitted);
  EXPECT_TRUE(core.claim_owner(device, &vmm, Update::token).ok());
}

TEST(Claim, DeviceThatComesBackIsWhatItWas) {
  testing::Test::RecordProperty("acceptance", "B11");
  Update update;
  Kernel& kernel = update.live();
  Core& core = kernel.core();
  Domain* restored = *core.find_restored(update.own_record);
  ASSERT_TRUE(core.unregister_device(kernel.device(Update::c)).ok());
  EXPECT_TRUE(update.translates_as_before(Update::c));
  EXPECT_EQ(restored->attachments(), 1u);
  EXPECT_EQ(core.destroy_domain(*restored).code(), Code::Busy);
  Device& again = kernel.add_device(Update::c);
  EXPECT_EQ(again.state(), Device::State::Incoming);
  EXPECT_EQ(again.domain(), restored);
  EXPECT_EQ(again.restored_token(), Update::token);
  EXPECT_TRUE(update.translates_as_before(Update::c));
  // Away once more, it is dropped with its domain.
  ASSERT_TRUE(core.unregister_device(again).ok());
  ASSERT_TRUE(core.drop_domain(update.own_record).ok());
  EXPECT_TRUE(update.is_blocked(Update::c));
  EXPECT_EQ(kernel.add_device(Update::c).state(), Device::State::Normal);
}

TEST(Claim, WithoutMemoryNothingIsLost) {
  testing::Test::RecordProperty("acceptance", "B9 B10 IV31");
  Update update;
  Kernel& kernel = update.live(Until::Adopted);
  Core& core = kernel.core();
  ASSERT_TRUE(kernel.handover().claim_incoming(kernel.incoming()).ok());
  kernel.memory().open();
  for (u64 k = 1;; ++k) {
    Status claimed;
    if (!kernel.world().failing(k, [&] { claimed = core.claim_restored(); })) break;
    ASSERT_EQ(claimed.code(), Code::NoMemory);
  }
  for (const DeviceIdentity& identity : Update::identities()) {
    for (u64 k = 1;; ++k) {
      Code code = Code::Ok;
      const bool failed = kernel.world().failing(k, [&] { code = core.register_device(identity).code(); });
      if (!failed) break;
      ASSERT_EQ(code, Code::NoMemory);
      ASSERT_EQ(core.find_device(0, identity.id).code(), Code::NotFound);
    }
  }
  core.devices_enumerated();
  ASSERT_TRUE(core.verify().ok());
  EXPECT_TRUE(kernel.quarantined().empty());
  for (SourceId id : Update::preserved()) {
    EXPECT_TRUE(update.translates_as_before(id));
    EXPECT_EQ(kernel.device(id).state(), Device::State::Incoming);
  }
  EXPECT_EQ((*core.find_restored(update.shared_record))->attachments(), 3u);
  for (PhysAddr record : {update.own_record, update.shared_record}) ASSERT_TRUE(core.drop_domain(record).ok());
  EXPECT_EQ(kernel.memory().heap.live_objects(), Update::all().size());
}

TEST(Claim, RestoredDomainTakesNothing) {
  testing::Test::RecordProperty("acceptance", "B15");
  Update update;
  Kernel& kernel = update.live();
  Core& core = kernel.core();
  Domain& restored = **core.find_restored(update.own_record);
  const u64 before = kernel.state_hash();
  EXPECT_EQ(core.map(restored, Iova(0), {&update.guest, 1}, pt::Prot::Read).code(), Code::NotSupported);
  EXPECT_EQ(core.unmap(restored, Update::guest_at, 0x1000).code(), Code::NotSupported);
  EXPECT_EQ(core.attach(kernel.device(Update::u), restored).code(), Code::NotSupported);
  EXPECT_EQ(core.destroy_domain(restored).code(), Code::Busy);
  EXPECT_EQ(kernel.state_hash(), before);
}

TEST(Claim, DeviceThatIsGoneCostsNobodyElse) {
  testing::Test::RecordProperty("acceptance", "B12");
  Update update;
  Kernel& kernel = update.live({identity_of(Update::a), identity_of(Update::d)});
  EXPECT_TRUE(update.is_blocked(Update::b));
  EXPECT_TRUE(update.is_blocked(Update::c));
  EXPECT_TRUE(update.translates_as_before(Update::a));
  EXPECT_TRUE(update.translates_as_before(Update::d));
  EXPECT_EQ((*kernel.core().find_restored(update.shared_record))->attachments(), 2u);
  // Nobody is left in the domain of c: its id is free, and it can go.
  Domain& own = **kernel.core().find_restored(update.own_record);
  EXPECT_EQ(own.attachments(), 0u);
  EXPECT_EQ(kernel.unit(1).dids_in_use(), 1u);
  EXPECT_TRUE(kernel.core().destroy_domain(own).ok());
}

TEST(Claim, AnotherDeviceInItsPlaceInheritsNothing) {
  testing::Test::RecordProperty("acceptance", "B13");
  Update update;
  auto found = Update::identities();
  for (DeviceIdentity& identity : found)
    if (identity.id == Update::a) identity.vendor = 0x1234;
  Kernel& kernel = update.live(found);
  EXPECT_TRUE(update.is_blocked(Update::a));
  EXPECT_EQ(kernel.device(Update::a).state(), Device::State::Quarantined);
  EXPECT_EQ(kernel.core().claim_owner(kernel.device(Update::a), &update, Update::token).code(), Code::Corrupt);
  EXPECT_TRUE(update.translates_as_before(Update::b));
}

TEST(Claim, UnpreservedDeviceBootsAsEver) {
  testing::Test::RecordProperty("acceptance", "B14");
  Update update;
  Kernel& kernel = update.live();
  Device& device = kernel.device(Update::u);
  EXPECT_EQ(device.state(), Device::State::Normal);
  Domain& domain = kernel.new_domain(device);
  ASSERT_TRUE(kernel.core().claim_owner(device, &update).ok());
  ASSERT_TRUE(kernel.core().attach(device, domain).ok());
  EXPECT_EQ(kernel.unit(0).dids_in_use(), 2u);
  EXPECT_NE(kernel.unit(0).entry(Update::u)->hi >> 8, kernel.unit(0).entry(Update::a)->hi >> 8);
}

TEST(Claim, LookupsKnowWhatIsThereAndWhatIsNot) {
  Update update;
  Kernel& kernel = update.live(Until::Claimed);
  EXPECT_EQ(kernel.core().find_restored(update.own_record).code(), Code::Again);  // not verified
  ASSERT_TRUE(kernel.core().verify().ok());
  EXPECT_TRUE(kernel.core().find_restored(update.own_record).ok());
  EXPECT_EQ(kernel.core().find_restored(update.own_record + 40).code(), Code::NotFound);
  EXPECT_EQ(kernel.core().find_device(1, Update::a).code(), Code::NotFound);
  EXPECT_EQ(kernel.core().find_device(0, SourceId(9, 9, 0)).code(), Code::NotFound);
}

TEST(Verify, DamagedTableCostsItsDomainOnly) {
  testing::Test::RecordProperty("acceptance", "K23");
  Update update;
  const PhysAddr top = update.own->top();
  update.jump();
  update.old.memory().map.at<u64>(top)[5] ^= u64{1} << 20;
  Kernel& kernel = update.live();
  EXPECT_EQ(kernel.core().find_restored(update.own_record).code(), Code::Corrupt);
  EXPECT_TRUE(update.is_blocked(Update::c));
  EXPECT_EQ(kernel.device(Update::c).state(), Device::State::Quarantined);
  EXPECT_EQ(kernel.core().claim_owner(kernel.device(Update::c), &update, Update::token).code(), Code::Corrupt);
  for (SourceId id : {Update::a, Update::b, Update::d}) EXPECT_TRUE(update.translates_as_before(id));
  // Freed by block; then the device is anyone's.
  const u64 unrestored = kernel.unrestored();
  ASSERT_TRUE(kernel.core().drop_domain(update.own_record).ok());
  EXPECT_LT(kernel.unrestored(), unrestored);
  ASSERT_TRUE(kernel.core().drop_device(kernel.device(Update::c)).ok());
  EXPECT_TRUE(kernel.core().claim_owner(kernel.device(Update::c), &update).ok());
}

TEST(Verify, TableThatWasNotPreservedCostsItsDomainOnly) {
  testing::Test::RecordProperty("acceptance", "G5");
  constexpr unsigned largest_other = 4;    // guest memory, sessions
  Update update(u64{32} << 20, {}, 2200);  // enough tables for blocks that are larger
  update.jump();
  std::vector<Block> blocks;
  update.old.handover().for_each([&](Block block) {
    if (block.order > largest_other) blocks.push_back(block);
  });
  const Domain& shared = *update.shared;
  for (const Block& block : blocks) {
    const bool has_a_top = PhysRange{block.start, block.size_bytes()}.contains(shared.top(), 1) ||
                           PhysRange{block.start, block.size_bytes()}.contains(update.own->top(), 1);
    if (has_a_top) continue;
    update.old.handover().unpreserve(block);
    Kernel& kernel = update.live();
    EXPECT_EQ(kernel.core().find_restored(update.shared_record).code(), Code::Corrupt);
    for (SourceId id : {Update::a, Update::b, Update::d}) EXPECT_TRUE(update.is_blocked(id));
    EXPECT_TRUE(update.translates_as_before(Update::c));
    return;
  }
  FAIL() << "the shared domain has small blocks only";
}

TEST(Verify, CanBeRepeatedWhenMemoryIsShort) {
  testing::Test::RecordProperty("acceptance", "B10");
  Update update;
  Kernel& kernel = update.live(Until::Claimed);
  u64 k = 1;
  for (;; ++k) {
    Status verified;
    if (!kernel.world().failing(k, [&] { verified = kernel.core().verify(); })) {
      EXPECT_TRUE(verified.ok());
      break;
    }
    ASSERT_EQ(verified.code(), Code::NoMemory);
  }
  EXPECT_GT(k, 2u);
  EXPECT_TRUE(kernel.quarantined().empty());
  EXPECT_TRUE(kernel.core().find_restored(update.shared_record).ok());
  for (SourceId id : Update::preserved()) EXPECT_TRUE(update.translates_as_before(id));
}

TEST(Policy, PanicStopsAtTheFirstThingNotBelieved) {
  Update update(u64{32} << 20, {.table_mode = TableMode::Arena, .policy = QuarantinePolicy::Panic});
  update.jump();
  update.old.unit(1).entry(Update::c)->hi += 1 << 8;
  EXPECT_EXIT(update.live(), testing::KilledBySignal(SIGABRT), "");
}

TEST(PageMode, CrossesAsWell) {
  Update update(u64{32} << 20, {.table_mode = TableMode::Page, .policy = QuarantinePolicy::Quarantine});
  Kernel& kernel = update.live();
  EXPECT_TRUE(kernel.quarantined().empty());
  Domain& own = **kernel.core().find_restored(update.own_record);
  EXPECT_TRUE(kernel.core().lookup(own, Update::guest_at).ok());
  EXPECT_TRUE(kernel.core().drop_domain(update.own_record).ok());
  EXPECT_TRUE(update.is_blocked(Update::c));
}

}  // namespace
}  // namespace holdfast::iommu

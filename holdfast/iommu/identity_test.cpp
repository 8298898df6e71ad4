// Identity domains: made and attached as others are, with nothing in them that could be changed, read or handed over.
#include <gtest/gtest.h>

#include "holdfast/iommu/test_update.hpp"

namespace holdfast::iommu {
namespace {

using State = LiveEntry::State;

constexpr SourceId device_a(0, 1, 0);
constexpr SourceId device_b(0, 2, 0);
constexpr SourceId device_c(0x10, 0, 0);

class Identity : public testing::Test {
 protected:
  Identity() {
    for (SourceId id : {device_a, device_b, device_c})
      EXPECT_TRUE(core().claim_owner(kernel.add_device(id), this).ok());
    guest = kernel.guest_memory(0);
  }
  Core& core() { return kernel.core(); }
  Device& device(SourceId id) { return kernel.device(id); }
  Domain& new_identity() { return **core().create_identity_domain(device(device_a)); }
  FakeUnit& unit(SourceId id) { return kernel.unit(id.bus() < 0x10 ? 0 : 1); }
  LiveEntry live(SourceId id) { return unit(id).read_entry(id); }

  Machine machine;
  Kernel kernel{machine};
  PhysRange guest;
};

TEST_F(Identity, HasAnIdOfItsOwnOnEachUnitAndNoTable) {
  Domain& domain = new_identity();
  Domain& other = new_identity();
  EXPECT_TRUE(domain.is_identity());
  EXPECT_FALSE(domain.is_live());
  EXPECT_EQ(domain.top(), PhysAddr());
  for (SourceId id : {device_a, device_b, device_c}) {
    ASSERT_TRUE(core().attach(device(id), domain).ok());
    EXPECT_EQ(live(id).state, State::PassThrough);
    EXPECT_EQ(live(id).spec, EntrySpec::pass_through(live(id).spec.did));
  }
  EXPECT_EQ(live(device_a).spec.did, live(device_b).spec.did);
  ASSERT_TRUE(core().attach(device(device_b), other).ok());
  EXPECT_NE(live(device_a).spec.did, live(device_b).spec.did);
  EXPECT_EQ(core().destroy_domain(domain).code(), Code::Busy);
  machine.units[0].log.clear();
  for (SourceId id : {device_a, device_b, device_c}) ASSERT_TRUE(core().detach(device(id)).ok());
  EXPECT_EQ(machine.units[0].log.back(), "flush domain did 3") << "and only then the id is free";
  for (SourceId id : {device_a, device_c}) EXPECT_EQ(unit(id).dids_in_use(), 0u);
  EXPECT_TRUE(core().destroy_domain(domain).ok());
  EXPECT_TRUE(core().destroy_domain(other).ok());
}

TEST_F(Identity, IsForOwnersAlone) {
  Domain& domain = new_identity();
  core().release_owner(device(device_a), this);
  EXPECT_EQ(core().attach(device(device_a), domain).code(), Code::NotPermitted);
  ASSERT_TRUE(core().claim_owner(device(device_a), this).ok());
  ASSERT_TRUE(core().attach(device(device_a), domain).ok());
  int vmm = 0;
  EXPECT_EQ(core().claim_owner(device(device_a), &vmm).code(), Code::Busy);
  core().release_owner(device(device_a), this);
  ASSERT_TRUE(core().claim_owner(device(device_a), &vmm).ok());
  EXPECT_EQ(live(device_a).state, State::Absent) << "memory at large is not handed on";
  EXPECT_TRUE(core().destroy_domain(domain).ok());
}

TEST_F(Identity, LeavesNothingBehind) {
  const u64 before = kernel.state_hash();
  Domain& domain = new_identity();
  EXPECT_NE(kernel.state_hash(), before);
  EXPECT_TRUE(core().destroy_domain(domain).ok());
  EXPECT_EQ(kernel.state_hash(), before);
}

TEST_F(Identity, HasNothingToMapToLookUpOrToCompare) {
  Domain& domain = new_identity();
  Domain& mapped = kernel.new_domain(device(device_a));
  ASSERT_TRUE(core().attach(device(device_a), domain).ok());
  const u64 before = kernel.state_hash();
  const Iova at(guest.start.value);
  EXPECT_EQ(core().map(domain, at, {&guest, 1}, pt::Prot::ReadWrite).code(), Code::NotSupported);
  EXPECT_EQ(core().unmap(domain, at, guest.size_bytes).code(), Code::NotSupported);
  EXPECT_EQ(core().lookup(domain, at).code(), Code::NotSupported);
  EXPECT_EQ(core().compare(domain, mapped).code(), Code::NotSupported);
  EXPECT_EQ(core().compare(mapped, domain).code(), Code::NotSupported);
  EXPECT_EQ(kernel.state_hash(), before);
}

TEST_F(Identity, ReplacesATableAndIsReplacedWithNoMomentInBetween) {
  Domain& tables = kernel.new_domain(device(device_a));
  Domain& domain = new_identity();
  ASSERT_TRUE(core().attach(device(device_a), tables).ok());
  machine.units[0].log.clear();
  ASSERT_TRUE(core().attach(device(device_a), domain).ok());
  EXPECT_EQ(live(device_a).state, State::PassThrough);
  ASSERT_TRUE(core().attach(device(device_a), tables).ok());
  EXPECT_EQ(live(device_a).state, State::Translating);
  EXPECT_EQ(live(device_a).spec.top, tables.top());
  EXPECT_EQ(machine.units[0].log, (std::vector<std::string>{"replace 8 did 3", "flush domain did 2", "replace 8 did 2",
                                                            "flush domain did 3"}));
  EXPECT_TRUE(core().destroy_domain(domain).ok());
}

TEST_F(Identity, NeedsAUnitThatLetsAddressesThrough) {
  machine.units[1].limits.pass_through = false;
  Domain& domain = new_identity();
  const u64 before = kernel.state_hash();
  EXPECT_EQ(core().create_identity_domain(device(device_c)).code(), Code::NotSupported);
  EXPECT_EQ(core().attach(device(device_c), domain).code(), Code::NotSupported);
  EXPECT_EQ(kernel.state_hash(), before);
  DeviceIdentity shared = identity_of(SourceId(0, 4, 0));
  shared.isolation = Isolation::Shared;
  EXPECT_EQ(core().attach(kernel.add_device(shared), domain).code(), Code::NotSupported);
}

TEST_F(Identity, ThatCannotBeMadeOrAttachedChangesNothing) {
  for (u64 k = 1;; ++k) {
    const u64 before = kernel.state_hash();
    Result<Domain*> made = Code::NoMemory;
    if (!kernel.world().failing(k, [&] { made = core().create_identity_domain(device(device_a)); })) break;
    ASSERT_EQ(made.code(), Code::NoMemory);
    ASSERT_EQ(kernel.state_hash(), before) << k;
  }
  Domain& tables = kernel.new_domain(device(device_a));
  Domain& domain = new_identity();
  ASSERT_TRUE(core().attach(device(device_a), tables).ok());
  const u64 before = kernel.state_hash();
  for (u64 k = 1;; ++k) {
    Code code = Code::Ok;
    if (!kernel.world().failing(k, [&] { code = core().attach(device(device_a), domain).code(); })) break;
    ASSERT_EQ(code, Code::NoMemory);
    ASSERT_EQ(kernel.state_hash(), before) << k;
  }
  EXPECT_EQ(live(device_a).state, State::PassThrough);
}

TEST_F(Identity, IsNotPreservedAndNeitherIsItsDevice) {
  RecordProperty("acceptance", "P4");
  Domain& domain = new_identity();
  Domain& tables = kernel.new_domain(device(device_b));
  ASSERT_TRUE(core().attach(device(device_a), domain).ok());
  ASSERT_TRUE(core().attach(device(device_b), tables).ok());
  EXPECT_EQ(core().preserve_domain(domain).code(), Code::NotSupported);
  kernel.open_flbs();
  for (const bool beside_a_neighbour : {false, true}) {
    SCOPED_TRACE(beside_a_neighbour);
    if (beside_a_neighbour) {
      ASSERT_TRUE(core().preserve_domain(tables).ok());
      ASSERT_TRUE(core().preserve_device(device(device_b), 7).ok());
    }
    const u64 before = kernel.state_hash();
    EXPECT_EQ(core().preserve_domain(domain).code(), Code::NotSupported);
    EXPECT_EQ(core().preserve_device(device(device_a), 7).code(), Code::NotSupported);
    EXPECT_TRUE(core().unpreserve_domain(domain).ok()) << "there is nothing to take back";
    core().unpreserve_device(device(device_a));
    EXPECT_EQ(kernel.state_hash(), before);
  }
  EXPECT_FALSE(domain.is_preserved());
  EXPECT_FALSE(device(device_a).is_preserved());
  EXPECT_EQ(live(device_a).state, State::PassThrough) << "it goes on";
  EXPECT_TRUE(core().detach(device(device_a)).ok());
  EXPECT_TRUE(core().destroy_domain(domain).ok());
}

TEST_F(Identity, IsBlockedAtTheCutOffAndComesBackWithAJumpThatFailed) {
  Domain& domain = new_identity();
  ASSERT_TRUE(core().attach(device(device_a), domain).ok());
  const u64 before = kernel.state_hash();
  ASSERT_TRUE(core().prepare_freeze(1).ok());
  ASSERT_TRUE(core().cut_off().ok());
  EXPECT_EQ(live(device_a).state, State::Absent);
  core().reinstate();
  EXPECT_EQ(live(device_a).state, State::PassThrough);
  EXPECT_EQ(kernel.state_hash(), before);
}

TEST(IdentityAdopted, ADeviceOfOneIsBlockedInTheNextKernelAndItsNeighboursGoOn) {
  testing::Test::RecordProperty("acceptance", "P4");
  Update update;
  Domain& domain = **update.old.core().create_identity_domain(update.old.device(Update::u));
  ASSERT_TRUE(update.old.core().attach(update.old.device(Update::u), domain).ok());
  Kernel& kernel = update.live();
  EXPECT_TRUE(update.is_blocked(Update::u));
  EXPECT_EQ(kernel.device(Update::u).domain(), nullptr);
  EXPECT_EQ(kernel.device(Update::u).state(), Device::State::Normal);
  EXPECT_EQ(kernel.core().adoption_report().entries_blocked, 0u) << "the cut-off did";
  for (SourceId id : Update::preserved()) EXPECT_TRUE(update.translates_as_before(id));
}

TEST(IdentityAdopted, NoEntryOfAPredecessorLetsAddressesThrough) {
  for (const SourceId id : {Update::c, Update::u}) {
    SCOPED_TRACE(id.value);
    Update update;
    update.jump();
    FakeUnit& unit = Update::unit_of(update.old, id);
    const u64 did = unit.entry(id)->lo == 0 ? 40 : unit.read_entry(id).spec.did.value;
    *unit.entry(id) = {1, u64{1} << 25 | did << 8};
    ASSERT_EQ(unit.read_entry(id).state, State::PassThrough);
    Kernel& kernel = update.live();
    EXPECT_TRUE(update.is_blocked(id));
    EXPECT_EQ(kernel.device(id).domain(), nullptr);
    EXPECT_EQ(kernel.core().adoption_report().entries_blocked, 1u);
    for (SourceId other : {Update::a, Update::b, Update::d}) EXPECT_TRUE(update.translates_as_before(other));
  }
}

/// The attested copy of the entry says so too, with every checksum right.
TEST(IdentityAdopted, NoRecordMakesADevicePassThrough) {
  testing::Test::RecordProperty("acceptance", "P4");
  Update update;
  update.jump();
  FakeUnit::Entry& entry = *Update::unit_of(update.old, Update::c).entry(Update::c);
  entry = {1, u64{1} << 25 | (entry.hi & 0xffff00)};
  auto& map = update.old.memory().map;
  const auto& header = *map.at<abi::attest::Header>(update.old.flb(abi::attest::compatible));
  auto* attest = map.at<abi::attest::DeviceAttest>(PhysAddr(header.device_array) + sizeof(abi::iommu::ArrayHeader));
  while (attest->devid != Update::c.value) ++attest;
  attest->live_entry = {entry.lo, entry.hi};
  attest->checksum = abi::checksum_of(*attest);
  Kernel& kernel = update.live();
  EXPECT_TRUE(update.is_blocked(Update::c));
  EXPECT_EQ(kernel.device(Update::c).state(), Device::State::Quarantined);
  EXPECT_EQ(kernel.device(Update::c).reason(), "its hardware entry does not translate");
  for (SourceId id : {Update::a, Update::b, Update::d}) EXPECT_TRUE(update.translates_as_before(id));
}

TEST(IdentityAdopted, OneMayReplaceARestoredDomain) {
  Update update;
  Kernel& kernel = update.live();
  Device& device = kernel.device(Update::c);
  Domain& domain = **kernel.core().create_identity_domain(device);
  EXPECT_EQ(kernel.core().attach(device, domain).code(), Code::NotPermitted);
  ASSERT_TRUE(kernel.core().claim_owner(device, &update, Update::token).ok());
  ASSERT_TRUE(kernel.core().attach(device, domain).ok());
  EXPECT_EQ(kernel.unit(1).read_entry(Update::c).state, State::PassThrough);
  EXPECT_EQ(device.state(), Device::State::Normal);
  EXPECT_TRUE(kernel.core().destroy_domain(**kernel.core().find_restored(update.own_record)).ok());
}

}  // namespace
}  // namespace holdfast::iommu

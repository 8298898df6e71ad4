// Domains and devices of one kernel: ids, attach, replace, detach, map, unmap.
#include <gtest/gtest.h>

#include "holdfast/iommu/test_machine.hpp"

namespace holdfast::iommu {
namespace {

constexpr SourceId device_a(0, 1, 0);
constexpr SourceId device_b(0, 2, 0);
constexpr SourceId device_c(0x10, 0, 0);

class Attach : public testing::Test {
 protected:
  Attach() {
    for (SourceId id : {device_a, device_b, device_c}) kernel.add_device(id);
    guest = kernel.guest_memory(0);
  }
  Core& core() { return kernel.core(); }
  Device& device(SourceId id) { return kernel.device(id); }
  FakeUnit& unit(SourceId id) { return kernel.unit(id.bus() < 0x10 ? 0 : 1); }
  EntrySpec spec(SourceId id) { return unit(id).read_entry(id).spec; }
  std::vector<std::string>& log(unsigned index = 0) { return machine.units[index].log; }

  Machine machine;
  Kernel kernel{machine};
  PhysRange guest;
};

TEST_F(Attach, OneIdForEachDomainAndUnit) {
  RecordProperty("acceptance", "IV29");
  Domain& domain = kernel.new_domain(device(device_a));
  Domain& other = kernel.new_domain(device(device_c));
  ASSERT_TRUE(core().attach(device(device_c), other).ok());
  for (SourceId id : {device_a, device_b}) ASSERT_TRUE(core().attach(device(id), domain).ok());
  EXPECT_EQ(spec(device_a).did, spec(device_b).did);
  EXPECT_EQ(unit(device_a).dids_in_use(), 1u);
  EXPECT_EQ(spec(device_a).top, domain.top());
  EXPECT_EQ(spec(device_a).levels, 4);
  // The id goes with the last device, and not before hardware forgot it.
  log().clear();
  ASSERT_TRUE(core().detach(device(device_a)).ok());
  EXPECT_EQ(unit(device_a).dids_in_use(), 1u);
  ASSERT_TRUE(core().detach(device(device_b)).ok());
  EXPECT_EQ(unit(device_a).dids_in_use(), 0u);
  EXPECT_EQ(log().back(), "flush domain did 2");
}

TEST_F(Attach, ReplaceHasNoMomentInBetween) {
  Domain& first = kernel.new_domain(device(device_a));
  Domain& second = kernel.new_domain(device(device_a));
  ASSERT_TRUE(core().attach(device(device_a), first).ok());
  const DomainId old = spec(device_a).did;
  log().clear();
  ASSERT_TRUE(core().attach(device(device_a), second).ok());
  EXPECT_EQ(spec(device_a).top, second.top());
  EXPECT_NE(spec(device_a).did, old);
  // Replaced, then the old tag is flushed, and only then is its id free.
  EXPECT_EQ(log(), (std::vector<std::string>{"replace 8 did 3", "flush domain did 2"}));
  EXPECT_EQ(unit(device_a).dids(), std::set<u16>{3});
  EXPECT_TRUE(core().destroy_domain(first).ok());
}

TEST_F(Attach, ReplaceThatFailsLeavesTheOldDomainInService) {
  RecordProperty("acceptance", "N3");
  Domain& first = kernel.new_domain(device(device_a));
  Domain& second = kernel.new_domain(device(device_a));
  ASSERT_TRUE(core().attach(device(device_a), first).ok());
  const u64 before = kernel.state_hash();
  for (u64 k = 1;; ++k) {
    Code code = Code::Ok;
    if (!kernel.world().failing(k, [&] { code = core().attach(device(device_a), second).code(); })) break;
    ASSERT_EQ(code, Code::NoMemory);
    ASSERT_EQ(kernel.state_hash(), before) << k;
  }
  ASSERT_TRUE(core().attach(device(device_a), first).ok());
  machine.units[0].answers = false;
  EXPECT_EQ(core().attach(device(device_a), second).code(), Code::TimedOut);
  EXPECT_EQ(device(device_a).domain(), &first);
  EXPECT_EQ(spec(device_a).top, first.top());
}

TEST_F(Attach, SameDomainAgainIsFine) {
  Domain& domain = kernel.new_domain(device(device_a));
  ASSERT_TRUE(core().attach(device(device_a), domain).ok());
  const u64 before = kernel.state_hash();
  EXPECT_TRUE(core().attach(device(device_a), domain).ok());
  EXPECT_EQ(kernel.state_hash(), before);
}

TEST_F(Attach, UnitThatCannotWalkTheTablesIsRefused) {
  machine.units[1].limits.tables[0].page_sizes = 0x1000;
  Domain& domain = kernel.new_domain(device(device_a));
  EXPECT_EQ(core().attach(device(device_c), domain).code(), Code::Invalid);
  machine.units[1].limits.tables[0].page_sizes = 0x201000;
  machine.units[1].limits.coherent_tables = false;
  EXPECT_EQ(core().attach(device(device_c), domain).code(), Code::Invalid);
  machine.units[1].limits.coherent_tables = true;
  machine.units[1].limits.iova_bits = 39;
  EXPECT_EQ(core().attach(device(device_c), domain).code(), Code::Invalid);
}

TEST_F(Attach, LevelsFollowTheUnit) {
  machine.units[0].limits.tables[0].levels_mask = 1 << 3 | 1 << 4;
  machine.units[0].limits.iova_bits = 39;
  EXPECT_EQ(kernel.new_domain(device(device_a)).config().levels, 3);
  machine.units[0].limits.iova_bits = 48;
  EXPECT_EQ(kernel.new_domain(device(device_a)).config().levels, 4);
  machine.units[0].limits.tables[0].levels_mask = 1 << 3;
  Domain& narrow = kernel.new_domain(device(device_a));
  EXPECT_EQ(narrow.config().levels, 3);
  EXPECT_EQ(narrow.config().iova_bits, 39);
  machine.units[0].limits.tables[0].levels_mask = 0;
  EXPECT_EQ(core().create_domain(device(device_a), {}).code(), Code::Invalid);
}

TEST_F(Attach, NoIdLeftIsReported) {
  machine.units[0].limits.domain_ids = 3;
  Domain& first = kernel.new_domain(device(device_a));
  Domain& second = kernel.new_domain(device(device_b));
  ASSERT_TRUE(core().attach(device(device_a), first).ok());
  const u64 before = kernel.state_hash();
  EXPECT_EQ(core().attach(device(device_b), second).code(), Code::NoSpace);
  EXPECT_EQ(kernel.state_hash(), before);
}

TEST_F(Attach, UnmapReturnsWhenEveryUnitHasForgotten) {
  Domain& domain = kernel.new_domain(device(device_a));
  ASSERT_TRUE(core().map(domain, Iova(0), {&guest, 1}, pt::Prot::ReadWrite).ok());
  ASSERT_TRUE(core().attach(device(device_a), domain).ok());
  ASSERT_TRUE(core().attach(device(device_c), domain).ok());
  log(0).clear();
  log(1).clear();
  EXPECT_EQ(*core().unmap(domain, Iova(0), page_size_bytes), page_size_bytes);
  EXPECT_EQ(log(0), std::vector<std::string>{"flush did 2"});
  EXPECT_EQ(log(1), std::vector<std::string>{"flush did 2"});
  EXPECT_EQ(core().lookup(domain, Iova(0)).code(), Code::NotFound);
}

TEST_F(Attach, FlushThatFailsIsOwedAndNothingIsFreedBefore) {
  Domain& domain = kernel.new_domain(device(device_a));
  ASSERT_TRUE(core().map(domain, Iova(0), {&guest, 1}, pt::Prot::ReadWrite).ok());
  ASSERT_TRUE(core().attach(device(device_a), domain).ok());
  machine.units[0].answers = false;
  const u64 free = kernel.memory().buddy.free_frames();
  EXPECT_EQ(core().unmap(domain, Iova(0), page_size_bytes).code(), Code::TimedOut);
  EXPECT_EQ(core().map(domain, Iova(0), {&guest, 1}, pt::Prot::ReadWrite).code(), Code::TimedOut);
  EXPECT_EQ(kernel.memory().buddy.free_frames(), free);
  machine.units[0].answers = true;
  log().clear();
  ASSERT_TRUE(core().map(domain, Iova(0), {&guest, 1}, pt::Prot::ReadWrite).ok());
  EXPECT_EQ(log().front(), "flush did 2");
}

TEST_F(Attach, IdOfAReplacementThatHardwareDidNotConfirmIsNotGivenAway) {
  Domain& first = kernel.new_domain(device(device_a));
  Domain& second = kernel.new_domain(device(device_a));
  ASSERT_TRUE(core().attach(device(device_a), first).ok());
  machine.units[0].dies_in_replace = true;
  EXPECT_EQ(core().attach(device(device_a), second).code(), Code::TimedOut);
  EXPECT_EQ(device(device_a).domain(), &first);
  EXPECT_EQ(unit(device_a).dids(), (std::set<u16>{2, 3})) << "hardware may have cached the new id";
  EXPECT_EQ(core().destroy_domain(second).code(), Code::TimedOut);
  machine.units[0].answers = true;
  log().clear();
  EXPECT_TRUE(core().destroy_domain(second).ok());
  EXPECT_EQ(log(), std::vector<std::string>{"flush domain did 3"});
  EXPECT_EQ(unit(device_a).dids(), std::set<u16>{2});
}

TEST_F(Attach, IdThatCannotBeFlushedIsNotGivenAway) {
  Domain& first = kernel.new_domain(device(device_a));
  Domain& second = kernel.new_domain(device(device_a));
  ASSERT_TRUE(core().attach(device(device_a), first).ok());
  // The entry is replaced, and then the flush of the old tag finds the unit dead.
  struct DiesAfterReplace {
    explicit DiesAfterReplace(FakeHardware& of) : hardware(of) { hardware.dies_after_replace = true; }
    ~DiesAfterReplace() {
      hardware.dies_after_replace = false;
      hardware.answers = true;
    }
    FakeHardware& hardware;
  };
  {
    DiesAfterReplace dying(machine.units[0]);
    EXPECT_TRUE(core().attach(device(device_a), second).ok());
    EXPECT_EQ(unit(device_a).dids_in_use(), 2u);
    EXPECT_EQ(core().destroy_domain(first).code(), Code::TimedOut);
  }
  EXPECT_TRUE(core().destroy_domain(first).ok());
  EXPECT_EQ(unit(device_a).dids_in_use(), 1u);
}

TEST_F(Attach, DomainGoesOnlyWhenNobodyIsAttached) {
  const u64 objects = kernel.memory().heap.live_objects();
  Domain& domain = kernel.new_domain(device(device_a));
  ASSERT_TRUE(core().map(domain, Iova(0), {&guest, 1}, pt::Prot::ReadWrite).ok());
  ASSERT_TRUE(core().attach(device(device_a), domain).ok());
  EXPECT_EQ(core().destroy_domain(domain).code(), Code::Busy);
  ASSERT_TRUE(core().detach(device(device_a)).ok());
  EXPECT_TRUE(core().destroy_domain(domain).ok());
  EXPECT_EQ(unit(device_a).read_entry(device_a).state, LiveEntry::State::Absent);
  EXPECT_EQ(kernel.memory().heap.live_objects(), objects);
}

TEST_F(Attach, OwnersExcludeEachOther) {
  int one = 0;
  int two = 0;
  Device& claimed = device(device_a);
  ASSERT_TRUE(core().claim_owner(claimed, &one).ok());
  EXPECT_TRUE(core().claim_owner(claimed, &one).ok());
  EXPECT_EQ(core().claim_owner(claimed, &two).code(), Code::Busy);
  EXPECT_EQ(core().unregister_device(claimed).code(), Code::Busy);
  core().release_owner(claimed, &two);
  EXPECT_EQ(claimed.owner(), &one);
  core().release_owner(claimed, &one);
  EXPECT_TRUE(core().claim_owner(claimed, &two).ok());
}

TEST_F(Attach, ANewOwnerFindsTheDeviceBlocked) {
  int one = 0;
  int two = 0;
  Device& left = device(device_a);
  Domain& domain = kernel.new_domain(left);
  ASSERT_TRUE(core().claim_owner(left, &one).ok());
  ASSERT_TRUE(core().attach(left, domain).ok());
  core().release_owner(left, &one);
  machine.units[0].answers = false;
  EXPECT_EQ(core().claim_owner(left, &two).code(), Code::TimedOut);
  EXPECT_EQ(left.owner(), nullptr);
  machine.units[0].answers = true;
  EXPECT_TRUE(core().claim_owner(left, &two).ok());
  EXPECT_EQ(left.domain(), nullptr);
  EXPECT_EQ(unit(device_a).read_entry(device_a).state, LiveEntry::State::Absent);
  EXPECT_TRUE(core().destroy_domain(domain).ok());
}

TEST_F(Attach, DevicesNeedAUnitAndComeOnce) {
  EXPECT_EQ(core().register_device(identity_of(device_a)).code(), Code::Exists);
  DeviceIdentity elsewhere = identity_of(SourceId(1, 0, 0));
  elsewhere.segment = 5;
  EXPECT_EQ(core().register_device(elsewhere).code(), Code::NoDevice);
  EXPECT_TRUE(core().unregister_device(device(device_a)).ok());
  EXPECT_EQ(core().find_device(0, device_a).code(), Code::NotFound);
  EXPECT_TRUE(core().register_device(identity_of(device_a)).ok());
}

TEST(ColdBoot, UnitThatDoesNotStartGetsNoDevices) {
  Machine machine;
  TestMemory memory(machine.world());
  kho::Handover handover(memory.memory);
  Core core(memory.memory, handover);
  FakeUnit unit(machine.units[0], memory.memory, memory.early);
  machine.units[0].answers = false;
  ASSERT_TRUE(core.add_unit(unit).ok());
  EXPECT_EQ(core.add_unit(unit).code(), Code::Exists);
  EXPECT_EQ(core.start_fresh().code(), Code::Io);
  EXPECT_EQ(core.register_device(identity_of(device_a)).code(), Code::NoDevice);
}

}  // namespace
}  // namespace holdfast::iommu

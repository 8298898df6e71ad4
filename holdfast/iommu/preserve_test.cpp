// What preserving domains and devices writes, refuses and undoes.
#include <gtest/gtest.h>

#include <random>

#include "holdfast/iommu/test_machine.hpp"

namespace holdfast::iommu {
namespace {

constexpr SourceId device_a(0, 1, 0);
constexpr SourceId device_b(2, 0, 0);     // the same unit, another context table
constexpr SourceId device_c(0x10, 0, 0);  // the other unit

class Preserve : public testing::Test {
 protected:
  Preserve() {
    for (SourceId id : {device_a, device_b, device_c}) {
      Device& added = kernel.add_device(id);
      EXPECT_TRUE(core().claim_owner(added, this).ok());
    }
    guest = kernel.guest_memory(4);
  }
  Core& core() { return kernel.core(); }
  Device& device(SourceId id) { return kernel.device(id); }
  /// A domain with something in it, and @p ids attached.
  Domain& domain_of(std::initializer_list<SourceId> ids) {
    Domain& domain = kernel.new_domain(device(*ids.begin()));
    EXPECT_TRUE(core().map(domain, Iova(0x10000000), {&guest, 1}, pt::Prot::ReadWrite).ok());
    for (SourceId id : ids) EXPECT_TRUE(core().attach(device(id), domain).ok());
    return domain;
  }
  template <class Record>
  const Record& read(PhysAddr at) {
    return *kernel.memory().map.at<Record>(at);
  }
  abi::iommu::IommuFlb flb() { return read<abi::iommu::IommuFlb>(kernel.flb(abi::iommu::compatible)); }
  abi::iommu::ArrayHeader page(u64 at) { return read<abi::iommu::ArrayHeader>(PhysAddr(at)); }

  Machine machine;
  Kernel kernel{machine};
  PhysRange guest;
};

TEST_F(Preserve, FlbHasVersionAndThreeArraysFromTheStart) {
  RecordProperty("acceptance", "C2");
  kernel.open_flbs();
  EXPECT_EQ(flb().version, abi::iommu::version_arenas);
  for (u64 head : {flb().unit_array, flb().domain_array, flb().device_array}) {
    EXPECT_TRUE(kernel.handover().contains({PhysAddr(head), 0}));
    EXPECT_EQ(page(head).next, 0u);
    EXPECT_EQ(page(head).nr_objects, 0u);
  }
}

TEST_F(Preserve, FlbOfPageModeIsLinuxVersion) {
  Machine other;
  Kernel linux_like(other, {.table_mode = TableMode::Page, .policy = QuarantinePolicy::Quarantine});
  linux_like.open_flbs();
  EXPECT_EQ(linux_like.memory().map.at<abi::iommu::IommuFlb>(linux_like.flb(abi::iommu::compatible))->version, 1u);
}

TEST_F(Preserve, FlbsUndoneAreUndone) {
  const u64 before = kernel.state_hash();
  kernel.open_flbs();
  EXPECT_NE(kernel.state_hash(), before);
  kernel.close_flbs();
  EXPECT_EQ(kernel.state_hash(), before);
}

TEST_F(Preserve, FlbThatCannotBeMadeLeavesNothing) {
  for (luo::Flb* flb_of : {&core().records_flb(), &core().attest_flb()}) {
    const u64 before = kernel.state_hash();
    u64 k = 1;
    for (Code code = Code::NoMemory; code == Code::NoMemory; ++k) {
      if (!kernel.world().failing(k, [&] { code = flb_of->preserve().code(); })) break;
      ASSERT_EQ(code, Code::NoMemory) << k;
      ASSERT_EQ(kernel.state_hash(), before) << k;
    }
    EXPECT_GT(k, 4u);
    flb_of->unpreserve();
    EXPECT_EQ(kernel.state_hash(), before);
  }
}

TEST_F(Preserve, DomainNeedsTheFlbs) {
  Domain& domain = domain_of({device_a});
  EXPECT_EQ(core().preserve_domain(domain).code(), Code::Invalid);
}

TEST_F(Preserve, DomainRecordSaysWhatTheTableIs) {
  Domain& domain = domain_of({device_a});
  kernel.open_flbs();
  const PhysAddr at = *core().preserve_domain(domain);
  EXPECT_EQ(at.value, flb().domain_array + 16);
  const auto& record = read<abi::iommu::Domain>(at);
  EXPECT_EQ(record.top_table_phys, domain.top().value);
  EXPECT_EQ(record.top_level, 3u);
  EXPECT_EQ(record.vasz, 48u);
  EXPECT_EQ(record.sign_extend, 0u);
  EXPECT_EQ(record.restored_domain, 0u);
  EXPECT_EQ(record.header.flags, 0u);
}

TEST_F(Preserve, DeviceRecordSaysWhereItIsAndWhoOwnsIt) {
  RecordProperty("acceptance", "C16");
  Domain& domain = domain_of({device_c});
  kernel.open_flbs();
  const PhysAddr domain_at = *core().preserve_domain(domain);
  ASSERT_TRUE(core().preserve_device(device(device_c), 0x1234567890).ok());
  const auto& record = read<abi::iommu::Device>(PhysAddr(flb().device_array + 16));
  EXPECT_EQ(record.devid, device_c.value);
  EXPECT_EQ(record.pci_domain_nr, 0u);
  EXPECT_EQ(record.dma_owner_token, 0x1234567890u);
  EXPECT_EQ(record.domain_iommu.domain_phys, domain_at.value);
  EXPECT_EQ(record.domain_iommu.iommu_phys, flb().unit_array + 16);
  EXPECT_EQ(record.domain_iommu.attachment_id, *kernel.unit(1).dids().begin());
  const auto& unit = read<abi::iommu::Unit>(PhysAddr(flb().unit_array + 16));
  EXPECT_EQ(unit.token, machine.units[1].base.value);
  EXPECT_EQ(unit.type, 1u);
  EXPECT_EQ(unit.intel.root_table, machine.units[1].root.value);
}

TEST_F(Preserve, DomainOnlyOnce) {
  RecordProperty("acceptance", "C6");
  Domain& domain = domain_of({device_a});
  kernel.open_flbs();
  ASSERT_TRUE(core().preserve_domain(domain).ok());
  const u64 before = kernel.state_hash();
  EXPECT_EQ(core().preserve_domain(domain).code(), Code::Busy);
  EXPECT_EQ(kernel.state_hash(), before);
}

TEST_F(Preserve, UnpreserveOfADomainMayBeRepeated) {
  RecordProperty("acceptance", "C8");
  Domain& domain = domain_of({device_a});
  kernel.open_flbs();
  const u64 before = kernel.state_hash();
  EXPECT_TRUE(core().unpreserve_domain(domain).ok());
  ASSERT_TRUE(core().preserve_domain(domain).ok());
  EXPECT_TRUE(core().unpreserve_domain(domain).ok());
  EXPECT_EQ(kernel.state_hash(), before);
  EXPECT_TRUE(core().unpreserve_domain(domain).ok());
  EXPECT_EQ(kernel.state_hash(), before);
}

TEST_F(Preserve, PreservedDomainDoesNotChange) {
  Domain& domain = domain_of({device_a});
  Domain& other = kernel.new_domain(device(device_a));
  kernel.open_flbs();
  ASSERT_TRUE(core().preserve_domain(domain).ok());
  ASSERT_TRUE(core().preserve_device(device(device_a), 7).ok());
  const u64 before = kernel.state_hash();
  EXPECT_EQ(core().map(domain, Iova(0x20000000), {&guest, 1}, pt::Prot::Read).code(), Code::Busy);
  EXPECT_EQ(core().unmap(domain, Iova(0x10000000), guest.size_bytes).code(), Code::Busy);
  EXPECT_EQ(core().attach(device(device_a), other).code(), Code::Busy);
  EXPECT_EQ(core().attach(device(device_b), domain).code(), Code::Busy);
  EXPECT_EQ(core().detach(device(device_a)).code(), Code::Busy);
  EXPECT_EQ(core().destroy_domain(domain).code(), Code::Busy);
  EXPECT_EQ(core().drop_device(device(device_a)).code(), Code::Busy);
  EXPECT_EQ(kernel.state_hash(), before);
}

TEST_F(Preserve, DeviceNeedsAPreservedDomainAndAnOwner) {
  RecordProperty("acceptance", "C10 C11");
  Domain& domain = domain_of({device_a, device_b});
  kernel.open_flbs();
  EXPECT_EQ(core().preserve_device(device(device_c), 7).code(), Code::Invalid);  // not attached
  EXPECT_EQ(core().preserve_device(device(device_a), 7).code(), Code::Invalid);  // domain not preserved
  ASSERT_TRUE(core().preserve_domain(domain).ok());
  core().release_owner(device(device_a), this);
  const u64 before = kernel.state_hash();
  EXPECT_EQ(core().preserve_device(device(device_a), 7).code(), Code::Invalid);  // not owned
  EXPECT_EQ(kernel.state_hash(), before);
  EXPECT_TRUE(core().preserve_device(device(device_b), 7).ok());
}

TEST_F(Preserve, DeviceOnlyOnce) {
  RecordProperty("acceptance", "C12");
  Domain& domain = domain_of({device_a});
  kernel.open_flbs();
  ASSERT_TRUE(core().preserve_domain(domain).ok());
  ASSERT_TRUE(core().preserve_device(device(device_a), 7).ok());
  const u64 before = kernel.state_hash();
  EXPECT_EQ(core().preserve_device(device(device_a), 7).code(), Code::Busy);
  EXPECT_EQ(kernel.state_hash(), before);
}

TEST_F(Preserve, SharedDeviceIsRefused) {
  DeviceIdentity shared = identity_of(SourceId(3, 0, 0));
  shared.isolation = Isolation::Shared;
  Device& added = kernel.add_device(shared);
  Domain& domain = domain_of({device_a});
  EXPECT_EQ(core().attach(added, domain).code(), Code::NotSupported);
  EXPECT_EQ(core().preserve_device(added, 7).code(), Code::NotSupported);
}

TEST_F(Preserve, UnitIsRecordedOnceAndCounted) {
  RecordProperty("acceptance", "C14 C17");
  Domain& domain = domain_of({device_a, device_b});
  kernel.open_flbs();
  ASSERT_TRUE(core().preserve_domain(domain).ok());
  const u64 before = kernel.state_hash();
  ASSERT_TRUE(core().preserve_device(device(device_a), 7).ok());
  ASSERT_TRUE(core().preserve_device(device(device_b), 7).ok());
  const auto& unit = read<abi::iommu::Unit>(PhysAddr(flb().unit_array + 16));
  EXPECT_EQ(page(flb().unit_array).nr_objects, 1u);
  EXPECT_EQ(unit.header.ref_count, 2u);
  // The first goes first: its slot is marked, the unit stays for the second.
  core().unpreserve_device(device(device_a));
  EXPECT_EQ(read<abi::iommu::Device>(PhysAddr(flb().device_array + 16)).header.flags, abi::iommu::flag_deleted);
  EXPECT_EQ(unit.header.ref_count, 1u);
  const PhysAddr entry = kernel.memory().map.phys(kernel.unit(0).entry(device_a));
  const Block context_table{PhysAddr(align_down(entry.value, page_size_bytes)), 0};
  EXPECT_TRUE(kernel.handover().contains(context_table));
  core().unpreserve_device(device(device_b));
  EXPECT_FALSE(kernel.handover().contains(context_table));
  EXPECT_EQ(kernel.state_hash(), before);
}

TEST_F(Preserve, ContextTablesThatCameLaterGoWithTheDeviceTheyCameFor) {
  Domain& domain = domain_of({device_a});
  kernel.open_flbs();
  Domain& other = kernel.new_domain(device(device_b));
  ASSERT_TRUE(core().preserve_domain(domain).ok());
  ASSERT_TRUE(core().preserve_device(device(device_a), 7).ok());
  ASSERT_TRUE(core().attach(device(device_b), other).ok());  // a new context table
  ASSERT_TRUE(core().preserve_domain(other).ok());
  const u64 before = kernel.state_hash();
  const auto& unit = read<abi::iommu::Unit>(PhysAddr(flb().unit_array + 16));
  EXPECT_EQ(unit.intel.context_tables_bitmap[0], 1u);
  ASSERT_TRUE(core().preserve_device(device(device_b), 7).ok());
  EXPECT_EQ(unit.intel.context_tables_bitmap[0], 1u | 1u << 4);
  core().unpreserve_device(device(device_b));
  EXPECT_EQ(kernel.state_hash(), before);
}

TEST_F(Preserve, FailingHookLeavesUnitAndDeviceAlone) {
  RecordProperty("acceptance", "C15");
  Domain& domain = domain_of({device_a});
  kernel.open_flbs();
  ASSERT_TRUE(core().preserve_domain(domain).ok());
  const u64 before = kernel.state_hash();
  kernel.unit(0).device_hook = Code::NotSupported;
  EXPECT_EQ(core().preserve_device(device(device_a), 7).code(), Code::NotSupported);
  EXPECT_EQ(kernel.state_hash(), before);
  EXPECT_EQ(page(flb().unit_array).nr_objects, 0u);
}

TEST_F(Preserve, DomainStaysWhileAPreservedDeviceRefersToIt) {
  RecordProperty("acceptance", "C18 C19");
  Domain& domain = domain_of({device_a});
  kernel.open_flbs();
  const u64 before = kernel.state_hash();
  ASSERT_TRUE(core().preserve_domain(domain).ok());
  ASSERT_TRUE(core().preserve_device(device(device_a), 7).ok());
  EXPECT_EQ(core().unpreserve_domain(domain).code(), Code::Busy);
  core().release_owner(device(device_a), this);  // undone all the same
  int other = 0;
  EXPECT_EQ(core().claim_owner(device(device_a), &other).code(), Code::Busy) << "it crosses as it is";
  core().unpreserve_device(device(device_a));
  EXPECT_TRUE(core().unpreserve_domain(domain).ok());
  ASSERT_TRUE(core().claim_owner(device(device_a), this).ok());
  ASSERT_TRUE(core().attach(device(device_a), domain).ok());
  EXPECT_EQ(kernel.state_hash(), before);
}

TEST_F(Preserve, AnyFailingAllocationLeavesEveryByte) {
  RecordProperty("acceptance", "C7 C15");
  Domain& domain = domain_of({device_a, device_b});
  kernel.open_flbs();
  const u64 start = kernel.state_hash();
  u64 k = 1;
  for (;; ++k) {
    Code code = Code::Ok;
    const bool failed = kernel.world().failing(k, [&] { code = core().preserve_domain(domain).code(); });
    if (!failed) break;
    ASSERT_EQ(code, Code::NoMemory) << k;
    ASSERT_EQ(kernel.state_hash(), start) << k;
  }
  EXPECT_GT(k, 1u);
  for (SourceId id : {device_a, device_b}) {
    const u64 before = kernel.state_hash();
    for (k = 1;; ++k) {
      Code code = Code::Ok;
      const bool failed = kernel.world().failing(k, [&] { code = core().preserve_device(device(id), 7).code(); });
      if (!failed) {
        ASSERT_EQ(code, Code::Ok);
        break;
      }
      ASSERT_EQ(code, Code::NoMemory) << k;
      ASSERT_EQ(kernel.state_hash(), before) << k;
    }
  }
  for (k = 1;; ++k) {
    const u64 before = kernel.state_hash();
    Code code = Code::Ok;
    const bool failed = kernel.world().failing(k, [&] { code = core().prepare_freeze(1).code(); });
    if (!failed) break;
    ASSERT_EQ(code, Code::NoMemory) << k;
    ASSERT_EQ(kernel.state_hash(), before) << k;
  }
  core().abandon_freeze();
  core().unpreserve_device(device(device_b));
  core().unpreserve_device(device(device_a));
  ASSERT_TRUE(core().unpreserve_domain(domain).ok());
  EXPECT_EQ(kernel.state_hash(), start);
}

TEST_F(Preserve, ArraysChainWhenAPageIsFull) {
  RecordProperty("acceptance", "C3");
  kernel.open_flbs();
  const u64 before = kernel.state_hash();
  std::vector<Domain*> domains;
  for (unsigned i = 0; i < 103; ++i) {
    domains.push_back(&kernel.new_domain(device(device_a)));
    ASSERT_TRUE(core().preserve_domain(*domains.back()).ok());
    EXPECT_EQ(page(flb().domain_array).next != 0, i + 1 > 102) << i;
  }
  EXPECT_EQ(page(flb().domain_array).nr_objects, 102u);
  EXPECT_EQ(page(page(flb().domain_array).next).nr_objects, 1u);
  for (Domain* domain : domains) {
    ASSERT_TRUE(core().unpreserve_domain(*domain).ok());
    ASSERT_TRUE(core().destroy_domain(*domain).ok());
  }
  EXPECT_EQ(kernel.state_hash(), before);
}

TEST_F(Preserve, CyclesDoNotGrow) {
  RecordProperty("acceptance", "C5");
  Domain& keeps = domain_of({device_a});
  Domain& cycles = domain_of({device_b});
  kernel.open_flbs();
  ASSERT_TRUE(core().preserve_domain(keeps).ok());
  const u64 before = kernel.state_hash();
  for (unsigned i = 0; i < 20000; ++i) {
    ASSERT_TRUE(core().preserve_domain(cycles).ok());
    ASSERT_TRUE(core().preserve_device(device(device_b), 7).ok());
    core().unpreserve_device(device(device_b));
    ASSERT_TRUE(core().unpreserve_domain(cycles).ok());
  }
  EXPECT_EQ(kernel.state_hash(), before);
}

TEST_F(Preserve, CutOffKeepsThePreservedAndReinstateBringsBackTheRest) {
  Domain& kept = domain_of({device_a});
  domain_of({device_b, device_c});
  kernel.open_flbs();
  ASSERT_TRUE(core().preserve_domain(kept).ok());
  ASSERT_TRUE(core().preserve_device(device(device_a), 7).ok());
  const u64 before = kernel.state_hash();
  ASSERT_TRUE(core().prepare_freeze(5).ok());
  ASSERT_TRUE(core().cut_off().ok());
  EXPECT_EQ(kernel.unit(0).read_entry(device_a).state, LiveEntry::State::Translating);
  EXPECT_EQ(kernel.unit(0).read_entry(device_b).state, LiveEntry::State::Absent);
  EXPECT_EQ(kernel.unit(1).read_entry(device_c).state, LiveEntry::State::Absent);
  const auto& attest = read<abi::attest::Header>(kernel.flb(abi::attest::compatible));
  EXPECT_EQ(attest.generation, 5u);
  EXPECT_EQ(attest.checksum, abi::checksum_of(attest));
  const auto& live = read<abi::attest::DeviceAttest>(PhysAddr(attest.device_array + 16));
  EXPECT_EQ(live.live_entry, kernel.unit(0).read_entry(device_a).words);
  EXPECT_EQ(live.checksum, abi::checksum_of(live));
  core().reinstate();
  EXPECT_EQ(kernel.unit(0).read_entry(device_b).state, LiveEntry::State::Translating);
  EXPECT_EQ(kernel.state_hash(), before);
}

TEST_F(Preserve, CutOffThatFailsIsUndone) {
  domain_of({device_a, device_c});
  kernel.open_flbs();
  const u64 before = kernel.state_hash();
  ASSERT_TRUE(core().prepare_freeze(5).ok());
  machine.units[1].answers = false;
  EXPECT_EQ(core().cut_off().code(), Code::TimedOut);
  EXPECT_EQ(kernel.state_hash(), before);
  EXPECT_EQ(core().prepare_freeze(5).code(), Code::TimedOut);
  EXPECT_EQ(kernel.state_hash(), before);
}

TEST_F(Preserve, MemfdIsAttestedAndForgotten) {
  EXPECT_EQ(core().attest_memfd(PhysAddr(0x1000), 2, 0600).code(), Code::Invalid);
  kernel.open_flbs();
  const u64 before = kernel.state_hash();
  ASSERT_TRUE(core().attest_memfd(PhysAddr(0x1000), 2, 0600).ok());
  const auto& attest = read<abi::attest::Header>(kernel.flb(abi::attest::compatible));
  const auto& record = read<abi::attest::MemfdAttest>(PhysAddr(attest.memfd_array + 16));
  EXPECT_EQ(record.record_phys, 0x1000u);
  EXPECT_EQ(record.checksum, abi::checksum_of(record));
  core().forget_memfd(PhysAddr(0x1000));
  EXPECT_EQ(kernel.state_hash(), before);
}

template <class Record>
void expect_chain(Kernel& kernel, u64 count) {
  const u64 before = kernel.state_hash();
  RecordChain<Record> chain(kernel.memory(), kernel.handover());
  ASSERT_TRUE(chain.open().ok());
  std::set<u64> slots;
  for (u64 i = 0; i < count; ++i) EXPECT_TRUE(slots.insert(chain.allocate()->value).second);
  u64 pages = 0;
  chain.for_each_page([&](PhysAddr) { ++pages; });
  EXPECT_EQ(pages, div_ceil(count, chain.capacity));
  u64 met = 0;
  chain.for_each([&](PhysAddr slot, const Record&) { met += slots.contains(slot.value) ? 1 : 0; });
  EXPECT_EQ(met, count);
  for (u64 slot : slots) chain.release(PhysAddr(slot));
  chain.close();
  EXPECT_EQ(kernel.state_hash(), before);
}

TEST(RecordChain, HoldsAsManyAsComeInFullPages) {
  testing::Test::RecordProperty("acceptance", "C3");
  Machine machine;
  Kernel kernel(machine);
  for (u64 count : {u64{1}, u64{102}, u64{103}, u64{10000}}) expect_chain<abi::iommu::Domain>(kernel, count);
  for (u64 count : {u64{1}, u64{56}, u64{57}, u64{10000}}) expect_chain<abi::iommu::Device>(kernel, count);
  for (u64 count : {u64{1}, u64{36}, u64{37}, u64{10000}}) expect_chain<abi::iommu::Unit>(kernel, count);
}

TEST(RecordChain, SkipsDeletedAndReusesThem) {
  testing::Test::RecordProperty("acceptance", "C4 C5");
  Machine machine;
  Kernel kernel(machine);
  RecordChain<abi::iommu::Device> chain(kernel.memory(), kernel.handover());
  const u64 before = kernel.state_hash();
  ASSERT_TRUE(chain.open().ok());
  std::vector<PhysAddr> slots;
  for (unsigned i = 0; i < 3 * chain.capacity; ++i) slots.push_back(*chain.allocate());
  std::mt19937 random(1);
  std::set<u64> live([&] {
    std::set<u64> all;
    for (PhysAddr slot : slots) all.insert(slot.value);
    return all;
  }());
  for (unsigned round = 0; round < 2000; ++round) {
    if (random() % 2 == 0 && !live.empty()) {
      auto at = live.begin();
      std::advance(at, random() % live.size());
      chain.release(PhysAddr(*at));
      live.erase(at);
    } else if (live.size() < slots.size()) {
      EXPECT_TRUE(live.insert(chain.allocate()->value).second);
    }
    std::set<u64> seen;
    chain.for_each([&](PhysAddr slot, const abi::iommu::Device&) { EXPECT_TRUE(seen.insert(slot.value).second); });
    ASSERT_EQ(seen, live);
  }
  // A search that ends early leaves both the page and the chain.
  for (u64 slot : live) chain.at(PhysAddr(slot)).dma_owner_token = slot;
  for (u64 slot : live) {
    u64 looked_at = 0;
    const PhysAddr found = chain.find([&](const abi::iommu::Device& record) {
      ++looked_at;
      return record.dma_owner_token == slot;
    });
    ASSERT_EQ(found.value, slot);
    ASSERT_LE(looked_at, live.size());
  }
  EXPECT_EQ(chain.find([](const abi::iommu::Device&) { return false; }), PhysAddr());
  for (u64 slot : live) chain.release(PhysAddr(slot));
  chain.close();
  EXPECT_EQ(kernel.state_hash(), before);
}

}  // namespace
}  // namespace holdfast::iommu

// First stage of the modelled unit: what its entries may say, what its caches keep, which invalidation takes it away.
#include <gtest/gtest.h>

#include "sim/test_tables.hpp"

namespace sim {
namespace {

using namespace hw::vtd;

constexpr u64 iova = 0x40201000u;
constexpr PhysAddr target{0x1000000};
constexpr PhysAddr elsewhere{0x1100000};
constexpr u16 did = 0x55;
constexpr u64 pasid = HandMadeMachine::rid_pasid;

MachineConfig first_stage_machine(CacheModel caches = CacheModel::Hoarding, Stages stages = Stages::First) {
  MachineConfig config = HandMadeMachine::one_device();
  config.stages = stages;
  config.caches = caches;
  return config;
}

constexpr u64 pasid_iotlb_all(u64 id, u64 of) { return of << 32 | id << 16 | 0x26; }
constexpr u64 pasid_iotlb_page(u64 id, u64 of) { return of << 32 | id << 16 | 0x36; }
constexpr u64 pasid_cache_of(u64 id, u64 of) { return of << 32 | id << 16 | 0x17; }

/// One page mapped through x86-64 tables; their entries say P, R/W, U/S and neither A nor D.
struct FirstStageMachine : HandMadeMachine {
  explicit FirstStageMachine(MachineConfig config = first_stage_machine()) : HandMadeMachine(std::move(config)) {
    top = new_page();
    map_first(iova, target.value | 7);
    attach(Mode::Scalable, top, did);
    store(pasid_entry + 16, top.value);
    store(pasid_entry, u64{1} << 6 | 2 << 2 | 1);
    enable(Mode::Scalable);
  }
  PhysAddr slot(u64 at, unsigned leaf_level = 1) {
    PhysAddr table = top;
    for (unsigned level = 4; level > leaf_level; --level) {
      const PhysAddr entry = table + walk::entry_index(at, level) * 8;
      if (word(entry) == 0) store(entry, new_page().value | 7);
      table = PhysAddr(word(entry) & 0x000ffffffffff000u);
    }
    return table + walk::entry_index(at, leaf_level) * 8;
  }
  void map_first(u64 at, u64 entry) { store(slot(at), entry); }
  FaultReason reason(u64 at = iova) { return read(at).reason; }
  PhysAddr top;
};

TEST(VtdFirstStage, TranslatesAndFaultsAsTheManualNumbersThem) {
  FirstStageMachine m(first_stage_machine(CacheModel::Absent));
  EXPECT_EQ(m.read(iova + 0x123).address, target + 0x123);
  EXPECT_TRUE(m.write(iova).allowed);
  EXPECT_EQ(m.reason(iova + 0x1000), FaultReason::FirstStageNotPresent);
  EXPECT_EQ(m.reason(u64{1} << 47), FaultReason::ScalableNotCanonical);
  m.map_first(iova, target.value | 5);
  EXPECT_EQ(m.write(iova).reason, FaultReason::ScalableWriteNotPermitted);
  m.map_first(iova, target.value | 3);
  EXPECT_EQ(m.reason(), FaultReason::FirstStageNotUser);
  m.map_first(iova, u64{1} << 50 | 7);
  EXPECT_EQ(m.reason(), FaultReason::FirstStageReserved);
  m.store(m.pasid_entry + 16, u64{1} << 40);
  EXPECT_EQ(m.reason(), FaultReason::FirstStagePointerInvalid);
}

TEST(VtdFirstStage, OfAnEntryIsThereOnlyWhereTheUnitHasIt) {
  for (const auto& [stages, type, allowed] :
       {std::tuple{Stages::First, u64{1}, true}, {Stages::Second, u64{1}, false}, {Stages::First, u64{2}, false}}) {
    FirstStageMachine m(first_stage_machine(CacheModel::Absent, stages));
    m.store(m.pasid_entry, m.top.value | type << 6 | 2 << 2 | 1);
    EXPECT_EQ(m.reason(), allowed ? FaultReason::None : FaultReason::PasidEntryInvalid);
  }
  FirstStageMachine m(first_stage_machine(CacheModel::Absent));
  m.store(m.pasid_entry + 16, m.top.value | 4);
  EXPECT_EQ(m.reason(), FaultReason::PasidEntryInvalid) << "5 levels without CAP.FL5LP";
}

TEST(VtdFirstStage, SetsAccessedAndDirtyInMemory) {
  for (const CacheModel caches : {CacheModel::Hoarding, CacheModel::Absent}) {
    FirstStageMachine m(first_stage_machine(caches));
    EXPECT_TRUE(m.unit().translate_afresh(m.sid, iova, Access::Write).allowed);
    EXPECT_EQ(m.word(m.slot(iova)) & 0x60, 0u) << "a look changes nothing";
    m.read(iova);
    EXPECT_EQ(m.word(m.slot(iova)) & 0x60, 0x20u);
    EXPECT_EQ(m.word(m.top) & 0x20, 0x20u);
    m.write(iova);
    EXPECT_EQ(m.word(m.slot(iova)) & 0x60, 0x60u) << "also when a read has cached it";
  }
}

TEST(VtdFirstStage, IsForgottenByIdAndPasidAndByNothingElse) {
  FirstStageMachine m;
  m.read(iova);
  m.map_first(iova, elsewhere.value | 7);
  m.submit(invalidate_iotlb_domain(did));
  m.submit(invalidate_iotlb_pages(did), iova);
  m.submit(pasid_iotlb_all(did, pasid + 1));
  m.submit(pasid_iotlb_all(did + 1, pasid));
  m.submit(pasid_iotlb_page(did, pasid), (iova + 0x1000) | 0x40);
  EXPECT_EQ(m.read(iova).address, target);
  m.submit(pasid_iotlb_page(did, pasid), iova | 0x40);
  EXPECT_EQ(m.read(iova).address, elsewhere);
  m.map_first(iova, target.value | 7);
  m.submit(pasid_iotlb_all(did, pasid));
  EXPECT_EQ(m.read(iova).address, target);
  m.map_first(iova, elsewhere.value | 7);
  m.submit(invalidate_iotlb);
  EXPECT_EQ(m.read(iova).address, elsewhere);
  EXPECT_EQ(m.unit().stats().queue_errors, 0u);
}

TEST(VtdFirstStage, PagingStructuresAreKeptOnAHint) {
  FirstStageMachine m;
  m.read(iova);
  const PhysAddr upper = m.slot(iova, 2);
  const PhysAddr other = m.new_page();
  m.store(other + walk::entry_index(iova, 1) * 8, elsewhere.value | 7);
  m.store(upper, other.value | 7);
  m.submit(pasid_iotlb_page(did, pasid), iova | 0x40);  // IH: no table changed, says software, wrongly
  EXPECT_EQ(m.read(iova).address, target);
  m.submit(pasid_iotlb_page(did, pasid), iova);
  EXPECT_EQ(m.read(iova).address, elsewhere);
}

/// Pointer and id changed one after the other, without a private id: the new table under the id of the old one.
TEST(VtdFirstStage, OneIdForTwoTablesMixesThem) {
  FirstStageMachine m;
  m.read(iova);
  const PhysAddr other_top = m.new_page();
  m.store(m.pasid_entry + 16, other_top.value);
  m.submit(pasid_cache_of(did, pasid));
  EXPECT_EQ(m.read(iova).address, target) << "cached under the id, whatever the table";
  m.submit(pasid_iotlb_all(did, pasid));
  EXPECT_EQ(m.reason(), FaultReason::FirstStageNotPresent);
}

}  // namespace
}  // namespace sim

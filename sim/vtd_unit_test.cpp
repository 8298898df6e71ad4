// The unit against tables, queues and register writes typed by hand: no driver of ours is involved.
#include "sim/vtd_unit.hpp"

#include <gtest/gtest.h>

#include "sim/test_tables.hpp"

namespace sim {
namespace {

using namespace hw::vtd;

constexpr u64 iova = Attached::iova;
constexpr PhysAddr target = Attached::target;
constexpr PhysAddr elsewhere{0x1100000};
constexpr u16 did = Attached::did;

TEST(VtdUnit, TranslatesInBothModes) {
  for (const Mode mode : {Mode::Legacy, Mode::Scalable}) {
    Attached m(mode);
    const Translation to = m.write(iova + 0x10);
    EXPECT_TRUE(to.allowed);
    EXPECT_EQ(to.address, target + 0x10);
    EXPECT_EQ(m.unit().table_mode(), mode == Mode::Legacy ? Ttm::Legacy : Ttm::Scalable);
  }
}

TEST(VtdUnit, LetsRequestsThroughUntranslatedWhileTranslationIsOff) {
  HandMadeMachine m;
  EXPECT_EQ(m.write(0x1234000).address, PhysAddr(0x1234000));
  EXPECT_TRUE(m.write(0x1234000).allowed);
}

TEST(VtdUnit, ReportsWhatItCan) {
  MachineConfig config = HandMadeMachine::one_device();
  config.scalable_mode = false;
  config.coherent = false;
  config.three_levels = true;
  config.domain_count_code = 2;
  config.fault_records = 5;
  HandMadeMachine m(config);
  const Cap cap_value(m.reg64(cap_offset));
  EXPECT_EQ(cap_value.get<cap::Nd>(), 2u);
  EXPECT_EQ(cap_value.get<cap::Sagaw>(), 6u);
  EXPECT_EQ(cap_value.get<cap::Nfr>(), 4u);
  EXPECT_EQ(cap_value.get<cap::Mgaw>(), 47u);
  const Ecap ecap_value(m.reg64(ecap_offset));
  EXPECT_EQ(ecap_value.get<ecap::Smts>() + ecap_value.get<ecap::C>(), 0u);
  EXPECT_EQ(ecap_value.get<ecap::Qi>(), 1u);
  EXPECT_EQ(m.reg32(ver_offset) >> 4, 4u);
}

TEST(VtdUnit, CountsEveryCommandThatSwitchesTranslationOrTheRoot) {
  Attached m(Mode::Legacy);
  EXPECT_EQ(m.reg32(gsts_offset), 0xc4000000u);
  m.reg32(gcmd_offset, 0x04000000);
  EXPECT_EQ(m.reg32(gsts_offset), 0x44000000u);
  m.reg32(gcmd_offset, 0x84000000);
  EXPECT_EQ(m.unit().stats().translation_enabled, 2u);
  EXPECT_EQ(m.unit().stats().translation_disabled, 1u);
  EXPECT_EQ(m.unit().stats().root_pointers_set, 1u);
  EXPECT_EQ(m.unit().stats().misuses, 0u);
}

struct BrokenEntry {
  const char* name;
  Mode mode;
  void (*breaks)(Attached&);
  FaultReason expected;
};

constexpr u64 outside = u64{1} << 40;

PhysAddr top_entry(const Attached& m) { return m.top + (iova >> 39 & 0x1ff) * 8; }

const BrokenEntry broken_entries[] = {
    {"root not present", Mode::Legacy, [](Attached& m) { clear_bits(m, m.root, 1); }, FaultReason::RootNotPresent},
    {"root reserved", Mode::Legacy, [](Attached& m) { set_bits(m, m.root, 2); }, FaultReason::RootReserved},
    {"root reserved high", Mode::Legacy, [](Attached& m) { set_bits(m, m.root + 8, 1); }, FaultReason::RootReserved},
    {"root beyond width", Mode::Legacy, [](Attached& m) { set_bits(m, m.root, u64{1} << 48); },
     FaultReason::RootReserved},
    {"context table outside", Mode::Legacy, [](Attached& m) { m.store(m.root, outside | 1); },
     FaultReason::ContextTableAccess},
    {"context not present", Mode::Legacy, [](Attached& m) { clear_bits(m, m.context, 1); },
     FaultReason::ContextNotPresent},
    {"context reserved", Mode::Legacy, [](Attached& m) { set_bits(m, m.context, 0x10); }, FaultReason::ContextReserved},
    {"context reserved high", Mode::Legacy, [](Attached& m) { set_bits(m, m.context + 8, 0x80); },
     FaultReason::ContextReserved},
    {"context type 1 without device-TLBs", Mode::Legacy, [](Attached& m) { set_bits(m, m.context, 4); },
     FaultReason::ContextInvalid},
    {"context type 3", Mode::Legacy, [](Attached& m) { set_bits(m, m.context, 12); }, FaultReason::ContextInvalid},
    {"context width", Mode::Legacy, [](Attached& m) { m.store(m.context + 8, u64{did} << 8 | 1); },
     FaultReason::ContextInvalid},
    {"top table outside", Mode::Legacy, [](Attached& m) { m.store(m.context, outside | 1); },
     FaultReason::ContextInvalid},
    {"next table outside", Mode::Legacy, [](Attached& m) { m.store(top_entry(m), outside | 3); },
     FaultReason::PagingEntryAccess},
    {"paging entry reserved", Mode::Legacy, [](Attached& m) { m.map(m.top, iova, target.value | 3 | u64{1} << 62); },
     FaultReason::PagingEntryReserved},
    {"not mapped", Mode::Legacy, [](Attached& m) { m.map(m.top, iova, 0); }, FaultReason::ReadNotPermitted},
    {"write only", Mode::Legacy, [](Attached& m) { m.map(m.top, iova, target.value | 2); },
     FaultReason::ReadNotPermitted},
    {"output is an interrupt", Mode::Legacy, [](Attached& m) { m.map(m.top, iova, 0xfee00003); },
     FaultReason::InterruptAddress},
    {"table mode reserved", Mode::Legacy,
     [](Attached& m) {
       m.reg64(rtaddr_offset, m.root.value | 0x800);
       m.reg32(gcmd_offset, 0xc4000000);
     },
     FaultReason::RootTableAddressInvalid},

    {"root not present", Mode::Scalable, [](Attached& m) { clear_bits(m, m.root, 1); },
     FaultReason::ScalableRootNotPresent},
    {"root reserved", Mode::Scalable, [](Attached& m) { set_bits(m, m.root, 2); }, FaultReason::ScalableRootReserved},
    {"context table outside", Mode::Scalable, [](Attached& m) { m.store(m.root, outside | 1); },
     FaultReason::ScalableContextAccess},
    {"context not present", Mode::Scalable, [](Attached& m) { clear_bits(m, m.context, 1); },
     FaultReason::ScalableContextNotPresent},
    {"context reserved", Mode::Scalable, [](Attached& m) { set_bits(m, m.context, 0x20); },
     FaultReason::ScalableContextReserved},
    {"context reserved word 3", Mode::Scalable, [](Attached& m) { set_bits(m, m.context + 24, 1); },
     FaultReason::ScalableContextReserved},
    {"device-TLB without device-TLBs", Mode::Scalable, [](Attached& m) { set_bits(m, m.context, 4); },
     FaultReason::ScalableContextReserved},
    {"RID_PASID beyond the directory", Mode::Scalable, [](Attached& m) { m.store(m.context + 8, 128 << 6); },
     FaultReason::RidPasidInvalid},
    {"directory outside", Mode::Scalable, [](Attached& m) { m.store(m.context, outside | 1); },
     FaultReason::PasidDirectoryAccess},
    {"directory entry not present", Mode::Scalable, [](Attached& m) { clear_bits(m, m.directory + 8, 1); },
     FaultReason::PasidDirectoryNotPresent},
    {"directory entry reserved", Mode::Scalable, [](Attached& m) { set_bits(m, m.directory + 8, 4); },
     FaultReason::PasidDirectoryReserved},
    {"PASID table outside", Mode::Scalable, [](Attached& m) { m.store(m.directory + 8, outside | 1); },
     FaultReason::PasidTableAccess},
    {"PASID entry not present", Mode::Scalable, [](Attached& m) { clear_bits(m, m.pasid_entry, 1); },
     FaultReason::PasidEntryNotPresent},
    {"PASID entry reserved", Mode::Scalable, [](Attached& m) { set_bits(m, m.pasid_entry + 8, 1 << 16); },
     FaultReason::PasidEntryReserved},
    {"PASID entry reserved word 7", Mode::Scalable, [](Attached& m) { set_bits(m, m.pasid_entry + 56, 1); },
     FaultReason::PasidEntryReserved},
    {"PASID entry dirty tracking without support", Mode::Scalable,
     [](Attached& m) { set_bits(m, m.pasid_entry, 1 << 9); }, FaultReason::PasidEntryReserved},
    {"PASID entry type", Mode::Scalable, [](Attached& m) { set_bits(m, m.pasid_entry, 7 << 6); },
     FaultReason::PasidEntryInvalid},
    {"PASID entry width", Mode::Scalable, [](Attached& m) { set_bits(m, m.pasid_entry, 3 << 2); },
     FaultReason::PasidEntryInvalid},
    {"top table outside", Mode::Scalable, [](Attached& m) { m.store(m.pasid_entry, outside | 2 << 6 | 2 << 2 | 1); },
     FaultReason::SecondStagePointerInvalid},
    {"next table outside", Mode::Scalable, [](Attached& m) { m.store(top_entry(m), outside | 3); },
     FaultReason::SecondStageAccess},
    {"paging entry reserved", Mode::Scalable, [](Attached& m) { m.map(m.top, iova, target.value | 3 | u64{1} << 62); },
     FaultReason::SecondStageReserved},
    {"not mapped", Mode::Scalable, [](Attached& m) { m.map(m.top, iova, 0); }, FaultReason::ScalableReadNotPermitted},
    {"output is an interrupt", Mode::Scalable, [](Attached& m) { m.map(m.top, iova, 0xfee00003); },
     FaultReason::ScalableInterruptAddress},
};

TEST(VtdUnit, GivesEveryBrokenEntryItsFaultReason) {
  for (const BrokenEntry& entry : broken_entries) {
    Attached m(entry.mode);
    entry.breaks(m);
    EXPECT_EQ(static_cast<unsigned>(m.reason()), static_cast<unsigned>(entry.expected)) << entry.name;
    EXPECT_EQ(m.unit().translate_afresh(m.sid, iova, Access::Read).reason, entry.expected) << entry.name;
  }
}

TEST(VtdUnit, RefusesAddressesBeyondTheWidthAndWritesToReadOnlyPages) {
  for (const Mode mode : {Mode::Legacy, Mode::Scalable}) {
    Attached m(mode);
    const bool legacy = mode == Mode::Legacy;
    EXPECT_EQ(m.read(u64{1} << 48).reason, legacy ? FaultReason::AddressBeyondWidth : FaultReason::ScalableBeyondWidth);
    m.map(m.top, iova + 0x1000, target.value | 1);
    EXPECT_TRUE(m.read(iova + 0x1000).allowed);
    EXPECT_EQ(m.write(iova + 0x1000).reason,
              legacy ? FaultReason::WriteNotPermitted : FaultReason::ScalableWriteNotPermitted);
    EXPECT_FALSE(m.read(interrupt_range_start).allowed);
  }
}

TEST(VtdUnit, KnowsTheUpperHalfOfAScalableRootEntry) {
  MachineConfig config = HandMadeMachine::one_device();
  HandMadeMachine m(config);
  const SourceId high(0, 17, 2);
  const PhysAddr top = m.new_page();
  m.map(top, iova, target.value | 3);
  m.attach(Mode::Scalable, top, did, high);
  m.enable(Mode::Scalable);
  EXPECT_TRUE(m.read(iova, high).allowed);
  EXPECT_EQ(m.read(iova).reason, FaultReason::ScalableRootNotPresent);
}

TEST(VtdUnit, PassesThroughWhereTheEntrySaysSo) {
  Attached legacy(Mode::Legacy);
  set_bits(legacy, legacy.context, 2 << 2);
  EXPECT_EQ(legacy.read(0x123000).address, PhysAddr(0x123000));
  Attached scalable(Mode::Scalable);
  scalable.store(scalable.pasid_entry, 4 << 6 | 2 << 2 | 1);
  EXPECT_EQ(scalable.read(0x123000).address, PhysAddr(0x123000));
}

TEST(VtdUnit, AbortsEverythingSilentlyInAbortMode) {
  Attached m(Mode::Legacy);
  m.reg64(rtaddr_offset, m.root.value | 0xc00);
  m.reg32(gcmd_offset, 0xc4000000);
  EXPECT_FALSE(m.read(iova).allowed);
  EXPECT_EQ(m.unit().stats().faults, 0u);
  EXPECT_EQ(m.reg32(fsts_offset), 0u);
}

// Fault records.

u64 record(HandMadeMachine& m, unsigned index) { return m.reg64(0x208 + 16 * index); }

TEST(VtdFaults, RecordsWhoWhatAndWhere) {
  Attached m(Mode::Legacy);
  EXPECT_FALSE(m.write(0x5000).allowed);
  EXPECT_EQ(m.reg32(fsts_offset), 0x2u);
  EXPECT_EQ(m.reg64(0x200), 0x5000u);
  EXPECT_EQ(record(m, 0), 0x8000000500000018u);  // F, write, reason 5, 00:03.0
  EXPECT_FALSE(m.read(0x6000).allowed);
  EXPECT_EQ(record(m, 1), 0xc000000600000018u);
  EXPECT_EQ(Fsts(m.reg32(fsts_offset)).get<fsts::Fri>(), 0u);
  EXPECT_EQ(m.reg32(fectl_offset), 0xc0000000u);
}

TEST(VtdFaults, CollapsesRepeatsOfAPendingFault) {
  Attached m(Mode::Legacy);
  for (int i = 0; i < 100; ++i) m.write(0x5000);
  EXPECT_EQ(record(m, 1), 0u);
  EXPECT_EQ(m.unit().stats().faults, 100u);
}

TEST(VtdFaults, OverflowsWhenAllRecordsArePendingAndWorksAgainWhenCleared) {
  MachineConfig config = HandMadeMachine::one_device();
  config.fault_records = 2;
  Attached m(Mode::Legacy, config);
  for (u64 page = 1; page <= 3; ++page) m.write(page << 12);
  EXPECT_EQ(m.reg32(fsts_offset), 0x3u);
  EXPECT_EQ(m.unit().stats().faults_dropped, 1u);
  m.reg32(0x20c, 0x80000000);  // F of record 0, by its own dword
  EXPECT_EQ(record(m, 0) >> 63, 0u);
  m.write(0x9000);
  EXPECT_EQ(record(m, 0) >> 63, 0u) << "nothing is recorded until PFO is cleared";
  m.reg32(fsts_offset, 1);
  EXPECT_EQ(m.reg32(fsts_offset), 0x2u);
  m.write(0x9000);
  EXPECT_EQ(m.reg64(0x200), 0x9000u);
  m.reg64(0x208, u64{1} << 63);
  m.reg64(0x218, u64{1} << 63);
  EXPECT_EQ(m.reg32(fsts_offset) & 2, 0u);
  m.write(0xa000);
  EXPECT_EQ(Fsts(m.reg32(fsts_offset)).get<fsts::Fri>(), 1u);
}

TEST(VtdFaults, RecordsNothingForAnEntryWithFaultProcessingDisabled) {
  for (const Mode mode : {Mode::Legacy, Mode::Scalable}) {
    Attached m(mode);
    set_bits(m, mode == Mode::Legacy ? m.context : m.pasid_entry, 2);
    EXPECT_FALSE(m.write(0x5000).allowed);
    EXPECT_EQ(m.reg32(fsts_offset), 0u);
    EXPECT_EQ(m.unit().stats().faults, 1u);
    ASSERT_EQ(m.unit().faults().size(), 1u);
    EXPECT_EQ(m.unit().faults().front().sid, m.sid);
  }
}

// The invalidation queue.

TEST(VtdQueue, ExecutesWaitDescriptors) {
  Attached m(Mode::Legacy);
  const PhysAddr status = m.new_page() + 4;
  m.submit(u64{0xabcd} << 32 | 0x25, status.value);
  EXPECT_EQ(m.word(status - 4), u64{0xabcd} << 32);
  EXPECT_EQ(m.reg64(iqh_offset), 16u);
  EXPECT_EQ(m.reg32(ics_offset), 0u);
  m.submit(0x15);
  EXPECT_EQ(m.reg32(ics_offset), 1u);
  m.reg32(ics_offset, 1);
  EXPECT_EQ(m.reg32(ics_offset), 0u);
  EXPECT_EQ(m.unit().descriptors().size(), 2u);
}

TEST(VtdQueue, StopsAtABadDescriptorUntilTheErrorIsCleared) {
  Attached m(Mode::Legacy);
  m.submit(invalidate_iotlb);
  m.submit(0x0e);
  EXPECT_EQ(m.reg32(fsts_offset), 0x10u);
  EXPECT_EQ(m.reg64(iqh_offset), 16u);
  EXPECT_EQ(m.reg64(iqer_offset), u64{3});
  m.submit(0x15);
  EXPECT_EQ(m.reg64(iqh_offset), 16u);
  m.store(m.queue + 16, 0x15);  // software overwrites the bad one
  m.reg32(fsts_offset, 0x10);
  EXPECT_EQ(m.reg32(fsts_offset), 0u);
  EXPECT_EQ(m.reg64(iqh_offset), 48u);
}

TEST(VtdQueue, RefusesReservedBitsAndWhatTheModeDoesNotHave) {
  struct Case {
    u64 lo;
    u64 hi;
    QueueError error;
  };
  const Case cases[] = {
      {invalidate_contexts | 0x40, 0, QueueError::ReservedField},
      {invalidate_contexts, 1, QueueError::ReservedField},
      {0x01, 0, QueueError::ReservedField},
      {invalidate_iotlb, 0x80, QueueError::ReservedField},
      {0x32, 19, QueueError::ReservedField},
      {0x25, 1, QueueError::ReservedField},
      {invalidate_pasids, 0, QueueError::InvalidTtm},
      {0x06, 0, QueueError::InvalidTtm},
      {0x08, 0, QueueError::InvalidType},
      {0x205, 0, QueueError::InvalidType},
  };
  for (const Case& c : cases) {
    Attached m(Mode::Legacy);
    m.submit(c.lo, c.hi);
    EXPECT_EQ(m.reg64(iqer_offset), static_cast<u64>(c.error)) << std::hex << c.lo;
    EXPECT_EQ(m.unit().stats().queue_errors, 1u);
  }
}

TEST(VtdQueue, ReadsWideDescriptorsWhereScalableModeExists) {
  Attached m(Mode::Scalable);
  m.reg32(gcmd_offset, 0x80000000);
  const PhysAddr ring = m.new_page();
  m.store(ring, 0x15);
  m.store(ring + 32, 0x15);
  m.reg64(iqt_offset, 0);
  m.reg64(iqa_offset, ring.value | 0x800);
  m.reg32(gcmd_offset, 0x84000000);
  m.reg64(iqt_offset, 64);
  EXPECT_EQ(m.reg64(iqh_offset), 64u);
  m.reg64(iqt_offset, 80);
  EXPECT_EQ(m.reg64(iqer_offset), static_cast<u64>(QueueError::UnalignedTail));

  MachineConfig config = HandMadeMachine::one_device();
  config.scalable_mode = false;
  HandMadeMachine legacy(config);
  legacy.reg64(iqa_offset, ring.value | 0x800);
  legacy.reg32(gcmd_offset, 0x04000000);
  legacy.reg64(iqt_offset, 32);
  EXPECT_EQ(legacy.reg64(iqer_offset), static_cast<u64>(QueueError::InvalidWidth));
}

TEST(VtdQueue, WrapsAroundAndKeepsItsPlaceWhileOn) {
  Attached m(Mode::Legacy);
  for (int i = 0; i < 300; ++i) m.submit(0x15);
  EXPECT_EQ(m.reg64(iqh_offset), 300u * 16 - 4096);
  EXPECT_EQ(m.unit().stats().queue_errors, 0u);
  m.reg64(iqa_offset, 0x5000);
  EXPECT_EQ(m.reg64(iqa_offset), m.queue.value);
}

TEST(VtdQueue, TakesItsTimeWhereTheMachineSaysSoAndStandsStillOnHold) {
  MachineConfig config = HandMadeMachine::one_device();
  config.queue_lag = 3;
  Attached m(Mode::Legacy, config);
  m.submit(0x15);
  m.machine().step(2);
  EXPECT_EQ(m.reg64(iqh_offset), 0u);
  m.machine().step(1);
  EXPECT_EQ(m.reg64(iqh_offset), 16u);
  m.unit().hold_queue(QueueHold::Held);
  m.submit(0x15);
  m.machine().step(10);
  EXPECT_EQ(m.reg64(iqh_offset), 16u);
  m.unit().hold_queue(QueueHold::Released);
  m.machine().step(3);
  EXPECT_EQ(m.reg64(iqh_offset), 32u);
}

TEST(VtdUnit, InvalidatesThroughRegistersWhileTheQueueIsOff) {
  Attached m(Mode::Legacy);
  m.reg32(gcmd_offset, 0x80000000);
  m.read(iova);
  m.map(m.top, iova, elsewhere.value | 3);
  m.reg64(0x108, u64{1} << 63 | u64{2} << 60 | u64{did} << 32);
  EXPECT_EQ(m.reg64(0x108) >> 63, 0u);
  EXPECT_EQ(m.read(iova).address, elsewhere);
  clear_bits(m, m.context, 1);
  m.reg64(ccmd_offset, u64{1} << 63 | u64{1} << 61);
  EXPECT_EQ(Ccmd(m.reg64(ccmd_offset)).get<ccmd::Caig>(), 1u);
  EXPECT_FALSE(m.read(iova).allowed);
  EXPECT_EQ(m.unit().stats().misuses, 0u);
}

}  // namespace
}  // namespace sim

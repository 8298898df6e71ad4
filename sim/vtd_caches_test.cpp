// What hoarding caches keep, and which invalidation takes it away; a missing one is seen every time.
#include "sim/vtd_caches.hpp"

#include <gtest/gtest.h>

#include "sim/test_tables.hpp"

namespace sim {
namespace {

using namespace hw::vtd;

constexpr u64 iova = Attached::iova;
constexpr PhysAddr target = Attached::target;
constexpr PhysAddr elsewhere{0x1100000};
constexpr u16 did = Attached::did;

TEST(VtdCachesHoarding, KeepATranslationUntilItsDomainIsFlushed) {
  for (const Mode mode : {Mode::Legacy, Mode::Scalable}) {
    MachineConfig config = HandMadeMachine::one_device();
    config.count_stale_uses = true;
    Attached m(mode, config);
    EXPECT_EQ(m.read(iova).address, target);
    m.map(m.top, iova, elsewhere.value | 3);
    EXPECT_EQ(m.read(iova).address, target) << "a missing invalidation is seen every time";
    EXPECT_EQ(m.unit().stats().stale, 1u);
    m.submit(invalidate_iotlb_domain(did + 1));
    EXPECT_EQ(m.read(iova).address, target);
    m.submit(invalidate_iotlb_domain(did));
    EXPECT_EQ(m.read(iova).address, elsewhere);
    EXPECT_EQ(m.unit().stats().stale, 2u);
  }
}

TEST(VtdCachesAbsent, ForgetAtOnce) {
  MachineConfig config = HandMadeMachine::one_device();
  config.caches = CacheModel::Absent;
  Attached m(Mode::Scalable, config);
  EXPECT_EQ(m.read(iova).address, target);
  m.map(m.top, iova, elsewhere.value | 3);
  EXPECT_EQ(m.read(iova).address, elsewhere);
  clear_bits(m, m.pasid_entry, 1);
  EXPECT_FALSE(m.read(iova).allowed);
}

TEST(VtdCachesHoarding, PageSelectiveRemovesItsPagesOnly) {
  Attached m(Mode::Legacy);
  m.map(m.top, iova + 0x1000, (target + 0x1000).value | 3);
  m.read(iova);
  m.read(iova + 0x1000);
  m.map(m.top, iova, elsewhere.value | 3);
  m.map(m.top, iova + 0x1000, elsewhere.value | 3);
  m.submit(invalidate_iotlb_pages(did), iova | 0x40);
  EXPECT_EQ(m.read(iova).address, elsewhere);
  EXPECT_EQ(m.read(iova + 0x1000).address, target + 0x1000);
  m.submit(invalidate_iotlb_pages(did), iova | 0x40 | 1);  // two pages, aligned down
  EXPECT_EQ(m.read(iova + 0x1000).address, target + 0x1000) << "iova + 0x1000 is in the next pair";
  m.submit(invalidate_iotlb_pages(did), (iova & ~u64{0x3fff}) | 0x40 | 2);
  EXPECT_EQ(m.read(iova + 0x1000).address, elsewhere);
}

TEST(VtdCachesHoarding, KeepPagingStructuresOnAHint) {
  Attached m(Mode::Legacy);
  m.read(iova);
  const PhysAddr other_top = m.new_page();
  m.map(other_top, iova, elsewhere.value | 3);
  m.store(m.top + walk::entry_index(iova, 4) * 8, m.word(other_top + walk::entry_index(iova, 4) * 8));
  m.submit(invalidate_iotlb_pages(did), iova | 0x40);  // IH: no table changed, says software, wrongly
  EXPECT_EQ(m.read(iova).address, target);
  m.submit(invalidate_iotlb_pages(did), iova);
  EXPECT_EQ(m.read(iova).address, elsewhere);
}

TEST(VtdCachesHoarding, KeepALargePageUntilItsRangeIsFlushed) {
  Attached m(Mode::Legacy);
  const u64 large = 0x8040400000u;
  m.map(m.top, large, 0x1200083, 2);
  EXPECT_EQ(m.read(large + 0x5123).address, PhysAddr(0x1205123));
  m.map(m.top, large, 0x1400083, 2);
  EXPECT_EQ(m.read(large + 0x9000).address, PhysAddr(0x1209000));
  m.submit(invalidate_iotlb_pages(did), large + 0x3000);
  EXPECT_EQ(m.read(large + 0x9000).address, PhysAddr(0x1409000));
}

TEST(VtdCachesHoarding, LegacyDeviceSelectiveNeedsTheDomainIdOfTheCachedEntry) {
  Attached m(Mode::Legacy);
  m.read(iova);
  clear_bits(m, m.context, 1);
  const u64 device = u64{m.sid.value} << 32 | 0x31;
  m.submit(device | u64{did + 1} << 16);
  EXPECT_TRUE(m.read(iova).allowed);
  m.submit(device | u64{did} << 16);
  EXPECT_EQ(m.read(iova).reason, FaultReason::ContextNotPresent);
}

TEST(VtdCachesHoarding, DomainSelectiveContextInvalidation) {
  Attached m(Mode::Legacy);
  m.read(iova);
  clear_bits(m, m.context, 1);
  m.submit(u64{did + 1} << 16 | 0x21);
  EXPECT_TRUE(m.read(iova).allowed);
  m.submit(u64{did} << 16 | 0x21);
  EXPECT_FALSE(m.read(iova).allowed);
}

TEST(VtdCachesHoarding, FunctionMaskWidensADeviceSelectiveInvalidation) {
  Attached m(Mode::Legacy);
  m.read(iova);
  clear_bits(m, m.context, 1);
  const u64 sibling = u64{SourceId(0, 3, 3).value} << 32 | u64{did} << 16 | 0x31;
  m.submit(sibling);
  EXPECT_TRUE(m.read(iova).allowed);
  m.submit(sibling | u64{3} << 48);
  EXPECT_FALSE(m.read(iova).allowed);
}

TEST(VtdCachesHoarding, ScalableEntriesNeedBothInvalidations) {
  Attached m(Mode::Scalable);
  m.read(iova);
  const PhysAddr other_top = m.new_page();
  m.map(other_top, iova, elsewhere.value | 3);
  m.store(m.pasid_entry, other_top.value | 2 << 6 | 2 << 2 | 1);
  m.store(m.pasid_entry + 8, 0x66);
  m.submit(invalidate_contexts);
  m.submit(invalidate_iotlb);
  EXPECT_EQ(m.read(iova).address, target) << "the PASID cache still sends it to the old table";
  m.submit(u64{m.rid_pasid} << 32 | u64{0x66} << 16 | 0x17);
  EXPECT_EQ(m.read(iova).address, target) << "it was cached under the old domain id";
  m.submit(u64{m.rid_pasid} << 32 | u64{did} << 16 | 0x17);
  EXPECT_EQ(m.read(iova).address, elsewhere);
  clear_bits(m, m.context, 1);
  m.submit(invalidate_pasids);
  EXPECT_TRUE(m.read(iova).allowed) << "the context cache still has it";
  m.submit(u64{m.sid.value} << 32 | 0x31);  // the domain id is ignored in scalable mode
  EXPECT_FALSE(m.read(iova).allowed);
}

TEST(VtdCachesHoarding, TagsOfOneDomainIdAreShared) {
  MachineConfig config = HandMadeMachine::one_device();
  config.devices.push_back({.bus = 0, .device = 4});
  const SourceId other(0, 4, 0);
  Attached m(Mode::Legacy, config);
  m.read(iova);
  const PhysAddr foreign = m.new_page();
  m.map(foreign, iova, elsewhere.value | 3);
  m.attach(Mode::Legacy, foreign, did, other);
  EXPECT_EQ(m.read(iova, other).address, target) << "one domain id for two tables gives one the other's pages";
  m.store(m.context + 8, u64{did + 1} << 8 | 2);
  m.submit(u64{other.value} << 32 | u64{did} << 16 | 0x31);
  EXPECT_EQ(m.read(iova, other).address, elsewhere);
}

TEST(VtdCachesHoarding, SurviveANewRootPointerUnlessTheUnitFlushesItself) {
  for (const bool flushes : {false, true}) {
    MachineConfig config = HandMadeMachine::one_device();
    config.srtp_invalidates = flushes;
    Attached m(Mode::Legacy, config);
    m.read(iova);
    m.reg64(rtaddr_offset, m.new_page().value);
    m.reg32(gcmd_offset, 0xc4000000);
    EXPECT_EQ(m.read(iova).allowed, !flushes);
  }
}

}  // namespace
}  // namespace sim

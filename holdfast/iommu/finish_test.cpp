// After a live update: replace, finish, pass on, drop; and that nothing stays behind.
#include <gtest/gtest.h>

#include "holdfast/iommu/test_update.hpp"

namespace holdfast::iommu {
namespace {

/// Builds the same mapping anew, proves it equal, and moves the devices of @p record over; frees what came in.
Domain* rebuild(Update& update, PhysAddr record, std::initializer_list<SourceId> ids) {
  Kernel& kernel = *update.next;
  Core& core = kernel.core();
  auto restored = core.find_restored(record);
  EXPECT_TRUE(restored.ok());
  Domain& fresh = kernel.new_domain(kernel.device(*ids.begin()));
  EXPECT_TRUE(core.map(fresh, Update::guest_at, {&update.guest, 1}, pt::Prot::ReadWrite).ok());
  const auto difference = core.compare(**restored, fresh);
  EXPECT_TRUE(difference.ok() && !difference->has_value());
  for (SourceId id : ids) {
    EXPECT_TRUE(core.claim_owner(kernel.device(id), &update, Update::token).ok());
    EXPECT_TRUE(core.attach(kernel.device(id), fresh).ok());
    EXPECT_EQ(kernel.device(id).state(), Device::State::Normal);
    EXPECT_EQ(kernel.device(id).restored_token(), std::nullopt);
  }
  EXPECT_EQ((*restored)->attachments(), 0u);
  EXPECT_TRUE(core.destroy_domain(**restored).ok());
  EXPECT_EQ(core.find_restored(record).code(), Code::NotFound);
  return &fresh;
}

void finish(Kernel& kernel) {
  kernel.core().records_flb().finish();
  kernel.core().attest_flb().finish();
}

TEST(Finish, ReplacedDomainsLeaveNothingBehind) {
  testing::Test::RecordProperty("acceptance", "C23 IV26 R11");
  Update update;
  Kernel& kernel = update.live();
  Domain* shared = rebuild(update, update.shared_record, {Update::a, Update::b, Update::d});
  Domain* own = rebuild(update, update.own_record, {Update::c});
  // Unit 0 has the new shared domain, unit 1 both: every id that came in is back.
  EXPECT_EQ(kernel.unit(0).dids_in_use(), 1u);
  EXPECT_EQ(kernel.unit(1).dids_in_use(), 2u);
  finish(kernel);
  // What is left of the previous kernel: guest memory (one block) and the orchestrator's three blocks.
  EXPECT_EQ(kernel.unrestored(), 4u);
  for (SourceId id : Update::preserved()) ASSERT_TRUE(kernel.core().detach(kernel.device(id)).ok());
  ASSERT_TRUE(kernel.core().destroy_domain(*shared).ok());
  ASSERT_TRUE(kernel.core().destroy_domain(*own).ok());
  EXPECT_EQ(kernel.unit(0).dids_in_use() + kernel.unit(1).dids_in_use(), 0u);
  EXPECT_EQ(kernel.memory().heap.live_objects(), Update::all().size());
}

TEST(Finish, EveryFrameComesBack) {
  testing::Test::RecordProperty("acceptance", "C23");
  Update update;
  const auto free_after = [&](auto&& end) {
    Kernel& kernel = *update.next;
    end();
    for (SourceId id : Update::all()) EXPECT_TRUE(kernel.core().drop_device(kernel.device(id)).ok());
    for (SourceId id : Update::all()) EXPECT_TRUE(kernel.core().unregister_device(kernel.device(id)).ok());
    kernel.handover().restore_free(update.guest.start);
    kernel.handover().reclaim_unrestored();
    kernel.handover().release_incoming_map();
    return kernel.memory().buddy.free_frames();
  };
  Kernel& kernel = update.live();
  const u64 circle = free_after([&] {
    rebuild(update, update.shared_record, {Update::a, Update::b, Update::d});
    rebuild(update, update.own_record, {Update::c});
    finish(kernel);
    std::vector<Domain*> left;
    for (SourceId id : {Update::a, Update::c}) left.push_back(kernel.device(id).domain());
    for (SourceId id : Update::preserved()) EXPECT_TRUE(kernel.core().detach(kernel.device(id)).ok());
    for (Domain* domain : left) EXPECT_TRUE(kernel.core().destroy_domain(*domain).ok());
  });
  // All of RAM but page 0, scratch, root and context tables of the units, and what the handover itself holds.
  const u64 total = kernel.world().ram_bytes() / page_size_bytes;
  const u64 scratch = kernel.scratch().size_bytes / page_size_bytes;
  const u64 tables = 2 + 2 + 2;
  const u64 handover = kernel.handover().node_count() + 3;
  EXPECT_EQ(circle, total - 1 - scratch - tables - handover);
}

TEST(Finish, NothingRefersToTheRecordsAfterwards) {
  testing::Test::RecordProperty("acceptance", "C24");
  Update update;
  Kernel& kernel = update.live();
  rebuild(update, update.own_record, {Update::c});
  rebuild(update, update.shared_record, {Update::a, Update::b, Update::d});
  std::vector<PhysAddr> pages;
  kernel.handover().for_each_unrestored([&](Block block) { pages.push_back(block.start); });
  finish(kernel);
  // Freed pages are poisoned (traced build); use everything once more.
  for (PhysAddr page : pages)
    if (!kernel.handover().is_incoming({page, 0}) && kernel.memory().frames.at(page).state == FrameState::Free)
      std::memset(kernel.memory().map.bytes(page), 0xa5, page_size_bytes);
  EXPECT_EQ(kernel.core().find_restored(update.own_record).code(), Code::NotFound);
  EXPECT_EQ(kernel.core().find_memfd(PhysAddr(0x1000)).code(), Code::NotFound);
  EXPECT_TRUE(kernel.core().drop_domain(update.own_record).ok());
  kernel.core().for_each_quarantined([](const Quarantined&) { FAIL(); });
  kernel.open_flbs();
  for (SourceId id : {Update::a, Update::c})
    EXPECT_TRUE(kernel.core().preserve_domain(*kernel.device(id).domain()).ok());
  for (SourceId id : Update::preserved()) EXPECT_TRUE(kernel.core().preserve_device(kernel.device(id), 9).ok());
  finish(kernel);  // once more: nothing happens
  EXPECT_NE(kernel.state_hash(), 0u);
}

TEST(Finish, DomainsThatNobodyClaimedGoWithTheRecords) {
  Update update;
  Kernel& kernel = update.live();
  rebuild(update, update.own_record, {Update::c});
  finish(kernel);
  for (SourceId id : {Update::a, Update::b, Update::d}) {
    EXPECT_TRUE(update.is_blocked(id));
    EXPECT_EQ(kernel.device(id).state(), Device::State::Normal);
    EXPECT_TRUE(kernel.core().claim_owner(kernel.device(id), &kernel).ok());
  }
  EXPECT_EQ(kernel.unit(0).dids_in_use(), 0u);
  EXPECT_EQ(kernel.unrestored(), 4u);
}

TEST(Finish, ReplaceOfARestoredDomainThatFailsLeavesItInService) {
  Update update;
  Kernel& kernel = update.live();
  Core& core = kernel.core();
  Device& device = kernel.device(Update::c);
  ASSERT_TRUE(core.claim_owner(device, &update, Update::token).ok());
  Domain& fresh = kernel.new_domain(device);
  const u64 before = kernel.state_hash();
  for (u64 k = 1;; ++k) {
    Code code = Code::Ok;
    if (!kernel.world().failing(k, [&] { code = core.attach(device, fresh).code(); })) break;
    ASSERT_EQ(code, Code::NoMemory);
    ASSERT_EQ(kernel.state_hash(), before);
    ASSERT_TRUE(update.translates_as_before(Update::c));
  }
}

TEST(Finish, CompareFindsTheFirstDifference) {
  testing::Test::RecordProperty("acceptance", "R16");
  Update update;
  Kernel& kernel = update.live();
  Core& core = kernel.core();
  Domain& restored = **core.find_restored(update.own_record);
  Domain& fresh = kernel.new_domain(kernel.device(Update::c));
  EXPECT_EQ(*core.compare(restored, fresh), Update::guest_at);
  const PhysRange half{update.guest.start, update.guest.size_bytes / 2};
  ASSERT_TRUE(core.map(fresh, Update::guest_at, {&half, 1}, pt::Prot::ReadWrite).ok());
  EXPECT_EQ(*core.compare(restored, fresh), Update::guest_at + half.size_bytes);
}

TEST(Drop, BlocksAndFreesWhatCameIn) {
  testing::Test::RecordProperty("acceptance", "B18");
  Update update;
  Kernel& kernel = update.live();
  ASSERT_TRUE(kernel.core().drop_domain(update.shared_record).ok());
  for (SourceId id : {Update::a, Update::b, Update::d}) EXPECT_TRUE(update.is_blocked(id));
  EXPECT_TRUE(update.translates_as_before(Update::c));
  EXPECT_EQ(kernel.unit(0).dids_in_use(), 0u);
  EXPECT_EQ(kernel.core().find_restored(update.shared_record).code(), Code::NotFound);
  ASSERT_TRUE(kernel.core().drop_device(kernel.device(Update::c)).ok());
  EXPECT_TRUE(update.is_blocked(Update::c));
  ASSERT_TRUE(kernel.core().drop_domain(update.own_record).ok());
  finish(kernel);
  EXPECT_EQ(kernel.unrestored(), 4u);
}

TEST(PassOn, DomainsAndDevicesCrossTwiceUnclaimed) {
  testing::Test::RecordProperty("acceptance", "B17 C21");
  Update update;
  Kernel& second = update.live();
  const u64 before = second.state_hash();
  const auto pass_on = [&] {
    second.open_flbs();
    for (PhysAddr record : {update.shared_record, update.own_record})
      EXPECT_TRUE(second.core().preserve_domain(**second.core().find_restored(record)).ok());
    for (SourceId id : Update::preserved())
      EXPECT_TRUE(second.core().preserve_device(second.device(id), Update::token).ok());
  };
  pass_on();
  EXPECT_EQ(second.core().drop_domain(update.own_record).code(), Code::Busy);
  // Given up, it is as if it had not been; then it is done again.
  for (SourceId id : Update::preserved()) second.core().unpreserve_device(second.device(id));
  for (PhysAddr record : {update.shared_record, update.own_record})
    EXPECT_TRUE(second.core().unpreserve_domain(**second.core().find_restored(record)).ok());
  second.close_flbs();
  EXPECT_EQ(second.state_hash(), before);
  pass_on();
  ASSERT_TRUE(second.handover().preserve({update.guest.start, 4}).ok());
  const PhysAddr shared_again = (*second.core().find_restored(update.shared_record))->record();
  const auto numbers = second.jump(Update::number + 1);

  Kernel third(update.machine, numbers, Update::identities());
  EXPECT_TRUE(third.quarantined().empty());
  EXPECT_EQ(third.core().adoption_report().devices_adopted, 4u);
  EXPECT_EQ((*third.core().find_restored(shared_again))->attachments(), 3u);
  for (SourceId id : Update::preserved()) {
    const FakeUnit::Entry* entry = Update::unit_of(third, id).entry(id);
    EXPECT_EQ(*entry, update.entries.at(id.value));
    EXPECT_EQ(third.device(id).restored_token(), Update::token);
  }
}

}  // namespace
}  // namespace holdfast::iommu

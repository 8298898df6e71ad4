// The kernel after the jump: retrieve, take back, compare, replace, finish; and what goes wrong.
#include <gtest/gtest.h>

#include "holdfast/iommufd/test_support.hpp"

namespace holdfast::iommufd {
namespace {

constexpr u64 kib = 1024;
constexpr u64 mib = 1024 * kib;
constexpr u64 gib = 1024 * mib;
constexpr u64 iommufd_token = 100;
constexpr u64 first_hwpt = 5;
constexpr u64 second_hwpt = 6;

/// Two devices on one page table, a third on another; all of it preserved.
class RestoredTest : public ::testing::Test {
 protected:
  explicit RestoredTest(luo::Policy policy = luo::Policy::Holdfast) : machine(64 * mib, policy) {}

  Iommufd& iommufd() { return machine->iommufd_of(fd); }

  void SetUp() override {
    fd = machine->open_iommufd();
    memory = machine->make_memfd(8 * mib);
    ioas = machine->ioas(fd);
    map_everything();
    for (u8 i = 0; i < 3; ++i) ids[i] = iommufd().bind(*machine->devices[i]).value().value;
    build_page_tables();
    ASSERT_EQ(machine->mark(fd, hwpts[0], first_hwpt), Code::Ok);
    ASSERT_EQ(machine->mark(fd, hwpts[1], second_hwpt), Code::Ok);
    session = machine->create_session("vm");
    preserve_all();
    machine.jump();
  }
  void map_everything() {
    ASSERT_EQ(machine->map(fd, ioas, memory, 4 * gib, 8 * mib), Code::Ok);
    ASSERT_EQ(machine->map(fd, ioas, memory, 5 * gib + 4 * kib, 1 * mib), Code::Ok);
  }
  void build_page_tables() {
    hwpts[0] = machine->hwpt(fd, ids[0], ioas);
    hwpts[1] = machine->hwpt(fd, ids[0], ioas);
    attach_all();
  }
  void attach_all() {
    for (u8 i = 0; i < 3; ++i) ASSERT_TRUE(iommufd().attach(ObjectId(ids[i]), ObjectId(hwpts[i / 2])).ok());
  }
  void preserve_all() {
    ASSERT_EQ(machine->preserve(session, memory, 1), Code::Ok);
    ASSERT_EQ(machine->preserve(session, fd, iommufd_token), Code::Ok);
    for (u8 i = 0; i < 3; ++i) ASSERT_TRUE(iommufd().preserve_device(ObjectId(ids[i]), iommufd_token).ok());
  }
  void retrieve() {
    ASSERT_EQ(machine->retrieve_session("vm", session), Code::Ok);
    ASSERT_EQ(machine->retrieve(session, iommufd_token, fd), Code::Ok);
    ASSERT_EQ(machine->retrieve(session, 1, memory), Code::Ok);
  }
  void bind_all() {
    for (u8 i = 0; i < 3; ++i) ids[i] = iommufd().bind(*machine->devices[i], iommufd_token).value().value;
  }
  void unbind_all() {
    for (const u32 id : ids) iommufd().unbind(ObjectId(id));
  }
  void take_back() {
    ASSERT_EQ(machine->restore_hwpt(fd, first_hwpt, old_hwpts[0]), Code::Ok);
    ASSERT_EQ(machine->restore_hwpt(fd, second_hwpt, old_hwpts[1]), Code::Ok);
  }
  void rebuild() {
    ioas = machine->ioas(fd);
    map_everything();
    hwpts[0] = machine->hwpt(fd, ids[0], ioas);
    hwpts[1] = machine->hwpt(fd, ids[0], ioas);
  }
  u64 unrestored() {
    u64 count = 0;
    machine->handover.for_each_unrestored([&](Block) { ++count; });
    return count;
  }

  Machine<TestKernel> machine;
  i32 fd = -1;
  i32 memory = -1;
  i32 session = -1;
  u32 ioas = 0;
  std::array<u32, 3> ids{};
  std::array<u32, 2> hwpts{};
  std::array<u32, 2> old_hwpts{};
};

class RestoredOnLinux : public RestoredTest {
 protected:
  RestoredOnLinux() : RestoredTest(luo::Policy::Linux) {}
};

TEST_F(RestoredTest, TheWholeCircleTwice) {
  RecordProperty("acceptance", "R1 R8 R11");
  for (int round = 0; round < 2; ++round) {
    const auto before = machine->entries();
    EXPECT_EQ(before.size(), 3u);
    retrieve();
    bind_all();
    take_back();
    rebuild();
    EXPECT_EQ(machine->entries(), before) << "nothing was touched so far";
    for (u8 i = 0; i < 2; ++i) {
      std::optional<u64> difference;
      EXPECT_EQ(machine->compare(fd, old_hwpts[i], hwpts[i], difference), Code::Ok);
      EXPECT_FALSE(difference);
    }
    machine.hardware.log.clear();
    attach_all();
    EXPECT_EQ(machine->count("replace"), 3u);
    EXPECT_EQ(machine->count("block"), 0u) << "no moment without translation";
    EXPECT_EQ(machine->destroy(fd, old_hwpts[0]), Code::Ok);
    EXPECT_EQ(machine->destroy(fd, old_hwpts[1]), Code::Ok);
    EXPECT_EQ(machine->unit.dids_in_use(), 2u) << "those of the new page tables";
    EXPECT_EQ(machine->finish(session), Code::Ok);
    machine->close(session);
    EXPECT_EQ(unrestored(), 0u);
    ASSERT_EQ(machine->mark(fd, hwpts[0], first_hwpt), Code::Ok);
    ASSERT_EQ(machine->mark(fd, hwpts[1], second_hwpt), Code::Ok);
    session = machine->create_session("vm");
    preserve_all();
    machine.jump();
  }
}

TEST_F(RestoredTest, TokensAreTakenBackOnce) {
  RecordProperty("acceptance", "R4");
  retrieve();
  u32 id = 0;
  EXPECT_EQ(machine->restore_hwpt(fd, first_hwpt, id), Code::NoDevice) << "its devices are not bound yet";
  bind_all();
  EXPECT_EQ(machine->restore_hwpt(fd, 77, id), Code::NotFound);
  EXPECT_EQ(machine->restore_hwpt(fd, first_hwpt, id), Code::Ok);
  EXPECT_EQ(machine->destroy(fd, id), Code::Busy);
  EXPECT_EQ(machine->restore_hwpt(fd, first_hwpt, id), Code::NotFound) << "taken back already";
  const i32 fresh = machine->open_iommufd();
  EXPECT_EQ(machine->restore_hwpt(fresh, first_hwpt, id), Code::NotIoctl);
  unbind_all();
}

TEST_F(RestoredTest, AnIdThatCannotBeAnsweredIsTakenBack) {
  retrieve();
  bind_all();
  const auto before = machine->snapshot();
  machine->process.user.read_only = true;
  u32 id = 0;
  EXPECT_EQ(machine->restore_hwpt(fd, first_hwpt, id), Code::Fault);
  machine->process.user.read_only = false;
  EXPECT_EQ(machine->snapshot(), before);
  EXPECT_EQ(machine->restore_hwpt(fd, first_hwpt, id), Code::Ok);
  unbind_all();
}

TEST_F(RestoredTest, EveryFailedAllocationOfATakingBackLeavesNoTrace) {
  retrieve();
  bind_all();
  const auto before = machine->snapshot();
  u64 k = 1;
  for (bool failed = true; failed; ++k) {
    Code code = Code::Ok;
    u32 id = 0;
    failed = machine->world.failing(k, [&] { code = machine->restore_hwpt(fd, first_hwpt, id); });
    if (code == Code::Ok) continue;
    EXPECT_EQ(machine->snapshot(), before) << "allocation " << k;
  }
  unbind_all();
}

TEST_F(RestoredTest, ABoundDeviceIsAttachedToWhatWasTakenBack) {
  RecordProperty("acceptance", "R7");
  retrieve();
  bind_all();
  for (const u32 id : ids) EXPECT_TRUE(iommufd().is_on_restored(ObjectId(id)));
  take_back();
  for (u8 i = 0; i < 3; ++i) {
    const auto again = iommufd().attach(ObjectId(ids[i]), ObjectId(old_hwpts[i / 2]));
    ASSERT_TRUE(again.ok()) << "it is there already";
    EXPECT_EQ(again->value, old_hwpts[i / 2]);
  }
  EXPECT_EQ(machine->destroy(fd, old_hwpts[0]), Code::Busy);
  EXPECT_EQ(machine->count("replace"), 0u);
  unbind_all();
}

TEST_F(RestoredTest, ARestoredPageTableTakesNoOtherDeviceAndNoChange) {
  RecordProperty("acceptance", "B15 R5 R6");
  retrieve();
  bind_all();
  take_back();
  const u32 other = iommufd().bind(*machine->devices[3]).value().value;
  const u32 restored = old_hwpts[0];
  const auto before = machine->snapshot();
  EXPECT_EQ(iommufd().attach(ObjectId(other), ObjectId(restored)).code(), Code::Invalid);
  EXPECT_EQ(iommufd().attach(ObjectId(ids[2]), ObjectId(restored)).code(), Code::Invalid) << "nor one of its siblings";
  u32 id = 0;
  EXPECT_EQ(machine->alloc_hwpt(fd, other, restored, id), Code::Invalid);
  EXPECT_EQ(machine->map(fd, restored, memory, 0x1000, 4 * kib), Code::NotFound);
  EXPECT_EQ(machine->unmap(fd, restored, 0, ~u64{0}), Code::NotFound);
  EXPECT_EQ(machine->mark(fd, restored, 9), Code::Invalid);
  EXPECT_EQ(machine->unmark(fd, restored), Code::NotFound);
  iommu_ioas_iova_ranges ranges{};
  ranges.size = sizeof ranges;
  ranges.ioas_id = restored;
  EXPECT_EQ(machine->call(fd, IOMMU_IOAS_IOVA_RANGES, ranges), Code::NotFound);
  iommu_option option{};
  option.size = sizeof option;
  option.option_id = IOMMU_OPTION_HUGE_PAGES;
  option.object_id = restored;
  EXPECT_EQ(machine->call(fd, IOMMU_OPTION, option), Code::NotFound);
  EXPECT_EQ(machine->destroy(fd, restored), Code::Busy);
  EXPECT_EQ(machine->snapshot(), before);
  iommufd().unbind(ObjectId(other));
  unbind_all();
}

TEST_F(RestoredTest, OnlyTheIommufdOfTheTokenGetsTheDevices) {
  RecordProperty("acceptance", "B7 R3");
  const i32 foreign = machine->open_iommufd();
  EXPECT_EQ(machine->iommufd_of(foreign).bind(*machine->devices[0]).code(), Code::NotPermitted);
  EXPECT_EQ(machine->iommufd_of(foreign).bind(*machine->devices[0], iommufd_token + 1).code(), Code::NotPermitted);
  retrieve();
  EXPECT_EQ(iommufd().bind(*machine->devices[0]).code(), Code::NotPermitted);
  bind_all();
  EXPECT_EQ(machine->iommufd_of(foreign).bind(*machine->devices[0], iommufd_token).code(), Code::Busy);
  unbind_all();
}

TEST_F(RestoredTest, DetachingWithoutReplacementBlocksTheDevice) {
  RecordProperty("acceptance", "R10");
  retrieve();
  bind_all();
  take_back();
  EXPECT_TRUE(iommufd().detach(ObjectId(ids[2])).ok());
  EXPECT_FALSE(machine->entries().contains(machine->devices[2]->id().value));
  EXPECT_EQ(machine->destroy(fd, old_hwpts[1]), Code::Ok);
  EXPECT_EQ(iommufd().attach(ObjectId(ids[2]), ObjectId(old_hwpts[0])).code(), Code::Invalid);
  unbind_all();
}

TEST_F(RestoredTest, FinishWaitsForEachCondition) {
  RecordProperty("acceptance", "R12 L11 D6");
  ASSERT_EQ(machine->retrieve_session("vm", session), Code::Ok);
  const auto refused = [&] {
    const auto before = machine->snapshot();
    EXPECT_EQ(machine->finish(session), Code::Busy);
    EXPECT_EQ(machine->snapshot(), before);
  };
  refused();  // not retrieved
  ASSERT_EQ(machine->retrieve(session, iommufd_token, fd), Code::Ok);
  ASSERT_EQ(machine->retrieve(session, 1, memory), Code::Ok);
  refused();  // nothing taken back
  bind_all();
  take_back();
  refused();  // devices still go through it
  rebuild();
  attach_all();
  const i32 kept = fd;
  EXPECT_EQ(machine->finish(session), Code::Ok);
  // The ids that were not destroyed name nothing any more.
  std::optional<u64> difference;
  EXPECT_EQ(machine->compare(kept, old_hwpts[0], hwpts[0], difference), Code::Invalid);
  EXPECT_EQ(machine->mark(kept, old_hwpts[0], 9), Code::Invalid) << "a page table without domain";
  EXPECT_EQ(machine->destroy(kept, old_hwpts[0]), Code::Ok);
  EXPECT_EQ(machine->destroy(kept, old_hwpts[1]), Code::Ok);
  u32 id = 0;
  EXPECT_EQ(machine->restore_hwpt(kept, first_hwpt, id), Code::NotIoctl);
  EXPECT_EQ(machine->finish(session), Code::Ok) << "again";
  EXPECT_EQ(unrestored(), 0u);
  unbind_all();
}

TEST_F(RestoredTest, ANewPageTableThatMapsSomethingElseIsReported) {
  RecordProperty("acceptance", "R16");
  retrieve();
  bind_all();
  take_back();
  ioas = machine->ioas(fd);
  ASSERT_EQ(machine->map(fd, ioas, memory, 4 * gib, 8 * mib), Code::Ok);
  ASSERT_EQ(machine->map(fd, ioas, memory, 5 * gib + 4 * kib, 512 * kib), Code::Ok);
  ASSERT_EQ(machine->map(fd, ioas, memory, 5 * gib + 516 * kib, 512 * kib), Code::Ok) << "the wrong half of the file";
  const u32 wrong = machine->hwpt(fd, ids[0], ioas);
  std::optional<u64> difference;
  ASSERT_EQ(machine->compare(fd, old_hwpts[0], wrong, difference), Code::Ok);
  EXPECT_EQ(difference, 5 * gib + 516 * kib);
  unbind_all();
}

TEST_F(RestoredTest, TheAdministratorMayDropIt) {
  RecordProperty("acceptance", "B18");
  EXPECT_TRUE(machine->drop_session("vm").ok());
  EXPECT_TRUE(machine->entries().empty()) << "its devices are blocked";
  EXPECT_EQ(unrestored(), 0u);
  EXPECT_EQ(machine->unit.dids_in_use(), 0u);
  const i32 fresh = machine->open_iommufd();
  const auto id = machine->iommufd_of(fresh).bind(*machine->devices[0]);
  ASSERT_TRUE(id.ok()) << "and anybody may have them";
  machine->iommufd_of(fresh).unbind(*id);
}

TEST_F(RestoredTest, WhatIsDroppedUnderAnOpenFileIsGoneFromIt) {
  retrieve();
  bind_all();
  take_back();
  machine->close(session);
  ASSERT_TRUE(machine->drop_session("vm").ok());
  EXPECT_TRUE(machine->entries().empty());
  for (const u32 id : ids) EXPECT_FALSE(iommufd().is_attached(ObjectId(id)));
  std::optional<u64> difference;
  EXPECT_EQ(machine->compare(fd, old_hwpts[0], old_hwpts[1], difference), Code::Invalid);
  EXPECT_EQ(machine->destroy(fd, old_hwpts[0]), Code::Ok);
  EXPECT_EQ(machine->destroy(fd, old_hwpts[1]), Code::Ok);
  EXPECT_EQ(unrestored(), 0u);
  unbind_all();
}

TEST_F(RestoredOnLinux, StopsWhereTheSeriesStops) {
  ASSERT_EQ(machine->retrieve_session("vm", session), Code::Ok);
  EXPECT_EQ(machine->retrieve(session, iommufd_token, fd), Code::NotSupported);
  EXPECT_EQ(machine->finish(session), Code::Busy);
  const i32 foreign = machine->open_iommufd();
  EXPECT_EQ(machine->iommufd_of(foreign).bind(*machine->devices[0]).code(), Code::NotPermitted);
}

// Passing on.

TEST_F(RestoredTest, WhatNobodyRetrievedCrossesAgain) {
  RecordProperty("acceptance", "B17");
  const auto entries = machine->entries();
  const auto before = machine->snapshot();
  ASSERT_TRUE(machine->orchestrator.freeze().ok());
  machine->orchestrator.unfreeze();
  EXPECT_EQ(machine->snapshot(), before) << "a freeze that was given up";
  ASSERT_TRUE(machine->orchestrator.freeze().ok());
  for (u8 i = 0; i < 3; ++i) ASSERT_TRUE(machine->core.preserve_device(*machine->devices[i], iommufd_token).ok());
  ASSERT_TRUE(machine->core.prepare_freeze(machine->orchestrator.number() + 1).ok());
  ASSERT_TRUE(machine->core.cut_off().ok());
  machine->has_jumped = true;
  machine.boot(machine->handover.numbers(), luo::Policy::Holdfast);
  for (const auto& [device, top] : entries) EXPECT_EQ(machine->entries()[device], top);
  retrieve();
  bind_all();
  take_back();
  rebuild();
  std::optional<u64> difference;
  EXPECT_EQ(machine->compare(fd, old_hwpts[0], hwpts[0], difference), Code::Ok);
  EXPECT_FALSE(difference);
  attach_all();
  EXPECT_EQ(machine->finish(session), Code::Ok);
  EXPECT_EQ(unrestored(), 0u);
  unbind_all();
}

TEST_F(RestoredTest, EveryFailedAllocationOfAPassingOnLeavesNoTrace) {
  const auto before = machine->snapshot();
  u64 refused = 0;
  u64 k = 1;
  for (bool failed = true; failed; ++k) {
    Status status;
    failed = machine->world.failing(k, [&] { status = machine->orchestrator.freeze(); });
    if (status.ok()) continue;
    ++refused;
    EXPECT_EQ(machine->snapshot(), before) << "allocation " << k;
  }
  EXPECT_GE(refused, 5u);
  machine->orchestrator.unfreeze();
  EXPECT_EQ(machine->snapshot(), before);
}

// Untrusted records.

class RecordTest : public RestoredTest {
 protected:
  abi::iommufd::Header* record() {
    abi::iommufd::Header* found = nullptr;
    machine->handover.for_each_unrestored([&](Block block) {
      auto* header = machine->host.memory.map.at<abi::iommufd::Header>(block.start);
      const auto* entry = reinterpret_cast<const abi::iommufd::Hwpt*>(header + 1);
      if (block.order == 0 && header->nr_hwpts == 2 && entry->token == first_hwpt) found = header;
    });
    return found;
  }
  enum class Checksum : u8 { Raw, MadeRight };
  template <class F>
  void damage(Checksum how, F&& change) {
    abi::iommufd::Header* header = record();
    ASSERT_NE(header, nullptr);
    change(*header, *reinterpret_cast<std::array<abi::iommufd::Hwpt, 2>*>(header + 1));
    if (how == Checksum::Raw) return;
    const u64 bytes = sizeof *header + std::min<u64>(header->nr_hwpts, 2) * sizeof(abi::iommufd::Hwpt);
    header->checksum =
        abi::checksum({reinterpret_cast<std::byte*>(header), bytes}, offsetof(abi::iommufd::Header, checksum));
  }
  Code retrieve_damaged() {
    EXPECT_EQ(machine->retrieve_session("vm", session), Code::Ok);
    const Code code = machine->retrieve(session, iommufd_token, fd);
    EXPECT_EQ(machine->entries().size(), 3u) << "devices go on as they did";
    EXPECT_EQ(machine->finish(session), Code::Busy);
    return code;
  }
};

TEST_F(RecordTest, AFlippedBitIsFound) {
  damage(Checksum::Raw, [](auto&, auto& entries) { entries[0].token ^= 1; });
  EXPECT_EQ(retrieve_damaged(), Code::Corrupt);
}
TEST_F(RecordTest, ACountBeyondItsBlockIsFound) {
  damage(Checksum::MadeRight, [](auto& header, auto&) { header.nr_hwpts = ~u64{0} / 24; });
  EXPECT_EQ(retrieve_damaged(), Code::Corrupt);
}
TEST_F(RecordTest, UnknownFlagsAreFound) {
  damage(Checksum::MadeRight, [](auto& header, auto&) { header.flags = 1; });
  EXPECT_EQ(retrieve_damaged(), Code::Corrupt);
}
TEST_F(RecordTest, ATokenGivenTwiceIsFound) {
  damage(Checksum::MadeRight, [](auto&, auto& entries) { entries[1].token = entries[0].token; });
  EXPECT_EQ(retrieve_damaged(), Code::Corrupt);
}
TEST_F(RecordTest, ADomainNamedTwiceIsFound) {
  damage(Checksum::MadeRight, [](auto&, auto& entries) { entries[1].domain_phys = entries[0].domain_phys; });
  EXPECT_EQ(retrieve_damaged(), Code::Corrupt);
}
class DomainAddress : public RecordTest, public ::testing::WithParamInterface<u64> {};
TEST_P(DomainAddress, ThatNamesNoDomainIsNotFollowed) {
  damage(Checksum::MadeRight, [](auto&, auto& entries) { entries[1].domain_phys = GetParam(); });
  retrieve();
  bind_all();
  u32 id = 0;
  EXPECT_EQ(machine->restore_hwpt(fd, second_hwpt, id), Code::NotFound);
  EXPECT_EQ(machine->restore_hwpt(fd, first_hwpt, id), Code::Ok) << "the other one is sound";
  unbind_all();
}
INSTANTIATE_TEST_SUITE_P(Untrusted, DomainAddress,
                         ::testing::Values(u64{0}, ~u64{0}, page_size_bytes, u64{1} << 40, u64{0x1001}));

}  // namespace
}  // namespace holdfast::iommufd

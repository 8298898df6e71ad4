// Mark, preserve and what is immutable then: the kernel before a jump.
#include <gtest/gtest.h>

#include "holdfast/iommufd/test_support.hpp"

namespace holdfast::iommufd {
namespace {

constexpr u64 kib = 1024;
constexpr u64 mib = 1024 * kib;
constexpr u64 gib = 1024 * mib;
constexpr u32 all_seals = F_SEAL_SEAL | F_SEAL_GROW | F_SEAL_SHRINK;

class MarkTest : public ::testing::Test {
 protected:
  explicit MarkTest(luo::Policy policy = luo::Policy::Holdfast) : machine(64 * mib, policy) {
    fd = machine->open_iommufd();
    ioas = machine->ioas(fd);
    device = iommufd().bind(*machine->devices[0]).value().value;
    hwpt = machine->hwpt(fd, device, ioas);
    session = machine->create_session("vm");
  }
  void TearDown() override {
    while (!sessions_to_close.empty()) close_session(sessions_to_close.back());
    if (session >= 0) machine->close(session);
    iommufd().unbind(ObjectId(device));
  }
  void close_session(i32 which) {
    machine->close(which);
    std::erase(sessions_to_close, which);
    if (which == session) session = -1;
  }
  Iommufd& iommufd() { return machine->iommufd_of(fd); }
  Code preserve() { return machine->preserve(session, fd, 100); }
  i32 map_memory(u64 iova, u32 seals = all_seals) {
    const i32 memory = machine->make_memfd(64 * kib, seals);
    EXPECT_EQ(machine->map(fd, ioas, memory, iova, 64 * kib), Code::Ok);
    return memory;
  }
  /// A refusal with @p code that changes nothing.
  void expect_refused(Code code) {
    const auto before = machine->snapshot();
    EXPECT_EQ(preserve(), code);
    EXPECT_EQ(machine->snapshot(), before);
  }

  Machine<TestKernel> machine;
  i32 fd = -1;
  u32 ioas = 0;
  u32 device = 0;
  u32 hwpt = 0;
  i32 session = -1;
  std::vector<i32> sessions_to_close;
};

class MarkTestOnLinux : public MarkTest {
 protected:
  MarkTestOnLinux() : MarkTest(luo::Policy::Linux) {}
};

TEST_F(MarkTest, NamesAPageTableAndNothingElse) {
  RecordProperty("acceptance", "D1");
  EXPECT_EQ(machine->mark(fd, ioas, 1), Code::NotFound);
  EXPECT_EQ(machine->mark(fd, device, 1), Code::NotFound);
  EXPECT_EQ(machine->mark(fd, 77, 1), Code::NotFound);
  iommu_hwpt_liveupdate_mark_preserve command{.size = 15, .hwpt_id = hwpt, .hwpt_token = 1};
  EXPECT_EQ(machine->call(fd, IOMMU_HWPT_LIVEUPDATE_MARK_PRESERVE, command), Code::Invalid);
  struct {
    iommu_hwpt_liveupdate_mark_preserve command;
    u64 tail;
  } longer{{sizeof longer, hwpt, 1}, 1};
  EXPECT_EQ(machine->call(fd, IOMMU_HWPT_LIVEUPDATE_MARK_PRESERVE, longer), Code::TooBig);
  EXPECT_EQ(machine->mark(fd, hwpt, 0), Code::Ok) << "any token";
}

TEST_F(MarkTest, TokensAreUniqueInTheirIommufd) {
  RecordProperty("acceptance", "D2 D5");
  const u32 other = machine->hwpt(fd, device, ioas);
  ASSERT_EQ(machine->mark(fd, hwpt, 5), Code::Ok);
  EXPECT_EQ(machine->mark(fd, other, 5), Code::AddressInUse);
  EXPECT_EQ(machine->mark(fd, hwpt, 5), Code::Ok) << "the same again";
  EXPECT_EQ(machine->mark(fd, hwpt, 6), Code::Ok) << "another takes its place";
  EXPECT_EQ(machine->mark(fd, other, 5), Code::Ok);
  ASSERT_EQ(preserve(), Code::Ok);
  EXPECT_EQ(machine->mark(fd, hwpt, 6), Code::Ok);
  EXPECT_EQ(machine->mark(fd, hwpt, 7), Code::Busy);
  EXPECT_EQ(machine->mark(fd, machine->hwpt(fd, device, ioas), 8), Code::Busy) << "it could have no effect";
}

TEST_F(MarkTest, AMarkAlonePreservesNothing) {
  RecordProperty("acceptance", "D3");
  const u64 preserved = machine->handover.state_hash();
  ASSERT_EQ(machine->mark(fd, hwpt, 5), Code::Ok);
  EXPECT_EQ(machine->handover.state_hash(), preserved);
}

TEST_F(MarkTest, CanBeWithdrawnBeforeThePreserve) {
  RecordProperty("acceptance", "D4");
  ASSERT_EQ(machine->mark(fd, hwpt, 5), Code::Ok);
  EXPECT_EQ(machine->unmark(fd, hwpt), Code::Ok);
  EXPECT_EQ(machine->unmark(fd, hwpt), Code::NotFound);
  EXPECT_EQ(machine->unmark(fd, ioas), Code::NotFound);
  ASSERT_EQ(machine->mark(fd, hwpt, 5), Code::Ok);
  ASSERT_EQ(preserve(), Code::Ok);
  EXPECT_EQ(machine->unmark(fd, hwpt), Code::Busy);
}

TEST_F(MarkTest, AnAutomaticPageTableIsMarkedByItsId) {
  RecordProperty("acceptance", "D7");
  const ObjectId automatic = iommufd().attach(ObjectId(device), ObjectId(ioas)).value();
  EXPECT_EQ(machine->mark(fd, automatic.value, 5), Code::Ok);
  EXPECT_EQ(preserve(), Code::Ok);
}

TEST_F(MarkTest, AnIommufdWithoutMarksCrossesEmpty) {
  RecordProperty("acceptance", "D8");
  map_memory(0x100000, 0);
  EXPECT_EQ(preserve(), Code::Ok) << "what is not marked is not looked at";
  ASSERT_TRUE(iommufd().attach(ObjectId(device), ObjectId(hwpt)).ok());
  EXPECT_EQ(iommufd().preserve_device(ObjectId(device), 100).code(), Code::Invalid);
}

TEST_F(MarkTest, AnEmptyAddressSpaceIsPreserved) {
  RecordProperty("acceptance", "D14");
  ASSERT_EQ(machine->mark(fd, hwpt, 5), Code::Ok);
  EXPECT_EQ(preserve(), Code::Ok);
}

TEST_F(MarkTestOnLinux, EverySizeSealMustStandWhenTheFileIsMapped) {
  RecordProperty("acceptance", "D11");
  ASSERT_EQ(machine->mark(fd, hwpt, 5), Code::Ok);
  for (u32 seals = 0; seals < 8; ++seals) {
    const i32 memory = map_memory(0x100000, seals);
    ASSERT_EQ(machine->preserve(session, memory, seals), Code::Ok);
    if (seals == all_seals) {
      EXPECT_EQ(preserve(), Code::Ok);
      continue;
    }
    expect_refused(Code::Invalid);
    ASSERT_EQ(machine->unmap(fd, ioas, 0x100000, 64 * kib), Code::Ok);
  }
}

TEST_F(MarkTestOnLinux, SealsThatCameAfterTheMappingDoNotCount) {
  RecordProperty("acceptance", "D12");
  ASSERT_EQ(machine->mark(fd, hwpt, 5), Code::Ok);
  const i32 memory = map_memory(0x100000, 0);
  ASSERT_TRUE(machine->memory_of(memory).add_seals(all_seals).ok());
  ASSERT_EQ(machine->preserve(session, memory, 1), Code::Ok);
  expect_refused(Code::Invalid);
}

TEST_F(MarkTest, SealsThatCameAfterTheMappingCountBecauseAMappedFileCannotShrink) {
  RecordProperty("acceptance", "D12");
  ASSERT_EQ(machine->mark(fd, hwpt, 5), Code::Ok);
  const i32 memory = map_memory(0x100000, 0);
  ASSERT_EQ(machine->preserve(session, memory, 1), Code::Ok);
  expect_refused(Code::Invalid);
  close_session(session);
  // The trick: other pages under the same offsets.
  EXPECT_EQ(machine->memory_of(memory).truncate(0).code(), Code::Busy);
  ASSERT_TRUE(machine->memory_of(memory).add_seals(all_seals).ok());
  session = machine->create_session("vm");
  ASSERT_EQ(machine->preserve(session, memory, 1), Code::Ok);
  EXPECT_EQ(preserve(), Code::Ok);
}

TEST_F(MarkTest, EveryMappedFileMustBePreservedInTheSameSession) {
  RecordProperty("acceptance", "D13");
  ASSERT_EQ(machine->mark(fd, hwpt, 5), Code::Ok);
  const i32 first = map_memory(0x100000);
  const i32 second = map_memory(0x200000);
  expect_refused(Code::NotFound);
  ASSERT_EQ(machine->preserve(session, first, 1), Code::Ok);
  expect_refused(Code::NotFound);
  const i32 other = machine->create_session("other");
  ASSERT_EQ(machine->preserve(other, second, 1), Code::Ok);
  expect_refused(Code::NotFound);
  machine->close(other);
  ASSERT_EQ(machine->preserve(session, second, 2), Code::Ok);
  EXPECT_EQ(preserve(), Code::Ok);
}

class PreservedTest : public MarkTest {
 protected:
  PreservedTest() {
    memory = map_memory(0x100000);
    EXPECT_EQ(machine->mark(fd, hwpt, 5), Code::Ok);
    EXPECT_EQ(machine->preserve(session, memory, 1), Code::Ok);
    EXPECT_EQ(preserve(), Code::Ok);
  }
  i32 memory = -1;
};

TEST_F(PreservedTest, TheAddressSpaceDoesNotChange) {
  RecordProperty("acceptance", "D15");
  const auto before = machine->snapshot();
  EXPECT_EQ(machine->map(fd, ioas, memory, 0x200000, 4 * kib), Code::Busy);
  EXPECT_EQ(machine->map(fd, ioas, memory, 0, 4 * kib, 0, 6), Code::Busy);
  EXPECT_EQ(machine->unmap(fd, ioas, 0x100000, 64 * kib), Code::Busy);
  EXPECT_EQ(machine->unmap(fd, ioas, 0, ~u64{0}), Code::Busy);
  EXPECT_EQ(machine->unmap(fd, ioas, 0x500000, 64 * kib), Code::Busy);
  iommu_option option{};
  option.size = sizeof option;
  option.option_id = IOMMU_OPTION_HUGE_PAGES;
  option.object_id = ioas;
  EXPECT_EQ(machine->call(fd, IOMMU_OPTION, option), Code::Busy);
  EXPECT_EQ(machine->snapshot(), before);
  const u32 other = machine->ioas(fd);
  EXPECT_EQ(machine->map(fd, other, memory, 0x200000, 4 * kib), Code::Ok) << "another one does";
}

TEST_F(PreservedTest, PageTableAndAddressSpaceAreNotDestroyed) {
  RecordProperty("acceptance", "D21");
  const auto before = machine->snapshot();
  EXPECT_EQ(machine->destroy(fd, hwpt), Code::Busy);
  EXPECT_EQ(machine->destroy(fd, ioas), Code::Busy);
  EXPECT_EQ(machine->snapshot(), before);
}

TEST_F(PreservedTest, ClosingTheSessionMakesEverythingChangeableAgain) {
  RecordProperty("acceptance", "D25");
  close_session(session);
  EXPECT_EQ(machine->map(fd, ioas, memory, 0x200000, 4 * kib), Code::Ok);
  EXPECT_EQ(machine->unmap(fd, ioas, 0x200000, 4 * kib), Code::Ok);
  ASSERT_TRUE(iommufd().attach(ObjectId(device), ObjectId(hwpt)).ok());
  ASSERT_TRUE(iommufd().detach(ObjectId(device)).ok());
  session = machine->create_session("vm");
  ASSERT_EQ(machine->preserve(session, memory, 1), Code::Ok);
  EXPECT_EQ(preserve(), Code::Ok) << "the same chain again";
}

TEST_F(PreservedTest, TheRecordNamesTokenAndDomain) {
  RecordProperty("acceptance", "D24");
  const abi::iommufd::Header* header = nullptr;
  machine->handover.for_each([&](Block block) {
    const auto* candidate = machine->host.memory.map.at<abi::iommufd::Header>(block.start);
    const auto* entry = reinterpret_cast<const abi::iommufd::Hwpt*>(candidate + 1);
    if (block.order == 0 && candidate->nr_hwpts == 1 && candidate->flags == 0 && entry->token == 5) header = candidate;
  });
  ASSERT_NE(header, nullptr);
  const auto* entry = reinterpret_cast<const abi::iommufd::Hwpt*>(header + 1);
  ASSERT_TRUE(machine->handover.contains_range(
      {PhysAddr(align_down(entry->domain_phys, page_size_bytes)), 1 * page_size_bytes}));
  const auto* domain = machine->host.memory.map.at<abi::iommu::Domain>(PhysAddr(entry->domain_phys));
  EXPECT_NE(domain->top_table_phys, 0u);
}

TEST_F(MarkTest, AnAddressSpaceChangesAgainWhenItsLastPageTableIsUnpreserved) {
  RecordProperty("acceptance", "D17 D28");
  const u32 second = machine->hwpt(fd, device, ioas);
  machine->hwpt(fd, device, ioas);
  ASSERT_EQ(machine->mark(fd, hwpt, 5), Code::Ok);
  ASSERT_EQ(machine->mark(fd, second, 6), Code::Ok);
  ASSERT_EQ(preserve(), Code::Ok);
  const i32 memory = machine->make_memfd(4 * kib);
  EXPECT_EQ(machine->map(fd, ioas, memory, 0x1000, 4 * kib), Code::Busy);
  close_session(session);
  EXPECT_EQ(machine->map(fd, ioas, memory, 0x1000, 4 * kib), Code::Ok);
}

TEST_F(MarkTest, OneMarkedPageTableOfTwoFreezesTheAddressSpaceOnly) {
  RecordProperty("acceptance", "D28");
  const u32 unmarked = machine->hwpt(fd, device, ioas);
  ASSERT_EQ(machine->mark(fd, hwpt, 5), Code::Ok);
  ASSERT_EQ(preserve(), Code::Ok);
  const i32 memory = machine->make_memfd(4 * kib);
  EXPECT_EQ(machine->map(fd, ioas, memory, 0x1000, 4 * kib), Code::Busy);
  EXPECT_EQ(machine->destroy(fd, unmarked), Code::Ok);
}

TEST_F(MarkTest, APageTableThatIsDestroyedTakesItsMarkAlong) {
  RecordProperty("acceptance", "D22");
  const u32 other = machine->hwpt(fd, device, ioas);
  ASSERT_EQ(machine->mark(fd, other, 5), Code::Ok);
  ASSERT_EQ(machine->destroy(fd, other), Code::Ok);
  ASSERT_EQ(machine->mark(fd, hwpt, 5), Code::Ok) << "the token is free again";
  EXPECT_EQ(preserve(), Code::Ok);
}

TEST_F(MarkTest, TwoIommufdsInTwoSessionsAreIndependent) {
  RecordProperty("acceptance", "D29");
  const i32 other_fd = machine->open_iommufd();
  const u32 other_ioas = machine->ioas(other_fd);
  const u32 other_device = machine->iommufd_of(other_fd).bind(*machine->devices[1]).value().value;
  const u32 other_hwpt = machine->hwpt(other_fd, other_device, other_ioas);
  ASSERT_EQ(machine->mark(fd, hwpt, 5), Code::Ok);
  ASSERT_EQ(machine->mark(other_fd, other_hwpt, 5), Code::Ok);
  const i32 other_session = machine->create_session("other");
  ASSERT_EQ(preserve(), Code::Ok);
  ASSERT_EQ(machine->preserve(other_session, other_fd, 100), Code::Ok);
  EXPECT_EQ(machine->preserve(other_session, fd, 101), Code::Busy);
  close_session(session);
  EXPECT_TRUE(machine->iommufd_of(other_fd).is_preserved());
  EXPECT_FALSE(iommufd().is_preserved());
  machine->close(other_session);
  machine->iommufd_of(other_fd).unbind(ObjectId(other_device));
}

TEST_F(MarkTest, EveryFailedAllocationOfAPreserveLeavesNoTrace) {
  RecordProperty("acceptance", "D19");
  const u32 other_ioas = machine->ioas(fd);
  const u32 second = machine->hwpt(fd, device, other_ioas);
  const u32 third = machine->hwpt(fd, device, ioas);
  const i32 memory = map_memory(4 * gib);
  ASSERT_EQ(machine->map(fd, other_ioas, memory, 0x100000, 64 * kib), Code::Ok);
  ASSERT_EQ(machine->mark(fd, hwpt, 5), Code::Ok);
  ASSERT_EQ(machine->mark(fd, second, 6), Code::Ok);
  ASSERT_EQ(machine->mark(fd, third, 7), Code::Ok);
  ASSERT_EQ(machine->preserve(session, memory, 1), Code::Ok);
  const auto before = machine->snapshot();
  u64 refused = 0;
  u64 k = 1;
  for (bool failed = true; failed; ++k) {
    Code code = Code::Ok;
    failed = machine->world.failing(k, [&] { code = preserve(); });
    if (code == Code::Ok) continue;
    ++refused;
    EXPECT_EQ(code, Code::NoMemory);
    EXPECT_EQ(machine->snapshot(), before) << "allocation " << k;
  }
  EXPECT_GE(refused, 6u);
}

TEST_F(MarkTest, ARefusalAtTheLastPageTableUndoesTheFirstOnes) {
  RecordProperty("acceptance", "D19");
  const u32 other_ioas = machine->ioas(fd);
  const u32 second = machine->hwpt(fd, device, other_ioas);
  const i32 unsealed = machine->make_memfd(4 * kib, 0);
  ASSERT_EQ(machine->map(fd, other_ioas, unsealed, 0x1000, 4 * kib), Code::Ok);
  ASSERT_EQ(machine->mark(fd, hwpt, 5), Code::Ok);
  ASSERT_EQ(machine->mark(fd, second, 6), Code::Ok);
  expect_refused(Code::Invalid);
  EXPECT_EQ(machine->map(fd, ioas, unsealed, 0x1000, 4 * kib), Code::Ok) << "nothing stayed immutable";
}

TEST_F(MarkTest, APreservedDeviceKeepsItsAttachment) {
  RecordProperty("acceptance", "I2 I4 I5");
  const u32 other = machine->hwpt(fd, device, ioas);
  EXPECT_EQ(iommufd().preserve_device(ObjectId(device), 100).code(), Code::NotFound) << "not attached";
  ASSERT_TRUE(iommufd().attach(ObjectId(device), ObjectId(hwpt)).ok());
  EXPECT_EQ(iommufd().preserve_device(ObjectId(device), 100).code(), Code::Invalid) << "page table not preserved";
  ASSERT_EQ(machine->mark(fd, hwpt, 5), Code::Ok);
  ASSERT_EQ(preserve(), Code::Ok);
  const auto attachment = iommufd().preserve_device(ObjectId(device), 100);
  ASSERT_TRUE(attachment.ok());
  EXPECT_EQ(attachment->hwpt_token, 5u);
  EXPECT_EQ(iommufd().preserve_device(ObjectId(device), 100).code(), Code::Busy);
  EXPECT_EQ(iommufd().attach(ObjectId(device), ObjectId(other)).code(), Code::Busy);
  EXPECT_EQ(iommufd().attach(ObjectId(device), ObjectId(ioas)).code(), Code::Busy);
  EXPECT_EQ(iommufd().attach(ObjectId(device), ObjectId(hwpt)).code(), Code::Busy);
  EXPECT_EQ(iommufd().detach(ObjectId(device)).code(), Code::Busy);
  const ObjectId sibling = iommufd().bind(*machine->devices[1]).value();
  EXPECT_EQ(iommufd().attach(sibling, ObjectId(hwpt)).code(), Code::Busy)
      << "nor does the page table get another device";
  EXPECT_TRUE(iommufd().attach(sibling, ObjectId(other)).ok()) << "each device for itself";
  iommufd().unbind(sibling);
  iommufd().unpreserve_device(ObjectId(device));
  close_session(session);
  EXPECT_TRUE(iommufd().attach(ObjectId(device), ObjectId(other)).ok());
}

TEST_F(MarkTest, HoldsUpUnderAThousandPreserves) {
  RecordProperty("acceptance", "A2");
  const i32 memory = map_memory(4 * gib);
  ASSERT_EQ(machine->mark(fd, hwpt, 5), Code::Ok);
  close_session(session);
  const auto before = machine->snapshot();
  for (int i = 0; i < 1000; ++i) {
    session = machine->create_session("vm");
    ASSERT_EQ(machine->preserve(session, memory, 1), Code::Ok);
    ASSERT_EQ(preserve(), Code::Ok);
    close_session(session);
  }
  EXPECT_EQ(machine->snapshot(), before);
}

}  // namespace
}  // namespace holdfast::iommufd

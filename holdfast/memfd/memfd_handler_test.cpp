// Memory files across live updates, with the real orchestrator, handover and allocator.
#include "holdfast/memfd/memfd_handler.hpp"

#include <gtest/gtest.h>

#include <numeric>

#include "holdfast/memfd/test_kernel.hpp"

namespace holdfast::memfd {
namespace {

constexpr u64 kib = 1024;
constexpr u64 mib = 1024 * kib;
constexpr u64 all_pages = 1537;  // of a file of 6 MiB and 5 bytes
constexpr u32 size_seals = F_SEAL_SEAL | F_SEAL_GROW | F_SEAL_SHRINK;

std::vector<u8> pattern(u64 size) {
  std::vector<u8> bytes(size);
  for (u64 i = 0; i < size; ++i) bytes[i] = static_cast<u8>(i * 7 + i / 4096);
  return bytes;
}

class MemfdLiveUpdate : public ::testing::Test {
 protected:
  explicit MemfdLiveUpdate(luo::Policy policy = luo::Policy::Holdfast) : machine(64 * mib, policy) {}
  /// A file of @p size under test, and session "vm" for it.
  void prepare(u64 size, u32 seals = size_seals) {
    fd = machine->make_memfd(size, seals);
    const auto bytes = pattern(size);
    EXPECT_EQ(machine->process.pwrite(file(), bytes.data(), size, 0).value(), size);
    session = machine->create_session("vm");
  }
  MemFile& file() { return machine->memory_of(fd); }
  /// The next kernel, with the file retrieved as fd.
  void jump_and_retrieve() {
    machine.jump();
    ASSERT_EQ(machine->retrieve_session("vm", session), Code::Ok);
    ASSERT_EQ(machine->retrieve(session, 1, fd), Code::Ok);
  }
  std::vector<u8> contents() {
    std::vector<u8> bytes(file().size_bytes());
    EXPECT_EQ(machine->process.pread(file(), bytes.data(), bytes.size(), 0).value(), bytes.size());
    return bytes;
  }

  Machine<MemfdKernel> machine;
  i32 fd = -1;
  i32 session = -1;
};

class MemfdLiveUpdateOnLinux : public MemfdLiveUpdate {
 protected:
  MemfdLiveUpdateOnLinux() : MemfdLiveUpdate(luo::Policy::Linux) {}
};

TEST_F(MemfdLiveUpdate, BringsContentsSizeSealsPositionFlagsAndModeBack) {
  prepare(6 * mib + 5);
  file().seek(4242);
  file().set_open_flags(0100002 | 02000);  // O_APPEND
  file().set_mode(0100600);
  ASSERT_EQ(machine->preserve(session, fd, 1), Code::Ok);
  jump_and_retrieve();
  EXPECT_EQ(contents(), pattern(6 * mib + 5));
  EXPECT_EQ(file().seals(), size_seals);
  EXPECT_EQ(file().position(), 4242u);
  EXPECT_EQ(file().open_flags(), u32{0100002 | 02000});
  EXPECT_EQ(file().mode(), 0100600u);
}

TEST_F(MemfdLiveUpdate, ComesBackOnTheSamePagesAtTheSameAddresses) {
  RecordProperty("acceptance", "R17");
  prepare(6 * mib + 5);
  const auto extents = file().extents();
  const std::vector<Extent> before(extents.begin(), extents.end());
  ASSERT_EQ(machine->preserve(session, fd, 1), Code::Ok);
  jump_and_retrieve();
  const auto after = file().extents();
  EXPECT_EQ(std::vector<Extent>(after.begin(), after.end()), before);
}

TEST_F(MemfdLiveUpdateOnLinux, GivesAPlainFileWithTheSealsOfThePreserve) {
  prepare(8 * kib, 0);
  file().set_open_flags(0);
  ASSERT_EQ(machine->preserve(session, fd, 1), Code::Ok);
  file().set_open_flags(2);
  ASSERT_TRUE(file().add_seals(F_SEAL_WRITE).ok());
  jump_and_retrieve();
  EXPECT_EQ(file().open_flags(), 0100002u);
  EXPECT_EQ(file().mode(), 0100777u);
  EXPECT_EQ(file().seals(), 0u);
}

TEST_F(MemfdLiveUpdate, CarriesWhatWasWrittenAndSealedAfterThePreserve) {
  prepare(8 * kib, 0);
  ASSERT_EQ(machine->preserve(session, fd, 1), Code::Ok);
  ASSERT_EQ(machine->process.pwrite(file(), "late", 4, 100).value(), 4u);
  file().seek(77);
  ASSERT_TRUE(file().add_seals(F_SEAL_WRITE).ok());
  jump_and_retrieve();
  auto expected = pattern(8 * kib);
  std::memcpy(expected.data() + 100, "late", 4);
  EXPECT_EQ(contents(), expected);
  EXPECT_EQ(file().position(), 77u);
  EXPECT_EQ(file().seals(), static_cast<u32>(F_SEAL_WRITE));
}

TEST_F(MemfdLiveUpdate, CrossesEmpty) {
  prepare(0);
  ASSERT_EQ(machine->preserve(session, fd, 1), Code::Ok);
  jump_and_retrieve();
  EXPECT_EQ(file().size_bytes(), 0u);
}

TEST_F(MemfdLiveUpdate, KeepsItsSizeWhilePreserved) {
  prepare(8 * kib, 0);
  ASSERT_EQ(machine->preserve(session, fd, 1), Code::Ok);
  EXPECT_EQ(file().truncate(12 * kib).code(), Code::NotPermitted);
  EXPECT_EQ(file().truncate(4 * kib).code(), Code::NotPermitted);
  EXPECT_TRUE(file().truncate(8 * kib).ok());
  EXPECT_EQ(file().fallocate(0, 0, 16 * kib).code(), Code::NotPermitted);
  EXPECT_EQ(file().fallocate(0, 0, 4 * kib).code(), Code::NotPermitted);
  EXPECT_EQ(file().fallocate(3, 0, 4 * kib).code(), Code::NotPermitted);
  EXPECT_EQ(machine->process.pwrite(file(), "ab", 2, 100).value(), 2u);
  EXPECT_EQ(machine->process.pwrite(file(), "ab", 2, 8 * kib - 1).value(), 1u);
  EXPECT_EQ(machine->process.pwrite(file(), "ab", 2, 8 * kib).code(), Code::NotPermitted);
  EXPECT_TRUE(file().add_seals(F_SEAL_GROW).ok());
  machine->close(session);
  EXPECT_TRUE(file().truncate(4 * kib).ok());
}

TEST_F(MemfdLiveUpdate, IsPreservedOnceOverAllSessions) {
  prepare(8 * kib);
  ASSERT_EQ(machine->preserve(session, fd, 1), Code::Ok);
  const i32 other = machine->create_session("other");
  const auto before = machine->snapshot();
  EXPECT_EQ(machine->preserve(session, fd, 2), Code::Busy);
  EXPECT_EQ(machine->preserve(other, fd, 1), Code::Busy);
  EXPECT_EQ(machine->snapshot(), before);
}

TEST_F(MemfdLiveUpdateOnLinux, ASecondPreserveIsRefusedThereToo) {
  prepare(8 * kib);
  ASSERT_EQ(machine->preserve(session, fd, 1), Code::Ok);
  EXPECT_EQ(machine->preserve(session, fd, 2), Code::Busy);
}

TEST_F(MemfdLiveUpdate, ClosingTheSessionUndoesEverything) {
  prepare(6 * mib + 5);
  machine->close(session);
  const auto before = machine->snapshot();
  session = machine->create_session("vm");
  ASSERT_EQ(machine->preserve(session, fd, 1), Code::Ok);
  EXPECT_EQ(machine->world.pages(GuestMemory::Preserved), all_pages);
  machine->close(session);
  EXPECT_EQ(machine->snapshot(), before);
  EXPECT_EQ(machine->world.pages(GuestMemory::Preserved), 0u);
  EXPECT_EQ(machine->world.pages(GuestMemory::Granted), all_pages);
}

TEST_F(MemfdLiveUpdate, EveryFailedAllocationOfAPreserveLeavesNoTrace) {
  prepare(6 * mib + 5);
  const auto before = machine->snapshot();
  u64 refused = 0;
  u64 k = 1;
  for (bool failed = true; failed; ++k) {
    failed = machine->world.failing(k, [&] {
      const Code code = machine->preserve(session, fd, 1);
      if (code == Code::Ok) return;
      ++refused;
      EXPECT_EQ(code, Code::NoMemory) << "allocation " << k;
    });
    if (failed) {
      EXPECT_EQ(machine->snapshot(), before) << "allocation " << k;
    }
  }
  EXPECT_GE(refused, 5u);
  EXPECT_EQ(machine->world.pages(GuestMemory::Preserved), all_pages);
  machine->close(session);
}

TEST_F(MemfdLiveUpdate, GivesAllMemoryBackWhenItIsFinishedAndClosed) {
  const u64 all_free = machine->host.memory.buddy.free_frames();
  prepare(6 * mib + 5);
  ASSERT_EQ(machine->preserve(session, fd, 1), Code::Ok);
  jump_and_retrieve();
  ASSERT_EQ(machine->finish(session), Code::Ok);
  EXPECT_EQ(machine->world.pages(GuestMemory::Preserved), 0u);
  EXPECT_EQ(machine->world.pages(GuestMemory::Granted), all_pages);
  EXPECT_EQ(contents(), pattern(6 * mib + 5));
  machine->close(session);
  machine->close(fd);
  EXPECT_TRUE(machine->world.granted.empty());
  u64 unrestored = 0;
  machine->handover.for_each_unrestored([&](Block) { ++unrestored; });
  // The unit's root belongs to the old kernel: no iommufd crossed, so it was started anew.
  EXPECT_EQ(unrestored, 0u);
  EXPECT_EQ(machine->host.memory.buddy.free_frames(), all_free);
}

TEST_F(MemfdLiveUpdate, FinishFreesWhatNobodyRetrieved) {
  const u64 all_free = machine->host.memory.buddy.free_frames();
  prepare(6 * mib + 5);
  ASSERT_EQ(machine->preserve(session, fd, 1), Code::Ok);
  machine.jump();
  ASSERT_EQ(machine->retrieve_session("vm", session), Code::Ok);
  ASSERT_EQ(machine->finish(session), Code::Ok);
  machine->close(session);
  EXPECT_TRUE(machine->world.granted.empty());
  EXPECT_EQ(machine->host.memory.buddy.free_frames(), all_free);
}

TEST_F(MemfdLiveUpdate, DropFreesWhatNobodyRetrieved) {
  const u64 all_free = machine->host.memory.buddy.free_frames();
  prepare(6 * mib + 5);
  ASSERT_EQ(machine->preserve(session, fd, 1), Code::Ok);
  machine.jump();
  ASSERT_TRUE(machine->drop_session("vm").ok());
  EXPECT_TRUE(machine->world.granted.empty());
  EXPECT_EQ(machine->host.memory.buddy.free_frames(), all_free);
}

TEST_F(MemfdLiveUpdate, AFileOutlivesItsSession) {
  prepare(6 * mib + 5);
  ASSERT_EQ(machine->preserve(session, fd, 1), Code::Ok);
  jump_and_retrieve();
  machine->close(session);  // finishes it: nothing stands against that
  EXPECT_EQ(machine->drop_session("vm").code(), Code::NotFound);
  EXPECT_EQ(contents(), pattern(6 * mib + 5));
}

class MemfdPassedOn : public MemfdLiveUpdate {
 protected:
  void SetUp() override {
    prepare(6 * mib + 5);
    ASSERT_EQ(machine->preserve(session, fd, 1), Code::Ok);
    machine.jump();
  }
  void expect_it_in_the_third_kernel() {
    jump_and_retrieve();
    EXPECT_EQ(contents(), pattern(6 * mib + 5));
    EXPECT_EQ(file().seals(), size_seals);
    EXPECT_EQ(machine->finish(session), Code::Ok);
  }
};

TEST_F(MemfdPassedOn, CrossesAgainWhenNobodyRetrievedIt) {
  EXPECT_EQ(machine->world.pages(GuestMemory::Preserved), all_pages);
  expect_it_in_the_third_kernel();
}

TEST_F(MemfdPassedOn, CrossesAgainWhenTheSessionWasNotFinished) {
  ASSERT_EQ(machine->retrieve_session("vm", session), Code::Ok);
  ASSERT_EQ(machine->retrieve(session, 1, fd), Code::Ok);
  expect_it_in_the_third_kernel();
}

TEST_F(MemfdPassedOn, AFreezeThatIsGivenUpTakesThePassingOnBack) {
  const auto before = machine->snapshot();
  ASSERT_TRUE(machine->orchestrator.freeze().ok());
  EXPECT_NE(machine->snapshot(), before);
  machine->orchestrator.unfreeze();
  EXPECT_EQ(machine->snapshot(), before);
  expect_it_in_the_third_kernel();
}

TEST_F(MemfdPassedOn, EveryFailedAllocationLeavesNoTrace) {
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
  EXPECT_GE(refused, 3u);
  machine->orchestrator.unfreeze();
  expect_it_in_the_third_kernel();
}

// Untrusted records.

class MemfdRecordTest : public MemfdLiveUpdate {
 protected:
  void SetUp() override {
    prepare(6 * mib + 5);
    ASSERT_EQ(machine->preserve(session, fd, 1), Code::Ok);
  }
  static abi::memfd::MemfdRecord* record_in(MemfdKernel& kernel) {
    abi::memfd::MemfdRecord* found = nullptr;
    kernel.handover.for_each_unrestored([&](Block block) {
      auto* record = kernel.host.memory.map.at<abi::memfd::MemfdRecord>(block.start);
      if (block.order == 0 && record->size_bytes == 6 * mib + 5 && record->folio_count == 3) found = record;
    });
    return found;
  }
  /// Retrieves after @p damage was done to the record; nothing of a refused file may be given away.
  template <class F>
  Code retrieve_after(F&& damage) {
    MemfdKernel& next = machine.jump();
    abi::memfd::MemfdRecord* record = record_in(next);
    if (record == nullptr) return ADD_FAILURE() << "no record", Code::Ok;
    damage(next, *record);
    EXPECT_EQ(next.retrieve_session("vm", session), Code::Ok);
    const Code code = next.retrieve(session, 1, fd);
    EXPECT_EQ(next.retrieve(session, 1, fd), code) << "an answer is remembered";
    if (code != Code::Ok) {
      EXPECT_EQ(machine->finish(session), Code::Ok);
      u64 unrestored = 0;
      next.handover.for_each_unrestored([&](Block block) { unrestored += u64{1} << block.order; });
      EXPECT_GE(unrestored, all_pages);
      EXPECT_EQ(next.world.pages(GuestMemory::Preserved), all_pages);
    }
    return code;
  }
  static abi::memfd::Folio* folios_of(MemfdKernel& next, const abi::memfd::MemfdRecord& record) {
    const auto* chunk = next.host.memory.map.at<abi::memfd::VmallocChunk>(PhysAddr(record.folios.first));
    return next.host.memory.map.at<abi::memfd::Folio>(PhysAddr(chunk->pages[0]));
  }
};

TEST_F(MemfdRecordTest, IsReadWhenItIsWhole) {
  EXPECT_EQ(retrieve_after([](MemfdKernel&, auto&) {}), Code::Ok);
}
TEST_F(MemfdRecordTest, RefusesUnknownSeals) {
  EXPECT_EQ(retrieve_after([](MemfdKernel&, auto& record) { record.seals = 0x40; }), Code::NotSupported);
}
TEST_F(MemfdRecordTest, RefusesUnknownFlags) {
  EXPECT_EQ(retrieve_after([](MemfdKernel&, auto& record) { record.flags = 1; }), Code::NotSupported);
}
TEST_F(MemfdRecordTest, RefusesASizeBeyondItsBlocks) {
  EXPECT_EQ(retrieve_after([](MemfdKernel&, auto& record) { record.size_bytes = ~u64{0}; }), Code::Corrupt);
}
TEST_F(MemfdRecordTest, RefusesBlocksBeyondItsSize) {
  EXPECT_EQ(retrieve_after([](MemfdKernel&, auto& record) { record.size_bytes = 4 * kib; }), Code::Corrupt);
}
TEST_F(MemfdRecordTest, RefusesACountThatItsListHasNoRoomFor) {
  EXPECT_EQ(retrieve_after([](MemfdKernel&, auto& record) { record.folio_count = ~u64{0}; }), Code::Corrupt);
}
TEST_F(MemfdRecordTest, RefusesAListOfAnotherLength) {
  EXPECT_EQ(retrieve_after([](MemfdKernel&, auto& record) { record.folios.total_pages = 511; }), Code::Corrupt);
}
TEST_F(MemfdRecordTest, RefusesAListOutsideWhatIsPreserved) {
  EXPECT_EQ(retrieve_after([](MemfdKernel& next, auto& record) {
              record.folios.first = next.host.memory.buddy.allocate(0).value().value;
            }),
            Code::Corrupt);
}
TEST_F(MemfdRecordTest, RefusesAListOutsideMemory) {
  EXPECT_EQ(retrieve_after([](MemfdKernel&, auto& record) { record.folios.first = ~u64{0xfff}; }), Code::Corrupt);
}
TEST_F(MemfdRecordTest, RefusesABlockThatIsNamedTwice) {
  EXPECT_EQ(retrieve_after([](MemfdKernel& next, auto& record) {
              auto* folios = folios_of(next, record);
              folios[1].frame_and_flags = folios[0].frame_and_flags;
              record.folio_count = 2;
            }),
            Code::Corrupt);
}
TEST_F(MemfdRecordTest, RefusesABlockInTheWrongPlace) {
  EXPECT_EQ(retrieve_after([](MemfdKernel& next, auto& record) { folios_of(next, record)[1].index = 0; }),
            Code::Corrupt);
}
TEST_F(MemfdRecordTest, RefusesABlockThatIsNotPreserved) {
  EXPECT_EQ(retrieve_after([](MemfdKernel& next, auto& record) {
              auto& folio = folios_of(next, record)[2];
              folio.frame_and_flags = Pfn(next.host.memory.buddy.allocate(0).value()).value | (u64{3} << 52);
            }),
            Code::Corrupt);
}
TEST_F(MemfdRecordTest, RefusesThePartOfABlock) {
  EXPECT_EQ(retrieve_after([](MemfdKernel& next, auto& record) { ++folios_of(next, record)[0].frame_and_flags; }),
            Code::Corrupt);
}
TEST_F(MemfdRecordTest, RefusesItsOwnRecordAsContents) {
  EXPECT_EQ(retrieve_after([](MemfdKernel& next, auto& record) {
              const PhysAddr own = next.host.memory.map.phys(&record);
              folios_of(next, record)[2].frame_and_flags = Pfn(own).value | (u64{3} << 52);
            }),
            Code::Corrupt);
}
TEST_F(MemfdRecordTest, ADamagedFileCostsNeitherItsSessionNorOthers) {
  RecordProperty("acceptance", "R14");
  const i32 sound = machine->make_memfd(8 * kib);
  const i32 other = machine->make_memfd(8 * kib);
  const i32 other_session = machine->create_session("other");
  ASSERT_EQ(machine->preserve(session, sound, 2), Code::Ok);
  ASSERT_EQ(machine->preserve(other_session, other, 1), Code::Ok);
  machine.jump();
  record_in(*machine)->flags = 1;
  ASSERT_EQ(machine->retrieve_session("vm", session), Code::Ok);
  i32 back = -1;
  EXPECT_EQ(machine->retrieve(session, 1, back), Code::NotSupported);
  EXPECT_EQ(machine->retrieve(session, 1, back), Code::NotSupported);
  EXPECT_EQ(machine->retrieve(session, 2, back), Code::Ok);
  i32 again = -1;
  ASSERT_EQ(machine->retrieve_session("other", again), Code::Ok);
  EXPECT_EQ(machine->retrieve(again, 1, back), Code::Ok);
}

}  // namespace
}  // namespace holdfast::memfd

// Outgoing and incoming sessions, by the calls of a process.
#include <gtest/gtest.h>

#include <algorithm>

#include "holdfast/luo/spies.hpp"

namespace holdfast::luo {
namespace {

TEST(Session, NamesAreUniqueProperAndNotEmpty) {
  RecordProperty("acceptance", "L2");
  Kernel kernel;
  ASSERT_TRUE(kernel.create("vm").ok());
  const auto before = kernel.snapshot();
  EXPECT_EQ(kernel.create("vm").code(), Code::Exists);
  EXPECT_EQ(kernel.create("").code(), Code::Invalid);
  EXPECT_EQ(kernel.create(std::string(64, 'x')).code(), Code::Invalid);
  EXPECT_EQ(kernel.snapshot(), before);
  EXPECT_TRUE(kernel.create(std::string(63, 'x')).ok());
  EXPECT_TRUE(kernel.create(std::string(62, 'x')).ok());
}

TEST(Session, BytesBehindTheNulOfANameMeanNothing) {
  Kernel kernel;
  ASSERT_TRUE(kernel.create(std::string_view("vm\0one", 6)).ok());
  EXPECT_EQ(kernel.create(std::string_view("vm\0two", 6)).code(), Code::Exists);
}

TEST(Session, TokensAndFilesAreTakenOnce) {
  RecordProperty("acceptance", "L3");
  Kernel kernel;
  kernel.add_handler();
  const i32 session = kernel.create("a").value();
  const i32 other = kernel.create("b").value();
  const i32 file = kernel.open_file(1);
  ASSERT_EQ(kernel.preserve_fd(session, file, 7), Code::Ok);
  const i32 second = kernel.open_file(2);
  const i32 unknown = kernel.open_file(3, "nobody");
  const auto before = kernel.snapshot();
  EXPECT_EQ(kernel.preserve_fd(session, second, 7), Code::Exists);
  EXPECT_EQ(kernel.preserve_fd(session, 777, 7), Code::Exists) << "the token is looked at first";
  EXPECT_EQ(kernel.preserve_fd(session, 777, 8), Code::BadFd);
  EXPECT_EQ(kernel.preserve_fd(session, -1, 8), Code::BadFd);
  EXPECT_EQ(kernel.preserve_fd(session, unknown, 8), Code::NotFound);
  EXPECT_EQ(kernel.preserve_fd(session, session, 8), Code::NotFound) << "a session is no file that anybody handles";
  EXPECT_EQ(kernel.preserve_fd(session, kernel.device(), 8), Code::NotFound);
  EXPECT_EQ(kernel.preserve_fd(session, file, 8), Code::Busy);
  EXPECT_EQ(kernel.preserve_fd(other, file, 7), Code::Busy) << "once over all sessions";
  EXPECT_EQ(kernel.snapshot(), before);
  EXPECT_EQ(kernel.preserve_fd(other, second, 7), Code::Ok) << "tokens are the session's own";
  EXPECT_EQ(kernel.preserve_fd(session, kernel.open_file(4), 0), Code::Ok);
  EXPECT_EQ(kernel.preserve_fd(session, kernel.open_file(5), ~u64{0}), Code::Ok);
}

TEST(Session, AFailedPreserveLeavesNoTraceAndMayBeRepeated) {
  RecordProperty("acceptance", "L4 L5");
  Kernel kernel;
  SpyHandler& handler = kernel.add_handler();
  kernel.add_flb(handler, "flb", 5);
  const i32 session = kernel.create("a").value();
  const i32 file = kernel.open_file(1);
  const auto before = kernel.snapshot();
  handler.refuse_preserve = {1};
  EXPECT_EQ(kernel.preserve_fd(session, file, 1), Code::Again);
  EXPECT_EQ(kernel.snapshot(), before);
  EXPECT_EQ(kernel.take_log(), (Log{"flb-preserve flb", "preserve-refused 1", "flb-unpreserve flb"}))
      << "no unpreserve for a preserve that failed";
  handler.refuse_preserve = {};
  EXPECT_EQ(kernel.preserve_fd(session, file, 1), Code::Ok);
}

TEST(Session, ClosingBeforeTheJumpUnpreservesNewestFirstAndForgetsEverything) {
  RecordProperty("acceptance", "L6");
  Kernel kernel;
  kernel.add_handler();
  (void)kernel.device();
  const auto before = kernel.snapshot();
  for (int round = 0; round < 2; ++round) {
    const i32 session = kernel.create("a").value();
    for (u64 number : {1u, 2u, 3u}) ASSERT_EQ(kernel.preserve(session, number), Code::Ok);
    ASSERT_TRUE(kernel.process.fds.close(session).ok());
    EXPECT_EQ(kernel.take_log(),
              (Log{"preserve 1", "preserve 2", "preserve 3", "unpreserve 3", "unpreserve 2", "unpreserve 1"}));
    EXPECT_EQ(kernel.snapshot(), before);
  }
}

TEST(Session, ADuplicatedDescriptorKeepsItOpen) {
  Kernel kernel;
  const i32 session = kernel.create("a").value();
  const i32 copy = kernel.process.fds.install(kernel.process.fds.get(session).value()).value();
  ASSERT_TRUE(kernel.process.fds.close(session).ok());
  EXPECT_EQ(kernel.create("a").code(), Code::Exists);
  ASSERT_TRUE(kernel.process.fds.close(copy).ok());
  EXPECT_TRUE(kernel.create("a").ok());
}

TEST(Session, ThePreservedFileOutlivesItsDescriptor) {
  RecordProperty("acceptance", "L18");
  Kernel kernel;
  kernel.add_handler();
  const size_t alive = SpyFile::alive().size();
  const i32 session = kernel.create("a").value();
  const i32 file = kernel.open_file(1);
  ASSERT_EQ(kernel.preserve_fd(session, file, 1), Code::Ok);
  ASSERT_TRUE(kernel.process.fds.close(file).ok());
  EXPECT_EQ(SpyFile::alive().size(), alive + 1);
  ASSERT_TRUE(kernel.luo.freeze().ok());
  kernel.luo.unfreeze();
  ASSERT_TRUE(kernel.process.fds.close(session).ok());
  EXPECT_EQ(SpyFile::alive().size(), alive);
}

TEST(Session, AHandlerLearnsTheTokenOfAFileInItsOwnSessionOnly) {
  RecordProperty("acceptance", "L15");
  Kernel kernel;
  SpyHandler& handler = kernel.add_handler();
  const i32 session = kernel.create("a").value();
  const i32 other = kernel.create("b").value();
  const i32 memory = kernel.open_file(1);
  ASSERT_EQ(kernel.preserve_fd(session, memory, 42), Code::Ok);
  handler.look_up = kernel.process.fds.get(memory)->get();
  ASSERT_EQ(kernel.preserve(other, 2), Code::Ok);
  EXPECT_EQ(handler.token_seen->code(), Code::NotFound);
  ASSERT_EQ(kernel.preserve(session, 3), Code::Ok);
  EXPECT_EQ(handler.token_seen->value(), 42u);
}

TEST(Session, EveryAllocationMayFailAndLeavesNoTrace) {
  RecordProperty("acceptance", "L4");
  Kernel kernel;
  SpyHandler& handler = kernel.add_handler();
  kernel.add_flb(handler, "flb", 5);
  (void)kernel.device();
  const auto sweep = [&](auto&& operation) {
    const auto before = kernel.snapshot();
    for (u64 k = 1;; ++k) {
      Code answer = Code::Ok;
      if (!kernel.world.failing(k, [&] { answer = operation(); })) {
        EXPECT_EQ(answer, Code::Ok);
        return k - 1;
      }
      EXPECT_EQ(answer, Code::NoMemory) << k;
      EXPECT_EQ(kernel.snapshot(), before) << k;
    }
  };
  i32 session = -1;
  EXPECT_GE(sweep([&] {
              const auto made = kernel.create("a");
              if (made.ok()) session = *made;
              return made.code();
            }),
            2u);
  const i32 first = kernel.open_file(1);
  EXPECT_GE(sweep([&] { return kernel.preserve_fd(session, first, 1); }), 3u);
  // The 129th file makes the file block grow, the 820th session the session block.
  for (u64 number = 2; number <= 128; ++number) ASSERT_EQ(kernel.preserve(session, number), Code::Ok);
  const i32 growing = kernel.open_file(129);
  EXPECT_GE(sweep([&] { return kernel.preserve_fd(session, growing, 129); }), 2u);
  for (u64 number = 2; number <= 819; ++number) ASSERT_TRUE(kernel.create("s" + std::to_string(number)).ok());
  EXPECT_GE(sweep([&] { return kernel.create("one-more").code(); }), 2u);
  EXPECT_GE(sweep([&] {
              const Status frozen = kernel.luo.freeze();
              if (frozen.ok()) kernel.luo.unfreeze();
              return frozen.code();
            }),
            0u);
}

TEST(Session, OpeningTheOrchestratorMayFailAndBeRepeated) {
  TestWorld world(64 << 20);
  TestMemory host(world);
  kho::Handover handover(host.memory);
  const PhysRange scratch = host.scratch();
  ASSERT_TRUE(handover.open({&scratch, 1}).ok());
  Orchestrator luo(host.memory, handover);
  const auto snapshot = [&] { return std::tuple(handover.state_hash(), host.memory.buddy.free_blocks()); };
  const auto before = snapshot();
  for (u64 k = 1;; ++k) {
    Status status;
    if (!world.failing(k, [&] { status = luo.open(nullptr); })) break;
    EXPECT_EQ(status.code(), Code::NoMemory);
    EXPECT_EQ(snapshot(), before);
  }
  luo.close();
  EXPECT_EQ(snapshot(), before);
}

TEST(Session, FilesAndSessionsGrowBeyondLinuxsSizesUpToAStatedMaximum) {
  RecordProperty("acceptance", "L17");
  Kernel kernel(u64{1} << 30);
  kernel.add_handler();
  const i32 session = kernel.create("many").value();
  (void)kernel.device();
  for (u64 number = 0; number < 65536; ++number) {
    const i32 fd = kernel.open_file(number);
    ASSERT_EQ(kernel.preserve_fd(session, fd, number), Code::Ok) << number;
    ASSERT_TRUE(kernel.process.fds.close(fd).ok());
  }
  const i32 one_more = kernel.open_file(65536);
  const auto before = kernel.snapshot();
  EXPECT_EQ(kernel.preserve_fd(session, one_more, 65536), Code::NoSpace);
  EXPECT_EQ(kernel.snapshot(), before);
  for (u64 number = 1; number < 52428; ++number)
    ASSERT_TRUE(kernel.create("s" + std::to_string(number)).ok()) << number;
  EXPECT_EQ(kernel.create("one-more").code(), Code::NoSpace);

  ASSERT_TRUE(kernel.luo.freeze().ok());
  Kernel next(kernel, AfterJump{});
  next.add_handler();
  ASSERT_EQ(next.luo.incoming_session_count(), 52428u);
  const i32 again = next.retrieve("many").value();
  for (u64 token : {u64{0}, u64{65535}, u64{128}, u64{4711}}) {
    const i32 fd = next.retrieve_fd(again, token).value();
    EXPECT_EQ(file_cast<SpyFile>(next.process.fds.get(fd)->get())->number, token);
  }
  EXPECT_EQ(next.retrieve_fd(again, 65536).code(), Code::NotFound);
  EXPECT_EQ(next.finish(again), Code::Ok);
  EXPECT_TRUE(next.retrieve("s52427").ok());
}

TEST(Session, ThousandsOfSessionsAndFilesGoAgainWithoutATrace) {
  Kernel kernel;
  kernel.add_handler();
  (void)kernel.device();
  const i32 lasting = kernel.create("lasting").value();
  ASSERT_EQ(kernel.preserve(lasting, 0), Code::Ok);
  const auto used = [&] {
    return std::tuple(kernel.host.memory.buddy.free_frames(), kernel.host.memory.heap.live_bytes(),
                      kernel.handover.count(), kernel.handover.node_count());
  };
  const auto before = used();
  for (int round = 0; round < 3; ++round) {
    std::vector<i32> sessions;
    for (u64 i = 0; i < 2000; ++i) sessions.push_back(kernel.create("s" + std::to_string(i)).value());
    for (u64 i = 1; i <= 500; ++i) ASSERT_EQ(kernel.preserve(sessions[7], i), Code::Ok);
    for (i32 session : sessions) ASSERT_TRUE(kernel.process.fds.close(session).ok());  // oldest first: the worst order
    EXPECT_EQ(used(), before);
  }
}

class AfterTheJump : public testing::Test {
 protected:
  AfterTheJump() {
    old.add_handler();
    for (const auto& [name, numbers] :
         std::vector<std::pair<std::string, std::vector<u64>>>{{"vm", {1, 2, 3}}, {"other", {4}}, {"empty", {}}}) {
      const i32 session = old.create(name).value();
      for (u64 number : numbers) EXPECT_EQ(old.preserve(session, number), Code::Ok);
    }
    EXPECT_TRUE(old.luo.freeze().ok());
    next = std::make_unique<Kernel>(old, AfterJump{});
    handler = &next->add_handler();
  }
  u64 number_of(i32 fd) { return file_cast<SpyFile>(next->process.fds.get(fd)->get())->number; }
  File* file_of(i32 fd) { return next->process.fds.get(fd)->get(); }

  Kernel old;
  std::unique_ptr<Kernel> next;
  SpyHandler* handler = nullptr;
};

TEST_F(AfterTheJump, FilesComeBackByTokenInAnyOrderAndOnlyOnce) {
  RecordProperty("acceptance", "L9");
  std::vector<u64> numbers{1, 2, 3};
  do {
    Kernel kernel(old, AfterJump{});
    kernel.add_handler();
    const i32 session = kernel.retrieve("vm").value();
    for (u64 number : numbers) {
      const i32 fd = kernel.retrieve_fd(session, 1000 + number).value();
      const i32 again = kernel.retrieve_fd(session, 1000 + number).value();
      EXPECT_NE(fd, again);
      EXPECT_EQ(kernel.process.fds.get(fd)->get(), kernel.process.fds.get(again)->get());
      EXPECT_EQ(file_cast<SpyFile>(kernel.process.fds.get(fd)->get())->number, number);
    }
    EXPECT_EQ(kernel.log.size(), 3u) << "the handler was asked once for each";
    EXPECT_EQ(kernel.retrieve_fd(session, 1004).code(), Code::NotFound);
  } while (std::ranges::next_permutation(numbers).found);
}

TEST_F(AfterTheJump, AFailedRetrieveIsRememberedAndCostsNothingElse) {
  RecordProperty("acceptance", "L9 R14");
  handler->refuse_retrieve = {2};
  const i32 session = next->retrieve("vm").value();
  EXPECT_EQ(next->retrieve_fd(session, 1002).code(), Code::Io);
  handler->refuse_retrieve = {};
  EXPECT_EQ(next->retrieve_fd(session, 1002).code(), Code::Io);
  EXPECT_EQ(next->take_log(), Log{"retrieve-refused 2"});
  EXPECT_TRUE(next->retrieve_fd(session, 1001).ok());
  EXPECT_TRUE(next->retrieve("other").ok());
}

TEST_F(AfterTheJump, SessionsAreRetrievedByNameAndHeldByOne) {
  RecordProperty("acceptance", "L13");
  EXPECT_EQ(next->retrieve("nobody").code(), Code::NotFound);
  EXPECT_EQ(next->retrieve("").code(), Code::NotFound);
  const i32 session = next->retrieve("vm").value();
  EXPECT_EQ(next->retrieve("vm").code(), Code::Invalid);
  EXPECT_EQ(next->finish(session), Code::Ok);
  EXPECT_EQ(next->retrieve("vm").code(), Code::Invalid) << "still held";
  ASSERT_TRUE(next->process.fds.close(session).ok());
  EXPECT_EQ(next->retrieve("vm").code(), Code::NotFound);
  EXPECT_TRUE(next->create("vm").ok());
  EXPECT_TRUE(next->create("other").ok()) << "incoming and outgoing names are two lists";
}

TEST_F(AfterTheJump, FinishIsAllOrNothing) {
  RecordProperty("acceptance", "L11 L12");
  const i32 session = next->retrieve("vm").value();
  ASSERT_TRUE(next->retrieve_fd(session, 1001).ok());
  handler->refuse_finish = {2};
  const auto before = next->snapshot();
  next->take_log();
  EXPECT_EQ(next->finish(session), Code::Busy);
  EXPECT_EQ(next->finish(session), Code::Busy);
  EXPECT_EQ(next->snapshot(), before);
  EXPECT_EQ(next->take_log(), Log{});
  handler->refuse_finish = {};
  EXPECT_EQ(next->finish(session), Code::Ok);
  EXPECT_EQ(next->take_log(), (Log{"finish-unclaimed 3", "finish-unclaimed 2", "finish 1"})) << "newest first";
  EXPECT_EQ(next->finish(session), Code::Ok);
  EXPECT_EQ(next->take_log(), Log{});
  EXPECT_EQ(next->retrieve_fd(session, 1001).code(), Code::NotFound);
}

TEST_F(AfterTheJump, ASessionThatCannotFinishWhenItIsClosedStaysRetrievable) {
  RecordProperty("acceptance", "L14");
  handler->refuse_finish = {3};
  i32 session = next->retrieve("vm").value();
  File* first = file_of(next->retrieve_fd(session, 1001).value());
  ASSERT_TRUE(next->process.fds.close(session).ok());
  session = next->retrieve("vm").value();
  EXPECT_EQ(file_of(next->retrieve_fd(session, 1001).value()), first) << "what was retrieved stays so";
  handler->refuse_finish = {};
  next->take_log();
  EXPECT_EQ(next->finish(session), Code::Ok);
  EXPECT_EQ(next->take_log(), (Log{"finish-unclaimed 3", "finish-unclaimed 2", "finish 1"}));
}

TEST_F(AfterTheJump, ClosingASessionThatCanFinishFinishesIt) {
  ASSERT_TRUE(next->process.fds.close(next->retrieve("vm").value()).ok());
  EXPECT_EQ(next->take_log(), (Log{"finish-unclaimed 3", "finish-unclaimed 2", "finish-unclaimed 1"}));
  EXPECT_EQ(next->retrieve("vm").code(), Code::NotFound);
}

TEST_F(AfterTheJump, AFileMayRetrieveAnotherOfItsSession) {
  RecordProperty("acceptance", "L16");
  handler->needs_token = {{3, 1001}};
  const i32 session = next->retrieve("vm").value();
  ASSERT_TRUE(next->retrieve_fd(session, 1003).ok());
  EXPECT_EQ(next->take_log(), (Log{"retrieve 1", "retrieve 3"}));
  File* pulled = file_of(next->retrieve_fd(session, 1001).value());
  EXPECT_EQ(pulled->references(), 2u) << "the session's and the descriptor's";
  EXPECT_EQ(next->take_log(), Log{});
}

TEST_F(AfterTheJump, FilesThatNeedEachOtherAreRefusedInsteadOfTurningForEver) {
  handler->needs_token = {{1, 1002}, {2, 1001}};
  const i32 session = next->retrieve("vm").value();
  EXPECT_EQ(next->retrieve_fd(session, 1001).code(), Code::Busy);
  EXPECT_TRUE(next->retrieve_fd(session, 1003).ok());
}

TEST_F(AfterTheJump, TheAdministratorCanDropASession) {
  EXPECT_EQ(next->drop("nobody"), Code::NotFound);
  const i32 held = next->retrieve("other").value();
  EXPECT_EQ(next->drop("other"), Code::Busy);
  EXPECT_EQ(next->drop("vm"), Code::Ok);
  EXPECT_EQ(next->take_log(), (Log{"drop 3", "drop 2", "drop 1"}));
  EXPECT_EQ(next->retrieve("vm").code(), Code::NotFound);
  EXPECT_TRUE(next->retrieve_fd(held, 1004).ok());
}

TEST_F(AfterTheJump, NothingIncomingIsLeftAfterTheLastFinish) {
  RecordProperty("acceptance", "K12");
  const auto cold = [&] {
    Kernel kernel;
    kernel.add_handler();
    (void)kernel.device();
    return std::tuple(kernel.host.memory.buddy.free_frames(), kernel.host.memory.heap.live_objects());
  }();
  for (const char* name : {"empty", "vm", "other"}) {
    EXPECT_TRUE(next->handover.holds_incoming_map());
    const i32 session = next->retrieve(name).value();
    EXPECT_EQ(next->finish(session), Code::Ok);
    ASSERT_TRUE(next->process.fds.close(session).ok());
  }
  EXPECT_FALSE(next->handover.holds_incoming_map());
  u64 waiting = 0;
  next->handover.for_each_unrestored([&](Block) { ++waiting; });
  EXPECT_EQ(waiting, 0u);
  EXPECT_EQ(std::tuple(next->host.memory.buddy.free_frames(), next->host.memory.heap.live_objects()), cold);
}

TEST_F(AfterTheJump, CallsOfTheOtherDirectionAreRefusedWithoutHarm) {
  const i32 incoming = next->retrieve("vm").value();
  const i32 outgoing = next->create("new").value();
  ASSERT_EQ(next->preserve(outgoing, 9), Code::Ok);
  const i32 file = next->open_file(8);
  const auto before = next->snapshot();
  EXPECT_EQ(next->preserve_fd(incoming, file, 5), Code::Invalid);
  EXPECT_EQ(next->retrieve_fd(outgoing, 1009).code(), Code::Invalid);
  EXPECT_EQ(next->finish(outgoing), Code::Invalid);
  EXPECT_EQ(next->snapshot(), before);
}

TEST_F(AfterTheJump, ADescriptorThatCannotBeHandedOutFinishesNothing) {
  (void)next->device();
  next->process.fds.limit = next->process.fds.size();
  EXPECT_EQ(next->retrieve("vm").code(), Code::TooManyFiles);
  EXPECT_EQ(next->create("new").code(), Code::TooManyFiles);
  next->process.fds.limit = ~u64{0};
  EXPECT_EQ(next->luo.outgoing_session_count(), 0u);
  next->process.user.read_only = true;
  EXPECT_EQ(next->retrieve("vm").code(), Code::Fault);
  next->process.user.read_only = false;
  EXPECT_EQ(next->take_log(), Log{});
  EXPECT_TRUE(next->retrieve("vm").ok());
}

TEST_F(AfterTheJump, ReadingTheRecordsMayFailForWantOfMemoryAndBeRepeated) {
  RecordProperty("acceptance", "L22");
  Kernel kernel(old, old.handover.numbers(), AfterJump{}, Policy::Holdfast);
  const auto map = kho::IncomingMap::open(kernel.host.memory.map, kernel.host.boot.handover);
  ASSERT_TRUE(kernel.handover.claim_incoming(*map).ok());
  kernel.host.memory.open();
  kernel.scratch = kernel.host.scratch();
  ASSERT_TRUE(kernel.handover.open({&kernel.scratch, 1}).ok());
  const auto snapshot = [&] {
    return std::tuple(kernel.handover.state_hash(), kernel.host.memory.buddy.free_blocks());
  };
  const auto before = snapshot();
  u64 failures = 0;
  for (u64 k = 1;; ++k, ++failures) {
    Status status;
    if (!kernel.world.failing(k, [&] { status = kernel.luo.open(&*map); })) break;
    EXPECT_EQ(status.code(), Code::NoMemory);
    EXPECT_EQ(snapshot(), before);
  }
  EXPECT_GT(failures, 5u);
  kernel.add_handler();
  const i32 session = kernel.retrieve("vm").value();
  EXPECT_TRUE(kernel.retrieve_fd(session, 1002).ok());
}

}  // namespace
}  // namespace holdfast::luo

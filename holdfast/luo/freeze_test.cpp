// The freeze, its roll-back, FLBs, and passing on what was not finished.
#include <gtest/gtest.h>

#include "holdfast/luo/spies.hpp"

namespace holdfast::luo {
namespace {

class FreezeTest : public testing::Test {
 protected:
  FreezeTest() {
    handler = &kernel.add_handler();
    first = kernel.create("first").value();
    second = kernel.create("second").value();
    EXPECT_EQ(kernel.preserve(first, 1), Code::Ok);
    EXPECT_EQ(kernel.preserve(second, 2), Code::Ok);
    EXPECT_EQ(kernel.preserve(first, 3), Code::Ok);
    EXPECT_EQ(kernel.preserve(second, 4), Code::Ok);
    kernel.take_log();
  }
  Kernel kernel;
  SpyHandler* handler = nullptr;
  i32 first = -1;
  i32 second = -1;
};

TEST_F(FreezeTest, EveryFileConsentsOldestFirstSessionBySession) {
  RecordProperty("acceptance", "L7");
  ASSERT_TRUE(kernel.luo.freeze().ok());
  EXPECT_EQ(kernel.take_log(), (Log{"freeze 1", "freeze 3", "freeze 2", "freeze 4"}));
  kernel.luo.unfreeze();
  EXPECT_EQ(kernel.take_log(), (Log{"unfreeze 4", "unfreeze 2", "unfreeze 3", "unfreeze 1"}));
}

TEST_F(FreezeTest, ARefusalUndoesTheEarlierConsentsInReverseAndNothingElse) {
  RecordProperty("acceptance", "L7");
  const std::vector<u64> order{1, 3, 2, 4};
  const auto before = kernel.snapshot();
  for (size_t k = 0; k < order.size(); ++k) {
    handler->refuse_freeze = {order[k]};
    EXPECT_EQ(kernel.luo.freeze().code(), Code::Again);
    Log expected;
    for (size_t i = 0; i < k; ++i) expected.push_back("freeze " + std::to_string(order[i]));
    expected.push_back("freeze-refused " + std::to_string(order[k]));
    for (size_t i = k; i-- != 0;) expected.push_back("unfreeze " + std::to_string(order[i]));
    EXPECT_EQ(kernel.take_log(), expected);
    EXPECT_EQ(kernel.snapshot(), before);
    EXPECT_FALSE(kernel.luo.is_frozen());
  }
  EXPECT_EQ(kernel.preserve(first, 5), Code::Ok) << "the system is fully usable";
  handler->refuse_freeze = {};
  EXPECT_TRUE(kernel.luo.freeze().ok());
}

TEST_F(FreezeTest, AfterItEverySessionCallIsBusyUntilTheJumpFailed) {
  RecordProperty("acceptance", "L8");
  const i32 file = kernel.open_file(9);
  const auto before = kernel.snapshot();
  ASSERT_TRUE(kernel.luo.freeze().ok());
  EXPECT_EQ(kernel.preserve_fd(first, file, 9), Code::Busy);
  EXPECT_EQ(kernel.retrieve_fd(first, 1001).code(), Code::Busy);
  EXPECT_EQ(kernel.finish(first), Code::Busy);
  EXPECT_EQ(kernel.create("third").code(), Code::Busy);
  EXPECT_EQ(kernel.retrieve("third").code(), Code::Busy);
  EXPECT_EQ(kernel.drop("third"), Code::Busy);
  EXPECT_EQ(kernel.luo.freeze().code(), Code::Busy);
  kernel.luo.unfreeze();
  EXPECT_EQ(kernel.snapshot(), (kernel.device(), before)) << "as if it had never been";
  EXPECT_EQ(kernel.preserve_fd(first, file, 9), Code::Ok);
}

TEST_F(FreezeTest, NothingCrossesBeforeItAndEverythingAfterIt) {
  const auto sessions_seen_by_successor = [&] {
    const auto map = kho::IncomingMap::open(kernel.host.memory.map, kernel.handover.numbers());
    const auto stream = IncomingStream::open(kernel.host.memory.map, *map);
    EXPECT_TRUE(stream.ok());
    return std::pair(stream->number(), stream->session_count());
  };
  EXPECT_EQ(sessions_seen_by_successor(), std::pair(u64{0}, u64{0}));
  ASSERT_TRUE(kernel.luo.freeze().ok());
  EXPECT_EQ(sessions_seen_by_successor(), std::pair(u64{1}, u64{2}));
  kernel.luo.unfreeze();
  EXPECT_EQ(sessions_seen_by_successor(), std::pair(u64{0}, u64{0}));
}

TEST_F(FreezeTest, ASessionClosedInBetweenIsUndoneWhenTheJumpFails) {
  ASSERT_TRUE(kernel.luo.freeze().ok());
  kernel.take_log();
  ASSERT_TRUE(kernel.process.fds.close(first).ok());
  EXPECT_EQ(kernel.take_log(), Log{}) << "its records are on their way";
  kernel.luo.unfreeze();
  EXPECT_EQ(kernel.take_log(),
            (Log{"unfreeze 4", "unfreeze 2", "unfreeze 3", "unfreeze 1", "unpreserve 3", "unpreserve 1"}));
  EXPECT_TRUE(kernel.create("first").ok());
}

TEST_F(FreezeTest, NothingIsTouchedOnceItIsDone) {
  ASSERT_TRUE(kernel.luo.freeze().ok());
  kernel.host.memory.touches.running = true;
  (void)kernel.handover.numbers();
  EXPECT_EQ(kernel.host.memory.touches.counts, TouchCounts{});
}

TEST(FlbTest, IsPreservedWithTheFirstFileAndUnpreservedWithTheLast) {
  RecordProperty("acceptance", "L19");
  Kernel kernel;
  SpyHandler& one = kernel.add_handler("one");
  SpyHandler& two = kernel.add_handler("two");
  SpyFlb& shared = kernel.add_flb(one, "shared", 7);
  EXPECT_TRUE(kernel.luo.register_flb(two, shared).ok());
  kernel.add_flb(two, "lone", 8);
  (void)kernel.device();
  const auto before = kernel.snapshot();
  const i32 a = kernel.create("a").value();
  const i32 b = kernel.create("b").value();
  EXPECT_EQ(kernel.luo.find_outgoing_flb("shared").code(), Code::NotFound);
  ASSERT_EQ(kernel.preserve(a, 1, "one"), Code::Ok);
  ASSERT_EQ(kernel.preserve(b, 2, "two"), Code::Ok);
  ASSERT_EQ(kernel.preserve(b, 3, "one"), Code::Ok);
  EXPECT_EQ(kernel.take_log(),
            (Log{"flb-preserve shared", "preserve 1", "flb-preserve lone", "preserve 2", "preserve 3"}));
  EXPECT_EQ(kernel.luo.find_outgoing_flb("shared").value(), 7u);
  ASSERT_TRUE(kernel.process.fds.close(a).ok());
  EXPECT_EQ(kernel.take_log(), Log{"unpreserve 1"});
  ASSERT_TRUE(kernel.process.fds.close(b).ok());
  EXPECT_EQ(kernel.take_log(), (Log{"unpreserve 3", "unpreserve 2", "flb-unpreserve lone", "flb-unpreserve shared"}));
  EXPECT_EQ(kernel.snapshot(), before);
}

TEST(FlbTest, ARefusalReleasesTheOthersAndTheFileIsNotPreserved) {
  RecordProperty("acceptance", "L4");
  Kernel kernel;
  SpyHandler& handler = kernel.add_handler();
  kernel.add_flb(handler, "willing", 1);
  SpyFlb& unwilling = kernel.add_flb(handler, "unwilling", 2);
  unwilling.refusal = Code::NoDevice;
  const i32 session = kernel.create("a").value();
  const i32 file = kernel.open_file(1);
  const auto before = kernel.snapshot();
  EXPECT_EQ(kernel.preserve_fd(session, file, 1), Code::NoDevice);
  EXPECT_EQ(kernel.take_log(), (Log{"flb-preserve willing", "flb-unpreserve willing"}));
  EXPECT_EQ(kernel.snapshot(), before);
}

TEST(FlbTest, RegistrationIsChecked) {
  RecordProperty("acceptance", "L23");
  Kernel kernel;
  Log log;
  SpyHandler stranger(kernel.handover, kernel.host.memory, log, "stranger");
  SpyHandler& handler = kernel.add_handler("known");
  SpyHandler same(kernel.handover, kernel.host.memory, log, "known");
  SpyHandler nameless(kernel.handover, kernel.host.memory, log, "");
  SpyHandler verbose(kernel.handover, kernel.host.memory, log, std::string(48, 'x'));
  SpyFlb flb(log, "flb", 1);
  SpyFlb twin(log, "flb", 2);
  EXPECT_EQ(kernel.luo.register_flb(stranger, flb).code(), Code::Invalid) << "the FLB before its handler";
  EXPECT_EQ(kernel.luo.register_handler(same).code(), Code::Exists);
  EXPECT_EQ(kernel.luo.register_handler(nameless).code(), Code::Invalid);
  EXPECT_EQ(kernel.luo.register_handler(verbose).code(), Code::Invalid);
  EXPECT_TRUE(kernel.luo.register_flb(handler, flb).ok());
  EXPECT_EQ(kernel.luo.register_flb(handler, flb).code(), Code::Exists);
  EXPECT_EQ(kernel.luo.register_flb(handler, twin).code(), Code::Exists);
  const i32 session = kernel.create("a").value();
  EXPECT_EQ(kernel.luo.register_handler(stranger).code(), Code::Busy);
  EXPECT_EQ(kernel.luo.unregister_handler(handler).code(), Code::Busy);
  EXPECT_EQ(kernel.luo.unregister_flb(flb).code(), Code::Busy);
  ASSERT_TRUE(kernel.process.fds.close(session).ok());
  EXPECT_EQ(kernel.luo.unregister_handler(handler).code(), Code::Busy) << "an FLB is attached";
  EXPECT_TRUE(kernel.luo.unregister_flb(flb).ok());
  EXPECT_TRUE(kernel.luo.unregister_handler(handler).ok());
  EXPECT_EQ(kernel.luo.unregister_handler(handler).code(), Code::NotFound);
}

TEST(FlbTest, IsFoundInTheNextKernelAndFinishedAfterTheLastFile) {
  RecordProperty("acceptance", "L19 L21");
  Kernel old;
  EXPECT_EQ(old.luo.find_incoming_flb("flb").code(), Code::NoData) << "a normal boot";
  SpyHandler& one = old.add_handler("one");
  SpyHandler& two = old.add_handler("two");
  SpyFlb& flb = old.add_flb(one, "flb", 0xf1b);
  ASSERT_TRUE(old.luo.register_flb(two, flb).ok());
  const i32 a = old.create("a").value();
  const i32 b = old.create("b").value();
  ASSERT_EQ(old.preserve(a, 1, "one"), Code::Ok);
  ASSERT_EQ(old.preserve(a, 2, "two"), Code::Ok);
  ASSERT_EQ(old.preserve(b, 3, "one"), Code::Ok);
  ASSERT_TRUE(old.luo.freeze().ok());

  Kernel next(old, AfterJump{});
  EXPECT_EQ(early_find_flb(next.host.memory.map, *next.incoming, "flb").value(), 0xf1bu);
  EXPECT_EQ(early_find_flb(next.host.memory.map, *next.incoming, "other").code(), Code::NotFound);
  EXPECT_EQ(next.luo.find_incoming_flb("flb").value(), 0xf1bu) << "before anybody registers";
  SpyFlb& incoming = next.add_flb(next.add_handler("one"), "flb", 0);
  ASSERT_TRUE(next.luo.register_flb(next.add_handler("two"), incoming).ok());
  EXPECT_EQ(next.luo.find_incoming_flb("flb").value(), 0xf1bu);
  EXPECT_EQ(next.luo.find_incoming_flb("other").code(), Code::NotFound);
  ASSERT_EQ(next.finish(next.retrieve("a").value()), Code::Ok);
  EXPECT_EQ(next.take_log(), (Log{"finish-unclaimed 2", "finish-unclaimed 1"}));
  EXPECT_TRUE(next.luo.find_incoming_flb("flb").ok());
  ASSERT_EQ(next.finish(next.retrieve("b").value()), Code::Ok);
  EXPECT_EQ(next.take_log(), (Log{"finish-unclaimed 3", "flb-finish flb"}));
  EXPECT_EQ(next.luo.find_incoming_flb("flb").code(), Code::NotFound);
}

class PassOnTest : public testing::Test {
 protected:
  PassOnTest() {
    old.add_flb(old.add_handler(), "flb", 5);
    const i32 session = old.create("vm").value();
    for (u64 number : {1u, 2u, 3u}) EXPECT_EQ(old.preserve(session, number), Code::Ok);
    EXPECT_TRUE(old.luo.freeze().ok());
    next = std::make_unique<Kernel>(old, AfterJump{});
    handler = &next->add_handler();
    next->add_flb(*handler, "flb", 6);
  }
  Kernel old;
  std::unique_ptr<Kernel> next;
  SpyHandler* handler = nullptr;
};

TEST_F(PassOnTest, WhatWasNotFinishedCrossesAgain) {
  RecordProperty("acceptance", "L20");
  const i32 session = next->retrieve("vm").value();
  ASSERT_TRUE(next->retrieve_fd(session, 1002).ok());
  const i32 fresh = next->create("fresh").value();
  ASSERT_EQ(next->preserve(fresh, 4), Code::Ok);
  next->take_log();
  ASSERT_TRUE(next->luo.freeze().ok());
  EXPECT_EQ(next->take_log(), (Log{"pass-on-unclaimed 1", "pass-on 2", "pass-on-unclaimed 3", "freeze 4"}));

  Kernel third(*next, AfterJump{});
  EXPECT_EQ(third.luo.number(), 2u);
  third.add_flb(third.add_handler(), "flb", 7);
  EXPECT_EQ(third.luo.find_incoming_flb("flb").value(), 6u) << "the second kernel's, not the first's";
  const i32 again = third.retrieve("vm").value();
  for (u64 number : {3u, 1u, 2u}) {
    const i32 fd = third.retrieve_fd(again, 1000 + number).value();
    EXPECT_EQ(file_cast<SpyFile>(third.process.fds.get(fd)->get())->number, number);
  }
  third.take_log();
  EXPECT_EQ(third.finish(again), Code::Ok);
  EXPECT_EQ(third.finish(third.retrieve("fresh").value()), Code::Ok);
  EXPECT_EQ(third.take_log(), (Log{"finish 3", "finish 2", "finish 1", "finish-unclaimed 4", "flb-finish flb"}));
  EXPECT_FALSE(third.handover.holds_incoming_map());
}

TEST_F(PassOnTest, AChainOfUpdatesLosesNothingThatNobodyClaims) {
  RecordProperty("acceptance", "L20");
  std::vector<std::unique_ptr<Kernel>> chain;
  chain.push_back(std::move(next));
  for (u64 update = 2; update <= 5; ++update) {
    ASSERT_TRUE(chain.back()->luo.freeze().ok());
    chain.push_back(std::make_unique<Kernel>(*chain.back(), AfterJump{}));
    chain.back()->add_flb(chain.back()->add_handler(), "flb", update);
    EXPECT_EQ(chain.back()->luo.number(), update);
    EXPECT_EQ(chain.back()->luo.incoming_session_count(), 1u);
  }
  Kernel& last = *chain.back();
  EXPECT_EQ(last.finish(last.retrieve("vm").value()), Code::Ok);
  u64 waiting = 0;
  last.handover.for_each_unrestored([&](Block) { ++waiting; });
  EXPECT_EQ(waiting, 0u);
}

TEST_F(PassOnTest, IsUndoneInReverseWhenAFileRefuses) {
  RecordProperty("acceptance", "L7");
  const i32 fresh = next->create("fresh").value();
  ASSERT_EQ(next->preserve(fresh, 4), Code::Ok);
  const auto before = next->snapshot();
  next->take_log();
  handler->refuse_freeze = {4};
  EXPECT_EQ(next->luo.freeze().code(), Code::Again);
  EXPECT_EQ(next->take_log(), (Log{"pass-on-unclaimed 1", "pass-on-unclaimed 2", "pass-on-unclaimed 3",
                                   "freeze-refused 4", "cancel-pass-on 3", "cancel-pass-on 2", "cancel-pass-on 1"}));
  EXPECT_EQ(next->snapshot(), before);
  handler->refuse_freeze = {};
  handler->refuse_pass_on = {2};
  EXPECT_EQ(next->luo.freeze().code(), Code::NotSupported);
  EXPECT_EQ(next->take_log(), (Log{"pass-on-unclaimed 1", "pass-on-refused 2", "cancel-pass-on 1"}));
  EXPECT_EQ(next->snapshot(), before);
  handler->refuse_pass_on = {};
  EXPECT_TRUE(next->luo.freeze().ok());
  next->luo.unfreeze();
  EXPECT_EQ(next->snapshot(), before);
}

TEST_F(PassOnTest, EveryAllocationOfTheFreezeMayFailAndLeavesNoTrace) {
  (void)next->device();
  const auto before = next->snapshot();
  u64 failures = 0;
  for (u64 k = 1;; ++k, ++failures) {
    Status status;
    if (!next->world.failing(k, [&] { status = next->luo.freeze(); })) break;
    EXPECT_EQ(status.code(), Code::NoMemory) << k;
    EXPECT_EQ(next->snapshot(), before) << k;
  }
  EXPECT_GT(failures, 3u);
  next->luo.unfreeze();
  EXPECT_EQ(next->snapshot(), before);
}

TEST_F(PassOnTest, ASessionOfTheSameNameIsInTheWay) {
  const i32 same = next->create("vm").value();
  const auto before = next->snapshot();
  EXPECT_EQ(next->luo.freeze().code(), Code::Exists);
  EXPECT_EQ(next->snapshot(), before);
  ASSERT_TRUE(next->process.fds.close(same).ok());
  EXPECT_TRUE(next->luo.freeze().ok());
}

TEST_F(PassOnTest, AFileThatIsAlreadyOnItsWayInANewSessionIsNotSentTwice) {
  const i32 session = next->retrieve("vm").value();
  const i32 file = next->retrieve_fd(session, 1001).value();
  const i32 fresh = next->create("fresh").value();
  ASSERT_EQ(next->preserve_fd(fresh, file, 1), Code::Ok);
  const auto before = next->snapshot();
  EXPECT_EQ(next->luo.freeze().code(), Code::Busy);
  EXPECT_EQ(next->snapshot(), before);
  EXPECT_EQ(next->finish(session), Code::Ok);
  EXPECT_TRUE(next->luo.freeze().ok());
}

}  // namespace
}  // namespace holdfast::luo

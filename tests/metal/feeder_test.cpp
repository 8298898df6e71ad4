// The feeder against a card made by hand: the other end of its wire.
#include "tests/metal/feeder.hpp"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <chrono>
#include <optional>

#include "vmm/frame.hpp"

namespace metal_test {
namespace {

using Clock = std::chrono::steady_clock;

/// The number of the next frame that comes within a second.
std::optional<u64> take(int card) {
  pollfd one{.fd = card, .events = POLLIN, .revents = 0};
  if (::poll(&one, 1, 1000) <= 0) return std::nullopt;
  std::array<u8, 2048> bytes;
  const ssize_t got = ::recv(card, bytes.data(), bytes.size(), 0);
  if (got < 0) return std::nullopt;
  return vmm::check_frame(vmm::FrameKind::Data, std::span(bytes.data(), static_cast<std::size_t>(got)));
}

void answer(int card, const vmm::Frame& frame) {
  EXPECT_EQ(::send(card, frame.data(), frame.size(), 0), static_cast<ssize_t>(frame.size()));
}

TEST(Feeder, SendsEveryNumberInOrderAndThenNoMore) {
  Feeder feeder(300, 100'000);
  feeder.start();
  for (u64 number = 0; number < 300; ++number) ASSERT_EQ(take(feeder.card_end()), number);
  pollfd one{.fd = feeder.card_end(), .events = POLLIN, .revents = 0};
  EXPECT_EQ(::poll(&one, 1, 20), 0);
  EXPECT_EQ(feeder.stop().sent, 300u);
}

TEST(Feeder, WaitsWhereTheCardTakesNothingAndLosesNothing) {
  Feeder feeder(500, 100'000);
  feeder.start();
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  for (u64 number = 0; number < 500; ++number) ASSERT_EQ(take(feeder.card_end()), number);
  const FeedCounts counts = feeder.stop();
  EXPECT_EQ(counts.sent, 500u);
  EXPECT_GT(counts.stalls, 0u);
}

TEST(Feeder, KeepsItsRate) {
  constexpr u64 frames = 100;
  Feeder feeder(frames, 1000);
  const auto start = Clock::now();
  feeder.start();
  for (u64 number = 0; number < frames; ++number) ASSERT_EQ(take(feeder.card_end()), number);
  EXPECT_GE(Clock::now() - start, std::chrono::milliseconds(95));
}

TEST(Feeder, ChecksTheAnswersOfTheGuest) {
  Feeder feeder(1, 1000);
  feeder.start();
  answer(feeder.card_end(), vmm::make_frame(vmm::FrameKind::Answer, 256));
  answer(feeder.card_end(), vmm::make_frame(vmm::FrameKind::Answer, 512));
  vmm::Frame broken = vmm::make_frame(vmm::FrameKind::Answer, 768);
  broken.back() ^= 1;
  answer(feeder.card_end(), broken);
  answer(feeder.card_end(), vmm::make_frame(vmm::FrameKind::Answer, 512));  // says no more than one before
  answer(feeder.card_end(), vmm::make_frame(vmm::FrameKind::Data, 1024));   // of somebody else
  const FeedCounts counts = feeder.stop();
  EXPECT_EQ(counts.answers, 2u);
  EXPECT_EQ(counts.wrong_answers, 2u);
  EXPECT_EQ(counts.reached, 512u);
}

TEST(Feeder, EndsWithItsWire) {
  Feeder feeder(~u64{0}, 1000);
  feeder.start();
  feeder.close_card_end();
  std::this_thread::sleep_for(std::chrono::milliseconds(30));
  const u64 sent = feeder.stop().sent;
  EXPECT_LT(sent, 30u);
}

}  // namespace
}  // namespace metal_test

// The feeder against a card made by hand, the other end of its wire; and the count of what a card delivered.
#include "tests/metal/feeder.hpp"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <chrono>
#include <optional>

#include "tests/metal/scenarios/landed.hpp"
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
  EXPECT_GT(counts.stalled_seconds, 0.01);
  EXPECT_LT(counts.stalled_seconds, counts.seconds);
  EXPECT_LT(counts.rate(), 50'000) << "stalls count";
}

TEST(Feeder, KeepsItsRate) {
  constexpr u64 frames = 100;
  Feeder feeder(frames, 1000);
  const auto start = Clock::now();
  feeder.start();
  for (u64 number = 0; number < frames; ++number) ASSERT_EQ(take(feeder.card_end()), number);
  EXPECT_GE(Clock::now() - start, std::chrono::milliseconds(95));
  const FeedCounts counts = feeder.stop();
  EXPECT_GE(counts.seconds, 0.095);
  EXPECT_LE(counts.rate(), 1050);
  EXPECT_GT(counts.rate(), 0);
  EXPECT_EQ(FeedCounts().rate(), 0);
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

/// Heads at LastConsent and AdoptionDone, and what the next guest found.
std::optional<Delivery> delivery(u64 from, u64 to, const std::string& back) {
  std::vector<Line> lines;
  for (const std::string& text :
       {std::string("hf: update generation=1"), "hf: phase name=LastConsent cycles=0 value=" + std::to_string(from),
        "hf: phase name=AdoptionDone cycles=9 value=" + std::to_string(to), "hf: back workload=net " + back})
    lines.push_back(parse_line(text));
  return delivered(lines, 1, "LastConsent", "AdoptionDone");
}
using Figures = std::pair<u64, u64>;
Figures figures(const std::optional<Delivery>& some) { return some ? Figures(some->passed, some->filled) : Figures(); }

TEST(Delivered, IsWhatTheHeadPassedAndTheGuestFoundFilled) {
  EXPECT_EQ(figures(delivery(100, 150, "generation=1 first=90 landed=80")), Figures(50, 50));
  EXPECT_EQ(figures(delivery(100, 150, "generation=1 first=90 landed=20")), Figures(50, 10)) << "filled before only";
  EXPECT_EQ(figures(delivery(100, 100, "generation=1 first=90 landed=80")), Figures(0, 0)) << "it stood still";
  EXPECT_EQ(figures(delivery(100, 90, "generation=1 first=95 landed=5")), Figures(8182, 0)) << "it ran on, dead";
  EXPECT_EQ(figures(delivery(8190, 10, "generation=1 first=8000 landed=8192")), Figures(12, 12)) << "around the end";
}

TEST(Delivered, IsUnknownWhenALineIsMissing) {
  EXPECT_TRUE(delivery(1, 2, "generation=1 first=0 landed=5"));
  EXPECT_FALSE(delivery(1, 2, "generation=2 first=0 landed=5"));
  EXPECT_FALSE(delivery(1, 2, "generation=1 landed=5"));
  EXPECT_FALSE(delivery(1, 2, "generation=1 first=8192 landed=5"));
  EXPECT_FALSE(delivery(8192, 2, "generation=1 first=0 landed=5"));
  EXPECT_FALSE(delivered({}, 1, "LastConsent", "AdoptionDone"));
}

}  // namespace
}  // namespace metal_test

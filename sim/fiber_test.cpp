#include "sim/fiber.hpp"

#include <gtest/gtest.h>

#include <array>
#include <numeric>
#include <stdexcept>

#include "holdfast/base/panic.hpp"

namespace sim {
namespace {

struct CountsDestructions {
  int* count;
  ~CountsDestructions() { ++*count; }
};

TEST(Fiber, ReturnsWhenItsBodyDoes) {
  Fiber fiber;
  int destroyed = 0;
  EXPECT_EQ(fiber.run([&] { CountsDestructions object{&destroyed}; }).kind, Outcome::Kind::Returned);
  EXPECT_EQ(destroyed, 1);
  EXPECT_FALSE(Fiber::inside());
}

TEST(Fiber, IsLeftWithoutRunningDestructors) {
  Fiber fiber;
  int destroyed = 0;
  const Outcome outcome = fiber.run([&] {
    CountsDestructions object{&destroyed};
    Fiber::leave(Outcome::jumped({1, 2, 3, 4}));
  });
  EXPECT_EQ(outcome.kind, Outcome::Kind::Jumped);
  EXPECT_EQ(outcome.handover, (Handover{1, 2, 3, 4}));
  EXPECT_EQ(destroyed, 0);
}

TEST(Fiber, RunsAgainOnTheSameStack) {
  Fiber fiber;
  for (int i = 0; i < 1000; ++i) {
    const Outcome outcome = fiber.run([&] {
      std::array<int, 64> locals{};
      std::fill_n(locals.begin(), 64, i);
      ASSERT_EQ(std::accumulate(locals.begin(), locals.end(), 0), 64 * i);
      if (i % 2 == 0) Fiber::leave(Outcome::stopped());
    });
    ASSERT_EQ(outcome.kind, i % 2 == 0 ? Outcome::Kind::Stopped : Outcome::Kind::Returned);
  }
}

TEST(Fiber, EndsAtAPanicAndSaysWhere) {
  Fiber fiber;
  const Outcome outcome = fiber.run([] { verify_invariant(false, "two and two are five"); });
  EXPECT_EQ(outcome.kind, Outcome::Kind::Panicked);
  EXPECT_EQ(outcome.panic_what, "two and two are five");
  EXPECT_NE(outcome.panic_file.find("fiber_test.cpp"), std::string::npos);
  EXPECT_GT(outcome.panic_line, 0u);
}

TEST(Fiber, HandsAnExceptionOfItsBodyOn) {
  Fiber fiber;
  EXPECT_THROW(fiber.run([] { throw std::runtime_error("no"); }), std::runtime_error);
  EXPECT_EQ(fiber.run([] {}).kind, Outcome::Kind::Returned);
}

TEST(PanicDeathTest, AbortsOutsideAFiber) { EXPECT_DEATH(panic("alone"), "panic: alone"); }

}  // namespace
}  // namespace sim

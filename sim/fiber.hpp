// Runs one kernel generation on a stack of its own, so that it can be left without running any destructor.
//
// A kernel of the model world ends when it jumps, when the test says that it stops for ever, or when it panics. Each of
// these is a call of Fiber::leave() from deep inside; run() then returns and the generation's stack is gone, with
// everything that stood on it. An ordinary return, or an exception of the body, ends it too (the exception leaves
// run()).
//
// Threads: a fiber runs on the thread that calls run(); fibers do not nest.
#pragma once

#include <functional>
#include <string>

#include "holdfast/base/boot_info.hpp"

namespace sim {

using namespace holdfast;  // NOLINT

struct Outcome {
  enum class Kind : u8 {
    Returned,  // the body came to its end
    Jumped,    // entered the next image with `handover`
    Stopped,   // stands still for ever, as if the power of its CPU had gone
    Panicked,
  };
  Kind kind = Kind::Returned;
  Handover handover;
  std::string panic_what;
  std::string panic_file;
  unsigned panic_line = 0;

  static Outcome jumped(const Handover& to) {
    Outcome outcome;
    outcome.kind = Kind::Jumped;
    outcome.handover = to;
    return outcome;
  }
  static Outcome stopped() {
    Outcome outcome;
    outcome.kind = Kind::Stopped;
    return outcome;
  }
};

class Fiber {
 public:
  explicit Fiber(std::size_t stack_bytes = std::size_t{1} << 20);
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  Outcome run(std::function<void()> body);

  [[nodiscard]] static bool inside();
  /// Ends the running generation. Only inside().
  [[noreturn]] static void leave(Outcome outcome);

 private:
  struct State;
  static void entry();

  std::byte* x_stack = nullptr;
  std::size_t x_stack_bytes;
  State* x_state = nullptr;
};

}  // namespace sim

// One failing system call ends the generation with its name and errno; Calls remembers the first.
#pragma once

#include "holdfast/base/result.hpp"
#include "vmm/report.hpp"
#include "vmm/syscalls.hpp"

namespace vmm {

class Calls {
 public:
  explicit Calls(Syscalls& system) : x_system(system) {}

  [[nodiscard]] Syscalls& system() { return x_system; }
  [[nodiscard]] bool failed() const { return x_error != 0; }
  /// The first failure: a positive errno, and what was being done.
  [[nodiscard]] i32 error() const { return x_error; }
  [[nodiscard]] const char* step() const { return x_step; }

  /// Passes @p result through; a negative one is kept together with @p step. True when the call succeeded.
  bool check(i64 result, const char* step) {
    if (result >= 0) return true;
    if (x_error == 0) {
      x_error = static_cast<i32>(-result);
      x_step = step;
    }
    return false;
  }

  void describe(Report& report) const {
    report.error = x_error;
    u64 at = 0;
    for (const char* c = x_step; *c != 0 && at + 1 < sizeof report.step; ++c) report.step[at++] = *c;
    report.step[at] = 0;
  }

 private:
  Syscalls& x_system;
  i32 x_error = 0;
  const char* x_step = "";
};

}  // namespace vmm

// holdfast_panic of programs that host modelled kernels: ends the kernel's fiber, or the program when there is none.
#include "holdfast/base/panic.hpp"

#include <cstdio>
#include <cstdlib>

#include "sim/fiber.hpp"

extern "C" [[noreturn]] void holdfast_panic(const char* what, const char* file, unsigned line) {
  if (sim::Fiber::inside())
    sim::Fiber::leave({.kind = sim::Outcome::Kind::Panicked,
                       .handover = {},
                       .panic_what = what,
                       .panic_file = file,
                       .panic_line = line});
  std::fprintf(stderr, "panic: %s (%s:%u)\n", what, file, line);
  std::abort();
}

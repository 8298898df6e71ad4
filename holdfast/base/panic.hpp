// Broken invariants. A panic says what and where, through a hook the program may replace, and never returns.
//
// The library's default hook calls abort(). A program overrides it by defining
//   extern "C" [[noreturn]] void holdfast_panic(const char* what, const char* file, unsigned line);
#pragma once

extern "C" [[noreturn]] void holdfast_panic(const char* what, const char* file, unsigned line);

namespace holdfast {

// The site is two plain arguments: a std::source_location is writable static data in g++ 12's output.
[[noreturn]] inline void panic(const char* what, const char* file = __builtin_FILE(),
                               unsigned line = __builtin_LINE()) {
  holdfast_panic(what, file, line);
}

/// Checked in every build: an invariant whose breach would corrupt memory or let a device through.
inline void verify_invariant(bool holds, const char* what, const char* file = __builtin_FILE(),
                             unsigned line = __builtin_LINE()) {
  if (!holds) panic(what, file, line);
}

}  // namespace holdfast

// Broken invariants. A panic says what and where, through a hook the program may replace, and never returns.
//
// The library's default hook calls abort(). A program overrides it by defining
//   extern "C" [[noreturn]] void holdfast_panic(const char* what, const char* file, unsigned line);
#pragma once

#include <source_location>

extern "C" [[noreturn]] void holdfast_panic(const char* what, const char* file, unsigned line);

namespace holdfast {

[[noreturn]] inline void panic(const char* what, std::source_location site = std::source_location::current()) {
  holdfast_panic(what, site.file_name(), static_cast<unsigned>(site.line()));
}

/// Checked in every build: an invariant whose breach would corrupt memory or let a device through.
inline void verify_invariant(bool holds, const char* what,
                             std::source_location site = std::source_location::current()) {
  if (!holds) panic(what, site);
}

}  // namespace holdfast

// What scenarios run on: a QEMU, a kernel image, a folder for logs.
//
// Failure: RunError (InputMissing) that says what is not there, or too old, and where to get it.
#pragma once

#include <filesystem>
#include <vector>

#include "tests/qemu/binary.hpp"

namespace metal_test {

using namespace holdfast;  // NOLINT: a test of the library

struct Bench {
  qemu::Binary binary;
  unsigned release = 0;         // of QEMU: 7, 10
  std::filesystem::path image;  // holdfast-metal
  std::filesystem::path logs;   // one folder below it for each run
  bool keeps_memory = false;    // RAM at the end of each run stays, too
};

struct BenchChoice {
  std::string binary;              // empty: those that are found
  std::vector<unsigned> releases;  // empty: all that scenarios are written for
  std::filesystem::path image;
  std::filesystem::path logs;
  bool keeps_memory = false;
};

inline constexpr unsigned oldest_release = 7;  // the first with a wire of datagrams for its network card

/// One per QEMU; at least one. Says on stderr which are not there.
[[nodiscard]] std::vector<Bench> benches_of(const BenchChoice& choice);

}  // namespace metal_test

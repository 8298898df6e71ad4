// TouchMeter: counts what is touched while the blackout lasts, so that a test can show that nothing large is.
//
// Threads: the blackout is single-threaded; while the meter does not run, every call is one predictable branch.
#pragma once

#include "holdfast/base/world.hpp"

namespace holdfast {

struct TouchMeter {
  bool running = false;
  TouchCounts counts;

  void table(u64 n = 1) { add(counts.tables, n); }
  void block(u64 n = 1) { add(counts.blocks, n); }
  void record(u64 n = 1) { add(counts.records, n); }
  void file(u64 n = 1) { add(counts.files, n); }
  void frame(u64 n = 1) { add(counts.frames, n); }

 private:
  void add(u64& count, u64 n) {
    if (running) count += n;
  }
};

}  // namespace holdfast

// RunCursor: a position in a list of physical runs that are mapped one after the other. Runs that happen to continue
// each other in memory count as one, so that they may share a large leaf.
//
// Threads: the owner's. Failure: none; the runs are checked before a cursor is made.
#pragma once

#include <algorithm>
#include <span>

#include "holdfast/base/types.hpp"

namespace holdfast::pt {

class RunCursor {
 public:
  explicit RunCursor(std::span<const PhysRange> runs) : x_next(runs) { load(); }

  /// What is left of the run that begins here.
  [[nodiscard]] const PhysRange& here() const { return x_here; }
  [[nodiscard]] PhysAddr address() const { return x_here.start; }
  /// Bytes from address() on that are contiguous in memory; 0 at the end.
  [[nodiscard]] u64 contiguous() const { return x_here.size_bytes; }
  /// @p bytes is at most what is left of all runs together.
  void advance(u64 bytes) {
    while (bytes != 0) {
      const u64 step = std::min(bytes, x_here.size_bytes);
      x_here = {x_here.start + step, x_here.size_bytes - step};
      bytes -= step;
      if (x_here.size_bytes == 0) load();
    }
  }

 private:
  void load() {
    if (x_next.empty()) return;
    x_here = x_next.front();
    x_next = x_next.subspan(1);
    while (!x_next.empty() && x_next.front().start == x_here.start + x_here.size_bytes) {
      x_here.size_bytes += x_next.front().size_bytes;
      x_next = x_next.subspan(1);
    }
  }

  std::span<const PhysRange> x_next;
  PhysRange x_here;
};

}  // namespace holdfast::pt

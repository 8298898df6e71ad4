// What a receiver of numbered frames counts: nothing may be missing, nothing may come twice, nothing may be changed.
#pragma once

#include <optional>

#include "holdfast/base/types.hpp"

namespace vmm {

using namespace holdfast;

struct Sequence {
  u64 next = 0;        // the number that is due
  u64 received = 0;    // frames whose contents are right
  u64 gaps = 0;        // numbers that were left out
  u64 duplicates = 0;  // numbers that were not due any more
  u64 wrong = 0;       // frames whose contents are not those of their number

  /// A frame came; @p number is missing when its contents were wrong.
  constexpr void take(std::optional<u64> number) {
    if (!number) {
      ++wrong;
      return;
    }
    ++received;
    if (*number < next) {
      ++duplicates;
      return;
    }
    gaps += *number - next;
    next = *number + 1;
  }
  [[nodiscard]] constexpr bool contiguous() const { return gaps == 0 && duplicates == 0 && wrong == 0; }
  [[nodiscard]] constexpr bool consistent() const {
    return received >= duplicates && received - duplicates <= next && next - (received - duplicates) == gaps;
  }
};

}  // namespace vmm

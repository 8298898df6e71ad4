// RidPasids: which PASIDs requests without PASID may have on one unit, so that what a first stage left under a domain
// id can be named. A value stays for good: to ask hardware to forget what it does not know does no harm.
//
// Mostly there is one; an adopted device may bring another. Threads: the caller serialises. Failure: more than it holds
// is not an error, but they are not all() any more.
#pragma once

#include <algorithm>
#include <array>
#include <span>

#include "holdfast/base/types.hpp"

namespace holdfast::vtd {

class RidPasids {
 public:
  static constexpr u64 capacity = 4;

  void insert(u32 pasid) {
    if (std::find(x_values.begin(), x_values.begin() + x_count, pasid) != x_values.begin() + x_count) return;
    if (x_count == capacity)
      x_all = false;
    else
      x_values[x_count++] = pasid;
  }
  [[nodiscard]] std::span<const u32> values() const { return {x_values.data(), x_count}; }
  /// False: there are some that values() does not have.
  [[nodiscard]] bool all() const { return x_all; }

 private:
  std::array<u32, capacity> x_values{};
  u64 x_count = 0;
  bool x_all = true;
};

}  // namespace holdfast::vtd

// StateHash: a digest of an object's state, for comparing a state with an earlier one of the same kernel.
//
// Not for integrity, and not meant to be compared between kernels.
#pragma once

#include <string_view>

#include "holdfast/base/types.hpp"

namespace holdfast::kho {

/// Spreads a number over 64 bits; a bijection.
[[nodiscard]] constexpr u64 mix(u64 x) {
  x = (x ^ x >> 31) * 0x7fb5d329728ea185u;
  x = (x ^ x >> 27) * 0x81dadef4bc2dd44du;
  return x ^ x >> 33;
}

/// Depends on the order of what is added.
class StateHash {
 public:
  constexpr StateHash& add(u64 number) { return x_value = mix(x_value * 31 + number + 1), *this; }
  constexpr StateHash& add(std::string_view text) {
    add(text.size());
    for (char c : text) add(static_cast<u64>(static_cast<unsigned char>(c)));
    return *this;
  }
  [[nodiscard]] constexpr u64 value() const { return x_value; }

 private:
  u64 x_value = 0;
};

}  // namespace holdfast::kho

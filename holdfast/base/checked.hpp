// Arithmetic on untrusted numbers: every operation says whether it overflowed.
#pragma once

#include <bit>
#include <concepts>
#include <optional>

#include "holdfast/base/types.hpp"

namespace holdfast {

template <std::unsigned_integral T>
[[nodiscard]] constexpr std::optional<T> checked_add(T a, T b) {
  T sum{};
  if (__builtin_add_overflow(a, b, &sum)) return std::nullopt;
  return sum;
}

template <std::unsigned_integral T>
[[nodiscard]] constexpr std::optional<T> checked_mul(T a, T b) {
  T product{};
  if (__builtin_mul_overflow(a, b, &product)) return std::nullopt;
  return product;
}

/// Last byte of [start, start + length), or nothing when length is 0 or the range wraps.
[[nodiscard]] constexpr std::optional<u64> checked_last(u64 start, u64 length) {
  if (length == 0) return std::nullopt;
  return checked_add(start, length - 1);
}

/// What std::has_single_bit says; that one is a call into libgcc on plain x86-64.
[[nodiscard]] constexpr bool is_power_of_two(u64 value) { return value != 0 && (value & (value - 1)) == 0; }

[[nodiscard]] constexpr u64 align_down(u64 value, u64 alignment) { return value & ~(alignment - 1); }

/// Rounds up to a power-of-two alignment; nothing when that overflows.
[[nodiscard]] constexpr std::optional<u64> checked_align_up(u64 value, u64 alignment) {
  auto sum = checked_add(value, alignment - 1);
  if (!sum) return std::nullopt;
  return align_down(*sum, alignment);
}

/// ceil(a / b), b != 0; cannot overflow.
[[nodiscard]] constexpr u64 div_ceil(u64 a, u64 b) { return a / b + (a % b != 0 ? 1 : 0); }

/// Smallest order whose block holds @p size_bytes (>= 1 page).
[[nodiscard]] constexpr unsigned order_for(u64 size_bytes) {
  u64 pages = div_ceil(size_bytes, page_size_bytes);
  return pages <= 1 ? 0 : static_cast<unsigned>(std::bit_width(pages - 1));
}

}  // namespace holdfast

// Registers and table entries as declarations: one list of fields, bits high to low as the manual prints them.
//
//   namespace gsts { using Tes = Bit<31>; using Rtps = Bit<30>; using Rsvd = Reserved<29, 0>; }
//   using Gsts = Bits<32, gsts::Tes, gsts::Rtps, gsts::Rsvd>;
//   if (value.get<gsts::Tes>()) ...        auto next = value.with<gsts::Tes>(1);
//
// A declaration that leaves a bit unnamed, names one twice, is out of order, or lets a field cross a word does not
// compile. Reserved fields have no reader and no writer; reserved_bits() is their mask, to check untrusted entries.
#pragma once

#include <array>
#include <type_traits>

#include "holdfast/base/types.hpp"

namespace holdfast {

/// Bits [High:Low] of the whole register or entry. Values are passed unshifted to bit 0.
template <unsigned High, unsigned Low>
struct Field {
  static_assert(High >= Low && High - Low < 64);
  static constexpr unsigned high = High;
  static constexpr unsigned low = Low;
  static constexpr bool reserved = false;
};

template <unsigned At>
using Bit = Field<At, At>;

/// Must be zero, or is ignored and written as zero.
template <unsigned High, unsigned Low = High>
struct Reserved {
  static_assert(High >= Low);
  static constexpr unsigned high = High;
  static constexpr unsigned low = Low;
  static constexpr bool reserved = true;
};

namespace detail {

template <unsigned Width, class... Fields>
consteval bool covers_exactly() {
  constexpr unsigned count = sizeof...(Fields);
  constexpr std::array<unsigned, count> highs{Fields::high...};
  constexpr std::array<unsigned, count> lows{Fields::low...};
  unsigned expected_high = Width - 1;
  for (unsigned i = 0; i < count; ++i) {
    if (highs[i] != expected_high) return false;
    if (lows[i] == 0) return i + 1 == count;
    expected_high = lows[i] - 1;
  }
  return false;
}

template <class F, class... Fields>
inline constexpr bool is_one_of = (std::is_same_v<F, Fields> || ...);

}  // namespace detail

/// A register (8..64 bits) or a table entry (a multiple of 64 bits) with exactly these fields.
template <unsigned Width, class... Fields>
class Bits {
 public:
  static_assert(Width == 8 || Width == 16 || Width == 32 || Width % 64 == 0);
  static_assert(detail::covers_exactly<Width, Fields...>(), "fields must cover every bit once, high to low");

  static constexpr unsigned width = Width;
  static constexpr unsigned word_count = Width < 64 ? 1 : Width / 64;
  using Word = std::conditional_t<Width == 8, u8,
                                  std::conditional_t<Width == 16, u16, std::conditional_t<Width == 32, u32, u64>>>;
  using Words = std::array<Word, word_count>;

  constexpr Bits() = default;
  constexpr explicit Bits(Word raw)
    requires(word_count == 1)
      : x_words{raw} {}
  constexpr explicit Bits(const Words& words)
    requires(word_count > 1)
      : x_words(words) {}

  constexpr bool operator==(const Bits&) const = default;

  [[nodiscard]] constexpr Word raw() const
    requires(word_count == 1)
  {
    return x_words[0];
  }
  [[nodiscard]] constexpr const Words& words() const { return x_words; }

  template <class F>
  [[nodiscard]] constexpr u64 get() const {
    check_field<F>();
    return u64{x_words[F::low / word_bits]} >> (F::low % word_bits) & mask_of<F>();
  }

  /// A copy in which field F holds @p value; bits of @p value beyond the field are dropped.
  template <class F>
  [[nodiscard]] constexpr Bits with(u64 value) const {
    check_field<F>();
    Bits copy = *this;
    Word& word = copy.x_words[F::low / word_bits];
    constexpr u64 shifted = mask_of<F>() << (F::low % word_bits);
    word = static_cast<Word>((u64{word} & ~shifted) | (value << (F::low % word_bits) & shifted));
    return copy;
  }

  /// Mask of the reserved bits of word @p index.
  [[nodiscard]] static constexpr Word reserved_bits(unsigned index = 0) {
    constexpr Words masks = reserved_masks();
    return masks[index];
  }

  /// True when no reserved bit is set.
  [[nodiscard]] constexpr bool reserved_clear() const {
    for (unsigned i = 0; i < word_count; ++i)
      if ((x_words[i] & reserved_bits(i)) != 0) return false;
    return true;
  }

 private:
  static constexpr unsigned word_bits = Width < 64 ? Width : 64;

  template <class F>
  static constexpr void check_field() {
    static_assert(detail::is_one_of<F, Fields...>, "no such field here");
    static_assert(!F::reserved, "a reserved field has no value");
    static_assert(F::high / word_bits == F::low / word_bits, "a field that crosses words is read in parts");
  }
  template <class F>
  static constexpr u64 mask_of() {
    return F::high - F::low == 63 ? ~u64{0} : (u64{1} << (F::high - F::low + 1)) - 1;
  }
  static consteval Words reserved_masks() {
    Words masks{};
    for (unsigned index = 0; index < word_count; ++index) {
      u64 mask = 0;
      ((mask |= Fields::reserved ? part_in_word(Fields::high, Fields::low, index) : u64{0}), ...);
      masks[index] = static_cast<Word>(mask);
    }
    return masks;
  }
  static constexpr u64 part_in_word(unsigned high, unsigned low, unsigned index) {
    u64 mask = 0;
    for (unsigned bit = low; bit <= high; ++bit)
      if (bit / word_bits == index) mask |= u64{1} << (bit % word_bits);
    return mask;
  }

  Words x_words{};
};

}  // namespace holdfast

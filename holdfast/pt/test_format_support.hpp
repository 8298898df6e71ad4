// For tests of page-table formats, beside test_format_conformance.hpp: every leaf with every permission, item by item,
// and comparisons with lists typed by hand.
#pragma once

#include <gtest/gtest.h>

#include <vector>

#include "holdfast/pt/format.hpp"

namespace holdfast::pt::test {

/// @p f(level, size_lg2) for every leaf that F has, smallest first.
template <class F, class Function>
void for_each_leaf_size(Function&& f) {
  for (unsigned level = 0; level < F::max_levels; ++level)
    for (unsigned size_lg2 = 0; size_lg2 < 64; ++size_lg2)
      if ((F::leaf_sizes(level) >> size_lg2 & 1) != 0) f(level, size_lg2);
}

/// All sets of Prot bits.
inline std::vector<Prot> all_prots() {
  std::vector<Prot> all;
  for (unsigned bits = 0; bits < 64; ++bits) all.push_back(static_cast<Prot>(bits));
  return all;
}

/// Addresses aligned to 2^size_lg2: none, all, and a pattern of the format's address bits.
template <class F>
std::vector<PhysAddr> sample_addresses(unsigned size_lg2) {
  const u64 mask = low_bits(F::max_phys_bits) & ~low_bits(size_lg2);
  constexpr u64 pattern = 0x74a7'1445'dead'beef;
  return {PhysAddr(0), PhysAddr(mask), PhysAddr(pattern & mask), PhysAddr(~pattern & mask)};
}

/// Every leaf of every size: each of its items tells size, address, attributes; they make the same items again.
template <class F>
void expect_leaves_read_back(Features features) {
  for_each_leaf_size<F>([&](unsigned level, unsigned size_lg2) {
    for (const Prot prot : all_prots()) {
      const Result<u64> attributes = F::attributes_of(prot, features);
      if (!attributes) continue;
      for (const PhysAddr address : sample_addresses<F>(size_lg2)) {
        const u64 first = F::leaf(address, level, size_lg2, *attributes);
        for (u64 i = 0; i < items_of_leaf<F>(level, size_lg2); ++i) {
          const u64 item = first + i * F::next_in_leaf(level);
          ASSERT_EQ(F::kind(item, level), EntryKind::Leaf) << std::hex << item;
          ASSERT_EQ(F::leaf_size_lg2(item, level), size_lg2) << std::hex << item;
          ASSERT_EQ(F::leaf_address(item, level), address) << std::hex << item;
          ASSERT_EQ(F::attributes(item, level), *attributes) << std::hex << item;
          ASSERT_EQ(F::unknown_bits(item, level), 0u) << std::hex << item;
          ASSERT_EQ(F::leaf(F::leaf_address(item, level), level, size_lg2, F::attributes(item, level)), first);
        }
      }
      ASSERT_EQ(*F::attributes_of(F::prot(*attributes), features), *attributes) << "prot says all that was encoded";
    }
  });
}

/// Sets each of the 64 bits in @p item: exactly those outside @p known make it unknown.
template <class F>
void expect_unknown(u64 item, unsigned level, u64 known) {
  for (unsigned bit = 0; bit < 64; ++bit) {
    const u64 flag = u64{1} << bit;
    EXPECT_EQ(F::unknown_bits(item | flag, level) == 0, (known & flag) != 0)
        << "bit " << bit << " of 0x" << std::hex << item << " at level " << level;
  }
}

/// Which (levels, iova_bits) are shapes: @p narrowest and @p widest by levels, from 1; 0: none.
struct Widths {
  unsigned narrowest = 0;
  unsigned widest = 0;
};
template <class F>
void expect_shapes(const std::vector<Widths>& by_levels) {
  for (unsigned levels = 0; levels <= 8; ++levels)
    for (unsigned bits = 0; bits <= 70; ++bits) {
      const Widths widths = levels >= 1 && levels <= by_levels.size() ? by_levels[levels - 1] : Widths{};
      const bool wanted = widths.narrowest != 0 && bits >= widths.narrowest && bits <= widths.widest;
      EXPECT_EQ(F::is_valid_shape(levels, bits), wanted) << levels << " levels, " << bits << " bits";
    }
}

}  // namespace holdfast::pt::test

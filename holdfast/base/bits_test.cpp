#include "holdfast/base/bits.hpp"

#include <gtest/gtest.h>

#include "holdfast/base/hw_access.hpp"
#include "holdfast/base/list.hpp"

namespace holdfast {
namespace {

namespace sample {
using Top = Bit<31>;
using Middle = Field<23, 8>;
using Low = Field<3, 0>;
using Sample = Bits<32, Top, Reserved<30, 24>, Middle, Reserved<7, 4>, Low>;
}  // namespace sample

TEST(Bits, WritesOneFieldAndLeavesTheOthers) {
  constexpr sample::Sample value = sample::Sample(0x80000001u).with<sample::Middle>(0x1abcd);
  static_assert(value.raw() == 0x80abcd01u);
  EXPECT_EQ(value.get<sample::Middle>(), 0xabcdu);
  EXPECT_EQ(value.with<sample::Middle>(0x1234).raw(), 0x80123401u);
  EXPECT_EQ(value.get<sample::Top>(), 1u);
}

TEST(Bits, NamesEveryReservedBit) {
  static_assert(sample::Sample::reserved_bits() == 0x7f0000f0u);
  EXPECT_TRUE(sample::Sample(0x80ffff0fu).reserved_clear());
  EXPECT_FALSE(sample::Sample(0x01000000u).reserved_clear());
}

TEST(Bits, RefusesADeclarationThatDoesNotCoverEveryBitOnce) {
  static_assert(!detail::covers_exactly<32, Field<31, 9>, Field<7, 0>>());  // bit 8 is nobody's
  static_assert(!detail::covers_exactly<32, Field<31, 8>, Field<8, 0>>());  // bit 8 is two's
  static_assert(!detail::covers_exactly<32, Field<7, 0>, Field<31, 8>>());  // wrong order
  static_assert(!detail::covers_exactly<32, Field<31, 1>>());               // bit 0 is nobody's
  static_assert(detail::covers_exactly<128, Field<127, 64>, Reserved<63, 0>>());
}

struct Element {
  int number = 0;
  ListHook hook;
};

TEST(List, KeepsOrderAndAllowsRemovalDuringIteration) {
  List<Element, &Element::hook> list;
  Element one{1, {}}, two{2, {}}, three{3, {}};
  list.push_back(two);
  list.push_back(three);
  list.push_front(one);
  int sum = 0;
  for (Element& element : list) {
    sum = sum * 10 + element.number;
    if (element.number == 2) list.remove(element);
  }
  EXPECT_EQ(sum, 123);
  EXPECT_FALSE(two.hook.linked());
  EXPECT_EQ(list.front(), &one);
  EXPECT_EQ(list.back(), &three);
  sum = 0;
  for (const Element& element : list) sum = sum * 10 + element.number;
  EXPECT_EQ(sum, 13);
  list.remove(three);
  EXPECT_EQ(list.back(), &one);
}

}  // namespace
}  // namespace holdfast

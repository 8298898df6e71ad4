// The index against std::set.
#include "holdfast/luo/index.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <set>
#include <vector>

namespace holdfast::luo {
namespace {

struct Item {
  explicit Item(u64 n) : number(n) {}
  u64 number;
  IndexHook<Item> hook;
};
struct ByNumber {
  static u64 key(const Item& item) { return item.number; }
  static u64 priority(const Item& item) { return mix(item.number + 1); }
};

TEST(Index, FindsWhatAnOrderedSetFinds) {
  Index<Item, &Item::hook, ByNumber> index;
  std::set<u64> reference;
  std::vector<std::unique_ptr<Item>> items;
  for (u64 i = 0; i < 300; ++i) items.push_back(std::make_unique<Item>(i * 3));
  std::mt19937_64 random(1);
  for (int round = 0; round < 20000; ++round) {
    Item& item = *items[random() % items.size()];
    if (reference.insert(item.number).second) {
      index.insert(item);
    } else {
      reference.erase(item.number);
      index.remove(item);
    }
    const u64 asked = random() % 920;
    const Item* found = index.find(asked);
    ASSERT_EQ(found != nullptr, reference.contains(asked));
    const Item* next = index.find_from(asked);
    const auto expected = reference.lower_bound(asked);
    ASSERT_EQ(next != nullptr, expected != reference.end());
    if (next != nullptr) {
      ASSERT_EQ(next->number, *expected);
    }
  }
  for (u64 number : std::set<u64>(reference)) index.remove(*items[number / 3]);
  EXPECT_TRUE(index.empty());
}

}  // namespace
}  // namespace holdfast::luo

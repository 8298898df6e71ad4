// The incoming map, root FDT and scratch array with every kind of damage: nothing is followed, what is good is claimed.
#include <gtest/gtest.h>
#include <libfdt.h>

#include <set>

#include "holdfast/kho/handover.hpp"
#include "holdfast/memory/test_world.hpp"

namespace holdfast::kho {
namespace {

namespace radix = abi::kho::radix;

class UntrustedMapTest : public testing::Test {
 protected:
  UntrustedMapTest() {
    EXPECT_TRUE(handover.open({&scratch, 1}).ok());
    good = {allocate(0), 0};
    other = {allocate(4), 4};
    EXPECT_TRUE(handover.preserve(good).ok());
    EXPECT_TRUE(handover.preserve(other).ok());
    numbers = handover.numbers();
  }
  PhysAddr allocate(unsigned order) { return host.memory.buddy.allocate_zeroed(order).value(); }
  Result<IncomingMap> open() { return IncomingMap::open(host.memory.map, numbers); }
  std::byte* fdt() { return world.direct_map() + numbers.fdt; }
  radix::Node* node_on_path(Block block, unsigned level) {
    const u64 key = radix::key_of(block);
    PhysAddr page = open()->radix_root();
    for (unsigned at = radix::levels - 1; at != level; --at)
      page = PhysAddr(host.memory.map.at<radix::Node>(page)->child[radix::child_index(key, at)]);
    return host.memory.map.at<radix::Node>(page);
  }
  /// Boots the next kernel over the memory as it stands; the answer of the claim.
  Code claim(std::set<u64>& claimed) {
    TestWorld next(world, AfterJump{});
    TestMemory next_host(next, TestOpen::Later, numbers);
    Handover successor(next_host.memory);
    const auto incoming = IncomingMap::open(next_host.memory.map, numbers);
    if (!incoming.ok()) return incoming.code();
    const Code code = successor.claim_incoming(*incoming).code();
    next_host.memory.open();
    successor.for_each_unrestored([&](Block block) { claimed.insert(block.start.value); });
    successor.reclaim_unrestored();
    successor.release_incoming_map();
    lines = next.log_lines;
    return code;
  }

  TestWorld world{64 << 20};
  TestMemory host{world};
  PhysRange scratch{host.scratch()};
  Handover handover{host.memory};
  holdfast::Handover numbers;
  Block good;
  Block other;
  std::vector<std::string> lines;
};

TEST_F(UntrustedMapTest, BadNumbersOfTheJumpAreRefused) {
  const holdfast::Handover right = numbers;
  for (u64 fdt : {right.fdt + 8, u64{64} << 20, ~u64{0} - 0xfff, scratch.start.value, other.start.value}) {
    numbers = right;
    numbers.fdt = fdt;
    EXPECT_EQ(open().code(), Code::Corrupt) << std::hex << fdt;
  }
  for (u64 size : {u64{0}, u64{7}, u64{40}, u64{4097}, ~u64{0}}) {
    numbers = right;
    numbers.fdt_size_bytes = size;
    EXPECT_EQ(open().code(), Code::Corrupt) << size;
  }
  for (u64 array : {u64{0}, right.scratch + 4, u64{64} << 20, ~u64{0} - 7}) {
    numbers = right;
    numbers.scratch = array;
    EXPECT_EQ(open().code(), Code::Corrupt) << std::hex << array;
  }
  for (u64 size : {u64{0}, u64{8}, u64{24}, u64{16 * 67}, ~u64{0} - 15}) {
    numbers = right;
    numbers.scratch_size_bytes = size;
    EXPECT_EQ(open().code(), Code::Corrupt) << size;
  }
}

TEST_F(UntrustedMapTest, BadScratchRegionsAreRefused) {
  auto* region = host.memory.map.at<abi::kho::ScratchRegion>(PhysAddr(numbers.scratch));
  const auto right = *region;
  for (const abi::kho::ScratchRegion bad : {abi::kho::ScratchRegion{right.address + 1, right.size_bytes},
                                            {right.address, right.size_bytes + 1},
                                            {right.address, u64{1} << 40},
                                            {~u64{0xfff}, 0x2000},
                                            {u64{64} << 20, 0x1000},
                                            {right.address, 0},
                                            {numbers.fdt, 0x1000},
                                            {open()->radix_root().value, 0x1000}}) {
    *region = bad;
    EXPECT_EQ(open().code(), Code::Corrupt) << std::hex << bad.address << " " << bad.size_bytes;
    *region = right;
  }
  EXPECT_TRUE(open().ok());
}

TEST_F(UntrustedMapTest, EveryByteOfTheRootFdtMayBeWrong) {
  const std::vector<std::byte> right(fdt(), fdt() + 4096);
  std::set<u64> claimed;
  for (u64 at = 0; at < 200; ++at) {
    for (unsigned flip : {0xffu, 0x01u, 0x80u}) {
      fdt()[at] ^= static_cast<std::byte>(flip);
      (void)claim(claimed);  // neither crashes nor hangs
      if (const auto incoming = open(); incoming.ok()) (void)incoming->find_subtree("LUO");
      std::copy(right.begin(), right.end(), fdt());
    }
  }
}

TEST_F(UntrustedMapTest, ANodeOutsideUsableMemoryCostsItsBlocksOnly) {
  // other and good part ways at the root: the order is in the highest bits of the key.
  auto* node = node_on_path(good, 2);
  u64& child = node->child[radix::child_index(radix::key_of(good), 2)];
  const u64 right = child;
  for (u64 bad : {u64{64} << 20, ~u64{0}, ~u64{0xfff}, right + 8, right | 1, u64{1} << 63}) {
    child = bad;
    std::set<u64> claimed;
    EXPECT_EQ(claim(claimed), Code::Corrupt) << std::hex << bad;
    EXPECT_EQ(claimed, std::set<u64>{other.start.value}) << std::hex << bad;
    EXPECT_FALSE(lines.empty()) << "the damage is named";
    EXPECT_FALSE(open()->contains(good));
    EXPECT_TRUE(open()->contains(other));
    child = right;
  }
}

TEST_F(UntrustedMapTest, LoopsEndAndNothingIsClaimedTwice) {
  for (unsigned level = 1; level < radix::levels; ++level) {
    auto* node = node_on_path(good, level);
    const radix::Node right = *node;
    for (unsigned ancestor = level; ancestor < radix::levels; ++ancestor) {
      const u64 target = host.memory.map.phys(node_on_path(good, ancestor)).value;
      for (u64& child : node->child) child = target;
      std::set<u64> claimed;
      EXPECT_EQ(claim(claimed), Code::Corrupt);
      EXPECT_FALSE(claimed.contains(good.start.value));
      *node = right;
    }
  }
  // The same page as every child, no loop.
  auto* node = node_on_path(good, 1);
  const radix::Node right = *node;
  for (u64& child : node->child) child = right.child[0] != 0 ? right.child[0] : right.child[1];
  std::set<u64> claimed;
  EXPECT_EQ(claim(claimed), Code::Corrupt);
  *node = right;
  claimed.clear();
  EXPECT_EQ(claim(claimed), Code::Ok);
  EXPECT_EQ(claimed, (std::set<u64>{good.start.value, other.start.value}));
}

TEST_F(UntrustedMapTest, BlocksThatCannotBeAreSkippedAndTheRestIsClaimed) {
  auto* bitmap = reinterpret_cast<radix::Bitmap*>(node_on_path(good, 0));
  const radix::Bitmap right = *bitmap;
  const auto with = [&](u64 address, u32 order) {
    const u64 key = radix::key_of(Block{PhysAddr(address), order});
    bitmap->word[radix::word_index(key)] |= radix::word_bit(key);
  };
  const u64 outside = u64{64} << 20;
  const u64 node = host.memory.map.phys(bitmap).value;
  for (u64 bad : {outside, u64{0}, node, other.start.value, other.start.value + 4096}) {
    with(bad, 0);
    std::set<u64> claimed;
    EXPECT_EQ(claim(claimed), Code::Corrupt) << std::hex << bad;
    EXPECT_TRUE(claimed.contains(good.start.value)) << std::hex << bad;
    *bitmap = right;
  }
  std::ranges::fill(bitmap->word, ~u64{0});  // everything is preserved, twice over
  std::set<u64> claimed;
  EXPECT_EQ(claim(claimed), Code::Corrupt);
  *bitmap = right;
}

TEST_F(UntrustedMapTest, NothingIsReadWhenScratchIsNamedAsPreserved) {
  // Scratch is written before the map is known: it would be another's memory, perhaps one that a device uses.
  auto* bitmap = reinterpret_cast<radix::Bitmap*>(node_on_path(good, 0));
  const radix::Bitmap right = *bitmap;
  const PhysAddr last = scratch.start + (scratch.size_bytes - page_size_bytes);
  for (const PhysAddr page : {scratch.start, scratch.start + page_size_bytes, last}) {
    const u64 key = radix::key_of(Block{page, 0});
    bitmap->word[radix::word_index(key)] |= radix::word_bit(key);
    EXPECT_EQ(open().code(), Code::Corrupt) << std::hex << page.value;
    *bitmap = right;
    EXPECT_TRUE(open().ok());
  }
  auto* region = host.memory.map.at<abi::kho::ScratchRegion>(PhysAddr(numbers.scratch));
  const auto right_region = *region;
  *region = {good.start.value, page_size_bytes};
  EXPECT_EQ(open().code(), Code::Corrupt);
  *region = {align_down(good.start.value, u64{1} << 14), u64{1} << 16};
  EXPECT_EQ(open().code(), Code::Corrupt);
  *region = right_region;
  node_on_path(good, 2)->child[radix::child_index(radix::key_of(good), 2)] = scratch.start.value;
  EXPECT_EQ(open().code(), Code::Corrupt) << "a part of the map itself";
}

TEST_F(UntrustedMapTest, AskingForAnyAddressIsSafe) {
  const auto incoming = open();
  ASSERT_TRUE(incoming.ok());
  for (u64 address : {u64{0}, u64{1}, ~u64{0}, ~u64{0xfff}, u64{1} << 51, u64{64} << 20, scratch.start.value}) {
    for (u32 order : {0u, 4u, 10u, 11u, 63u, 64u, ~0u}) EXPECT_FALSE(incoming->contains({PhysAddr(address), order}));
    EXPECT_FALSE(incoming->find_block(PhysAddr(address)));
    EXPECT_FALSE(incoming->contains_range({PhysAddr(address), ~u64{0}}));
    EXPECT_FALSE(incoming->contains_range({PhysAddr(address), 0}));
  }
}

}  // namespace
}  // namespace holdfast::kho

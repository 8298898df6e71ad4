// Test support (hosted; never part of the library): a handover with RAM, the kernel after the jump, and a reader of the
// map that shares no code with ours.
#pragma once

#include <gtest/gtest.h>
#include <libfdt.h>

#include <set>

#include "holdfast/kho/handover.hpp"
#include "holdfast/kho/incoming_map.hpp"
#include "holdfast/memory/test_world.hpp"

namespace holdfast::kho {

using Key = std::pair<u32, u64>;  // order, address

/// Reads the map as it stands in RAM, by the text of the specification and without our decoder.
class NaiveReader {
 public:
  NaiveReader(const TestWorld& world, const holdfast::Handover& numbers) : x_ram(world.direct_map()) {
    const std::byte* fdt = x_ram + numbers.fdt;
    EXPECT_EQ(fdt_check_full(fdt, 4096), 0);
    EXPECT_STREQ(static_cast<const char*>(fdt_getprop(fdt, 0, "compatible", nullptr)), "kho-v2");
    u64 root = 0;
    std::memcpy(&root, fdt_getprop(fdt, 0, "preserved-memory-map", nullptr), 8);
    read(root, 5, 0);
  }
  std::set<Key> blocks;
  std::set<u64> nodes;

 private:
  void read(u64 page, int level, u64 key) {
    nodes.insert(page);
    if (level == 0) {
      for (u64 bit = 0; bit < 32768; ++bit) {
        const auto byte = static_cast<unsigned>(x_ram[page + bit / 8]);
        if ((byte >> (bit % 8) & 1) != 0) add(key | bit);
      }
      return;
    }
    const int shift = 15 + 9 * (level - 1);
    for (u64 i = 0; i < 512; ++i) {
      u64 child = 0;
      std::memcpy(&child, x_ram + page + i * 8, 8);
      if (child != 0) read(child, level - 1, key | i << shift);
    }
  }
  void add(u64 key) {
    u32 order = 0;
    while ((key >> (52 - order)) == 0) ++order;
    blocks.insert({order, (key - (u64{1} << (52 - order))) << (12 + order)});
  }
  const std::byte* x_ram;
};

class HandoverTest : public testing::Test {
 protected:
  HandoverTest() { EXPECT_TRUE(handover.open(scratch).ok()); }

  std::set<Key> own_pages() { return {{0, handover.numbers().fdt}, {0, handover.numbers().scratch}}; }
  std::set<Key> read_naively() { return NaiveReader(world, handover.numbers()).blocks; }
  PhysAddr allocate(unsigned order) { return host.memory.buddy.allocate(order).value(); }
  /// Everything that must be equal when nothing happened.
  auto snapshot() { return std::tuple(handover.state_hash(), handover.count(), handover.node_count(), free_blocks()); }
  std::array<u64, max_order + 1> free_blocks() { return host.memory.buddy.free_blocks(); }

  TestWorld world{64 << 20};
  TestMemory host{world};
  PhysRange scratch_range{host.scratch()};
  std::span<const PhysRange> scratch{&scratch_range, 1};
  Handover handover{host.memory};
};

/// The kernel after the jump. Every frame that is neither preserved nor scratch nor a page of the map is overwritten.
struct Successor {
  Successor(TestWorld& before, const holdfast::Handover& numbers, PhysRange scratch, u8 scorch = 0xa5)
      : world(before, AfterJump{}), host(world, TestOpen::Later, numbers) {
    const NaiveReader map(before, numbers);
    std::set<u64> spared = map.nodes;
    for (const auto& [order, address] : map.blocks)
      for (u64 page = 0; page < (u64{1} << order); ++page) spared.insert(address + page * 4096);
    for (u64 page = 0; page < world.ram_bytes(); page += 4096)
      if (!scratch.contains(PhysAddr(page), 4096) && !spared.contains(page))
        std::memset(world.direct_map() + page, scorch, 4096);
  }
  void boot() {
    incoming.emplace(IncomingMap::open(host.memory.map, host.boot.handover).value());
    ASSERT_TRUE(handover.claim_incoming(*incoming).ok());
    host.memory.open();
  }
  TestWorld world;
  TestMemory host;
  Handover handover{host.memory};
  std::optional<IncomingMap> incoming;
};

}  // namespace holdfast::kho

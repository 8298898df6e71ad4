// What a real Linux left, read by our readers, equals what Linux said about it.
#include "holdfast/kho/linux_sample.hpp"

#include <gtest/gtest.h>

#include "holdfast/kho/handover.hpp"
#include "holdfast/kho/incoming_map.hpp"

namespace holdfast::kho {
namespace {

struct BlockRun {
  u64 address;
  u64 count;
  u32 order;
  bool operator==(const BlockRun&) const = default;
};
void PrintTo(const BlockRun& run, std::ostream* out) {
  *out << std::hex << run.address << " x" << std::dec << run.count << " order " << run.order;
}

class LinuxSampleTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (!LinuxSample::is_present(GetParam())) GTEST_SKIP() << "no samples of a real Linux here";
    sample = std::make_unique<LinuxSample>(GetParam());
    map = std::make_unique<DirectMap>(sample->world, sample->world.memory_map);
  }
  Result<IncomingMap> open() { return IncomingMap::open(*map, sample->handover); }

  std::unique_ptr<LinuxSample> sample;
  std::unique_ptr<DirectMap> map;
};

TEST_P(LinuxSampleTest, ThePreservedMapIsWalkedToTheSameRunsInTheSameOrder) {
  RecordProperty("acceptance", "K16 K17");
  const auto incoming = open();
  ASSERT_TRUE(incoming.ok()) << errno_name(incoming.code());
  std::vector<BlockRun> runs;
  ASSERT_TRUE(incoming
                  ->walk([&](Block block) {
                    BlockRun* last = runs.empty() ? nullptr : &runs.back();
                    if (last != nullptr && last->order == block.order &&
                        last->address + (last->count << (12 + last->order)) == block.start.value)
                      ++last->count;
                    else
                      runs.push_back({block.start.value, 1, block.order});
                  })
                  .ok());
  std::vector<BlockRun> truth;
  for (const auto& run : sample->reported["preserved_runs_in_walk_order"])
    truth.push_back({run["paddr"].get<u64>(), run["count"].get<u64>(), run["order"].get<u32>()});
  EXPECT_EQ(runs, truth);
}

TEST_P(LinuxSampleTest, EveryPreservedBlockIsFoundBySixLoadsAndNothingElseIs) {
  RecordProperty("acceptance", "K19");
  const auto incoming = open();
  ASSERT_TRUE(incoming.ok());
  for (const auto& run : sample->reported["preserved_runs_in_walk_order"]) {
    const auto order = run["order"].get<u32>();
    for (u64 i = 0; i < run["count"].get<u64>(); ++i) {
      const Block block{PhysAddr(run["paddr"].get<u64>() + (i << (12 + order))), order};
      EXPECT_TRUE(incoming->contains(block));
      EXPECT_FALSE(incoming->contains(Block{block.start, order + 5}));
      EXPECT_EQ(incoming->find_block(block.start + (block.size_bytes() - 1)), block);
      EXPECT_TRUE(incoming->contains_range({block.start, block.size_bytes()}));
    }
  }
  EXPECT_FALSE(incoming->contains({incoming->radix_root(), 0})) << "nodes of the map are not in the map";
}

TEST_P(LinuxSampleTest, TheRootFdtTheScratchArrayAndTheNodesAreLinuxs) {
  const auto incoming = open();
  ASSERT_TRUE(incoming.ok());
  const auto& root = sample->decoded["root_fdt"];
  EXPECT_EQ(incoming->root_fdt().value, root["paddr"].get<u64>());
  EXPECT_EQ(incoming->radix_root().value, root["map"].get<u64>());
  std::map<std::string, u64> subtrees;
  incoming->for_each_subtree([&](IncomingMap::Subtree s) { subtrees[std::string(s.name)] = s.blob; });
  EXPECT_EQ(subtrees, (root["subtrees"].get<std::map<std::string, u64>>()));
  EXPECT_EQ(incoming->find_subtree("LUO")->value, root["subtrees"]["LUO"].get<u64>());
  EXPECT_EQ(incoming->find_subtree("memblock").code(), Code::NotFound);

  std::vector<PhysRange> scratch;
  for (const auto& region : sample->decoded["scratch"])
    if (region["size"].get<u64>() != 0)
      scratch.push_back({PhysAddr(region["addr"].get<u64>()), region["size"].get<u64>()});
  EXPECT_EQ(std::vector(incoming->scratch().begin(), incoming->scratch().end()), scratch);

  u64 nodes = 0;
  ASSERT_TRUE(incoming->for_each_node([&](PhysAddr) { ++nodes; }).ok());
  u64 expected = 0;
  for (const auto& [level, count] : sample->decoded["radix_nodes_per_level"].items()) expected += count.get<u64>();
  EXPECT_EQ(nodes, expected);
}

TEST_P(LinuxSampleTest, ItsMemoryIsClaimedRestoredAndFreedToTheLastPage) {
  RecordProperty("acceptance", "K7");
  const auto incoming = open();
  ASSERT_TRUE(incoming.ok());
  TestMemory host(sample->world, TestOpen::Later, sample->handover);
  Handover handover(host.memory);
  ASSERT_TRUE(handover.claim_incoming(*incoming).ok());
  host.memory.open();
  const u64 free_before = host.memory.buddy.free_frames();
  u64 restored = 0;
  std::vector<Block> blocks;
  handover.for_each_unrestored([&](Block block) { blocks.push_back(block); });
  for (Block block : blocks) {
    ASSERT_EQ(handover.restore(block.start)->order, block.order);
    restored += u64{1} << block.order;
    host.memory.buddy.release(block.start, block.order);
  }
  // All that Linux preserved, except the root FDT, which is kept with the map.
  EXPECT_EQ(restored, sample->reported["preserved_bytes"].get<u64>() / 4096 - 1);
  EXPECT_EQ(host.memory.buddy.free_frames(), free_before + restored);
}

INSTANTIATE_TEST_SUITE_P(All, LinuxSampleTest, testing::ValuesIn(LinuxSample::all),
                         [](const auto& sample_info) { return std::string(1, sample_info.param[0]); });

}  // namespace
}  // namespace holdfast::kho

// The two independent readers against memory that a real Linux wrote.
#include "sim/walk/linux_samples.hpp"

#include <gtest/gtest.h>

#include "holdfast/hw/vtd/entries.hpp"
#include "sim/walk/handover_map.hpp"
#include "sim/walk/vtd_second_stage.hpp"

namespace sim::walk {
namespace {

constexpr SourceId edu(0, 5, 0);

PhysAddr page(u64 frame) { return Pfn(frame).address(); }

// Root to second stage by the layouts of holdfast/hw; levels from AW.
SecondStage stage_of(const LinuxSample& sample, SourceId sid) {
  using namespace hw::vtd;
  const u64 rtaddr = sample.truth["reported_by_hardware_model"]["registers"]["RTADDR"].get<u64>();
  const PhysAddr root(rtaddr & ~u64{0xfff});
  const PhysAddr root_at = root + u64{sid.bus()} * 16;
  SecondStage stage{.top_table = {}, .host_address_bits = 39, .pages_1g = true, .snoop = SnoopBit::Reserved};
  if ((rtaddr >> 10 & 3) == 0) {
    const RootEntry entry(RootEntry::Words{sample.load64(root_at).value(), sample.load64(root_at + 8).value()});
    const PhysAddr at = page(entry.get<root_entry::Ctp>()) + u64{sid.devfn()} * 16;
    const ContextEntry context(ContextEntry::Words{sample.load64(at).value(), sample.load64(at + 8).value()});
    EXPECT_EQ(context.get<context_entry::P>(), 1u);
    EXPECT_TRUE(context.reserved_clear());
    stage.top_table = page(context.get<context_entry::Ssptptr>());
    stage.levels = static_cast<unsigned>(context.get<context_entry::Aw>()) + 2;
    return stage;
  }
  const PhysAddr table(sample.load64(root_at + (sid.devfn() >= 0x80 ? 8 : 0)).value() & ~u64{0xfff});
  const PhysAddr at = table + u64{sid.devfn() & 0x7fu} * 32;
  ScalableContextEntry::Words words{};
  for (unsigned i = 0; i < 4; ++i) words[i] = sample.load64(at + u64{i} * 8).value();
  const ScalableContextEntry context(words);
  const u64 pasid = context.get<scalable_context_entry::RidPasid>();
  const PhysAddr directory = page(context.get<scalable_context_entry::PasidDirPtr>());
  const PasidDirectoryEntry entry(sample.load64(directory + (pasid >> pasid_table_lg2) * 8).value());
  PasidEntry::Words raw{};
  for (unsigned i = 0; i < 8; ++i)
    raw[i] =
        sample.load64(page(entry.get<pasid_directory_entry::SmptblPtr>()) + (pasid & 63) * 64 + u64{i} * 8).value();
  const PasidEntry pasid_entry_value(raw);
  EXPECT_EQ(pasid_entry_value.get<pasid_entry::Pgtt>(), 2u);
  EXPECT_TRUE(pasid_entry_value.reserved_clear());
  stage.top_table = page(pasid_entry_value.get<pasid_entry::Ssptptr>());
  stage.levels = static_cast<unsigned>(pasid_entry_value.get<pasid_entry::Aw>()) + 2;
  return stage;
}

struct Page {
  u64 address = 0;
  bool read = false;
  bool write = false;
  bool operator==(const Page&) const = default;
};
using PageMap = std::map<u64, Page>;

void add_pages(PageMap& map, u64 iova, u64 address, u64 bytes, bool read, bool write) {
  for (u64 at = 0; at < bytes; at += page_size_bytes) map[iova + at] = {address + at, read, write};
}

PageMap expected_map(const LinuxSample& sample) {
  PageMap map;
  for (const auto& mapping : sample.truth["reported_by_linux"]["mappings_of_00_05_0"])
    for (const auto& run : mapping["runs"])
      add_pages(map, run[0].get<u64>(), run[1].get<u64>(), run[2].get<u64>(), mapping["read"].get<int>() != 0,
                mapping["write"].get<int>() != 0);
  return map;
}

class LinuxTables : public testing::TestWithParam<const char*> {};

TEST_P(LinuxTables, AreReadAsLinuxReportedThem) {
  const auto sample = LinuxSample::load(std::string("vtd/") + GetParam());
  if (!sample) GTEST_SKIP() << "no recorded samples here";
  const SecondStage stage = stage_of(*sample, edu);
  EXPECT_EQ(stage.levels, 3u);
  PageMap found;
  EXPECT_EQ(for_each_leaf(*sample, stage,
                          [&](const Leaf& leaf) {
                            add_pages(found, leaf.iova, leaf.address.value, leaf.page_bytes, leaf.read, leaf.write);
                          }),
            WalkFault::None);
  const PageMap expected = expected_map(*sample);
  EXPECT_FALSE(expected.empty());
  EXPECT_TRUE(found == expected);
  for (const auto& [iova, page_found] : expected) {
    const Lookup one = lookup(*sample, stage, iova + 0x123);
    ASSERT_EQ(one.fault, WalkFault::None);
    ASSERT_EQ(one.address.value, page_found.address + 0x123);
  }
}

INSTANTIATE_TEST_SUITE_P(Captures, LinuxTables,
                         testing::Values("legacy-39bit/P1-all-mapped", "legacy-39bit/P2-some-unmapped",
                                         "scalable-39bit/P1-all-mapped"),
                         [](const auto& capture) {
                           std::string name = capture.param;
                           for (char& c : name)
                             if (c == '/' || c == '-') c = '_';
                           return name;
                         });

class LinuxHandover : public testing::TestWithParam<const char*> {};

TEST_P(LinuxHandover, IsReadAsLinuxWalkedIt) {
  const auto sample = LinuxSample::load(std::string("kho/") + GetParam());
  if (!sample) GTEST_SKIP() << "no recorded samples here";
  const auto& arguments = sample->truth["reported_by_linux"]["kho_populate_arguments"];
  const HandoverMap map =
      read_handover(*sample, {arguments["fdt_phys"].get<u64>(), arguments["fdt_len"].get<u64>(),
                              arguments["scratch_phys"].get<u64>(), arguments["scratch_len"].get<u64>()});
  ASSERT_EQ(map.error, "");
  std::vector<Block> expected;
  for (const auto& run : sample->truth["reported_by_linux"]["preserved_runs_in_walk_order"])
    for (u64 i = 0; i < run["count"].get<u64>(); ++i) {
      const u32 order = run["order"].get<u32>();
      expected.push_back({PhysAddr(run["paddr"].get<u64>() + i * (page_size_bytes << order)), order});
    }
  EXPECT_TRUE(map.preserved == expected);
  ASSERT_EQ(map.scratch.size(), 3u);
  EXPECT_EQ(map.scratch[1].size_bytes, 0u);
  ASSERT_EQ(map.subtrees.size(), 1u);
  EXPECT_EQ(map.subtrees[0].name, "LUO");
  EXPECT_EQ(map.subtrees[0].data.value,
            sample->truth["decoded_by_capture_script"]["root_fdt"]["subtrees"]["LUO"].get<u64>());
}

INSTANTIATE_TEST_SUITE_P(Captures, LinuxHandover, testing::Values("a-one-session-one-memfd", "c-no-sessions"),
                         [](const auto& capture) { return capture.index == 0 ? "one_memfd" : "no_sessions"; });

}  // namespace
}  // namespace sim::walk

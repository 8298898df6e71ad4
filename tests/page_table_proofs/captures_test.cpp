// Proof 5: what a real Linux wrote for VT-d, read by the library's own walk, and the same mappings made by the library.
//
// Bits that differ from Linux's: none in leaves and in table items, but for the addresses of tables. Both set R, W and
// bit 10 ("flushed") in items that lead to a table, as the unit that was recorded does not snoop its walks. What
// differs is which tables there are: Linux keeps tables that became empty when what they mapped was unmapped piece by
// piece, where we start from nothing.
#include <gtest/gtest.h>

#include "holdfast/pt/test_support.hpp"
#include "holdfast/pt/vtd_second_stage.hpp"
#include "holdfast/pt/walk.hpp"
#include "sim/walk/linux_samples.hpp"

namespace page_table_proofs {
namespace {

using namespace holdfast;      // NOLINT
using namespace holdfast::pt;  // NOLINT
using sim::walk::LinuxSample;

struct Leaf {
  Iova from;
  Translation to;
  bool operator==(const Leaf&) const = default;
};

struct Mapping {
  u64 iova;
  std::vector<PhysRange> runs;
  Prot prot;
};

std::vector<Mapping> mappings_of(const LinuxSample& sample) {
  std::vector<Mapping> all;
  for (const auto& one : sample.truth["reported_by_linux"]["mappings_of_00_05_0"]) {
    Mapping mapping{one["iova"].get<u64>(), {}, Prot::None};
    if (one["read"].get<int>() != 0) mapping.prot = mapping.prot | Prot::Read;
    if (one["write"].get<int>() != 0) mapping.prot = mapping.prot | Prot::Write;
    for (const auto& run : one["runs"]) mapping.runs.push_back({PhysAddr(run[1].get<u64>()), run[2].get<u64>()});
    all.push_back(mapping);
  }
  return all;
}

/// The tree of 00:05.0, by its context entry or its PASID entry 0.
Tree tree_of(const LinuxSample& sample) {
  u64 top = 0;
  u64 levels = 0;
  for (const auto& device : sample.truth["decoded_by_capture_script"]["devices"]) {
    if (device["bdf"] != "00:05.0") continue;
    const auto& entry = device.contains("pasid_entries") ? device["pasid_entries"][0] : device;
    top = entry["ssptptr"].get<u64>();
    levels = entry["levels"].get<u64>();
  }
  return {.top = PhysAddr(top), .top_level = static_cast<u8>(levels - 1), .iova_bits = 39};
}

class Capture : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    sample = LinuxSample::load(std::string("vtd/") + GetParam());
    if (!sample) GTEST_SKIP() << "no recorded samples here";
    tree = tree_of(*sample);
    ASSERT_EQ(tree.top_level, 2u);
  }
  /// How the library gets at a recorded table; null, and a failure, where Linux points to what was not recorded.
  [[nodiscard]] auto follow() const {
    return [this](PhysAddr page, unsigned) {
      const auto* words = reinterpret_cast<const u64*>(sample->find(page, page_size_bytes));
      EXPECT_NE(words, nullptr) << "no table at " << std::hex << page.value;
      return words;
    };
  }
  [[nodiscard]] std::vector<Leaf> recorded_leaves() const {
    struct Collect final : LeafVisitor {
      Visit leaf(Iova from, const Translation& to) override { return all.push_back({from, to}), Visit::Continue; }
      std::vector<Leaf> all;
    } collect;
    visit_leaves<VtdSecondStage>(tree, collect, follow());
    return collect.all;
  }
  /// The recorded mappings, made by the library; not coherent, as the unit that was recorded.
  Table& build() {
    Table& table = **Table::create(host.memory, {.levels = 3,
                                                 .iova_bits = 39,
                                                 .phys_bits = 39,
                                                 .page_sizes = u64{1} << 12 | u64{1} << 21 | u64{1} << 30,
                                                 .coherent = false});
    for (const Mapping& mapping : mappings_of(*sample))
      EXPECT_TRUE(map_now(table, Iova(mapping.iova), mapping.runs, mapping.prot).ok());
    return table;
  }

  std::optional<LinuxSample> sample;
  Tree tree;
  TestWorld world{u64{16} << 20};
  TestMemory host{world};
};

TEST_P(Capture, IsReadAsLinuxReportedItsMappings) {
  PageModel expected;
  for (const Mapping& mapping : mappings_of(*sample)) {
    u64 iova = mapping.iova;
    for (const PhysRange& run : mapping.runs)
      for (u64 offset = 0; offset < run.size_bytes; offset += page_size_bytes, iova += page_size_bytes)
        expected[iova >> 12] = (run.start.value + offset) | static_cast<u64>(mapping.prot);
  }
  ASSERT_FALSE(expected.empty());
  PageModel found;
  for (const Leaf& leaf : recorded_leaves())
    for (u64 offset = 0; offset < leaf.to.page_size; offset += page_size_bytes)
      found[(leaf.from.value + offset) >> 12] = (leaf.to.address.value + offset) | static_cast<u64>(leaf.to.prot);
  EXPECT_EQ(found, expected);
  for (const auto& [page, target] : expected) {
    const auto one = find_leaf<VtdSecondStage>(tree, Iova(page << 12 | 0x123), follow()).result();
    ASSERT_TRUE(one.ok());
    ASSERT_EQ(one->address.value, (target & ~u64{0xfff}) | 0x123);
  }
  EXPECT_EQ(find_leaf<VtdSecondStage>(tree, Iova(0), follow()).result().code(), Code::NotFound);
}

TEST_P(Capture, HoldsNoBitThatTheFormatDoesNotKnow) {
  struct Check final : TableVisitor {
    Visit tables(std::span<const PhysAddr> pages, unsigned level) override {
      for (const PhysAddr page : pages) {
        const u64* words = reinterpret_cast<const u64*>(sample->find(page, page_size_bytes));
        for (unsigned i = 0; i < 512; ++i)
          EXPECT_EQ(words[i] != 0 ? VtdSecondStage::unknown_bits(words[i], level) : 0, 0u) << std::hex << words[i];
        ++count;
      }
      return Visit::Continue;
    }
    const LinuxSample* sample = nullptr;
    int count = 0;
  } check;
  check.sample = &*sample;
  check.tables({&tree.top, 1}, tree.top_level);
  visit_lower_tables<VtdSecondStage, Order::ParentsFirst>(tree, check, follow());
  EXPECT_GE(check.count, 19);
}

TEST_P(Capture, HasTheLeavesThatWeMakeOfTheSameMappings) {
  Table& table = build();
  std::vector<Leaf> ours;
  table.for_each_leaf([&](Iova from, const Translation& to) { ours.push_back({from, to}); });
  EXPECT_TRUE(ours == recorded_leaves());
  EXPECT_GE(ours.size(), 790u);
  Table::destroy(&table);
}

/// Compares a table of Linux with ours at the same place; answers how many empty ones Linux has besides.
unsigned compare(const LinuxSample& sample, const TestWorld& world, PhysAddr theirs, PhysAddr ours, unsigned level) {
  const u64* a = reinterpret_cast<const u64*>(sample.find(theirs, page_size_bytes));
  const u64* b = reinterpret_cast<const u64*>(world.direct_map() + ours.value);
  constexpr u64 address = u64{0x000f'ffff'ffff'f000};
  unsigned emptied = 0;
  for (unsigned i = 0; i < 512; ++i) {
    if (VtdSecondStage::kind(a[i], level) != EntryKind::Table) {
      EXPECT_EQ(a[i], b[i]) << "level " << level << ", item " << i;
    } else if (b[i] == 0) {
      const u64* child = reinterpret_cast<const u64*>(sample.find(PhysAddr(a[i] & address), page_size_bytes));
      EXPECT_TRUE(std::all_of(child, child + 512, [](u64 item) { return item == 0; })) << "ours lacks a table";
      ++emptied;
    } else {
      EXPECT_EQ(a[i] & ~address, b[i] & ~address) << "level " << level << ", item " << i;
      emptied += compare(sample, world, PhysAddr(a[i] & address), PhysAddr(b[i] & address), level - 1);
    }
  }
  return emptied;
}

TEST_P(Capture, IsWhatWeWriteItemByItem) {
  Table& table = build();
  const unsigned emptied = compare(*sample, world, tree.top, table.top(), tree.top_level);
  const bool some_unmapped = std::string_view(GetParam()).ends_with("some-unmapped");
  EXPECT_EQ(emptied != 0, some_unmapped) << emptied;
  Table::destroy(&table);
}

INSTANTIATE_TEST_SUITE_P(Linux, Capture,
                         testing::Values("legacy-39bit/P1-all-mapped", "legacy-39bit/P2-some-unmapped",
                                         "scalable-39bit/P1-all-mapped"),
                         [](const auto& capture) {
                           std::string name = capture.param;
                           for (char& c : name)
                             if (c == '/' || c == '-') c = '_';
                           return name;
                         });

}  // namespace
}  // namespace page_table_proofs

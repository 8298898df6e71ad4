#include "holdfast/vtd/unit_fixture.hpp"

namespace holdfast::vtd {
namespace {

using abi::iommu::IntelDevice;
using abi::iommu::IntelUnit;
using iommu::EntrySpec;
using iommu::LiveEntry;
using testing::ElementsAre;
using testing::UnorderedElementsAre;

constexpr SourceId kept(0, 3, 0);
constexpr SourceId other(0, 4, 0);
constexpr SourceId upper(0, 31, 7);
constexpr SourceId far(7, 0, 0);

class HandoverTest : public testing::TestWithParam<Mode> {
 protected:
  HandoverTest() : kernel(TestKernel::started(world, GetParam())) {
    EXPECT_TRUE(unit().keep_root(handover).ok());
    only_root = handover.blocks;
  }
  VtdUnit& unit() { return *kernel->unit; }
  FakeUnit& hardware() { return world.unit(); }
  [[nodiscard]] bool scalable() const { return GetParam() == Mode::Scalable; }
  /// kept and other share a context table; upper and far do not.
  void attach_all() {
    u64 top = 0x2000000;
    for (SourceId device : {kept, other, upper, far}) kernel->attach(device, kernel->make_spec(top += 0x1000));
  }
  void preserve_kept() {
    ASSERT_TRUE(unit().preserve(handover, record).ok());
    ASSERT_TRUE(unit().preserve_device(handover, kept, device_record).ok());
  }
  [[nodiscard]] std::vector<u64> page(u64 address) {
    std::vector<u64> words;
    for (u64 offset = 0; offset < page_size_bytes; offset += 8) words.push_back(kernel->word(address + offset));
    return words;
  }
  /// Every byte that hardware can reach without page tables: root, context tables, PASID tables.
  [[nodiscard]] std::map<u64, std::vector<u64>> reachable() {
    std::map<u64, std::vector<u64>> pages{{kernel->root(), page(kernel->root())}};
    for (u64 word : page(kernel->root())) {
      if ((word & 1) == 0) continue;
      const u64 table = word & ~u64{0xfff};
      pages[table] = page(table);
      for (u64 at = 0; scalable() && at < 512; at += 4) {
        const u64 context = pages[table][at];
        if ((context & 1) == 0) continue;
        const u64 directory = context & ~u64{0xfff};
        pages[directory] = page(directory);
        pages[pages[directory][0] & ~u64{0xfff}] = page(pages[directory][0] & ~u64{0xfff});
      }
    }
    return pages;
  }
  [[nodiscard]] HalfBitmap present_halves() {
    HalfBitmap halves{};
    const auto words = page(kernel->root());
    for (unsigned half = 0; half < half_count; ++half)
      if ((words[half] & 1) != 0) set_half(halves, half);
    return halves;
  }

  HardwareWorld world;
  std::unique_ptr<TestKernel> kernel;
  FakeHandover handover;
  std::set<std::pair<u64, u32>> only_root;
  IntelUnit record{};
  IntelDevice device_record{};
};
INSTANTIATE_TEST_SUITE_P(Modes, HandoverTest, testing::Values(Mode::Legacy, Mode::Scalable), mode_name);

TEST_P(HandoverTest, TheRootIsKeptWhateverElseIsPreserved) {
  RecordProperty("acceptance", "IV15");
  EXPECT_EQ(only_root, (std::set<std::pair<u64, u32>>{{kernel->root(), 0}}));
  handover.calls = 0;
  ASSERT_TRUE(unit().keep_root(handover).ok());
  EXPECT_EQ(handover.calls, 0u) << "once";
  attach_all();
  preserve_kept();
  unit().unpreserve_device(handover, kept, device_record);
  unit().unpreserve(handover, record);
  EXPECT_EQ(handover.blocks, only_root);
}

TEST_P(HandoverTest, WithoutAKeptRootNothingIsPreservedAndNoJumpAllowed) {
  HardwareWorld of_its_own;
  const auto late = TestKernel::started(of_its_own, GetParam());
  FakeHandover empty;
  EXPECT_EQ(late->unit->preserve(empty, record).code(), Code::Io);
  EXPECT_EQ(late->unit->check_alive().code(), Code::Io);
  empty.fail_at = 1;
  EXPECT_EQ(late->unit->keep_root(empty).code(), Code::NoMemory);
  EXPECT_EQ(late->unit->check_alive().code(), Code::Io);
  EXPECT_TRUE(late->unit->keep_root(empty).ok());
  EXPECT_TRUE(late->unit->check_alive().ok());
  EXPECT_TRUE(late->unit->preserve(empty, record).ok());
}

TEST_P(HandoverTest, ARootInScratchCannotBeKept) {
  HardwareWorld of_its_own;
  TestKernel early(of_its_own, UnitOptions{GetParam()});
  ASSERT_TRUE(early.unit->start_fresh().ok());
  FakeHandover empty;
  EXPECT_EQ(early.unit->keep_root(empty).code(), Code::Io);
  EXPECT_TRUE(empty.blocks.empty());
}

TEST_P(HandoverTest, AUnitWhoseQueueIsSilentStillWalksARootThatIsKept) {
  HardwareWorld of_its_own;
  of_its_own.unit().queue = FakeUnit::Queue::Silent;
  TestKernel early(of_its_own, UnitOptions{GetParam()});
  EXPECT_EQ(early.unit->start_fresh().code(), Code::TimedOut);
  ASSERT_TRUE(early.unit->attach_memory(early.host.memory).ok());
  FakeHandover empty;
  ASSERT_TRUE(early.unit->keep_root(empty).ok());
  EXPECT_TRUE(empty.contains({PhysAddr(early.root()), 0}));
}

TEST_P(HandoverTest, PreservesTheRootAndEveryExistingContextTable) {
  RecordProperty("acceptance", "IV1 IV2");
  attach_all();
  ASSERT_TRUE(unit().preserve(handover, record).ok());
  EXPECT_EQ(record.phys_addr, test_base.value);
  EXPECT_EQ(record.root_table, kernel->root());
  EXPECT_EQ(record.context_tables_bitmap, present_halves());
  std::set<std::pair<u64, u32>> expected{{kernel->root(), 0}};
  for (u64 word : page(kernel->root()))
    if ((word & 1) != 0) expected.insert({word & ~u64{0xfff}, 0});
  EXPECT_EQ(handover.blocks, expected);
  EXPECT_EQ(expected.size(), scalable() ? 4u : 3u);

  handover.calls = 0;
  ASSERT_TRUE(unit().preserve(handover, record).ok());
  EXPECT_EQ(handover.calls, 0u) << "each once";
}

TEST_P(HandoverTest, LegacyModeUsesEvenBitsOnly) {
  RecordProperty("acceptance", "IV4");
  attach_all();
  ASSERT_TRUE(unit().preserve(handover, record).ok());
  unsigned odd = 0;
  for (unsigned half = 1; half < half_count; half += 2) odd += test_half(record.context_tables_bitmap, half) ? 1 : 0;
  EXPECT_EQ(odd, scalable() ? 1u : 0u);
  EXPECT_TRUE(test_half(record.context_tables_bitmap, 0));
  EXPECT_TRUE(test_half(record.context_tables_bitmap, 14));
}

TEST_P(HandoverTest, TablesMadeLaterArePickedUpByTheNextPreserve) {
  kernel->attach(kept, kernel->make_spec(0x2000000));
  ASSERT_TRUE(unit().preserve(handover, record).ok());
  const auto before = handover.blocks.size();
  kernel->attach(far, kernel->make_spec(0x3000000));
  EXPECT_FALSE(test_half(record.context_tables_bitmap, 14));
  ASSERT_TRUE(unit().preserve(handover, record).ok());
  EXPECT_TRUE(test_half(record.context_tables_bitmap, 14));
  EXPECT_EQ(handover.blocks.size(), before + 1);
}

TEST_P(HandoverTest, UnpreserveRemovesWhatTheRecordNames) {
  attach_all();
  preserve_kept();
  unit().unpreserve_device(handover, kept, device_record);
  unit().unpreserve(handover, record);
  EXPECT_EQ(handover.blocks, only_root);
  EXPECT_EQ(std::memcmp(&record, &static_cast<const IntelUnit&>(IntelUnit{}), sizeof record), 0);

  ASSERT_TRUE(unit().preserve(handover, record).ok());
  IntelUnit part{};
  set_half(part.context_tables_bitmap, 14);
  unit().unpreserve(handover, part);
  EXPECT_TRUE(handover.contains({PhysAddr(kernel->root()), 0}));
  EXPECT_FALSE(handover.contains({PhysAddr(kernel->word(kernel->root() + 14 * 8) & ~u64{0xfff}), 0}));
}

TEST_P(HandoverTest, APreserveThatFailsLeavesTheSetAsItWas) {
  RecordProperty("acceptance", "IV2");
  attach_all();
  for (u64 k = 1;; ++k) {
    handover.calls = 0;
    handover.fail_at = k;
    IntelUnit untouched{};
    const Status preserved = unit().preserve(handover, untouched);
    if (preserved.ok()) break;
    EXPECT_EQ(preserved.code(), Code::NoMemory);
    EXPECT_EQ(handover.blocks, only_root);
    EXPECT_EQ(untouched.root_table, 0u);
  }
  handover.fail_at = 0;
  for (u64 k = 1; scalable(); ++k) {
    const auto before = handover.blocks;
    handover.calls = 0;
    handover.fail_at = k;
    IntelDevice untouched{};
    if (unit().preserve_device(handover, kept, untouched).ok()) break;
    EXPECT_EQ(handover.blocks, before);
    EXPECT_EQ(untouched.pasid_table, 0u);
  }
}

TEST_P(HandoverTest, ScalableModeRecordsThePasidDirectory) {
  attach_all();
  ASSERT_TRUE(unit().preserve_device(handover, kept, device_record).ok());
  if (!scalable()) {
    EXPECT_EQ(handover.blocks, only_root);
    EXPECT_EQ(device_record.pasid_table, 0u);
    return;
  }
  const u64 directory = kernel->word(kernel->context_entry(kept, GetParam())) & ~u64{0xfff};
  EXPECT_EQ(device_record.pasid_table, directory);
  EXPECT_EQ(device_record.max_pasid, 32768u);
  EXPECT_TRUE(handover.contains({PhysAddr(directory), 0}));
  EXPECT_TRUE(handover.contains({PhysAddr(kernel->translation_entry(kept, GetParam())), 0}));
  EXPECT_EQ(handover.blocks.size(), only_root.size() + 2);
  EXPECT_EQ(unit().preserve_device(handover, kept, device_record).code(), Code::Busy);
}

TEST_P(HandoverTest, CutOffLeavesOnlyWhatIsKept) {
  RecordProperty("acceptance", "IV9 IV10");
  attach_all();
  preserve_kept();
  const u64 at = kernel->translation_entry(kept, GetParam());
  const auto kept_page = page(at & ~u64{0xfff});
  const u64 context = kernel->context_entry(kept, GetParam());
  const u64 context_word = kernel->word(context);
  const std::array keep{kept};
  ASSERT_TRUE(unit().cut_off(keep).ok());
  EXPECT_EQ(kernel->word(context), context_word);
  if (scalable()) {
    EXPECT_EQ(page(at & ~u64{0xfff}), kept_page) << "bitwise";
  }
  for (SourceId device : {other, upper, far}) {
    const u64 entry = kernel->context_entry(device, GetParam());
    ASSERT_NE(entry, 0u);
    for (u64 offset = 0; offset < (scalable() ? 32u : 16u); offset += 8) EXPECT_EQ(kernel->word(entry + offset), 0u);
  }
  EXPECT_TRUE(hardware().translating());
  EXPECT_EQ(hardware().times_disabled, 0u);
}

TEST_P(HandoverTest, TranslationStaysOnThroughTheCutOffAndEventsAreMasked) {
  RecordProperty("acceptance", "IV15");
  attach_all();
  preserve_kept();
  hardware().set<u32>(hw::vtd::fectl_offset, 0);
  hardware().set<u32>(hw::vtd::iectl_offset, 0);
  const u64 roots_set = hardware().roots_set;
  const std::array keep{kept};
  ASSERT_TRUE(unit().cut_off(keep).ok());
  EXPECT_EQ(hardware().times_disabled, 0u);
  EXPECT_EQ(hardware().roots_set, roots_set);
  EXPECT_EQ(hardware().get<u32>(hw::vtd::fectl_offset) >> 31, 1u);
  EXPECT_EQ(hardware().get<u32>(hw::vtd::iectl_offset) >> 31, 1u);
  EXPECT_EQ(hardware().get<u64>(hw::vtd::iqh_offset), hardware().get<u64>(hw::vtd::iqt_offset)) << "queue drained";
  unit().reinstate();
  EXPECT_EQ(hardware().get<u32>(hw::vtd::fectl_offset), 0u);
  EXPECT_EQ(hardware().get<u32>(hw::vtd::iectl_offset), 0u);
}

TEST_P(HandoverTest, CutOffForgetsGloballyInOrderAndNoDeviceTlb) {
  RecordProperty("acceptance", "IV13 IV14");
  attach_all();
  preserve_kept();
  hardware().take_types();
  bool all_clear = false;
  hardware().on_descriptor = [&](const Quad& one) {
    if ((one.lo & 0xf) == 5) return;
    EXPECT_EQ(one.lo >> 4 & 3, (one.lo & 0xf) == 7 ? 3u : 1u) << "global";
    all_clear = kernel->word(kernel->context_entry(other, GetParam())) == 0;
  };
  const std::array keep{kept};
  ASSERT_TRUE(unit().cut_off(keep).ok());
  const std::vector<u64> once = scalable() ? std::vector<u64>{1, 7, 2} : std::vector<u64>{1, 2};
  std::vector<u64> twice = once;
  twice.insert(twice.end(), once.begin(), once.end());
  EXPECT_EQ(hardware().take_types(), twice) << "after the present bits, and after everything";
  EXPECT_TRUE(all_clear);
}

TEST_P(HandoverTest, CutOffClearsPresentBitsForgetsAndThenClearsTheRest) {
  RecordProperty("acceptance", "IV11");
  attach_all();
  preserve_kept();
  const u64 entry = kernel->context_entry(other, GetParam());
  const u64 before = kernel->word(entry);
  std::vector<u64> seen;
  world.on_step = [&] {
    if (seen.empty() || seen.back() != kernel->word(entry)) seen.push_back(kernel->word(entry));
  };
  bool first = true;
  hardware().on_descriptor = [&](const Quad&) {
    if (std::exchange(first, false)) {
      EXPECT_EQ(kernel->word(entry), before & ~u64{1});
    }
  };
  const std::array keep{kept};
  ASSERT_TRUE(unit().cut_off(keep).ok());
  world.on_step = nullptr;
  EXPECT_THAT(seen, ElementsAre(before, before & ~u64{1}, 0));
}

TEST_P(HandoverTest, RootHalvesOfUnpreservedContextTablesAreCleared) {
  RecordProperty("acceptance", "IV3 IV12");
  kernel->attach(kept, kernel->make_spec(0x2000000));
  preserve_kept();
  kernel->attach(upper, kernel->make_spec(0x3000000));
  kernel->attach(far, kernel->make_spec(0x4000000));
  const auto roots = page(kernel->root());
  const u64 kept_root = kernel->word(kernel->root());
  const std::array keep{kept};
  ASSERT_TRUE(unit().cut_off(keep).ok());
  EXPECT_EQ(kernel->word(kernel->root()), kept_root);
  EXPECT_EQ(kernel->word(kernel->root() + 8), 0u) << "upper half of bus 0";
  EXPECT_EQ(kernel->word(kernel->root() + 7 * 16), 0u);
  unit().reinstate();
  EXPECT_EQ(page(kernel->root()), roots);
}

TEST_P(HandoverTest, ReinstatePutsBackEveryByte) {
  attach_all();
  preserve_kept();
  const auto before = reachable();
  const u64 hash = unit().state_hash();
  const std::array keep{kept};
  for (int round = 0; round < 2; ++round) {
    ASSERT_TRUE(unit().cut_off(keep).ok());
    EXPECT_NE(reachable(), before);
    EXPECT_NE(unit().state_hash(), hash);
    unit().reinstate();
    EXPECT_EQ(reachable(), before);
    EXPECT_EQ(unit().state_hash(), hash);
  }
  EXPECT_TRUE(unit().replace(other, unit().read_entry(other).spec, kernel->make_spec(0x5000000)).ok());
}

TEST_P(HandoverTest, ReinstatedEntriesAreNeverSeenInParts) {
  attach_all();
  preserve_kept();
  const u64 entry = kernel->context_entry(other, GetParam());
  const Quad before{kernel->word(entry), kernel->word(entry + 8)};
  const std::array keep{kept};
  ASSERT_TRUE(unit().cut_off(keep).ok());
  world.on_step = [&] {
    const Quad seen{kernel->word(entry), kernel->word(entry + 8)};
    EXPECT_TRUE((seen.lo & 1) == 0 || seen == before);
  };
  unit().reinstate();
  world.on_step = nullptr;
}

TEST_P(HandoverTest, CutOffAllocatesNothing) {
  attach_all();
  preserve_kept();
  world.allocations = 0;
  const std::array keep{kept};
  ASSERT_TRUE(unit().cut_off(keep).ok());
  unit().reinstate();
  EXPECT_EQ(world.allocations, 0u);
}

TEST_P(HandoverTest, AUnitWithoutPreservedStateBlocksEverythingWithTranslationOn) {
  RecordProperty("acceptance", "IV15");
  attach_all();
  ASSERT_TRUE(unit().cut_off({}).ok());
  for (u64 word : page(kernel->root())) EXPECT_EQ(word, 0u);
  EXPECT_TRUE(hardware().translating());
  EXPECT_EQ(hardware().times_disabled, 0u);
}

TEST_P(HandoverTest, CutOffRefusesToKeepWhatIsNotPreserved) {
  attach_all();
  const auto before = reachable();
  const std::array keep{kept};
  EXPECT_EQ(unit().cut_off(keep).code(), Code::Invalid);
  EXPECT_EQ(reachable(), before);
  ASSERT_TRUE(unit().preserve(handover, record).ok());
  EXPECT_EQ(unit().cut_off(keep).ok(), !scalable()) << "scalable mode needs the PASID tables as well";
}

TEST_P(HandoverTest, ACutOffThatHardwareDoesNotConfirmTakesItselfBack) {
  attach_all();
  preserve_kept();
  const auto before = reachable();
  hardware().queue = FakeUnit::Queue::Silent;
  const std::array keep{kept};
  EXPECT_EQ(unit().cut_off(keep).code(), Code::TimedOut);
  EXPECT_EQ(reachable(), before);
  unit().reinstate();
  EXPECT_EQ(reachable(), before) << "nothing to put back";
}

TEST_P(HandoverTest, ProtectedMemoryIsOffAfterTheCutOff) {
  RecordProperty("acceptance", "IV16");
  HardwareWorld with_regions(test_cap | cap_plmr, test_ecap);
  const auto host = TestKernel::started(with_regions, GetParam());
  with_regions.unit().set<u32>(hw::vtd::pmen_offset, 0x80000000);
  ASSERT_TRUE(host->unit->keep_root(handover).ok());
  ASSERT_TRUE(host->unit->preserve(handover, record).ok());
  ASSERT_TRUE(host->unit->cut_off({}).ok());
  EXPECT_EQ(with_regions.unit().get<u32>(hw::vtd::pmen_offset) >> 31, 0u);
}

TEST_P(HandoverTest, TheWorkOfTheCutOffDependsOnContextTablesOnly) {
  attach_all();
  preserve_kept();
  kernel->host.memory.touches.running = true;
  const std::array keep{kept};
  ASSERT_TRUE(unit().cut_off(keep).ok());
  EXPECT_EQ(kernel->host.memory.touches.counts.tables, 2u * (scalable() ? 3 : 2));
}

TEST_P(HandoverTest, TheHashSeesEntriesIdsAndRegisters) {
  const u64 empty = unit().state_hash();
  EXPECT_EQ(unit().state_hash(), empty);
  const EntrySpec spec = kernel->make_spec(0x2000000);
  const u64 with_id = unit().state_hash();
  EXPECT_NE(with_id, empty);
  ASSERT_TRUE(unit().prepare(kept).ok());
  const u64 prepared = unit().state_hash();
  ASSERT_TRUE(unit().install(kept, spec).ok());
  EXPECT_NE(unit().state_hash(), prepared);
  ASSERT_TRUE(unit().check_alive().ok());
  ASSERT_TRUE(unit().block(kept).ok());
  EXPECT_EQ(unit().state_hash(), prepared) << "undone is undone";
}

}  // namespace
}  // namespace holdfast::vtd

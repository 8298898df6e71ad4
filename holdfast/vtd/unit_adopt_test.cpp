#include "holdfast/vtd/unit_fixture.hpp"

namespace holdfast::vtd {
namespace {

using abi::iommu::IntelDevice;
using abi::iommu::IntelUnit;
using iommu::EntrySpec;
using iommu::LiveEntry;
using iommu::UnitAdoption;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::UnorderedElementsAre;

constexpr SourceId first(0, 3, 0);
constexpr SourceId second(0, 31, 7);
constexpr SourceId third(7, 0, 0);

/// Kernel A preserves three devices and is cut off; kernel B comes after it. Between the two anything can be damaged.
class AdoptTest : public testing::TestWithParam<Mode> {
 protected:
  AdoptTest() {
    auto a = TestKernel::started(world_a, GetParam());
    u64 top = 0x2000000;
    for (SourceId device : {first, second, third}) {
      specs[device.value] = a->make_spec(top += 0x1000);
      a->attach(device, specs[device.value]);
    }
    EXPECT_TRUE(a->unit->keep_root(handover).ok());
    EXPECT_TRUE(a->unit->preserve(handover, record).ok());
    std::vector<SourceId> keep;
    for (SourceId device : {first, second, third}) {
      EXPECT_TRUE(a->unit->preserve_device(handover, device, devices[device.value]).ok());
      keep.push_back(device);
    }
    EXPECT_TRUE(a->unit->cut_off(keep).ok());
    world_b = std::make_unique<HardwareWorld>(world_a, AfterJump{});
    hardware().writes.clear();
    hardware().executed.clear();
    hardware().roots_set = 0;
  }
  void boot(Mode mode) {
    b = std::make_unique<TestKernel>(*world_b, UnitOptions{mode}, TestOpen::Later);
    ASSERT_EQ(b->code, Code::Ok);
  }
  void boot() { boot(GetParam()); }
  void open_memory() {
    for (auto [address, order] : handover.blocks)
      ASSERT_TRUE(b->host.memory.mark_incoming({PhysAddr(address), order}).ok());
    b->host.memory.open();
    ASSERT_TRUE(unit().attach_memory(b->host.memory).ok());
  }
  [[nodiscard]] UnitAdoption state() const {
    return {.root_table = PhysAddr(record.root_table), .context_tables = record.context_tables_bitmap};
  }
  FakeUnit& hardware() { return world_b->unit(); }
  VtdUnit& unit() { return *b->unit; }
  [[nodiscard]] bool scalable() const { return GetParam() == Mode::Scalable; }
  [[nodiscard]] std::map<u64, std::vector<u8>> preserved_bytes() {
    std::map<u64, std::vector<u8>> pages;
    for (auto [address, order] : handover.blocks) {
      const auto* bytes = reinterpret_cast<const u8*>(world_b->direct_map() + address);
      pages[address].assign(bytes, bytes + (page_size_bytes << order));
    }
    return pages;
  }
  /// Adoption answers @p code, and hardware is told nothing.
  void expect_refused(const UnitAdoption& claimed, Code code) {
    boot();
    EXPECT_EQ(unit().adopt(claimed, handover).code(), code);
    EXPECT_TRUE(hardware().writes.empty());
    EXPECT_THAT(world_b->log_lines.back(), HasSubstr("not adopted"));
    EXPECT_EQ(unit().read_entry(first), LiveEntry{}) << "nothing of it is known";
  }
  u64& word(u64 address) { return *reinterpret_cast<u64*>(world_b->direct_map() + address); }
  [[nodiscard]] u64 page_of(SourceId device, Mode mode) {
    const unsigned half = 2u * device.bus() + (mode == Mode::Scalable && device.devfn() >= 128 ? 1 : 0);
    return word(record.root_table + 8 * half) & ~u64{0xfff};
  }
  [[nodiscard]] u64 context_of(SourceId device) {
    return page_of(device, GetParam()) + (scalable() ? 32 * (device.devfn() & 127u) : 16u * device.devfn());
  }

  HardwareWorld world_a;
  FakeHandover handover;
  IntelUnit record{};
  std::map<u16, EntrySpec> specs;
  std::map<u16, IntelDevice> devices;
  std::unique_ptr<HardwareWorld> world_b;
  std::unique_ptr<TestKernel> b;
};
INSTANTIATE_TEST_SUITE_P(Modes, AdoptTest, testing::Values(Mode::Legacy, Mode::Scalable), mode_name);

class LegacyAdoptTest : public AdoptTest {};
INSTANTIATE_TEST_SUITE_P(Mode, LegacyAdoptTest, testing::Values(Mode::Legacy), mode_name);

class ScalableAdoptTest : public AdoptTest {};
INSTANTIATE_TEST_SUITE_P(Mode, ScalableAdoptTest, testing::Values(Mode::Scalable), mode_name);

TEST_P(AdoptTest, TakesOverWithoutTurningTranslationOffOrSettingTheRoot) {
  RecordProperty("acceptance", "IV18 IV20");
  boot();
  ASSERT_TRUE(unit().adopt(state(), handover).ok());
  EXPECT_EQ(hardware().times_disabled, 0u);
  EXPECT_EQ(hardware().roots_set, 0u);
  EXPECT_EQ(hardware().writes_to(hw::vtd::rtaddr_offset), 0u);
  EXPECT_EQ(unit().replaced_root(), PhysAddr());
  for (const FakeUnit::Write& write : hardware().writes) {
    if (write.offset != hw::vtd::gcmd_offset) continue;
    EXPECT_EQ(write.value >> 30, 2u) << "TE set, SRTP clear";
  }
  EXPECT_EQ(hardware().take_types(), scalable() ? (std::vector<u64>{1, 7, 2}) : (std::vector<u64>{1, 2}));
}

TEST_P(AdoptTest, WritesNothingThatThePreviousKernelLeft) {
  RecordProperty("acceptance", "IV28");
  const auto before = preserved_bytes();
  boot();
  ASSERT_TRUE(unit().adopt(state(), handover).ok());
  for (SourceId device : {first, second, third})
    ASSERT_TRUE(unit().adopt_device(device, devices[device.value], handover).ok());
  open_memory();
  ASSERT_TRUE(unit().take_ownership(handover).ok());
  EXPECT_EQ(preserved_bytes(), before);
}

TEST_P(AdoptTest, ReadsTheLiveEntriesOfEveryDevice) {
  boot();
  ASSERT_TRUE(unit().adopt(state(), handover).ok());
  for (SourceId device : {first, second, third}) {
    const LiveEntry live = unit().read_entry(device);
    EXPECT_EQ(live.state, LiveEntry::State::Translating);
    EXPECT_EQ(live.spec, specs[device.value]);
  }
  struct Visitor final : iommu::EntryVisitor {
    void entry(SourceId device) override { seen.push_back(device); }
    std::vector<SourceId> seen;
  } visitor;
  unit().for_each_present_entry(visitor);
  EXPECT_THAT(visitor.seen, UnorderedElementsAre(first, second, third));
}

TEST_P(AdoptTest, AnAdoptedDeviceCanBeReplacedAndBlocked) {
  boot();
  ASSERT_TRUE(unit().adopt(state(), handover).ok());
  for (SourceId device : {first, second, third}) {
    ASSERT_TRUE(unit().adopt_device(device, devices[device.value], handover).ok());
    ASSERT_TRUE(unit().reserve_did(specs[device.value].did).ok());
  }
  open_memory();
  ASSERT_TRUE(unit().take_ownership(handover).ok());
  EXPECT_TRUE(unit().prepare(first).ok());
  const EntrySpec to = b->make_spec(0x3000000);
  EXPECT_TRUE(unit().replace(first, specs[first.value], to).ok());
  EXPECT_EQ(unit().read_entry(first).spec, to);
  EXPECT_TRUE(unit().block(second).ok());
  EXPECT_EQ(unit().read_entry(second).state, LiveEntry::State::Absent);
  EXPECT_EQ(unit().read_entry(third).spec, specs[third.value]);
}

TEST_P(AdoptTest, RestoresEachPageOnceEvenWhenAskedTwice) {
  RecordProperty("acceptance", "IV21");
  boot();
  ASSERT_TRUE(unit().adopt(state(), handover).ok());
  for (SourceId device : {first, second, third})
    ASSERT_TRUE(unit().adopt_device(device, devices[device.value], handover).ok());
  open_memory();
  ASSERT_TRUE(unit().take_ownership(handover).ok());
  EXPECT_EQ(handover.restored.size(), handover.blocks.size()) << "every page of the unit";
  EXPECT_TRUE(unit().take_ownership(handover).ok());
}

TEST_P(AdoptTest, OwnershipIsTakenWholeOrNotAtAllWhenMemoryRunsOut) {
  boot();
  ASSERT_TRUE(unit().adopt(state(), handover).ok());
  open_memory();
  for (u64 k = 1;; ++k) {
    Status taken;
    if (!world_b->failing(k, [&] { taken = unit().take_ownership(handover); })) break;
    EXPECT_EQ(taken.code(), Code::NoMemory);
    EXPECT_TRUE(handover.restored.empty());
  }
  EXPECT_FALSE(handover.restored.empty());
}

TEST_P(AdoptTest, ASecondUpdateCanFollow) {
  boot();
  ASSERT_TRUE(unit().adopt(state(), handover).ok());
  for (SourceId device : {first, second, third})
    ASSERT_TRUE(unit().adopt_device(device, devices[device.value], handover).ok());
  open_memory();
  ASSERT_TRUE(unit().take_ownership(handover).ok());
  FakeHandover next;
  IntelUnit next_record{};
  IntelDevice next_device{};
  ASSERT_TRUE(unit().keep_root(next).ok());
  EXPECT_TRUE(next.contains({PhysAddr(record.root_table), 0})) << "the root did not move";
  ASSERT_TRUE(unit().preserve(next, next_record).ok());
  EXPECT_EQ(next_record.root_table, record.root_table);
  EXPECT_EQ(next_record.context_tables_bitmap, record.context_tables_bitmap);
  ASSERT_TRUE(unit().preserve_device(next, first, next_device).ok());
  const std::array keep{first};
  ASSERT_TRUE(unit().cut_off(keep).ok());
  EXPECT_EQ(unit().read_entry(first).spec, specs[first.value]);
  EXPECT_EQ(unit().read_entry(second).state, LiveEntry::State::Absent);
  unit().reinstate();
  EXPECT_EQ(unit().read_entry(second).spec, specs[second.value]);
}

TEST_P(AdoptTest, AdoptionCanBeRepeatedByAKernelStartedAgain) {
  for (int attempt = 0; attempt < 2; ++attempt) {
    boot();
    ASSERT_TRUE(unit().adopt(state(), handover).ok());
    ASSERT_TRUE(unit().adopt_device(first, devices[first.value], handover).ok());
  }
  EXPECT_EQ(unit().read_entry(first).spec, specs[first.value]);
}

// --- what is refused

TEST_P(AdoptTest, RefusesAnotherRootThanHardwareWalks) {
  UnitAdoption claimed = state();
  claimed.root_table = PhysAddr(page_of(first, GetParam()));
  expect_refused(claimed, Code::Mismatch);
}

TEST_P(AdoptTest, RefusesAUnitWhoseTranslationIsOff) {
  hardware().set<u32>(hw::vtd::gsts_offset, hardware().get<u32>(hw::vtd::gsts_offset) & 0x7fffffff);
  expect_refused(state(), Code::Mismatch);
}

TEST_P(AdoptTest, AdoptsInTheModeThatHardwareRunsInWhateverWasWanted) {
  boot(scalable() ? Mode::Legacy : Mode::Scalable);
  EXPECT_EQ(unit().limits().scalable, scalable()) << "known before adoption: the attestation is compared with it";
  ASSERT_TRUE(unit().adopt(state(), handover).ok());
  for (SourceId device : {first, second, third}) {
    EXPECT_TRUE(unit().adopt_device(device, devices[device.value], handover).ok());
    EXPECT_EQ(unit().read_entry(device).spec, specs[device.value]);
  }
  EXPECT_THAT(world_b->log_lines.front(), HasSubstr("translation is on in the other mode, which is kept"));
}

TEST_P(AdoptTest, RefusesATranslationModeThatIsNone) {
  hardware().set<u64>(hw::vtd::rtaddr_offset, hardware().get<u64>(hw::vtd::rtaddr_offset) | 0xc00);  // abort DMA
  expect_refused(state(), Code::Mismatch);
}

TEST_P(AdoptTest, RefusesARootThatIsNotPreserved) {
  handover.unpreserve({PhysAddr(record.root_table), 0});
  expect_refused(state(), Code::Corrupt);
}

TEST_P(AdoptTest, RefusesARootOutsideMemory) {
  const u64 outside = u64{1} << 40;
  hardware().set<u64>(hw::vtd::rtaddr_offset, outside | (scalable() ? 0x400 : 0));
  UnitAdoption claimed = state();
  claimed.root_table = PhysAddr(outside);
  expect_refused(claimed, Code::Corrupt);
}

TEST_P(AdoptTest, RefusesAContextTableThatIsNotPreserved) {
  handover.unpreserve({PhysAddr(page_of(third, GetParam())), 0});
  expect_refused(state(), Code::Corrupt);
}

TEST_P(AdoptTest, RefusesABitmapThatIsNotTheSetOfPresentHalves) {
  for (unsigned half = 0; half < half_count; ++half) {
    boot();
    UnitAdoption claimed = state();
    claimed.context_tables[half / 64] ^= u64{1} << (half % 64);
    const Code code = unit().adopt(claimed, handover).code();
    EXPECT_TRUE(code == Code::Mismatch || (code == Code::Corrupt && half % 2 != 0)) << half;
    EXPECT_TRUE(hardware().writes.empty());
  }
}

TEST_P(AdoptTest, RefusesEveryBadRootWord) {
  const u64 good = word(record.root_table);
  const u64 elsewhere = good & ~u64{0xfff};
  std::vector<u64> bad{0,
                       ~u64{0},
                       good ^ 1,
                       u64{1} << 40 | 1,
                       record.root_table | 1,
                       (elsewhere + 0x1000) | 1,
                       page_of(third, GetParam()) | 1,
                       1};
  for (unsigned bit = 1; bit < 12; ++bit) bad.push_back(good | u64{1} << bit);
  for (u64 value : bad) {
    word(record.root_table) = value;
    boot();
    EXPECT_FALSE(unit().adopt(state(), handover).ok()) << std::hex << value;
    EXPECT_TRUE(hardware().writes.empty());
  }
  word(record.root_table) = good;
  boot();
  EXPECT_TRUE(unit().adopt(state(), handover).ok());
}

TEST_P(LegacyAdoptTest, RefusesGarbageInTheUpperHalfOfALegacyRootEntry) {
  word(record.root_table + 8) = page_of(first, GetParam()) | 1;
  expect_refused(state(), Code::Corrupt);
}

TEST_P(AdoptTest, AForeignContextEntryCostsOnlyItsDevice) {
  const unsigned words = scalable() ? 4 : 2;
  const u64 context = context_of(first);
  for (unsigned bit = 0; bit < 64 * words; ++bit) {
    const u64 at = context + 8 * (bit / 64);
    word(at) ^= u64{1} << (bit % 64);
    boot();
    ASSERT_TRUE(unit().adopt(state(), handover).ok());
    const bool adopted = unit().adopt_device(first, devices[first.value], handover).ok();
    const LiveEntry live = unit().read_entry(first);
    EXPECT_FALSE(adopted && live.state == LiveEntry::State::Translating && live.spec == specs[first.value]) << bit;
    EXPECT_EQ(unit().read_entry(third).spec, specs[third.value]);
    word(at) ^= u64{1} << (bit % 64);
  }
}

TEST_P(ScalableAdoptTest, EveryMutatedWordOfAPasidTableIsNoticedAndNoneIsFollowedOutsideMemory) {
  const u64 directory = devices[first.value].pasid_table;
  const u64 table = word(directory) & ~u64{0xfff};
  for (u64 at : {directory, directory + 8, directory + 0xff8, table, table + 8, table + 16, table + 56}) {
    const u64 good = word(at);
    for (u64 value : {u64{1} << 40 | 1, ~u64{0}, good + 0x1000, good ^ 4, good ^ 2}) {
      word(at) = value;
      boot();
      ASSERT_TRUE(unit().adopt(state(), handover).ok());
      const bool adopted = unit().adopt_device(first, devices[first.value], handover).ok();
      const LiveEntry live = unit().read_entry(first);
      EXPECT_FALSE(adopted && live.state == LiveEntry::State::Translating && live.spec == specs[first.value])
          << std::hex << at << " " << value;
      word(at) = good;
    }
  }
}

TEST_P(ScalableAdoptTest, ADeviceWhosePasidRecordDisagreesIsNotAdopted) {
  RecordProperty("acceptance", "IV33");
  boot();
  ASSERT_TRUE(unit().adopt(state(), handover).ok());
  IntelDevice claimed = devices[first.value];
  claimed.max_pasid = 1 << 20;
  EXPECT_EQ(unit().adopt_device(first, claimed, handover).code(), Code::Mismatch);
  claimed = devices[second.value];
  EXPECT_EQ(unit().adopt_device(first, claimed, handover).code(), Code::Mismatch);
  EXPECT_EQ(unit().adopt_device(SourceId(0, 5, 0), claimed, handover).code(), Code::Mismatch) << "not present";
  handover.unpreserve({PhysAddr(devices[first.value].pasid_table), 0});
  EXPECT_EQ(unit().adopt_device(first, devices[first.value], handover).code(), Code::Corrupt);
}

TEST_P(ScalableAdoptTest, TwoDevicesWithOneDirectoryAreNotBothAdopted) {
  word(context_of(second)) = word(context_of(first));
  boot();
  ASSERT_TRUE(unit().adopt(state(), handover).ok());
  ASSERT_TRUE(unit().adopt_device(first, devices[first.value], handover).ok());
  EXPECT_EQ(unit().adopt_device(second, devices[first.value], handover).code(), Code::Corrupt);
}

TEST_P(AdoptTest, ADeviceThatWasNotAdoptedIsBlockedAtItsContextEntry) {
  boot();
  ASSERT_TRUE(unit().adopt(state(), handover).ok());
  const auto before = preserved_bytes();
  hardware().executed.clear();
  ASSERT_TRUE(unit().block(first).ok());
  EXPECT_EQ(word(context_of(first)), 0u);
  if (!scalable()) return;
  EXPECT_THAT(hardware().take_types(), ElementsAre(1, 7, 2)) << "its id is not believed";
  const u64 directory = devices[first.value].pasid_table;
  EXPECT_EQ(preserved_bytes()[directory], before.at(directory)) << "its tables are not written";
  open_memory();
  ASSERT_TRUE(unit().take_ownership(handover).ok());
  EXPECT_TRUE(unit().prepare(first).ok()) << "it gets tables of its own";
  EXPECT_EQ(unit().read_entry(first).state, LiveEntry::State::Absent);
}

TEST_P(AdoptTest, AContextTableInWhichNobodyIsBelievedIsNeitherWrittenNorTakenOver) {
  class Believed final : public iommu::DeviceFilter {
   public:
    explicit Believed(SourceId device) : x_device(device) {}
    [[nodiscard]] bool contains(SourceId device) const override { return device == x_device; }

   private:
    SourceId x_device;
  } believed(first);
  boot();
  ASSERT_TRUE(unit().adopt(state(), handover).ok());
  for (SourceId device : {first, third}) ASSERT_TRUE(unit().adopt_device(device, devices[device.value], handover).ok());
  const u64 root_word = record.root_table + 16 * u64{third.bus()};
  const u64 table = word(root_word) & ~u64{0xfff};
  const auto before = preserved_bytes();
  ASSERT_TRUE(unit().disown(third, believed).ok());
  ASSERT_TRUE(unit().block(third).ok());
  EXPECT_EQ(word(root_word), 0u);
  EXPECT_EQ(preserved_bytes()[table], before.at(table)) << "it may be anybody's page";
  EXPECT_EQ(unit().read_entry(third).state, LiveEntry::State::Absent);
  EXPECT_EQ(unit().read_entry(first).spec, specs[first.value]) << "in a table of its own";
  open_memory();
  ASSERT_TRUE(unit().take_ownership(handover).ok());
  EXPECT_TRUE(b->host.memory.frames.find_incoming(PhysAddr(table)).has_value());
}

TEST_P(AdoptTest, AQueueThatDoesNotAnswerIsAnErrorAndNothingIsAdopted) {
  hardware().queue = FakeUnit::Queue::Silent;
  boot();
  EXPECT_EQ(unit().adopt(state(), handover).code(), Code::TimedOut);
  EXPECT_TRUE(hardware().translating());
  EXPECT_EQ(hardware().times_disabled, 0u);
  EXPECT_EQ(unit().read_entry(first), LiveEntry{});
}

// --- quarantine, and units without state

TEST_P(AdoptTest, QuarantineSwapsAnEmptyRootInWithTranslationOn) {
  const u64 old_root = record.root_table;
  record.context_tables_bitmap[7] = 1;
  boot();
  ASSERT_FALSE(unit().adopt(state(), handover).ok());
  hardware().executed.clear();
  ASSERT_TRUE(unit().quarantine().ok());
  EXPECT_EQ(hardware().times_disabled, 0u);
  EXPECT_EQ(hardware().roots_set, 1u);
  EXPECT_EQ(hardware().take_types(), scalable() ? (std::vector<u64>{1, 7, 2}) : (std::vector<u64>{1, 2}));
  EXPECT_NE(b->root(), old_root);
  EXPECT_EQ(unit().replaced_root().value, old_root);
  for (u64 offset = 0; offset < page_size_bytes; offset += 8) EXPECT_EQ(b->word(b->root() + offset), 0u);

  open_memory();
  EXPECT_FALSE(b->host.scratch().contains(PhysAddr(b->root()), 1)) << "moved to where it can be preserved";
  EXPECT_EQ(hardware().times_disabled, 0u);
  const EntrySpec spec = b->make_spec(0x3000000);
  b->attach(first, spec);
  EXPECT_EQ(unit().read_entry(first).spec, spec);
}

TEST_P(AdoptTest, AFreshStartUnderTranslationKeepsItOn) {
  boot();
  ASSERT_TRUE(unit().start_fresh().ok());
  EXPECT_EQ(hardware().times_disabled, 0u);
  EXPECT_TRUE(hardware().translating());
  EXPECT_EQ(unit().read_entry(first), LiveEntry{});
  EXPECT_EQ(unit().replaced_root().value, record.root_table);
  open_memory();
  EXPECT_EQ(unit().replaced_root().value, record.root_table) << "its own first root was none of the previous kernel's";
}

TEST_P(AdoptTest, AFreshStartKeepsTheModeThatTranslationRunsIn) {
  boot(scalable() ? Mode::Legacy : Mode::Scalable);
  ASSERT_TRUE(unit().start_fresh().ok());
  EXPECT_EQ(unit().limits().scalable, scalable());
  EXPECT_EQ(hardware().times_disabled, 0u);
}

TEST_P(AdoptTest, QuarantineGivesUpTheOldRootEvenWhenTheQueueIsStuck) {
  hardware().set<u64>(hw::vtd::iqh_offset, hardware().get<u64>(hw::vtd::iqt_offset) + 64);
  const u64 old_root = record.root_table;
  boot();
  EXPECT_EQ(unit().quarantine().code(), Code::TimedOut);
  EXPECT_NE(b->root(), old_root);
  EXPECT_EQ(unit().replaced_root(), PhysAddr()) << "hardware did not confirm that it forgot";
  EXPECT_TRUE(hardware().translating());
}

TEST_P(AdoptTest, TheWorkOfAdoptionDependsOnTablesOfDevicesOnly) {
  boot();
  b->host.memory.touches.running = true;
  ASSERT_TRUE(unit().adopt(state(), handover).ok());
  EXPECT_EQ(b->host.memory.touches.counts.tables, 1u) << "the root; context tables are read by device";
}

}  // namespace
}  // namespace holdfast::vtd

#include "holdfast/vtd/unit.hpp"

#include "holdfast/vtd/unit_fixture.hpp"

namespace holdfast::vtd {
namespace {

using iommu::EntrySpec;
using iommu::LiveEntry;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr SourceId device_a(0, 3, 0);
constexpr SourceId device_b(0, 31, 7);
constexpr SourceId device_c(5, 0, 1);

class UnitTest : public testing::TestWithParam<Mode> {
 protected:
  UnitTest() : kernel(TestKernel::started(world, GetParam())) { hardware().take_types(); }
  FakeUnit& hardware() { return world.unit(); }
  VtdUnit& unit() { return *kernel->unit; }
  [[nodiscard]] bool scalable() const { return GetParam() == Mode::Scalable; }
  [[nodiscard]] Quad golden(const EntrySpec& spec) const {
    const u64 width = spec.levels - 2u;
    if (!scalable()) return {spec.top.value | 1, u64{spec.did.value} << 8 | width};
    return {spec.top.value | 0x80 | width << 2 | 1, u64{1} << 23 | spec.did.value};
  }
  Quad live_words(SourceId device) {
    const u64 at = kernel->translation_entry(device, GetParam());
    return {kernel->word(at), kernel->word(at + 8)};
  }

  HardwareWorld world;
  std::unique_ptr<TestKernel> kernel;
};
INSTANTIATE_TEST_SUITE_P(Modes, UnitTest, testing::Values(Mode::Legacy, Mode::Scalable), mode_name);

TEST_P(UnitTest, StartsWithAnEmptyRootAndTranslationOn) {
  EXPECT_TRUE(hardware().translating());
  const u64 rtaddr = hardware().get<u64>(hw::vtd::rtaddr_offset);
  EXPECT_EQ(rtaddr >> 10 & 3, scalable() ? 1u : 0u);
  for (u64 offset = 0; offset < page_size_bytes; offset += 8) EXPECT_EQ(kernel->word(kernel->root() + offset), 0u);
  EXPECT_FALSE(kernel->host.scratch().contains(PhysAddr(kernel->root()), 1)) << "it can be preserved";
  EXPECT_EQ(hardware().get<u32>(hw::vtd::fectl_offset) >> 31, 1u);
  EXPECT_EQ(hardware().get<u32>(hw::vtd::iectl_offset) >> 31, 1u);
}

TEST_P(UnitTest, EachGlobalCommandCarriesAtMostOneOneShotBit) {
  for (const FakeUnit::Write& write : hardware().writes) {
    if (write.offset != hw::vtd::gcmd_offset) continue;
    EXPECT_LE(__builtin_popcountll(write.value & 0x69000000), 1);
  }
}

TEST_P(UnitTest, SaysWhatItCanDo) {
  const iommu::UnitLimits& limits = unit().limits();
  EXPECT_EQ(limits.scalable, scalable());
  EXPECT_EQ(limits.iova_bits, 48);
  EXPECT_EQ(limits.tables[0].levels_mask, 0b11000);
  EXPECT_EQ(limits.tables[0].page_sizes, u64{1} << 12 | u64{1} << 21);
  EXPECT_EQ(limits.domain_ids, 256u);
  EXPECT_TRUE(limits.coherent_tables);
  EXPECT_TRUE(unit().covers(device_a));
}

TEST_P(UnitTest, ABlockedDeviceHasNoTranslation) {
  EXPECT_EQ(unit().read_entry(device_a), LiveEntry{});
  ASSERT_TRUE(unit().prepare(device_a).ok());
  EXPECT_EQ(unit().read_entry(device_a).state, LiveEntry::State::Absent);
  EXPECT_TRUE(unit().block(device_a).ok());
  EXPECT_THAT(hardware().take_types(), ElementsAre()) << "nothing was there to forget";
}

TEST_P(UnitTest, InstallWritesTheGoldenEntryWithoutAnyInvalidation) {
  const EntrySpec spec = kernel->make_spec(0x2345000);
  kernel->attach(device_a, spec);
  EXPECT_EQ(live_words(device_a), golden(spec));
  const LiveEntry live = unit().read_entry(device_a);
  EXPECT_EQ(live.state, LiveEntry::State::Translating);
  EXPECT_EQ(live.spec, spec);
  EXPECT_EQ(live.words[0], golden(spec).lo);
  EXPECT_EQ(live.words[1], golden(spec).hi);
  EXPECT_THAT(hardware().take_types(), ElementsAre());
}

TEST_P(UnitTest, EveryDeviceHasAnEntryOfItsOwnUpToTheLastFunction) {
  const EntrySpec a = kernel->make_spec(0x2000000);
  const EntrySpec b = kernel->make_spec(0x3000000, 3);
  kernel->attach(device_a, a);
  kernel->attach(device_b, b);
  kernel->attach(device_c, a);
  EXPECT_EQ(unit().read_entry(device_a).spec, a);
  EXPECT_EQ(unit().read_entry(device_b).spec, b);
  EXPECT_EQ(unit().read_entry(device_c).spec, a);
  EXPECT_EQ(live_words(device_b), golden(b));
  EXPECT_EQ(unit().read_entry(SourceId(0, 31, 6)).state, LiveEntry::State::Absent);
}

TEST_P(UnitTest, InstallRefusesWhatTheUnitCannotWalk) {
  const EntrySpec good = kernel->make_spec(0x2000000);
  EXPECT_EQ(unit().install(device_a, good).code(), Code::Invalid) << "not prepared";
  ASSERT_TRUE(unit().prepare(device_a).ok());
  for (u8 levels : {u8{0}, u8{2}, u8{5}, u8{200}})
    EXPECT_EQ(unit().install(device_a, {good.top, levels, good.did}).code(), Code::Invalid);
  EXPECT_EQ(unit().install(device_a, {PhysAddr(0x2000800), 4, good.did}).code(), Code::Invalid);
  EXPECT_EQ(unit().install(device_a, {good.top, 4, DomainId(1)}).code(), Code::Invalid);
  EXPECT_EQ(unit().install(device_a, {good.top, 4, DomainId(99)}).code(), Code::Invalid) << "an id nobody holds";
  EXPECT_EQ(unit().read_entry(device_a).state, LiveEntry::State::Absent);
  ASSERT_TRUE(unit().install(device_a, good).ok());
  EXPECT_EQ(unit().install(device_a, good).code(), Code::Busy);
}

TEST_P(UnitTest, ReplaceForgetsBothIdsInOrder) {
  const EntrySpec from = kernel->make_spec(0x2000000);
  const EntrySpec to = kernel->make_spec(0x3000000);
  kernel->attach(device_a, from);
  std::vector<std::pair<u64, u64>> forgotten;  // type, id
  hardware().on_descriptor = [&](const Quad& one) {
    if ((one.lo & 0xf) == 5) return;
    EXPECT_EQ(live_words(device_a), golden(to)) << "the new entry stands before anything is forgotten";
    forgotten.emplace_back(one.lo & 0xf, one.lo >> 16 & 0xffff);
  };
  ASSERT_TRUE(unit().replace(device_a, from, to).ok());
  const u64 cache = scalable() ? 7 : 1;
  EXPECT_THAT(forgotten, ElementsAre(std::pair(cache, u64{from.did.value}), std::pair(u64{2}, u64{from.did.value}),
                                     std::pair(cache, u64{to.did.value}), std::pair(u64{2}, u64{to.did.value})));
  EXPECT_EQ(unit().read_entry(device_a).spec, to);
}

TEST_P(UnitTest, ReplaceIsNeverSeenTornOrAbsent) {
  RecordProperty("acceptance", "N1 N4");
  const EntrySpec from = kernel->make_spec(0x2000000);
  const EntrySpec to = kernel->make_spec(0x3000000, 3);
  kernel->attach(device_a, from);
  unsigned steps = 0;
  world.on_step = [&] {
    ++steps;
    const Quad seen = live_words(device_a);
    EXPECT_TRUE(seen == golden(from) || seen == golden(to));
    const u64 at = kernel->translation_entry(device_a, GetParam());
    for (u64 word = 2; scalable() && word < 8; ++word) EXPECT_EQ(kernel->word(at + 8 * word), 0u);
  };
  ASSERT_TRUE(unit().replace(device_a, from, to).ok());
  world.on_step = nullptr;
  EXPECT_GT(steps, 4u);
}

TEST_P(UnitTest, ReplaceRefusesAnEntryThatIsNotTheExpectedOne) {
  const EntrySpec from = kernel->make_spec(0x2000000);
  const EntrySpec to = kernel->make_spec(0x3000000);
  EXPECT_EQ(unit().replace(device_a, from, to).code(), Code::Mismatch) << "nothing there";
  kernel->attach(device_a, from);
  EXPECT_EQ(unit().replace(device_a, to, from).code(), Code::Mismatch);
  EXPECT_EQ(unit().replace(device_a, {from.top, 3, from.did}, to).code(), Code::Mismatch);
  EXPECT_EQ(unit().read_entry(device_a).spec, from);
  EXPECT_THAT(hardware().take_types(), ElementsAre());
}

TEST_P(UnitTest, AReplaceThatHardwareDoesNotConfirmIsTakenBack) {
  RecordProperty("acceptance", "N3");
  const EntrySpec from = kernel->make_spec(0x2000000);
  const EntrySpec to = kernel->make_spec(0x3000000);
  kernel->attach(device_a, from);
  hardware().refused_type = 2;
  EXPECT_EQ(unit().replace(device_a, from, to).code(), Code::Io);
  EXPECT_EQ(live_words(device_a), golden(from));
  hardware().refused_type = 0xff;
  EXPECT_TRUE(unit().replace(device_a, from, to).ok());
}

TEST_P(UnitTest, BlockClearsPresentForgetsAndThenClearsTheRest) {
  RecordProperty("acceptance", "IV11");
  const EntrySpec spec = kernel->make_spec(0x2000000);
  kernel->attach(device_a, spec);
  const u64 at = kernel->translation_entry(device_a, GetParam());
  std::vector<Quad> seen;
  world.on_step = [&] {
    const Quad now{kernel->word(at), kernel->word(at + 8)};
    if (seen.empty() || seen.back() != now) seen.push_back(now);
  };
  hardware().on_descriptor = [&](const Quad&) {
    EXPECT_EQ(kernel->word(at), golden(spec).lo & ~u64{1}) << "hardware forgets between the two steps";
  };
  ASSERT_TRUE(unit().block(device_a).ok());
  world.on_step = nullptr;
  EXPECT_THAT(seen, ElementsAre(golden(spec), Quad{golden(spec).lo & ~u64{1}, golden(spec).hi}, Quad{}));
  EXPECT_THAT(hardware().take_types(), ElementsAre(scalable() ? 7 : 1, 2));
  EXPECT_EQ(unit().read_entry(device_a).state, LiveEntry::State::Absent);
  EXPECT_TRUE(unit().install(device_a, spec).ok()) << "and the device can be attached again";
}

TEST_P(UnitTest, ADeviceStaysBlockedWhenHardwareDoesNotAnswer) {
  const EntrySpec spec = kernel->make_spec(0x2000000);
  kernel->attach(device_a, spec);
  hardware().queue = FakeUnit::Queue::Silent;
  EXPECT_EQ(unit().block(device_a).code(), Code::TimedOut);
  EXPECT_EQ(live_words(device_a).lo & 1, 0u);
}

/// The whole of it: context cache, PASID cache in scalable mode, IOTLB, each global.
std::vector<Quad> global_flushes(const FakeUnit& unit) {
  std::vector<Quad> found;
  for (const Quad& one : unit.executed)
    if ((one.lo & 0xf) != 5 && ((one.lo >> 4 & 3) == 1 || ((one.lo & 0xf) == 7 && (one.lo >> 4 & 3) == 3)))
      found.push_back(one);
  return found;
}

/// The queue answers again, and has done what was left in it.
void wake(HardwareWorld& world) {
  world.unit().queue = FakeUnit::Queue::Answers;
  world.mmio_write(test_base + hw::vtd::iqt_offset, Width::Qword, world.unit().get<u64>(hw::vtd::iqt_offset));
  world.unit().executed.clear();
}

TEST_P(UnitTest, ABlockThatHardwareDidNotConfirmIsNotDoneUntilItDoes) {
  const EntrySpec spec = kernel->make_spec(0x2000000);
  kernel->attach(device_a, spec);
  hardware().queue = FakeUnit::Queue::Silent;
  EXPECT_EQ(unit().block(device_a).code(), Code::TimedOut);
  EXPECT_EQ(unit().block(device_a).code(), Code::TimedOut) << "not present is not forgotten";
  EXPECT_NE(live_words(device_a), Quad{});
  wake(world);
  EXPECT_TRUE(unit().block(device_a).ok());
  EXPECT_EQ(global_flushes(hardware()).size(), scalable() ? 3u : 2u);
  EXPECT_EQ(live_words(device_a), Quad{});
  hardware().executed.clear();
  EXPECT_TRUE(unit().block(device_a).ok());
  EXPECT_TRUE(hardware().executed.empty()) << "blocked already";
}

TEST_P(UnitTest, AnInvalidationThatFailedIsOwedToTheNextOne) {
  const EntrySpec from = kernel->make_spec(0x2000000);
  const EntrySpec to = kernel->make_spec(0x3000000);
  kernel->attach(device_a, from);
  hardware().queue = FakeUnit::Queue::Silent;
  EXPECT_EQ(unit().replace(device_a, from, to).code(), Code::TimedOut);
  EXPECT_EQ(unit().read_entry(device_a).spec, from);
  EXPECT_EQ(unit().invalidate_domain(to.tag()).code(), Code::TimedOut);
  wake(world);
  ASSERT_TRUE(unit().prepare(device_b).ok());
  const u64 entry = kernel->translation_entry(device_b, GetParam());
  hardware().on_descriptor = [&](const Quad&) { EXPECT_EQ(kernel->word(entry), 0u) << "first hardware forgets"; };
  EXPECT_TRUE(unit().install(device_b, to).ok());
  hardware().on_descriptor = nullptr;
  EXPECT_EQ(global_flushes(hardware()).size(), scalable() ? 3u : 2u);
  hardware().executed.clear();
  EXPECT_TRUE(unit().invalidate_domain(to.tag()).ok());
  EXPECT_EQ(global_flushes(hardware()).size(), 0u) << "nothing is owed any more";
}

TEST_P(UnitTest, AnInstallThatHardwareMayHaveSeenIsForgottenOrOwed) {
  HardwareWorld buffered(test_cap | cap_rwbf, test_ecap);
  auto host = TestKernel::started(buffered, GetParam());
  const EntrySpec spec = host->make_spec(0x2000000);
  ASSERT_TRUE(host->unit->prepare(device_a).ok());
  buffered.unit().holds_writes = true;
  EXPECT_EQ(host->unit->install(device_a, spec).code(), Code::TimedOut);
  EXPECT_EQ(host->word(host->translation_entry(device_a, GetParam())) & 1, 0u);
  EXPECT_EQ(host->unit->block(device_a).code(), Code::TimedOut);
  buffered.unit().holds_writes = false;
  buffered.unit().executed.clear();
  EXPECT_TRUE(host->unit->block(device_a).ok());
  EXPECT_EQ(global_flushes(buffered.unit()).size(), scalable() ? 3u : 2u);
}

TEST_P(UnitTest, TranslatesAlsoWhenItsQueueDoesNotAnswerAtTheStart) {
  HardwareWorld mute;
  mute.unit().queue = FakeUnit::Queue::Silent;
  const TestKernel host(mute, UnitOptions{GetParam()});
  EXPECT_EQ(host.unit->start_fresh().code(), Code::TimedOut);
  EXPECT_TRUE(mute.unit().translating()) << "through an empty root: what stands behind it can only fault";
}

TEST_P(UnitTest, PrepareUndoesItselfWhateverAllocationFails) {
  const u64 free_before = kernel->host.memory.buddy.free_frames();
  const u64 hash_before = unit().state_hash();
  for (u64 k = 1;; ++k) {
    Status prepared;
    const bool failed = world.failing(k, [&] { prepared = unit().prepare(device_a); });
    EXPECT_EQ(prepared.ok(), !failed);
    if (!failed) break;
    EXPECT_EQ(prepared.code(), Code::NoMemory);
    EXPECT_EQ(kernel->host.memory.buddy.free_frames(), free_before);
    EXPECT_EQ(unit().state_hash(), hash_before);
    EXPECT_EQ(kernel->context_entry(device_a, GetParam()), 0u);
  }
  EXPECT_NE(kernel->context_entry(device_a, GetParam()), 0u);
  const u64 free_after = kernel->host.memory.buddy.free_frames();
  EXPECT_TRUE(unit().prepare(device_a).ok());
  EXPECT_EQ(kernel->host.memory.buddy.free_frames(), free_after) << "twice is once";
}

TEST_P(UnitTest, InstallAndReplaceAllocateNothing) {
  const EntrySpec from = kernel->make_spec(0x2000000);
  const EntrySpec to = kernel->make_spec(0x3000000);
  ASSERT_TRUE(unit().prepare(device_a).ok());
  world.allocations = 0;
  ASSERT_TRUE(unit().install(device_a, from).ok());
  ASSERT_TRUE(unit().replace(device_a, from, to).ok());
  ASSERT_TRUE(unit().block(device_a).ok());
  EXPECT_EQ(world.allocations, 0u);
}

pt::Gather gather_of(u64 start, u64 size) {
  pt::Gather gather;
  gather.add_range({Iova(start), size}, {.leaves = 1, .tables = 0});
  return gather;
}

/// A gather is completed by its table; there is none here, and one that is dropped panics.
void forget(pt::Gather gather) {
  alignas(pt::Gather) static std::array<std::byte, sizeof(pt::Gather)> place;
  new (place.data()) pt::Gather(std::move(gather));
}

TEST_P(UnitTest, InvalidatesOneAlignedBlockThatCoversTheRange) {
  struct Case {
    u64 start, size, address, mask;
  };
  for (const Case& one : {Case{0x10000, 0x1000, 0x10000, 0}, Case{0x10000, 0x2000, 0x10000, 1},
                          Case{0x11000, 0x2000, 0x10000, 2}, Case{0x1ff000, 0x2000, 0, 10}}) {
    pt::Gather gather = gather_of(one.start, one.size);
    hardware().executed.clear();
    ASSERT_TRUE(unit().invalidate({DomainId(7)}, gather).ok());
    forget(std::move(gather));
    const bool selective = one.mask <= 9;  // MAMV
    EXPECT_EQ(hardware().executed.at(0), (selective ? Quad{0x700f2, one.address | 0x40 | one.mask} : Quad{0x700e2, 0}));
    EXPECT_EQ(hardware().executed.size(), 2u);
  }
}

TEST_P(UnitTest, NothingChangedNeedsNoInvalidation) {
  const pt::Gather nothing;
  EXPECT_TRUE(unit().invalidate({DomainId(7)}, nothing).ok());
  EXPECT_TRUE(hardware().executed.empty());
  EXPECT_TRUE(unit().invalidate_domain({DomainId(7)}).ok());
  EXPECT_EQ(hardware().executed.at(0), (Quad{0x700e2, 0}));
}

TEST_P(UnitTest, SaysWhetherItsQueueAnswers) {
  FakeHandover handover;
  ASSERT_TRUE(unit().keep_root(handover).ok());
  EXPECT_TRUE(unit().check_alive().ok());
  hardware().queue = FakeUnit::Queue::Silent;
  EXPECT_EQ(unit().check_alive().code(), Code::TimedOut);
}

TEST(UnitCreation, RefusesUnitsItCannotDrive) {
  struct Case {
    u64 cap, ecap;
    const char* why;
  };
  for (const Case& one :
       {Case{test_cap | cap_cm, test_ecap, "caching mode"},
        Case{test_cap, test_ecap & ~u64{2}, "no invalidation queue"}, Case{~u64{0}, ~u64{0}, "do not answer"},
        Case{test_cap & ~(u64{0x1f} << 8), test_ecap, "depth"}}) {
    HardwareWorld world(one.cap, one.ecap);
    const TestKernel kernel(world, UnitOptions{Mode::Scalable});
    EXPECT_EQ(kernel.code, Code::NotSupported);
    EXPECT_THAT(world.log_lines.back(), HasSubstr(one.why));
    EXPECT_EQ(world.unit().writes.size(), 0u) << "nothing was written to it";
  }
}

TEST(UnitCreation, FallsBackToLegacyModeWhereScalableModeIsMissing) {
  HardwareWorld world(test_cap, test_ecap_legacy);
  const auto kernel = TestKernel::started(world, Mode::Scalable);
  EXPECT_FALSE(kernel->unit->limits().scalable);
  EXPECT_EQ(world.unit().get<u64>(hw::vtd::rtaddr_offset) >> 10 & 3, 0u);
}

TEST(UnitCreation, FlushesTheWriteBufferWhereTheUnitHasOne) {
  HardwareWorld world(test_cap | cap_rwbf, test_ecap);
  const auto kernel = TestKernel::started(world, Mode::Legacy);
  const EntrySpec spec = kernel->make_spec(0x2000000);
  ASSERT_TRUE(kernel->unit->prepare(device_a).ok());
  const u64 before = world.unit().buffer_flushes;
  ASSERT_TRUE(kernel->unit->install(device_a, spec).ok());
  EXPECT_EQ(world.unit().buffer_flushes, before + 1);
}

TEST(UnitCreation, TurnsProtectedMemoryOff) {
  HardwareWorld world(test_cap | cap_plmr, test_ecap);
  world.unit().set<u32>(hw::vtd::pmen_offset, 0x80000000);
  (void)TestKernel::started(world, Mode::Legacy);
  EXPECT_EQ(world.unit().get<u32>(hw::vtd::pmen_offset), 0u);
}

}  // namespace
}  // namespace holdfast::vtd

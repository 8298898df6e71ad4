// Pass-through: which units have it, how its entries come and go, and what of an earlier kernel is not ours.
#include "holdfast/vtd/table_limits.hpp"
#include "holdfast/vtd/unit_fixture.hpp"

namespace holdfast::vtd {
namespace {

using iommu::EntryKind;
using iommu::EntrySpec;
using iommu::LiveEntry;
using testing::ElementsAre;

constexpr SourceId device_a(0, 3, 0);
constexpr SourceId device_b(0, 31, 7);
constexpr u64 ecap_pt = u64{1} << 6;
constexpr u64 ecap_fsts = u64{1} << 47;
constexpr u64 cap_sagaw = u64{0x1f} << 8;

TEST(PassThroughLimits, FollowTheUnitAndNameItsWidestWidth) {
  struct Case {
    u64 sagaw;
    u64 ecap;
    u8 levels;
  };
  for (const Case& one : {Case{0b00110, ecap_pt, 4}, Case{0b00010, ecap_pt, 3}, Case{0b01110, ecap_pt, 5},
                          Case{0b00110, 0, 0}, Case{0b00000, ecap_pt, 0}, Case{0b10001, ecap_pt, 0}}) {
    const hw::vtd::Cap cap((test_cap & ~cap_sagaw) | one.sagaw << 8);
    EXPECT_EQ(pass_through_levels(cap, hw::vtd::Ecap(test_ecap | one.ecap)), one.levels) << one.sagaw;
  }
  for (const Mode mode : {Mode::Legacy, Mode::Scalable}) {
    HardwareWorld with(test_cap, test_ecap | ecap_pt);
    HardwareWorld without;
    EXPECT_TRUE(TestKernel(with, UnitOptions{mode}).unit->limits().pass_through);
    EXPECT_FALSE(TestKernel(without, UnitOptions{mode}).unit->limits().pass_through);
  }
}

class PassThrough : public testing::TestWithParam<Mode> {
 protected:
  PassThrough() : kernel(TestKernel::started(world, GetParam())) { hardware().take_types(); }
  FakeUnit& hardware() { return world.unit(); }
  VtdUnit& unit() { return *kernel->unit; }
  [[nodiscard]] bool scalable() const { return GetParam() == Mode::Scalable; }
  [[nodiscard]] u64 pieces_per_entry() const { return scalable() ? pieces_per_pasid_entry : pieces_per_legacy_context; }
  EntrySpec pass_through() { return EntrySpec::pass_through(*unit().allocate_did()); }
  EntrySpec tables(pt::Format format) {
    EntrySpec made = kernel->make_spec(0x2000000);
    made.format = format;
    return made;
  }
  std::vector<EntrySpec> all_tables() {
    std::vector<EntrySpec> found{tables(pt::Format::VtdSecondStage)};
    if (scalable()) found.push_back(tables(pt::Format::X86FirstStage));
    return found;
  }
  EntryPieces live(SourceId device = device_a) {
    const u64 at = kernel->translation_entry(device, GetParam());
    EntryPieces pieces{};
    for (u64 i = 0; i < pieces_per_entry(); ++i) pieces[i] = {kernel->word(at + 16 * i), kernel->word(at + 16 * i + 8)};
    return pieces;
  }
  void poke(const EntryPieces& pieces, SourceId device = device_a) {
    const u64 at = kernel->translation_entry(device, GetParam());
    for (u64 i = 0; i < pieces_per_entry(); ++i) {
      kernel->poke(at + 16 * i, pieces[i].lo);
      kernel->poke(at + 16 * i + 8, pieces[i].hi);
    }
  }
  /// P, TT or PGTT with the widest width of the unit, which has 3 and 4 levels; the id.
  [[nodiscard]] EntryPieces golden(DomainId did) const {
    return {scalable() ? Quad{0x109, did.value} : Quad{0x9, u64{did.value} << 8 | 2}};
  }
  /// What a fetch says: what hardware does with addresses, by way of which table, cached under which id.
  using Meaning = std::tuple<u64, u64, u64>;
  [[nodiscard]] Meaning meaning(const EntryPieces& pieces) const {
    EXPECT_EQ(pieces[0].lo & 1, 1u) << "not present";
    if (!scalable()) return {pieces[0].lo >> 2 & 3, pieces[0].lo & ~u64{0xfff}, pieces[0].hi >> 8 & 0xffff};
    const u64 type = pieces[0].lo >> 6 & 7;
    return {type, (type == 1 ? pieces[1].lo : pieces[0].lo) & ~u64{0xfff}, pieces[0].hi & 0xffff};
  }
  std::set<Meaning> watch(const std::function<void()>& change) {
    std::set<Meaning> seen;
    watch_fetches(world, [&] { return live(); }, [&](const EntryPieces& one) { seen.insert(meaning(one)); }, change);
    return seen;
  }

  HardwareWorld world{test_cap, test_ecap | ecap_pt | ecap_fsts};
  std::unique_ptr<TestKernel> kernel;
};
INSTANTIATE_TEST_SUITE_P(Modes, PassThrough, testing::Values(Mode::Legacy, Mode::Scalable), mode_name);

TEST_P(PassThrough, IsInstalledAndBlockedByItsId) {
  const EntrySpec to = pass_through();
  kernel->attach(device_a, to);
  EXPECT_EQ(live(), golden(to.did));
  EXPECT_EQ(unit().read_entry(device_a).state, LiveEntry::State::PassThrough);
  EXPECT_EQ(unit().read_entry(device_a).spec, to);
  EXPECT_EQ(unit().install(device_a, to).code(), Code::Busy);
  std::vector<std::pair<u64, u64>> forgotten;
  hardware().on_descriptor = [&](const Quad& one) {
    EXPECT_EQ(live()[0].lo & 1, 0u) << "not present before it is forgotten";
    if ((one.lo & 0xf) != 5) forgotten.emplace_back(one.lo & 0xf, one.lo >> 16 & 0xffff);
  };
  ASSERT_TRUE(unit().block(device_a).ok());
  const u64 did = to.did.value;
  EXPECT_THAT(forgotten, ElementsAre(std::pair(scalable() ? 7u : 1u, did), std::pair(scalable() ? 6u : 2u, did)));
  EXPECT_EQ(live(), EntryPieces{});
}

TEST_P(PassThrough, OfADomainIsForgottenAsItWasCached) {
  kernel->attach(device_a, pass_through());
  hardware().executed.clear();
  ASSERT_TRUE(unit().invalidate_domain(EntrySpec::pass_through(DomainId(7)).tag()).ok());
  EXPECT_EQ(hardware().executed.at(0), (scalable() ? Quad{0x70026, 0} : Quad{0x700e2, 0}));
}

TEST_P(PassThrough, IsRefusedWithATableWithoutAnIdAndWhereTheUnitHasNone) {
  const EntrySpec good = pass_through();
  ASSERT_TRUE(unit().prepare(device_a).ok());
  EntrySpec bad = good;
  bad.top = PhysAddr(0x2000000);
  EXPECT_EQ(unit().install(device_a, bad).code(), Code::Invalid);
  bad = good;
  bad.levels = 4;
  EXPECT_EQ(unit().install(device_a, bad).code(), Code::Invalid);
  for (const u16 did : {u16{0}, u16{1}, u16{99}})
    EXPECT_EQ(unit().install(device_a, EntrySpec::pass_through(DomainId(did))).code(), Code::Invalid) << did;
  EXPECT_EQ(live(), EntryPieces{});

  HardwareWorld other;
  const auto lacks = TestKernel::started(other, GetParam());
  const EntrySpec from = lacks->make_spec(0x3000000);
  lacks->attach(device_a, from);
  const EntrySpec to = EntrySpec::pass_through(*lacks->unit->allocate_did());
  const u64 before = lacks->unit->state_hash();
  EXPECT_EQ(lacks->unit->replace(device_a, from, to).code(), Code::Invalid);
  EXPECT_EQ(lacks->unit->state_hash(), before);
  ASSERT_TRUE(lacks->unit->prepare(device_b).ok());
  EXPECT_EQ(lacks->unit->install(device_b, to).code(), Code::Invalid);
}

TEST_P(PassThrough, EveryFetchDuringAReplacementIsOldOrNew) {
  RecordProperty("acceptance", "N1 N4");
  const EntrySpec passing = pass_through();
  const EntrySpec other = pass_through();
  std::vector<EntrySpec> others = all_tables();
  others.push_back(other);
  kernel->attach(device_a, passing);
  for (const EntrySpec& spec : others) {
    SCOPED_TRACE(spec.did.value);
    for (const auto& [from, to] : {std::pair{passing, spec}, std::pair{spec, passing}}) {
      const Meaning old = meaning(live());
      const std::set<Meaning> seen = watch([&] { ASSERT_TRUE(unit().replace(device_a, from, to).ok()); });
      EXPECT_THAT(seen, testing::UnorderedElementsAre(old, meaning(live())));
      EXPECT_EQ(unit().read_entry(device_a).spec, to);
    }
    EXPECT_EQ(live(), golden(passing.did)) << "nothing of a table is left";
  }
}

TEST_P(PassThrough, AReplacementForgetsEachSideAsItWasCached) {
  const EntrySpec passing = pass_through();
  const EntrySpec second = tables(pt::Format::VtdSecondStage);
  kernel->attach(device_a, passing);
  const u64 a = passing.did.value;
  const u64 b = second.did.value;
  const u64 entry = scalable() ? 7 : 1;
  const u64 of_passing = scalable() ? 6 : 2;
  std::vector<std::pair<u64, u64>> forgotten;
  hardware().on_descriptor = [&](const Quad& one) {
    if ((one.lo & 0xf) != 5) forgotten.emplace_back(one.lo & 0xf, one.lo >> 16 & 0xffff);
  };
  ASSERT_TRUE(unit().replace(device_a, passing, second).ok());
  EXPECT_THAT(forgotten,
              ElementsAre(std::pair(entry, a), std::pair(of_passing, a), std::pair(entry, b), std::pair(u64{2}, b)));
  forgotten.clear();
  ASSERT_TRUE(unit().replace(device_a, second, passing).ok());
  EXPECT_THAT(forgotten,
              ElementsAre(std::pair(entry, b), std::pair(u64{2}, b), std::pair(entry, a), std::pair(of_passing, a)));
}

TEST_P(PassThrough, AReplacementIsTakenBackWhenHardwareRefuses) {
  RecordProperty("acceptance", "N3");
  const EntrySpec passing = pass_through();
  const EntrySpec second = tables(pt::Format::VtdSecondStage);
  kernel->attach(device_a, passing);
  EXPECT_EQ(unit().replace(device_a, second, passing).code(), Code::Mismatch) << "not what stands there";
  EXPECT_EQ(unit().replace(device_a, EntrySpec::pass_through(second.did), second).code(), Code::Mismatch);
  hardware().refused_type = 2;
  EXPECT_EQ(unit().replace(device_a, passing, second).code(), Code::Io);
  hardware().refused_type = 0xff;
  EXPECT_EQ(live(), golden(passing.did));
  EXPECT_TRUE(unit().replace(device_a, passing, second).ok());
}

TEST_P(PassThrough, OfAnEarlierKernelIsBlockedWhateverItsId) {
  kernel->attach(device_a, pass_through());
  // 1 is the id under which Linux lets everything through; 9 is nobody's.
  for (const u16 did : {u16{1}, u16{9}}) {
    poke(golden(DomainId(did)));
    EXPECT_EQ(unit().read_entry(device_a).state, LiveEntry::State::Other);
    hardware().take_types();
    ASSERT_TRUE(unit().block(device_a).ok());
    EXPECT_EQ(hardware().take_types(), scalable() ? (std::vector<u64>{1, 7, 2}) : (std::vector<u64>{1, 2}))
        << "what is not known is forgotten with everything";
    EXPECT_EQ(live(), EntryPieces{});
  }
}

TEST_P(PassThrough, IsNotOursWhereTheUnitLacksItOrWithAnotherWidth) {
  const EntrySpec to = pass_through();
  kernel->attach(device_a, to);
  EntryPieces narrow = golden(to.did);
  (scalable() ? narrow[0].lo : narrow[0].hi) ^= scalable() ? 0xc : 0x3;  // 3 levels
  poke(narrow);
  EXPECT_EQ(unit().read_entry(device_a).state, LiveEntry::State::Other);
}

TEST_P(PassThrough, DoesNotOutliveTheCutOffAndComesBackWithAJumpThatFailed) {
  FakeHandover handover;
  kernel->attach(device_a, pass_through());
  ASSERT_TRUE(unit().keep_root(handover).ok());
  const EntryPieces before = live();
  ASSERT_TRUE(unit().cut_off({}).ok());
  EXPECT_EQ(unit().read_entry(device_a).state, LiveEntry::State::Absent);
  unit().reinstate();
  EXPECT_EQ(live(), before);
  EXPECT_EQ(unit().read_entry(device_a).state, LiveEntry::State::PassThrough);
}

}  // namespace
}  // namespace holdfast::vtd

// First stage: which units have it, and how its entries change, whose pointer and id hardware fetches apart.
#include "holdfast/vtd/unit_fixture.hpp"

namespace holdfast::vtd {
namespace {

using iommu::EntrySpec;
using iommu::LiveEntry;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

constexpr SourceId device_a(0, 3, 0);
constexpr u64 ecap_fsts = u64{1} << 47;
constexpr u64 ecap_ssts = u64{1} << 46;
constexpr u64 cap_fl5lp = u64{1} << 60;
constexpr u64 cap_fl1gp = u64{1} << 56;
constexpr u64 both = test_ecap | ecap_fsts;
constexpr u64 first_only = both & ~ecap_ssts;
constexpr pt::Format first = pt::Format::X86FirstStage;
constexpr pt::Format second = pt::Format::VtdSecondStage;

std::string logged(const HardwareWorld& world) {
  std::string text;
  for (const std::string& line : world.log_lines) text += line + "\n";
  return text;
}

TEST(FirstStageChoice, FollowsTheUnitAndThenTheOption) {
  struct Case {
    u64 ecap;
    UnitOptions wanted;
    bool scalable;
    pt::Format format;
    std::string_view error;
  };
  const std::optional<pt::Format> any;
  const Case cases[]{
      {both, {Mode::Scalable, 0, any}, true, second, ""},
      {both, {Mode::Scalable, 0, first}, true, first, ""},
      {both, {Mode::Scalable, 0, second}, true, second, ""},
      {both, {Mode::Legacy, 0, any}, false, second, ""},
      {both, {Mode::Legacy, 0, first}, false, second, "stage=first is not served"},
      {first_only, {Mode::Scalable, 0, any}, true, first, ""},
      {first_only, {Mode::Scalable, 0, first}, true, first, ""},
      {first_only, {Mode::Scalable, 0, second}, false, second, ""},  // legacy mode has it
      {first_only, {Mode::Legacy, 0, any}, false, second, ""},
      {test_ecap, {Mode::Scalable, 0, first}, true, second, "stage=first is not served"},
      {test_ecap_legacy, {Mode::Scalable, 0, first}, false, second, "stage=first is not served"},
      {test_ecap_legacy | ecap_fsts, {Mode::Scalable, 0, first}, false, second, "stage=first is not served"},
  };
  for (const Case& one : cases) {
    SCOPED_TRACE(testing::Message() << "case " << &one - cases);
    HardwareWorld world(test_cap, one.ecap);
    const TestKernel kernel(world, one.wanted);
    ASSERT_EQ(kernel.code, Code::Ok);
    EXPECT_EQ(kernel.unit->limits().scalable, one.scalable);
    EXPECT_EQ(kernel.unit->limits().tables[0].format, one.format);
    EXPECT_NE(kernel.unit->limits().tables[0].levels_mask, 0);
    if (one.error.empty())
      EXPECT_THAT(logged(world), Not(HasSubstr("not served")));
    else
      EXPECT_THAT(logged(world), HasSubstr(std::string(one.error)));
  }
}

TEST(FirstStageChoice, DepthsAndPageSizesAreItsOwn) {
  for (const auto& [cap, levels, sizes] : {std::tuple{test_cap, 1 << 4, u64{0x201000}},
                                           {test_cap | cap_fl5lp, 1 << 4 | 1 << 5, u64{0x201000}},
                                           {test_cap | cap_fl1gp, 1 << 4, u64{0x40201000}}}) {
    HardwareWorld world(cap, first_only);
    const TestKernel kernel(world, UnitOptions{});
    EXPECT_EQ(kernel.unit->limits().tables[0].levels_mask, levels);
    EXPECT_EQ(kernel.unit->limits().tables[0].page_sizes, sizes);
    EXPECT_EQ(kernel.unit->limits().find(second, 4), nullptr);
  }
}

/// Entry and tag as hardware may have put them together.
struct Pairing {
  u64 type = 0;
  u64 top = 0;
  u64 did = 0;
  auto operator<=>(const Pairing&) const = default;
};

class FirstStageTest : public testing::Test {
 protected:
  explicit FirstStageTest(u64 ecap = both, u32 rid_pasid = 0)
      : world(test_cap, ecap), kernel(TestKernel::started(world, Mode::Scalable, rid_pasid)) {
    hardware().take_types();
  }
  FakeUnit& hardware() { return world.unit(); }
  VtdUnit& unit() { return *kernel->unit; }
  EntrySpec spec(u64 top, pt::Format format = first, u8 levels = 4) {
    EntrySpec made = kernel->make_spec(top, levels);
    made.format = format;
    return made;
  }
  EntryPieces live() {
    const u64 at = kernel->translation_entry(device_a, Mode::Scalable);
    EntryPieces pieces;
    for (u64 i = 0; i < pieces.size(); ++i) pieces[i] = {kernel->word(at + 16 * i), kernel->word(at + 16 * i + 8)};
    return pieces;
  }
  static Pairing pairing(const EntryPieces& pieces) {
    EXPECT_EQ(pieces[0].lo & 1, 1u) << "not present";
    const u64 type = pieces[0].lo >> 6 & 7;
    return {type, (type == 1 ? pieces[1].lo : pieces[0].lo) & ~u64{0xfff}, pieces[0].hi & 0xffff};
  }
  static Pairing pairing(const EntrySpec& spec) {
    return {spec.format == first ? 1u : 2u, spec.top.value, spec.did.value};
  }
  std::set<Pairing> watch(const std::function<void()>& change) {
    std::set<Pairing> seen;
    watch_fetches(world, [&] { return live(); }, [&](const EntryPieces& one) { seen.insert(pairing(one)); }, change);
    return seen;
  }

  HardwareWorld world;
  std::unique_ptr<TestKernel> kernel;
};

TEST_F(FirstStageTest, AnInstalledEntryHasItsGoldenWords) {
  const EntrySpec to = spec(0x2345000);
  kernel->attach(device_a, to);
  EXPECT_EQ(live(), (EntryPieces{Quad{0x49, u64{1} << 23 | to.did.value}, Quad{0x2345000, 0}}));
  EXPECT_EQ(unit().read_entry(device_a).spec, to);
  ASSERT_TRUE(unit().block(device_a).ok());
  EXPECT_EQ(live(), EntryPieces{});
  EXPECT_THAT(hardware().take_types(), ElementsAre(7, 6)) << "what a first stage left goes by PASID";
}

TEST_F(FirstStageTest, IsNotAPlainTranslationWhereTheUnitLacksIt) {
  kernel->attach(device_a, spec(0x2000000));
  const EntryPieces pieces = live();
  HardwareWorld other(test_cap, test_ecap);
  const auto lacks = TestKernel::started(other, Mode::Scalable);
  lacks->attach(device_a, lacks->make_spec(0x3000000));
  const u64 at = lacks->translation_entry(device_a, Mode::Scalable);
  for (u64 i = 0; i < 4; ++i) {
    lacks->poke(at + 16 * i, pieces[i].lo);
    lacks->poke(at + 16 * i + 8, pieces[i].hi);
  }
  EXPECT_EQ(lacks->unit->read_entry(device_a).state, LiveEntry::State::Other);
  EXPECT_EQ(lacks->unit->install(SourceId(0, 4, 0), spec(0x2000000)).code(), Code::Invalid);
}

TEST_F(FirstStageTest, AReplacementGoesByWayOfAPrivateId) {
  RecordProperty("acceptance", "N1 N2");
  const EntrySpec from = spec(0x2000000);
  const EntrySpec to = spec(0x3000000);
  kernel->attach(device_a, from);
  const u32 ids = unit().dids_in_use();
  const u64 hidden = u64{to.did.value} + 1;
  std::vector<std::tuple<u64, u64, Pairing>> forgotten;
  hardware().on_descriptor = [&](const Quad& one) {
    if ((one.lo & 0xf) != 5) forgotten.emplace_back(one.lo & 0xf, one.lo >> 16 & 0xffff, pairing(live()));
  };
  ASSERT_TRUE(unit().replace(device_a, from, to).ok());
  const Pairing old_hidden{1, from.top.value, hidden};
  const Pairing new_hidden{1, to.top.value, hidden};
  const u64 a = from.did.value;
  const u64 b = to.did.value;
  EXPECT_THAT(forgotten, ElementsAre(std::tuple(7u, a, old_hidden), std::tuple(6u, a, old_hidden),            //
                                     std::tuple(7u, hidden, new_hidden), std::tuple(6u, hidden, new_hidden),  //
                                     std::tuple(7u, hidden, pairing(to)), std::tuple(6u, hidden, pairing(to)),
                                     std::tuple(7u, b, pairing(to)), std::tuple(6u, b, pairing(to))));
  EXPECT_EQ(unit().read_entry(device_a).spec, to);
  EXPECT_EQ(unit().dids_in_use(), ids) << "the private id is free again";
}

TEST_F(FirstStageTest, NoFetchPairsATableWithTheIdOfAnother) {
  RecordProperty("acceptance", "N1 N4");
  const EntrySpec one = spec(0x2000000);
  const EntrySpec two = spec(0x3000000);
  kernel->attach(device_a, one);
  const std::set<Pairing> seen = watch([&] { ASSERT_TRUE(unit().replace(device_a, one, two).ok()); });
  const u64 hidden = u64{two.did.value} + 1;
  EXPECT_THAT(seen, testing::UnorderedElementsAre(pairing(one), Pairing{1, one.top.value, hidden},
                                                  Pairing{1, two.top.value, hidden}, pairing(two)));
}

TEST_F(FirstStageTest, BetweenTheStagesEveryFetchIsOldOrNew) {
  RecordProperty("acceptance", "N1 N4");
  const EntrySpec one = spec(0x2000000, second, 3);
  const EntrySpec two = spec(0x3000000, first);
  kernel->attach(device_a, one);
  for (const auto& [from, to] : {std::pair{one, two}, std::pair{two, one}}) {
    const std::set<Pairing> seen = watch([&] { ASSERT_TRUE(unit().replace(device_a, from, to).ok()); });
    EXPECT_THAT(seen, testing::UnorderedElementsAre(pairing(from), pairing(to)));
    EXPECT_EQ(unit().read_entry(device_a).spec, to);
  }
  EXPECT_EQ(live()[1], Quad{}) << "nothing of the first stage is left";
}

TEST_F(FirstStageTest, AReplacementIsTakenBackWhereverHardwareRefuses) {
  RecordProperty("acceptance", "N3");
  const EntrySpec from = spec(0x2000000);
  const EntrySpec to = spec(0x3000000);
  kernel->attach(device_a, from);
  const EntryPieces before = live();
  const u32 ids = unit().dids_in_use();
  for (unsigned allowed = 0; allowed < 4; ++allowed) {
    SCOPED_TRACE(allowed);
    // One descriptor is refused: the one after so many changes were forgotten.
    unsigned met = 0;
    hardware().on_descriptor = [&](const Quad& one) {
      const bool is_fence = (one.lo >> 6 & 1) != 0;
      if ((one.lo & 0xf) == 7 && met++ == allowed) hardware().refused_type = 6;
      if ((one.lo & 0xf) == 5 && !is_fence) hardware().refused_type = 0xff;
    };
    EXPECT_EQ(unit().replace(device_a, from, to).code(), Code::Io);
    hardware().refused_type = 0xff;
    hardware().on_descriptor = nullptr;
    EXPECT_EQ(live(), before);
    EXPECT_EQ(unit().read_entry(device_a).spec, from);
    EXPECT_EQ(unit().dids_in_use(), ids);
  }
  EXPECT_TRUE(unit().replace(device_a, from, to).ok());
}

TEST_F(FirstStageTest, APrivateIdThatHardwareMayRememberIsNotGivenToAnyone) {
  const EntrySpec from = spec(0x2000000);
  const EntrySpec to = spec(0x3000000);
  kernel->attach(device_a, from);
  const u32 ids = unit().dids_in_use();
  hardware().refused_type = 6;
  EXPECT_EQ(unit().replace(device_a, from, to).code(), Code::Io);
  EXPECT_EQ(unit().read_entry(device_a).spec, from);
  EXPECT_EQ(unit().dids_in_use(), ids + 1);
  EXPECT_THAT(logged(world), HasSubstr("does not answer"));
}

TEST_F(FirstStageTest, WithoutAFreeIdAReplacementIsRefusedAndNothingChanged) {
  const EntrySpec from = spec(0x2000000);
  const EntrySpec to = spec(0x3000000);
  kernel->attach(device_a, from);
  while (unit().allocate_did().ok()) continue;
  const u64 before = unit().state_hash();
  EXPECT_EQ(unit().replace(device_a, from, to).code(), Code::NoSpace);
  EXPECT_EQ(unit().state_hash(), before);
}

class FirstStagePasid : public FirstStageTest {
 protected:
  FirstStagePasid() : FirstStageTest(first_only, 65) {}
};

TEST_F(FirstStagePasid, IsWhatItsTranslationsAreForgottenBy) {
  kernel->attach(device_a, spec(0x2000000));
  const iommu::CacheTag tag{DomainId(7), first};
  alignas(pt::Gather) static std::array<std::byte, sizeof(pt::Gather)> place;  // one that is dropped panics
  auto& gather = *new (place.data()) pt::Gather;
  gather.add_range({Iova(0x11000), 0x2000}, {.leaves = 1, .tables = 1});
  ASSERT_TRUE(unit().invalidate(tag, gather).ok());
  EXPECT_EQ(hardware().executed.at(0), (Quad{u64{65} << 32 | 0x70036, 0x10000 | 2}));
  hardware().executed.clear();
  ASSERT_TRUE(unit().invalidate_domain(tag).ok());
  EXPECT_EQ(hardware().executed.at(0), (Quad{u64{65} << 32 | 0x70026, 0}));
}

TEST(RidPasids, KnowWhenTheyAreNotAll) {
  RidPasids pasids;
  for (const u32 pasid : {5u, 5u, 0u, 9u, 65u}) pasids.insert(pasid);
  EXPECT_THAT(pasids.values(), ElementsAre(5, 0, 9, 65));
  EXPECT_TRUE(pasids.all());
  pasids.insert(9);
  EXPECT_TRUE(pasids.all());
  pasids.insert(1);
  EXPECT_FALSE(pasids.all());
}

}  // namespace
}  // namespace holdfast::vtd

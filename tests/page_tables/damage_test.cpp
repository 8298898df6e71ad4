// Tables that were damaged between two kernels: refused, with the place and the reason, before anybody walks them.
#include "tests/page_tables/handover.hpp"

namespace page_tables {
namespace {

/// A place in a table, and what stands there.
struct Place {
  PhysAddr table;
  unsigned level = 0;
  u64 index = 0;
  u64 item = 0;
};

class DamageTest : public OverVariants {
 protected:
  void SetUp() override {
    handover = std::make_unique<Handover>(GetParam(), Filling::Everything);
    handover->jump();
  }
  /// Every item that is not empty and for which @p wanted(level, item) says so; @p most of them at most.
  template <class Wanted>
  std::vector<Place> find(const Wanted& wanted, std::size_t most = 8) {
    std::vector<Place> found;
    for (const auto& [page, level] : handover->tables) {
      const u64* words = handover->words(PhysAddr(page));
      for (u64 i = 0; i < handover->words_of(level) && found.size() < most; ++i)
        if (words[i] != 0 && wanted(level, words[i])) found.push_back({PhysAddr(page), level, i, words[i]});
    }
    return found;
  }
  /// Whether an item leads to one of the tables: by its place among what the walk has found.
  std::vector<Place> links() {
    return find([&](unsigned level, u64 item) { return level != 0 && leads_to(item, level) != 0; });
  }
  std::vector<Place> leaves() {
    return find([&](unsigned level, u64 item) { return level == 0 || leads_to(item, level) == 0; });
  }
  /// The table below @p level that @p item leads to; 0: none.
  u64 leads_to(u64 item, unsigned level) {
    const bool riscv = of().config.format == Format::RiscvFirstStage || of().config.format == Format::RiscvSecondStage;
    const u64 address_bits = low_bits(47) & ~low_bits(riscv ? 10 : 12);
    for (const auto& [page, at] : handover->tables)
      if (at + 1 == level && ((of().items.table(PhysAddr(page), level) ^ item) & address_bits) == 0) return page;
    return 0;
  }
  /// Writes @p item to @p place and, if asked, makes the recorded checksum right; answers the report; mends it again.
  VerifyReport damaged(const Place& place, u64 item, bool checksum_right = true) {
    u64* words = handover->words(place.table);
    const std::span<const u64> all(words, handover->words_of(place.level));
    const SavedTable saved = handover->saved;
    const u64 old = words[place.index];
    handover->saved.checksum -= of().items.digest(place.table, place.level, all);
    words[place.index] = item;
    handover->saved.checksum += of().items.digest(place.table, place.level, all);
    if (!checksum_right) handover->saved.checksum = saved.checksum;
    const VerifyReport report = verify();
    words[place.index] = old;
    handover->saved = saved;
    return report;
  }
  VerifyReport verify() {
    RestoredTable& restored = handover->restore();
    VerifyReport report;
    const Status status = restored.verify(report);
    EXPECT_EQ(status.code(), report.reason == VerifyReason::None ? Code::Ok : Code::Corrupt);
    EXPECT_EQ(restored.reader().ok(), status.ok());
    if (status.ok()) {
      accepted = read_all(restored.reader().value());
      handover->remove_stamps();
    }
    RestoredTable::forget(&restored);
    for (const auto& [page, level] : handover->tables)
      EXPECT_EQ(handover->next->memory.frames.at(PhysAddr(page)).mark, 0u) << "a stamp was left behind";
    return report;
  }
  void expect_named(const VerifyReport& report, VerifyReason reason, const Place& place, u64 item) const {
    EXPECT_EQ(to_string(report.reason), to_string(reason));
    EXPECT_EQ(report.table, place.table);
    EXPECT_EQ(report.level, place.level);
    EXPECT_EQ(report.index, place.index);
    EXPECT_EQ(report.entry, item & ~of().config.encryption);
  }
  [[nodiscard]] u64 link(u64 page, unsigned level) const {
    return of().items.table(PhysAddr(page), level) | of().config.encryption;
  }
  [[nodiscard]] u64 leaf(u64 address, unsigned level, unsigned size_lg2) const {
    return of().items.leaf(PhysAddr(address), level, size_lg2) | of().config.encryption;
  }

  std::unique_ptr<Handover> handover;
  Model accepted;
};

TEST_P(DamageTest, UndamagedItIsAcceptedAndAnyFlippedBitIsSeen) {
  RecordProperty("acceptance", "P17 K23");
  ASSERT_EQ(verify().reason, VerifyReason::None);
  EXPECT_EQ(accepted, handover->model());
  u64 refused = 0;
  std::vector<Place> places = find([](unsigned, u64) { return true; });
  ASSERT_FALSE(places.empty());
  places.push_back(
      {handover->saved.top, handover->saved.top_level, handover->words_of(handover->saved.top_level) - 1, 0});
  for (const Place& place : places) {
    const u64 now = handover->words(place.table)[place.index];
    for (unsigned bit = 0; bit < 64; ++bit) {
      const VerifyReport report = damaged(place, now ^ u64{1} << bit, false);
      if (report.reason != VerifyReason::None) {
        ++refused;
        continue;
      }
      EXPECT_EQ(accepted, handover->model()) << "bit " << bit << " that hardware may change";
    }
  }
  EXPECT_GT(refused, 20u * places.size());
}

TEST_P(DamageTest, WithARightChecksumWhatIsAcceptedLeadsToTheGuestAlone) {
  RecordProperty("acceptance", "P17");
  for (const Place& place : find([](unsigned, u64) { return true; }, 6)) {
    for (unsigned bit = 0; bit < 64; ++bit) {
      if (damaged(place, place.item ^ u64{1} << bit).reason != VerifyReason::None) continue;
      for (const auto& [iova, leaf] : accepted) {
        ASSERT_TRUE(handover->is_guest(leaf.address)) << "bit " << bit;
        ASSERT_TRUE(handover->is_guest(leaf.address + low_bits(leaf.size_lg2))) << "bit " << bit;
      }
    }
  }
}

TEST_P(DamageTest, ABitThatNobodyWritesIsNamed) {
  RecordProperty("acceptance", "P17");
  const u64 bit = u64{1} << of().reserved_bit;
  for (const Place& place : links())
    expect_named(damaged(place, place.item | bit), VerifyReason::ReservedBits, place, place.item | bit);
  for (const Place& place : leaves())
    expect_named(damaged(place, place.item | bit), VerifyReason::ReservedBits, place, place.item | bit);
}

TEST_P(DamageTest, LoopsAndTablesMetTwiceAreNamed) {
  RecordProperty("acceptance", "P17");
  const auto all = links();
  ASSERT_FALSE(all.empty());
  for (const Place& place : all) {
    for (const u64 where : {handover->saved.top.value, place.table.value}) {
      // Page by page, a top that is larger than the others cannot even be one of them.
      const bool other_size = handover->orders[handover->tables.at(where)] != handover->orders[place.level - 1];
      const bool is_block = GetParam().mode == TableMode::Page && other_size;
      const u64 item = link(where, place.level);
      expect_named(damaged(place, item), is_block ? VerifyReason::NotOwned : VerifyReason::MetTwice, place, item);
    }
  }
  // A second way to the same table: what comes second is named.
  const Place& first = all.front();
  const u64* words = handover->words(first.table);
  const u64 count = std::min(handover->words_of(first.level), u64{1} << of().index_bits);
  u64 last = first.index;
  for (u64 i = first.index + 1; i < count && words[i] == 0; ++i) last = i;
  if (last == first.index) return;
  const Place second{first.table, first.level, first.index + 1, first.item};
  const VerifyReason reason = damaged(second, first.item).reason;
  EXPECT_TRUE(reason == VerifyReason::MetTwice || reason == VerifyReason::BeyondWidth) << to_string(reason);
}

TEST_P(DamageTest, TablesAndTargetsOutsideAreNamed) {
  RecordProperty("acceptance", "P17");
  Memory& memory = handover->next->memory;
  const PhysAddr foreign = memory.buddy.allocate(5).value();
  for (const Place& place : links()) {
    for (const u64 where : {foreign.value, Handover::ram_bytes, u64{1} << 40})
      if (where >> of().config.phys_bits == 0)
        expect_named(damaged(place, link(where, place.level)), VerifyReason::NotOwned, place, link(where, place.level));
  }
  for (const Place& place : leaves()) {
    if (place.level != 0) continue;
    const u64 aligned = (foreign.value + of().granule() - 1) & ~(of().granule() - 1);
    const u64 a_table = handover->tables.rbegin()->first & ~(of().granule() - 1);
    const bool alone = of().sizes[0].size() == 1 || place.item == handover->words(place.table)[place.index];
    for (const u64 where : {aligned, Handover::ram_bytes, a_table}) {
      const u64 item = leaf(where, 0, of().granule_lg2());
      const VerifyReport report = damaged(place, item);
      // One item of a contiguous leaf may also no longer belong to the others.
      EXPECT_TRUE(report.reason == VerifyReason::LeafTarget || report.reason == VerifyReason::Contiguous || !alone)
          << to_string(report.reason);
      EXPECT_EQ(report.table, place.table);
    }
  }
  memory.buddy.release(foreign, 5);
}

TEST_P(DamageTest, ItemsThatDoNotBelongTogetherAreNamed) {
  RecordProperty("acceptance", "P17");
  const Walked& walked = handover->walked;
  for (const auto& [iova, found] : handover->model()) {
    const unsigned level = walked.levels.at(iova);
    if (found.size_lg2 == of().item_lg2(level)) continue;
    const u64 count = u64{1} << (found.size_lg2 - of().item_lg2(level));
    const PhysAddr entry = walked.entries.at(iova);
    const PhysAddr table((--handover->tables.upper_bound(entry.value))->first);
    const u64 index = (entry - table) / 8;
    const Place whole{table, level, index, handover->words(table)[index]};
    for (const u64 i : {u64{1}, count / 2, count - 1}) {
      Place place = whole;
      place.index += i;
      place.item = handover->words(place.table)[place.index];
      const VerifyReport missing = damaged(place, 0);
      expect_named(missing, VerifyReason::Contiguous, whole, whole.item);
      // A leaf of one item, aligned, leading to the guest: right by itself, wrong here.
      const u64 alone = leaf(handover->guest[0].start.value, level, of().item_lg2(level));
      if (of().item_lg2(level) > 22) continue;
      const VerifyReport wrong = damaged(place, alone);
      EXPECT_EQ(to_string(wrong.reason), to_string(VerifyReason::Contiguous));
      EXPECT_EQ(wrong.table, whole.table);
    }
  }
}

TEST_P(DamageTest, EntriesBeyondTheWidthAreNamed) {
  RecordProperty("acceptance", "P17");
  const SavedTable& saved = handover->saved;
  const unsigned top_item = of().item_lg2(saved.top_level);
  const u64 items = saved.iova_bits > top_item ? u64{1} << (saved.iova_bits - top_item) : 1;
  const u64 words = handover->words_of(saved.top_level);
  if (items >= words) return;  // the table ends where the addresses end
  for (const u64 index : {items, words - 1}) {
    const Place place{saved.top, saved.top_level, index, 0};
    const u64 item = link(handover->guest[0].start.value, saved.top_level);
    expect_named(damaged(place, item), VerifyReason::BeyondWidth, place, item);
  }
}

TEST_P(DamageTest, AWrongDescriptionIsRefused) {
  RecordProperty("acceptance", "P17");
  const SavedTable good = handover->saved;
  const auto reason = [&](auto&& change) {
    handover->saved = good;
    change(handover->saved);
    const VerifyReason found = verify().reason;
    handover->saved = good;
    return found;
  };
  EXPECT_EQ(reason([](SavedTable& s) { ++s.table_count; }), VerifyReason::TooFewTables);
  EXPECT_EQ(reason([](SavedTable& s) { --s.table_count; }), VerifyReason::TooManyTables);
  EXPECT_EQ(reason([](SavedTable& s) { s.table_count = 0; }), VerifyReason::Shape);
  EXPECT_EQ(reason([](SavedTable& s) { s.checksum ^= 1; }), VerifyReason::Checksum);
  EXPECT_EQ(reason([](SavedTable& s) { s.checksum ^= u64{1} << 63; }), VerifyReason::Checksum);
  EXPECT_EQ(reason([](SavedTable& s) { s.iova_bits = 0; }), VerifyReason::Shape);
  EXPECT_EQ(reason([](SavedTable& s) { s.iova_bits = 65; }), VerifyReason::Shape);
  EXPECT_EQ(reason([](SavedTable& s) { s.top_level = 7; }), VerifyReason::Shape);
  EXPECT_EQ(reason([](SavedTable& s) { s.extent = IovaExtent{3}; }), VerifyReason::Shape);
  EXPECT_EQ(reason([](SavedTable& s) { s.top = PhysAddr(0); }), VerifyReason::NotOwned);
  EXPECT_EQ(reason([](SavedTable& s) { s.top = PhysAddr(Handover::ram_bytes); }), VerifyReason::NotOwned);
  EXPECT_EQ(reason([](SavedTable& s) { s.top = s.top + 8; }), VerifyReason::NotOwned);
  EXPECT_EQ(verify().reason, VerifyReason::None) << "and none of it left a trace";
}

bool is_restorable(const Variant& variant) { return variant.of->restorable; }
INSTANTIATE_TEST_SUITE_P(All, DamageTest, testing::ValuesIn(variants_that(&is_restorable)), name_of);

}  // namespace
}  // namespace page_tables

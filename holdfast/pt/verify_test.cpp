// Verification of tables from another kernel: every kind of damage is refused and named, or harmless.
#include "holdfast/pt/verify.hpp"

#include <gtest/gtest.h>

#include <random>

#include "holdfast/pt/test_update.hpp"

namespace holdfast::pt {
namespace {

class VerifyTest : public testing::TestWithParam<Shape> {};

TEST_P(VerifyTest, ADamagedEntryIsRefusedOrHarmless) {
  RecordProperty("acceptance", "P17 K23");
  Update update(GetParam());
  update.jump();
  Memory& memory = update.next->memory;
  const PhysAddr free_page = memory.buddy.allocate(0).value();
  memory.buddy.release(free_page, 0);
  u64 refused = 0;
  u64 accepted = 0;
  const auto try_it = [&](bool checksum_right) {
    RestoredTable& restored = update.restore();
    VerifyReport report;
    const Status status = restored.verify(report);
    if (!status.ok()) {
      ++refused;
      EXPECT_EQ(status.code(), Code::Corrupt);
      EXPECT_NE(report.reason, VerifyReason::None);
      EXPECT_FALSE(restored.reader().ok());
      RestoredTable::forget(&restored);
      return;
    }
    ++accepted;
    const PageModel now = model_of(restored.reader().value());
    EXPECT_TRUE(checksum_right || now == update.model) << "what is accepted translates as before";
    for (const auto& [iova, to] : now) {
      const PhysAddr page(to & ~u64{0xfff});
      const bool guest = std::ranges::any_of(
          update.guest, [&](const PhysRange& range) { return range.contains(page, page_size_bytes); });
      ASSERT_TRUE(guest) << "a device would reach foreign memory";
    }
    // Undo the stamps of this verification, as a new boot would.
    for (const auto& [page, level] : update.tables) memory.frames.at(page).mark = 0;
    RestoredTable::forget(&restored);
  };
  for (const auto& [page, level] : update.tables) {
    const u64* original = memory.map.at<u64>(page);
    std::vector<u64> slots{0, 1, 511};
    for (u64 i = 0; i < 512; ++i)
      if (original[i] != 0 && (slots.size() < 12 || i % 64 == 0)) slots.push_back(i);
    for (const u64 slot : slots) {
      const u64 entry = original[slot];
      std::vector<u64> values{0,
                              ~u64{0},
                              entry + 0x1000,
                              entry - 0x1000,
                              (32 * mib) | 3,
                              0x000f'ffff'ffff'f003,
                              free_page.value | 3,
                              page.value | 3,
                              page.value | 0x83,
                              update.saved.top.value | 3,
                              entry | 0x80,
                              entry & ~u64{3},
                              entry ^ 1,
                              entry | 4,
                              entry | u64{1} << 62,
                              (update.guest[0].start.value) | 0x83,
                              entry ^ 0x300};
      for (const auto& [other, other_level] : update.tables) values.push_back(other.value | 3);
      for (const u64 value : values) {
        for (const bool checksum_right : {false, true}) {
          Damage damage(update, page, level);
          damage.words[slot] = value;
          if (checksum_right) damage.make_the_checksum_right();
          try_it(checksum_right);
          ASSERT_FALSE(HasFatalFailure());
        }
      }
    }
  }
  EXPECT_GT(refused, 50u);
  EXPECT_GT(accepted, 0u) << "at least the accessed and dirty bits do not matter";
  RestoredTable& restored = update.restore();
  VerifyReport report;
  EXPECT_TRUE(restored.verify(report).ok()) << "no stamp was left behind: " << to_string(report.reason);
  RestoredTable::forget(&restored);
}

TEST_P(VerifyTest, ADamagedDescriptionIsRefused) {
  Update update(GetParam());
  update.jump();
  const SavedTable good = update.saved;
  const auto reason = [&](auto&& change) {
    update.saved = good;
    change(update.saved);
    RestoredTable& restored = update.restore();
    VerifyReport report;
    EXPECT_EQ(restored.verify(report).code(), Code::Corrupt);
    RestoredTable::forget(&restored);
    return report.reason;
  };
  for (const u64 top : {u64{0}, ~u64{0}, good.top.value + 0x800, 32 * mib, update.guest[0].start.value + 0x1000,
                        update.host.scratch().start.value})
    EXPECT_EQ(reason([&](SavedTable& s) { s.top = PhysAddr(top); }), VerifyReason::NotOwned) << std::hex << top;
  for (const unsigned level : {0u, 1u, 5u, 7u, 255u})
    EXPECT_EQ(reason([&](SavedTable& s) { s.top_level = static_cast<u8>(level); }), VerifyReason::Shape);
  EXPECT_EQ(reason([](SavedTable& s) { s.iova_bits = 0; }), VerifyReason::Shape);
  EXPECT_EQ(reason([](SavedTable& s) { s.iova_bits = 255; }), VerifyReason::Shape);
  EXPECT_EQ(reason([](SavedTable& s) { s.extent = IovaExtent::SignExtended; }), VerifyReason::Shape);
  EXPECT_EQ(reason([](SavedTable& s) { s.table_count = 0; }), VerifyReason::Shape);
  EXPECT_EQ(reason([](SavedTable& s) { ++s.table_count; }), VerifyReason::TooFewTables);
  EXPECT_EQ(reason([](SavedTable& s) { s.table_count = ~u64{0}; }), VerifyReason::TooFewTables);
  EXPECT_EQ(reason([](SavedTable& s) { s.checksum ^= u64{1} << 40; }), VerifyReason::Checksum);
  if (GetParam().filling == Filling::Empty) return;
  EXPECT_EQ(reason([](SavedTable& s) { --s.table_count; }), VerifyReason::TooManyTables);
  EXPECT_EQ(reason([](SavedTable& s) { s.iova_bits = 30; }), VerifyReason::BeyondWidth);
}

TEST_P(VerifyTest, AnyFlippedBitOfAnyTableIsFound) {
  RecordProperty("acceptance", "K23");
  Update update(GetParam());
  update.jump();
  std::mt19937_64 random(5);
  for (int round = 0; round < 3000; ++round) {
    const auto& [page, level] = update.tables[random() % update.tables.size()];
    Damage damage(update, page, level);
    const u64 bit = random() % 64;
    damage.words[random() % 512] ^= u64{1} << bit;
    RestoredTable& restored = update.restore();
    VerifyReport report;
    const bool meaningless = bit == 8 || bit == 9;
    ASSERT_TRUE(!restored.verify(report).ok() || meaningless) << "bit " << bit;
    RestoredTable::forget(&restored);
    for (const auto& [table, at_level] : update.tables) update.next->memory.frames.at(table).mark = 0;
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, VerifyTest, testing::ValuesIn(update_shapes), name_of);

TEST(Verify, ADamagedEntryIsNamedWithItsPlaceAndTheReason) {
  RecordProperty("acceptance", "P17");
  for (const TableMode mode : {TableMode::Arena, TableMode::Page}) {
    Update update({4, mode, Filling::OnePagePerLevel});
    update.jump();
    // One page at 1 GiB + 0x3000: entry 0 of the top, 1 of level 2, 0 of level 1, 3 of level 0.
    ASSERT_EQ(update.tables.size(), 4u);
    const auto reason = [&](unsigned level, u32 slot, u64 value) {
      const PhysAddr page = update.tables[3 - level].first;
      Damage damage(update, page, level);
      damage.words[slot] = value;
      damage.make_the_checksum_right();
      RestoredTable& restored = update.restore();
      VerifyReport report;
      EXPECT_EQ(restored.verify(report).code(), Code::Corrupt);
      RestoredTable::forget(&restored);
      EXPECT_EQ(report.table, page);
      EXPECT_EQ(report.level, level);
      EXPECT_EQ(report.index, slot);
      EXPECT_EQ(report.entry, value);
      EXPECT_FALSE(to_string(report.reason).empty());
      return report.reason;
    };
    const u64 top = update.tables[0].first.value;
    const u64 leaf_table = update.tables[3].first.value;
    const u64 guest = update.guest[4].start.value;
    EXPECT_EQ(reason(3, 5, top | 3), VerifyReason::MetTwice) << "itself";
    EXPECT_EQ(reason(1, 7, top | 3), VerifyReason::MetTwice) << "a loop";
    EXPECT_EQ(reason(1, 7, leaf_table | 3), VerifyReason::MetTwice) << "met by another entry";
    EXPECT_EQ(reason(1, 7, update.host.scratch().start.value | 3), VerifyReason::NotOwned);
    EXPECT_EQ(reason(1, 7, 0x000f'ffff'ffff'f003), VerifyReason::NotOwned);
    EXPECT_EQ(reason(1, 0, leaf_table | 1), VerifyReason::Permission);
    EXPECT_EQ(reason(1, 0, leaf_table | 3 | u64{1} << 60), VerifyReason::ReservedBits);
    EXPECT_EQ(reason(0, 3, guest), VerifyReason::Permission);
    EXPECT_EQ(reason(0, 3, guest | 0x83), VerifyReason::ReservedBits);
    EXPECT_EQ(reason(1, 7, (update.guest[0].start.value + 0x1000) | 0x83), VerifyReason::ReservedBits) << "misaligned";
    EXPECT_EQ(reason(3, 5, 0x83), VerifyReason::ReservedBits) << "no leaf is that large";
    EXPECT_EQ(reason(0, 3, (32 * mib) | 3), VerifyReason::LeafTarget) << "not RAM";
    EXPECT_EQ(reason(0, 3, update.host.scratch().start.value | 3), VerifyReason::LeafTarget) << "not preserved";
    EXPECT_EQ(reason(0, 3, leaf_table | 3), VerifyReason::LeafTarget) << "a device that writes its own tables";
    EXPECT_EQ(reason(0, 3, top | 3), VerifyReason::LeafTarget);
  }
}

// Leaves that lead to neighbouring pages are judged together, up to the end of their table.
TEST(Verify, TheOneBadLeafAmongNeighboursIsNamed) {
  for (const TableMode mode : {TableMode::Arena, TableMode::Page}) {
    Update update({4, mode, Filling::OnePagePerLevel});
    update.jump();
    ASSERT_EQ(update.tables.size(), 4u);
    const auto& [page, level] = update.tables[3];
    constexpr u32 run = 8;
    const auto guest = std::ranges::find_if(update.guest, [&](const PhysRange& range) {
      const bool is_last = !update.next->memory.frames.find_incoming(range.start + range.size_bytes);
      return range.size_bytes >= run * page_size_bytes && is_last;
    });
    ASSERT_NE(guest, update.guest.end());
    const PhysAddr end = guest->start + guest->size_bytes;
    const u64 elsewhere[]{update.tables[0].first.value, 32 * mib};  // below and above what its neighbours lead to
    for (const u32 first : {4u, 512 - run})
      for (u32 which = 0; which < 2 * run; ++which) {
        const u32 bad = which / 2;
        SCOPED_TRACE(testing::Message() << "leaf " << bad << " of those from " << first);
        Damage damage(update, page, level);
        std::ranges::fill(std::span(damage.words, 512), 0);
        // A run to the last page of the guest's memory; or, for the last leaf, one page beyond.
        const PhysAddr start = end - (bad + 1 == run ? run - 1 : run) * page_size_bytes;
        for (u32 i = 0; i < run; ++i) damage.words[first + i] = (start.value + i * page_size_bytes) | 3;
        if (bad + 1 != run) damage.words[first + bad] = elsewhere[which % 2] | 3;
        damage.make_the_checksum_right();
        RestoredTable& restored = update.restore();
        VerifyReport report;
        EXPECT_EQ(restored.verify(report).code(), Code::Corrupt);
        RestoredTable::forget(&restored);
        EXPECT_EQ(report.reason, VerifyReason::LeafTarget);
        EXPECT_EQ(report.table, page);
        EXPECT_EQ(report.index, first + bad);
      }
  }
}

}  // namespace
}  // namespace holdfast::pt

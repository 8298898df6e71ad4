// Entries of root, context and PASID structures: QEMU's unit and the modelled one answer as listed.
#include "tests/referee/machine_test.hpp"
#include "tests/referee/random_entries.hpp"

#include <set>

namespace referee {
namespace {

TEST(Entries, ARecordMustBeOfTheRequestAndKeepItOut) {
  const Request request{0x1'2345'6008, Access::Write};
  const Record right{0x5, 0x1'2345'6000, Access::Write};
  EXPECT_EQ(verdict_of(right, request, refused_silently), 0x5u);
  EXPECT_EQ(verdict_of(right, request, arrives), 0x5u | in_spite_of_it);
  EXPECT_EQ(verdict_of(Record{0x5, 0x1'2345'7000, Access::Write}, request, refused_silently), 0x5u | wrong_record);
  EXPECT_EQ(verdict_of(Record{0x5, 0x1'2345'6000, Access::Read}, request, refused_silently), 0x5u | wrong_record);
  EXPECT_EQ(verdict_of(std::nullopt, request, untranslated), untranslated);
}

TEST(Entries, WhereNothingIsListedTheUnitsMustAgree) {
  EXPECT_EQ(expected_of_qemu(Mode::Legacy, Release::Qemu7, nullptr, 0x5, 0x5).by, nullptr);
  const Edit reserved{Place::Pasid, 5, 0, 1};
  const Expected ignored = expected_of_qemu(Mode::Scalable, Release::Qemu10, &reserved, 0x5a, 0x85);
  EXPECT_EQ(ignored.verdict, 0x5u) << "as without it, in QEMU's numbers";
  const Edit elsewhere_in_it{Place::Context, 3, 0, 1};
  EXPECT_EQ(expected_of_qemu(Mode::Scalable, Release::Qemu10, &elsewhere_in_it, 0x5a, 0x85).verdict, 0x5au);
}

std::vector<MachineKind> kinds_with_entries() {
  std::vector<MachineKind> kinds;
  for (const MachineKind& kind : machine_kinds())
    if (entry_mode(kind)) kinds.push_back(kind);
  return kinds;
}

class OnEntries : public OnMachine {
 protected:
  void SetUp() override {
    OnMachine::SetUp();
    if (machine) referee.emplace(dynamic_cast<VtdMachine&>(*machine), *entry_mode(GetParam()));
  }
  std::optional<EntryReferee> referee;
};

INSTANTIATE_TEST_SUITE_P(Referee, OnEntries, testing::ValuesIn(kinds_with_entries()), name_of);

TEST_P(OnEntries, BothUnitsAnswerAsListed) {
  const Mode mode = referee->mode();
  std::set<const EntryDifference*> used;
  unsigned asked = 0;
  for (const EntryRow& row : entry_rows()) {
    if (listed(row, mode) == absent) continue;
    ++asked;
    const RowAnswers answers = judge_row(*referee, GetParam().release, row);
    EXPECT_EQ(verdict_text(answers.unit), verdict_text(listed(row, mode))) << "modelled unit: " << row.name;
    EXPECT_TRUE(is_as_expected(answers.qemu, answers.expected.verdict))
        << "QEMU: " << row.name << ": " << verdict_text(answers.qemu) << " where "
        << verdict_text(answers.expected.verdict) << " is known";
    used.insert(answers.expected.by);
  }
  EXPECT_GT(asked, 50u);
  for (const EntryDifference& difference : known_entry_differences()) {
    if (difference.mode.value_or(mode) != mode) continue;
    if (difference.release.value_or(GetParam().release) != GetParam().release) continue;
    EXPECT_TRUE(used.contains(&difference)) << "no row has this difference: " << difference.why;
  }
}

TEST_P(OnEntries, RandomEntriesAndFlippedBitsLeadBothToTheSame) {
  constexpr u64 domains = 50;
  TableMemory memory(machine->ram());
  Score score;
  for (u64 seed = 1; seed <= domains; ++seed) score += referee_entries(*referee, GetParam().release, memory, seed);
  EXPECT_EQ(score.disagreed, 0u) << testing::PrintToString(score.disagreements);
  EXPECT_GT(score.dmas, 15 * domains);
  EXPECT_GT(score.refused, score.dmas / 5);
  EXPECT_LT(score.refused, score.dmas * 9 / 10);
}

}  // namespace
}  // namespace referee

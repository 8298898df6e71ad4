// Every field of every record that one kernel leaves for the next, changed in every way that is likely to hurt: once
// alone, once with every checksum that covers it made right again, and where a fact is told twice, told wrongly twice.
// The new kernel neither crashes nor follows it; what it belongs to is refused and named; the rest works.
//
// The ordinary test takes a sample, the same in every run (HOLDFAST_MUTATION_SEED chooses another);
// HOLDFAST_EVERY_MUTATION=1 runs all of them.
#include <cstdlib>

#include "tests/untrusted/judge.hpp"

namespace untrusted {
namespace {

constexpr u64 one_of = 8;             // of the ordinary test
constexpr int failures_shown = 12;

bool is_chosen(u64 nth) {
  if (std::getenv("HOLDFAST_EVERY_MUTATION") != nullptr) return true;
  const char* seed = std::getenv("HOLDFAST_MUTATION_SEED");
  const u64 chosen = seed == nullptr ? 0 : std::strtoull(seed, nullptr, 10);
  return holdfast::abi::mix64(nth + 1 + chosen * 0x10001) % one_of == 0;
}


class Lies : public testing::TestWithParam<Stage> {
 protected:
  static void run(Family family) {
    Campaign& on = campaign(GetParam());
    u64 nth = 0;
    u64 trials = 0;
    int failures = 0;
    const char* only = std::getenv("HOLDFAST_MUTATION_FIELD");
    for (const Field& field : on.records().fields) {
      if (field.family != family) continue;
      if (only != nullptr && field.name.find(only) == std::string::npos) continue;
      for (const Change& change : on.changes(field)) {
        for (const Way way : ways_of(field)) {
          if (!is_chosen(nth++)) continue;
          ++trials;
          const Trial trial = on.run(&field, &change, way);
          const std::string wrong = judge(on, field, change, way, trial);
          if (wrong.empty()) continue;
          if (++failures <= failures_shown)
            ADD_FAILURE() << field.name << ", " << change.name << ", " << to_string(way) << ": " << wrong << "\n"
                          << trial.text();
        }
      }
    }
    EXPECT_EQ(failures, 0) << "of " << trials << " trials";
    RecordProperty("trials", std::to_string(trials) + " of " + std::to_string(nth));
  }
};

TEST_P(Lies, WithoutOneEverythingComesBackAndNothingIsSaid) {
  Campaign& on = campaign(GetParam());
  const Trial trial = on.run(nullptr, nullptr, Way::Raw);
  EXPECT_EQ(judge_truth(on, trial), "") << trial.text();
  EXPECT_GT(on.records().fields.size(), 400u);
  for (const PhysRange& range : on.records().unowned)
    ADD_FAILURE() << "nothing leads to the preserved block at " << std::hex << range.start.value;
}

TEST_P(Lies, AboutTheRootTreeAndTheMapOfPreservedMemory) { run(Family::Map); }
TEST_P(Lies, AboutSessionsFilesAndWhatTheyDependOn) { run(Family::Sessions); }
TEST_P(Lies, InTheRecordsOfFiles) { run(Family::Files); }
TEST_P(Lies, InTheRecordsOfUnitsDomainsAndDevices) { run(Family::Records); }
TEST_P(Lies, InTheAttestation) { run(Family::Attestation); }
TEST_P(Lies, InTheEntriesThatHardwareWalks) { run(Family::LiveEntries); }
TEST_P(Lies, InPageTables) { run(Family::PageTables); }

INSTANTIATE_TEST_SUITE_P(Untrusted, Lies, testing::Values(Stage{"scalable", "arena"}, Stage{"legacy", "page"}),
                         [](const auto& stage) { return stage.param.mode + "_" + stage.param.tables; });

}  // namespace
}  // namespace untrusted

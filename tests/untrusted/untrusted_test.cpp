// Every field of every record that one kernel leaves for the next, changed in every way that is likely to hurt: once
// alone, once with every checksum that covers it made right again, and where a fact is told twice, told wrongly twice.
// The new kernel neither crashes nor follows it; what it belongs to is refused and named; the rest works.
//
// The ordinary test takes a sample, the same in every run (HOLDFAST_MUTATION_SEED=n chooses another), and all lies
// about a few fields. HOLDFAST_EVERY_MUTATION=1 tells every lie, about 12000 in three minutes;
// HOLDFAST_MUTATION_FIELD=text only those about fields whose name contains the text.
#include <fnmatch.h>

#include <cstdlib>

#include "tests/untrusted/judge.hpp"

namespace untrusted {
namespace {

constexpr u64 one_of = 8;  // of the ordinary test
constexpr int failures_shown = 40;

bool runs_all() { return std::getenv("HOLDFAST_EVERY_MUTATION") != nullptr; }

/// Fields whose every lie is told in every run: a rule is about them, or a lie about them once did harm.
constexpr const char* always_told[] = {
    "device.*.domain_phys",
    "device.*.iommu_phys",
    "unit.*.token",
    "unit_attest.*.domain_ids",
    "unit_attest.*.iova_bits",
    "unit_attest.*.levels_mask",
    "unit_attest.*.scalable",
    "unit_attest.*.coherent",
    "device_attest.*.vendor",
    "device_attest.*.device",
    "device_attest.*.class_*",
    "*_attest.*.record_phys",
    "context.*.word0",
    "pasid_entry.*.word[01]",
    "pasid_directory.*.word0",
    "root.*.word*",
    "table.*.entry*",
    "radix.*.level[12].child0",
    "map.*",
    "scratch.*",
    "luo_fdt.luo-session-header",
    "session.name",
    "session_header.count",
    "memfd.*.folio.*",
    "pci.*.bar_bytes.0",
};

bool is_chosen(const Field& field, u64 nth) {
  if (runs_all()) return true;
  for (const char* pattern : always_told)
    if (fnmatch(pattern, field.name.c_str(), 0) == 0) return true;
  const char* seed = std::getenv("HOLDFAST_MUTATION_SEED");
  const u64 chosen = seed == nullptr ? 0 : std::strtoull(seed, nullptr, 10);
  return holdfast::abi::mix64(nth + 1 + chosen * 0x10001) % one_of == 0;
}

class Lies : public testing::TestWithParam<Stage> {
 protected:
  static void TearDownTestSuite() {
    if (!runs_all() || only_field() != nullptr) return;
    for (const auto& list : {harmless_lies(), unnamed_lies(), sound_tables()})
      for (const Known& known : list)
        EXPECT_TRUE(was_needed(known)) << known.field << ", " << known.change << ": nothing needs this exception";
  }

  static const char* only_field() { return std::getenv("HOLDFAST_MUTATION_FIELD"); }

  static void run(Family family) {
    Campaign& on = campaign(GetParam());
    u64 nth = 0;
    u64 trials = 0;
    int failures = 0;
    const char* only = only_field();
    for (const Field& field : on.records().fields) {
      if (field.family != family) continue;
      if (only != nullptr && field.name.find(only) == std::string::npos) continue;
      for (const Change& change : on.changes(field)) {
        for (const Way way : ways_of(field)) {
          if (!is_chosen(field, nth++)) continue;
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

TEST_P(Lies, InTheRecordsOfUnitsDomainsAndDevices) {
  RecordProperty("acceptance", "C26 C27");
  run(Family::Records);
}

TEST_P(Lies, InTheAttestation) {
  RecordProperty("acceptance", "C26 B13 IV36");
  run(Family::Attestation);
}

TEST_P(Lies, InTheEntriesThatHardwareWalks) {
  RecordProperty("acceptance", "IV37");
  run(Family::LiveEntries);
}

TEST_P(Lies, InPageTables) {
  RecordProperty("acceptance", "K23 P17");
  run(Family::PageTables);
}

INSTANTIATE_TEST_SUITE_P(Untrusted, Lies, testing::Values(Stage{"scalable", "arena"}, Stage{"legacy", "page"}),
                         [](const auto& stage) { return stage.param.mode + "_" + stage.param.tables; });

}  // namespace
}  // namespace untrusted

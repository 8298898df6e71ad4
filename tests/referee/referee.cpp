// The long table referee: random domains on every machine, and random entries on those of VT-d, in turn, for as long as
// asked.
//
//   referee [--seconds N] [--domains N] [--seed N] [--machine NAME]...
//   referee --malformed [--machine NAME]...
//   referee --entries [--machine NAME]...
//
// stdout: a table, one line per machine and kind; with --malformed what each reader makes of each malformed table, with
// --entries what QEMU's unit and the modelled one make of each malformed entry. stderr: disagreements as they are
// found, each with the seed that finds it again (--seed N --domains 1 --machine NAME). Exit codes: 0 all agree, 1 a
// disagreement, 2 usage, 3 no QEMU at all, 70 a machine failed.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <iostream>

#include "host/run_error.hpp"
#include "tests/referee/malformed.hpp"
#include "tests/referee/random_entries.hpp"

namespace referee {
namespace {

using Clock = std::chrono::steady_clock;

constexpr u64 domains_per_turn = 20;

struct Options {
  u64 seconds = 60;
  u64 domains = 0;
  u64 seed = 0;
  std::vector<std::string> machines;
  bool malformed = false;
  bool entries = false;
};

/// One line of the table, with a machine of its own.
struct Contest {
  const MachineKind* kind = nullptr;
  std::unique_ptr<Machine> machine;
  std::unique_ptr<TableMemory> memory;
  std::unique_ptr<EntryReferee> entries;  // nothing: domains
  Score score;
  Clock::duration spent{};

  [[nodiscard]] std::string name() const { return kind->name + std::string(entries ? ", entries" : ""); }
};

Contest start_contest(const MachineKind& kind, const qemu::Binary& binary) {
  Contest contest;
  contest.kind = &kind;
  contest.machine = kind.start(binary);
  contest.memory = std::make_unique<TableMemory>(contest.machine->ram());
  return contest;
}

std::vector<Contest> start_machines(const Options& options) {
  std::vector<Contest> contests;
  for (const MachineKind& kind : machine_kinds()) {
    if (!options.machines.empty() && std::ranges::find(options.machines, kind.name) == options.machines.end()) continue;
    const auto binary = qemu::find_binary(kind.release, kind.target);
    if (!binary) {
      fmt::print(stderr, "skipped: {}: QEMU {} is not there\n", kind.name, static_cast<unsigned>(kind.release));
      continue;
    }
    if (!options.entries) contests.push_back(start_contest(kind, *binary));
    const auto mode = entry_mode(kind);
    if (!mode || options.malformed) continue;
    Contest contest = start_contest(kind, *binary);
    contest.entries = std::make_unique<EntryReferee>(dynamic_cast<VtdMachine&>(*contest.machine), *mode);
    contests.push_back(std::move(contest));
  }
  return contests;
}

Score referee_one(Contest& contest, u64 seed) try {
  if (contest.entries) return referee_entries(*contest.entries, contest.kind->release, *contest.memory, seed);
  return referee_domain(*contest.machine, *contest.memory, seed);
} catch (const host::RunError&) {
  fmt::print(stderr, "{}, seed {}: the machine failed; its log:\n{}\n", contest.name(), seed, contest.machine->log());
  throw;
}

void take_turn(Contest& contest, u64 first_seed, u64 domains) {
  const auto start = Clock::now();
  for (u64 seed = first_seed; seed < first_seed + domains; ++seed) {
    const Score score = referee_one(contest, seed);
    for (const std::string& text : score.disagreements) fmt::print(stderr, "{}: {}\n", contest.name(), text);
    contest.score += score;
  }
  contest.spent += Clock::now() - start;
}

void contest_all(std::vector<Contest>& contests, const Options& options) {
  const auto end = Clock::now() + std::chrono::seconds(options.seconds);
  const u64 most = options.domains != 0 ? options.domains : ~u64{0};
  for (u64 done = 0; done < most && (options.domains != 0 || Clock::now() < end);) {
    const u64 turn = std::min(domains_per_turn, most - done);
    for (Contest& contest : contests) take_turn(contest, options.seed + done, turn);
    done += turn;
  }
}

u64 print_table(const std::vector<Contest>& contests) {
  constexpr const char* row = "{:<28} {:>8} {:>9} {:>9} {:>9} {:>12} {:>8}\n";
  fmt::print(fmt::runtime(row), "machine", "domains", "DMAs", "refused", "agree", "disagree", "DMA/s");
  u64 disagreed = 0;
  for (const Contest& contest : contests) {
    const Score& score = contest.score;
    const double seconds = std::chrono::duration<double>(contest.spent).count();
    fmt::print(fmt::runtime(row), contest.name(), score.domains, score.dmas, score.refused, score.agreed,
               score.disagreed, static_cast<u64>(seconds > 0 ? static_cast<double>(score.dmas) / seconds : 0));
    disagreed += score.disagreed;
  }
  return disagreed;
}

/// Answers whether all answers are as listed.
bool print_malformed(Contest& contest) {
  MalformedTables tables(*contest.machine);
  bool as_listed = true;
  for (const MalformedRow& row : malformed_rows()) {
    if (!applies(row, *contest.kind)) continue;
    const Answers answers = tables.judge(row);
    const bool differs = answers != expected_answers(row, *contest.kind);
    as_listed = as_listed && !differs;
    fmt::print("{}: {}: {}{}{}\n", contest.kind->name, row.name, to_string(answers), *row.why != '\0' ? "; " : "",
               row.why);
    if (differs) fmt::print("  listed: {}\n", to_string(expected_answers(row, *contest.kind)));
  }
  return as_listed;
}

bool print_entries(Contest& contest) {
  bool as_listed = true;
  for (const EntryRow& row : entry_rows()) {
    const Verdict list = listed(row, contest.entries->mode());
    if (list == absent) continue;
    const RowAnswers answers = judge_row(*contest.entries, contest.kind->release, row);
    const EntryDifference* by = answers.expected.by;
    fmt::print("{}: {}: modelled unit {}, QEMU {}{}{}\n", contest.kind->name, row.name, verdict_text(answers.unit),
               verdict_text(answers.qemu), by != nullptr ? "; " : "", by != nullptr ? by->why : "");
    if (answers.unit == list && is_as_expected(answers.qemu, answers.expected.verdict)) continue;
    as_listed = false;
    fmt::print("  listed: modelled unit {}, QEMU {}\n", verdict_text(list), verdict_text(answers.expected.verdict));
  }
  return as_listed;
}

int run(const Options& options) {
  std::vector<Contest> contests = start_machines(options);
  if (contests.empty()) {
    fmt::print(stderr,
               "no machine to referee on: no such machine, or no QEMU (Debian: qemu-system-x86, -arm, -misc)\n");
    return 3;
  }
  if (options.malformed || options.entries) {
    bool as_listed = true;
    for (Contest& contest : contests)
      as_listed = (options.entries ? print_entries(contest) : print_malformed(contest)) && as_listed;
    return as_listed ? 0 : 1;
  }
  fmt::print(stderr, "seeds from {}\n", options.seed);
  contest_all(contests, options);
  return print_table(contests) == 0 ? 0 : 1;
}

}  // namespace
}  // namespace referee

int main(int argc, char** argv) {
  referee::Options options;
  options.seed = std::random_device{}();
  CLI::App app{"Page tables built by Holdfast against the IOMMUs of QEMU."};
  app.add_option("--seconds", options.seconds, "how long, all machines together (60)");
  app.add_option("--domains", options.domains, "domains per machine, instead of a time");
  app.add_option("--seed", options.seed, "seed of the first domain; otherwise one is drawn");
  app.add_option("--machine", options.machines, "only this machine (may be given again)");
  app.add_flag("--malformed", options.malformed, "malformed tables instead: what QEMU, walker and verifier answer");
  app.add_flag("--entries", options.entries,
               "malformed root, context and PASID entries instead: what QEMU and the modelled unit answer")
      ->excludes("--malformed");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  try {
    return referee::run(options);
  } catch (const host::RunError& error) {
    std::cerr << "referee: " << error.what() << (error.likely_why().empty() ? "" : "\n  likely: " + error.likely_why())
              << '\n';
    return 70;
  }
}

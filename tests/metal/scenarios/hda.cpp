// Sound in both directions, for ever, clocked by the machine itself: with time counted in instructions two runs are the
// same to the last byte, and without numbers they are what the golden log says.
#include <fstream>
#include <sstream>

#include "tests/metal/scenario.hpp"

namespace metal_test {
namespace {

constexpr const char* golden_path = HOLDFAST_SOURCE_DIR "/tests/metal/hda.golden";

std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

/// Where two texts part, for people.
std::string first_difference(const std::string& one, const std::string& other) {
  std::istringstream left(one);
  std::istringstream right(other);
  for (unsigned number = 1;; ++number) {
    std::string a;
    std::string b;
    const bool has_a = static_cast<bool>(std::getline(left, a));
    const bool has_b = static_cast<bool>(std::getline(right, b));
    if (!has_a && !has_b) return "none";
    if (a != b || has_a != has_b)
      return fmt::format("line {}: \"{}\" and \"{}\"", number, has_a ? a : "(end)", has_b ? b : "(end)");
  }
}

struct Run {
  std::string serial;
  std::vector<Line> lines;
};

Run run_once(const Bench& bench, const std::string& part, Outcome& outcome) {
  MachineSetup setup = setup_of(bench, "hda", part);
  setup.kernel_words = fmt::format("mode={}", scalable_mode);
  setup.vmm_words = "hda updates=1 settle_ms=20";
  setup.devices = sound_card();
  setup.time = Time::Instructions;
  Machine machine(bench.binary, setup);
  check_good_end(machine, bench, outcome);
  return {machine.serial().text(), machine.serial().lines()};
}

}  // namespace

Outcome run_hda(const Bench& bench) {
  Outcome outcome = outcome_of(bench, "hda");
  const Run first = run_once(bench, "first", outcome);
  const Run second = run_once(bench, "second", outcome);
  const std::string difference = first_difference(first.serial, second.serial);
  outcome.expect("two runs say the same", first.serial == second.serial, "first difference: " + difference);

  const std::string plain = without_numbers(first.serial);
  std::ofstream(outcome.folder() / "without_numbers.txt", std::ios::binary) << plain;
  const std::string golden = read_file(golden_path);
  outcome.expect("what they say is golden", plain == golden,
                 fmt::format("{} against {}, first difference: {}", (outcome.folder() / "without_numbers.txt").string(),
                             golden_path, first_difference(plain, golden)));

  if (const auto total = find_line(first.lines, outcome, "total", "hda")) {
    check_fields(*total, outcome, {{"stale", 0}});
    outcome.expect_more("buffers gone round", total->number("wraps").value_or(0), 0);
    outcome.tell(fmt::format("{} wraps", total->number("wraps").value_or(0)));
  }
  for (const Update& update : collect_updates(first.lines))
    outcome.tell(fmt::format("blackout {} instructions", update.blackout_cycles >> icount_shift));
  outcome.expect_equal("live updates", collect_updates(first.lines).size(), 1u);
  return outcome.ended();
}

std::vector<Outcome> run_hda_scenario(const Bench& bench) { return {run_hda(bench)}; }

}  // namespace metal_test

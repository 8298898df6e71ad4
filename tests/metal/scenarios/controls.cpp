// Controls: what is broken on purpose before the jump must be seen, or everything else proves nothing. The network card
// is the victim; the sound card beside it shows who else is hurt.
#include "tests/metal/scenario.hpp"
#include "tests/metal/scenarios/holds.hpp"
#include "tests/metal/scenarios/landed.hpp"

namespace metal_test {
namespace {

constexpr u64 frames = 10'000;       // the guest jumps after half of them
constexpr u64 frames_fed = 60'000;   // more than can come before the end: the wire is never silent
constexpr u64 hold_us = 20'000'000;  // ended by who looked
constexpr u16 network_card_source = 4 << 3;

void check_fate(const std::vector<Line>& lines, const char* workload, Fate fate, Outcome& outcome) {
  switch (fate) {
    case Fate::GoesOn:
      if (const auto total = find_line(lines, outcome, "total", workload)) {
        check_fields(*total, outcome, {{"stale", 0}});
        outcome.expect_more("rounds of the neighbour on its new table",
                            total->number("wraps_since_replace").value_or(0), 0);
      }
      break;
    case Fate::Lost:
      if (const auto lost = find_line(lines, outcome, "lost", workload))
        outcome.expect(std::string(workload) + " is lost", true, lost->text);
      break;
    case Fate::Failed:
      if (const auto failed = find_line(lines, outcome, "failed", workload))
        outcome.expect(std::string(workload) + " fails", true, failed->text);
      break;
  }
}

void check_trace(const TraceCounts& trace, const Control& control, Outcome& outcome) {
  outcome.expect("refused requests", (trace.faults != 0) == control.faults,
                 fmt::format("{}, expected {}", trace.faults, control.faults ? "some" : "none"));
  outcome.expect_equal("translation was switched", trace.enables, control.enables);
  if (control.neighbour != Fate::GoesOn) return;
  for (const auto& [source, count] : trace.faults_of)
    outcome.expect_equal(fmt::format("{} refused requests, of", count), source, network_card_source);
}

/// The view from outside must be able to see what it is there for.
void check_view(Machine& machine, const Control& control, Outcome& outcome) {
  const auto look = [&]() -> std::optional<Look> {
    if (!machine.stop()) return std::nullopt;
    auto now = machine.look();
    return machine.go_on() ? std::move(now) : std::nullopt;
  };
  const auto before = look();
  const auto held = machine.wait_for_hold(1, metal::holds_before_branch) ? look() : std::nullopt;
  end_holds(machine, 1);
  if (!before || !held) return outcome.expect("the blackout seen from outside", false, "it was missed");
  outcome.expect_equal("holding when it was looked at", held->boot.holding, 1u);
  const Complaints complaints = compare_tables(*before, *held, Tables::Stay);
  outcome.expect("seen in the tables from outside", complaints.empty() != control.in_tables,
                 fmt::format("{}", complaints.empty() ? "nothing" : complaints.front()));
}

/// What net.cpp counts as delivered must be nothing when the card cannot deliver. Before the branch it still could.
void check_nothing_delivered(const std::vector<Line>& lines, Outcome& outcome) {
  const auto delivery = delivered(lines, 1, "Entered", "AdoptionDone");
  outcome.expect("frames delivered from Entered to AdoptionDone", delivery && delivery->filled == 0,
                 delivery ? fmt::format("{}, expected none", delivery->filled) : "the lines do not say it");
  const auto before = delivered(lines, 1, "FreezeBegin", "JumpBegin");
  outcome.expect("frames delivered before it was broken", before && before->filled != 0,
                 before ? fmt::format("{}, expected some", before->filled) : "the lines do not say it");
  if (before && delivery)
    outcome.tell(fmt::format("{} frames delivered before, {} after the branch", before->filled, delivery->filled));
}

}  // namespace

const std::vector<Control>& controls() {
  constexpr auto lost = Fate::Lost;
  constexpr auto goes_on = Fate::GoesOn;
  static const std::vector<Control> all{
      {"translation-off", Status::Done, lost, lost, "not adopted: translation is off", true, false, 3},
      {"table", Status::Done, lost, goes_on, "device 0000:00:04.0: its tables are not sound", true, true, 1},
      {"bus-master", Status::ScenarioFailed, Fate::Failed, goes_on, "", false, false, 1},
      {"context", Status::Done, lost, goes_on, "0000:00:04.0: its PASID tables contradict its record", true, true, 1},
      {"record", Status::Done, lost, goes_on, "blocked 0000:00:04.0: it has an entry and no record", true, false, 1},
  };
  return all;
}

Outcome run_control(const Bench& bench, const Control& control) {
  const std::string name = std::string("control ") + control.word;
  Outcome outcome = outcome_of(bench, name);
  Feeder feeder(frames_fed, 5'000);
  MachineSetup setup = setup_of(bench, name);
  setup.kernel_words = fmt::format("mode={} metal.hold_us={} {} metal.sabotage={}", scalable_mode, hold_us,
                                   watch_network_card, control.word);
  setup.vmm_words = fmt::format("net hda updates=1 frames={}", frames);
  setup.devices = join(network_card(feeder.card_end()), sound_card());
  setup.inherited = {feeder.card_end()};
  Machine machine(bench.binary, setup);
  feeder.close_card_end();
  if (machine.wait_for([](const Line& line) { return line.is("ready", "net"); })) {
    feeder.start();
    check_view(machine, control, outcome);
  }
  check_end(machine, bench, outcome, {control.status});
  feeder.stop();

  const std::vector<Line> lines = machine.serial().lines();
  const TraceCounts trace = machine.trace();
  check_trace(trace, control, outcome);
  check_fate(lines, "net", control.victim, outcome);
  check_fate(lines, "hda", control.neighbour, outcome);
  if (control.victim == Fate::Failed) check_nothing_delivered(lines, outcome);
  if (*control.said != '\0') {
    const bool said = says(lines, control.said);
    outcome.expect("the kernel says so", said, fmt::format("\"{}\"", control.said));
    outcome.tell(fmt::format("\"{}\"", control.said));
  }
  outcome.tell(fmt::format("{} refused requests", trace.faults));
  return outcome.ended();
}

std::vector<Outcome> run_controls_scenario(const Bench& bench) {
  std::vector<Outcome> outcomes;
  for (const Control& control : controls()) outcomes.push_back(run_control(bench, control));
  return outcomes;
}

}  // namespace metal_test

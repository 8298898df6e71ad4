// Controls: what is broken on purpose before the jump must be seen, or everything else proves nothing.
#include "tests/metal/scenario.hpp"

namespace metal_test {

const std::vector<Control>& controls() {
  static const std::vector<Control> all{
      {"translation-off", {Status::ControlSeen, Status::ScenarioFailed, Status::BootFailed}, "", false, 2},
      {"table", {Status::ControlSeen, Status::ScenarioFailed}, "", true, 1},
      {"bus-master", {Status::ControlSeen, Status::ScenarioFailed}, "", false, 1},
      {"context", {Status::ControlSeen, Status::ScenarioFailed}, "", true, 1},
      {"record", {Status::ControlSeen, Status::ScenarioFailed}, "", false, 1},
  };
  return all;
}

Outcome run_control(const Bench& bench, const Control& control) {
  const std::string name = std::string("control ") + control.word;
  Outcome outcome = outcome_of(bench, name);
  const auto start = Clock::now();
  constexpr u64 frames = 20'000;
  Feeder feeder(frames, 5'000);
  MachineSetup setup = setup_of(bench, name);
  setup.kernel_words =
      fmt::format("mode=scalable metal.hold_us=40000 {} metal.sabotage={}", watch_network_card, control.word);
  setup.vmm_words = fmt::format("net hda updates=1 frames={} settle_ms=100", frames);
  setup.devices = join(network_card(feeder.card_end()), sound_card());
  setup.inherited = {feeder.card_end()};
  Machine machine(bench.binary, setup);
  feeder.close_card_end();
  if (machine.wait_for([](const Line& line) { return line.is("ready", "net"); })) feeder.start();
  check_end(machine, bench, outcome, control.statuses);
  feeder.stop();

  const std::vector<Line> lines = machine.serial().lines();
  const TraceCounts trace = machine.trace();
  outcome.expect("requests refused by the unit", (trace.faults != 0) == control.faults,
                 fmt::format("{}, expected {}", trace.faults, control.faults ? "some" : "none"));
  outcome.expect_equal("translation was switched", trace.enables, control.enables);
  if (*control.said != '\0')
    outcome.expect("the kernel says so", says(lines, control.said), fmt::format("\"{}\"", control.said));
  u64 received = 0;
  for (const Line& line : lines)
    if (line.is("total", "net")) received = line.number("received").value_or(0);
  outcome.expect("frames do not arrive any more", received < frames, fmt::format("{} of {}", received, frames));
  outcome.tell(fmt::format("{} refused requests", trace.faults));
  outcome.set_seconds(std::chrono::duration<double>(Clock::now() - start).count());
  return outcome;
}

std::vector<Outcome> run_controls_scenario(const Bench& bench) {
  std::vector<Outcome> outcomes;
  for (const Control& control : controls()) outcomes.push_back(run_control(bench, control));
  return outcomes;
}

}  // namespace metal_test

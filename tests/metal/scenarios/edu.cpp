// QEMU's teaching device: it makes a transfer as a whole 100 ms after the command. The guest gives the command as its
// last act before the jump, so that the transfer is under way over it. Time is counted in instructions: whether it ends
// inside the blackout or after it is chosen, not left to how busy this computer is.
#include "tests/metal/scenario.hpp"

namespace metal_test {

Outcome run_edu(const Bench& bench, bool in_blackout) {
  constexpr u64 jumps = 3;
  constexpr u64 transfers_per_kernel = 2;  // to the device and back
  const std::string name = in_blackout ? "edu ends in blackout" : "edu ends after it";
  Outcome outcome = outcome_of(bench, name);
  MachineSetup setup = setup_of(bench, name);
  setup.kernel_words = fmt::format("mode={} metal.hold_us={}", scalable_mode, in_blackout ? 150'000 : 0);
  setup.vmm_words = fmt::format("edu updates={}", jumps);
  setup.devices = dma_test_device();
  setup.time = Time::Instructions;
  setup.time_limit = std::chrono::seconds(120);
  Machine machine(bench.binary, setup);
  check_good_end(machine, bench, outcome);

  const std::vector<Line> lines = machine.serial().lines();
  outcome.expect_equal("live updates", collect_updates(lines).size(), jumps);
  for (u64 jump = 1; jump <= jumps; ++jump) {
    const auto back = std::ranges::find_if(
        lines, [&](const Line& line) { return line.is("back", "edu") && line.number("generation") == jump; });
    const std::string what = fmt::format("jump {}: transfers that ended before the next guest looked", jump);
    if (back == lines.end())
      outcome.expect(what, false, "the guest does not say");
    else
      outcome.expect_equal(what, back->number("landed").value_or(~u64{0}), in_blackout ? 1u : 0u);
  }
  if (const auto total = find_line(lines, outcome, "total", "edu")) {
    check_fields(*total, outcome, {{"wrong", 0}});
    outcome.expect_more("transfers", total->number("transfers").value_or(0), transfers_per_kernel * (jumps + 1) - 1);
  }
  outcome.tell(fmt::format("one transfer over each of {} jumps", jumps));
  return outcome.ended();
}

std::vector<Outcome> run_edu_scenario(const Bench& bench) { return {run_edu(bench, false), run_edu(bench, true)}; }

}  // namespace metal_test

// QEMU's teaching device: a transfer takes 100 ms, so that one is on its way over every jump, and ends in the hands of
// a kernel that did not begin it. Short runs, which makes it the one to jump a hundred times.
#include "tests/metal/scenario.hpp"

namespace metal_test {

Outcome run_edu(const Bench& bench, const std::string& name, u64 jumps) {
  constexpr std::chrono::milliseconds longest_generation(3'000);
  Outcome outcome = outcome_of(bench, name);
  const auto start = Clock::now();
  MachineSetup setup = setup_of(bench, name);
  setup.kernel_words = "mode=scalable";
  setup.vmm_words = fmt::format("edu updates={}", jumps);
  setup.devices = dma_test_device();
  setup.time_limit = std::chrono::duration_cast<std::chrono::seconds>(longest_generation * (jumps + 2));
  Machine machine(bench.binary, setup);
  check_good_end(machine, bench, outcome);

  const std::vector<Line> lines = machine.serial().lines();
  u64 back = 0;
  for (const Line& line : lines) back += line.is("back", "edu") ? 1 : 0;
  outcome.expect_equal("jumps that the device came through", back, jumps);
  outcome.expect_equal("kernels that started the queue", machine.trace().kernels.size(), jumps + 1);
  if (const auto total = find_line(lines, outcome, "total", "edu")) {
    check_fields(*total, outcome, {{"wrong", 0}});
    outcome.expect_more("transfers, with one over each jump", total->number("transfers").value_or(0), jumps);
  }
  outcome.tell(fmt::format("{} jumps", jumps));
  outcome.set_seconds(std::chrono::duration<double>(Clock::now() - start).count());
  return outcome;
}

std::vector<Outcome> run_edu_scenario(const Bench& bench) { return {run_edu(bench, "edu", 3)}; }
std::vector<Outcome> run_chain_scenario(const Bench& bench) { return {run_edu(bench, "chain", 100)}; }

}  // namespace metal_test

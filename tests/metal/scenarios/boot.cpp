// How large the kernel is, and how long it takes from power-on until it serves a VMM.
#include "tests/metal/scenario.hpp"

namespace metal_test {

std::vector<Outcome> run_boot_scenario(const Bench& bench) {
  constexpr double longest_seconds = 0.5;
  constexpr unsigned most_runs = 6;  // the fastest counts: the computer has other things to do
  Outcome outcome = outcome_of(bench, "boot");
  double fastest = 1e9;
  u64 loaded_bytes = 0;
  for (unsigned run = 0; run < most_runs && fastest >= longest_seconds; ++run) {
    MachineSetup setup = setup_of(bench, "boot");
    setup.kernel_words = fmt::format("mode={}", scalable_mode);
    setup.vmm_words = "edu updates=0";
    setup.devices = dma_test_device();
    Machine machine(bench.binary, setup);
    check_good_end(machine, bench, outcome);
    const auto boot = find_line(machine.serial().lines(), outcome, "boot", "");
    if (!boot) continue;
    fastest = std::min(fastest, boot->seconds);
    loaded_bytes = boot->number("image").value_or(0);
  }
  outcome.expect("time to a kernel that serves", fastest < longest_seconds, fmt::format("{:.3f} s", fastest));
  const u64 file_bytes = std::filesystem::file_size(bench.image);
  outcome.expect_more("image in memory, bytes", loaded_bytes, 0);
  outcome.tell(fmt::format("booted in {:.3f} s, image {} KiB, {} KiB in memory", fastest, file_bytes / 1024,
                           loaded_bytes / 1024));
  return {outcome.ended()};
}

}  // namespace metal_test

// How long devices run without a kernel: from the last consent of the old one to the adoption by the new one, in
// cycles and in instructions, and that its work does not depend on how much is mapped.
#include "tests/metal/scenario.hpp"

namespace metal_test {
namespace {

std::optional<Update> measure(const Bench& bench, Outcome& outcome, const std::string& mapped, Time time) {
  const bool counted = time == Time::Instructions;
  MachineSetup setup = setup_of(bench, counted ? "blackout instructions" : "blackout cycles", mapped);
  setup.kernel_words = fmt::format("mode={}", scalable_mode);
  setup.vmm_words = fmt::format("hda updates=1 settle_ms=20 mapped={}", mapped);
  setup.devices = sound_card();
  setup.time = time;
  setup.next = NextImage::Module;  // the other scenarios take theirs from fw_cfg
  setup.time_limit = std::chrono::seconds(120);
  Machine machine(bench.binary, setup);
  check_good_end(machine, bench, outcome);
  const std::vector<Update> updates = collect_updates(machine.serial().lines());
  outcome.expect_equal("live updates with " + mapped, updates.size(), 1u);
  return updates.empty() ? std::nullopt : std::optional(updates.front());
}

std::string touched_text(const TouchCounts& touched) {
  return fmt::format("{} tables, {} blocks, {} records, {} files, {} frames", touched.tables, touched.blocks,
                     touched.records, touched.files, touched.frames);
}

}  // namespace

std::vector<Outcome> run_blackout_scenario(const Bench& bench) {
  std::vector<Outcome> outcomes;
  for (const Time time : {Time::Real, Time::Instructions}) {
    const bool counted = time == Time::Instructions;
    Outcome outcome = outcome_of(bench, counted ? "blackout instructions" : "blackout cycles");
    const auto small = measure(bench, outcome, "64M", time);
    const auto large = measure(bench, outcome, "1G", time);
    if (small && large) {
      outcome.expect("touched in the blackout is the same for 64 MiB and 1 GiB", small->touched == large->touched,
                     touched_text(small->touched) + "; " + touched_text(large->touched));
      outcome.tell("touched: " + touched_text(large->touched));
      const u64 scale = counted ? u64{1} << icount_shift : 1;
      const char* unit = counted ? "instructions" : "cycles";
      outcome.tell(fmt::format("{} and {} {}", small->blackout_cycles / scale, large->blackout_cycles / scale, unit));
      if (!counted) outcome.tell(fmt::format("{:.2f} ms", static_cast<double>(large->blackout_ns) / 1e6));
      outcome.tell_at_end(
          fmt::format("\n  {}, 1 GiB mapped by pages of 4 KiB:\n{}", outcome.name(), large->phases_text(unit, scale)));
    }
    outcomes.push_back(std::move(outcome.ended()));
  }
  outcomes.front().tell_at_end(
      "  Linux under the same emulation: 1.65 to 2.45 s from its reboot call to the next kernel's first process. That\n"
      "  is a whole kernel that starts all its drivers and a file system; what is timed here is the gap between two\n"
      "  kernels that start nothing but the IOMMU, so the two numbers say what a guest waits for, not who is "
      "faster.\n");
  return outcomes;
}

}  // namespace metal_test

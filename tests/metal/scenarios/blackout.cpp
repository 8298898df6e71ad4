// How long devices run without a kernel: from the last consent of the old one to the adoption by the new one, in
// cycles and in instructions, and that its work does not depend on how much is mapped.
#include "tests/metal/scenario.hpp"

namespace metal_test {
namespace {

struct Measured {
  std::optional<Update> update;
  u64 tsc_hz = 0;
};

Measured measure(const Bench& bench, Outcome& outcome, const std::string& mapped, Time time) {
  const bool counted = time == Time::Instructions;
  MachineSetup setup = setup_of(bench, counted ? "blackout instructions" : "blackout cycles", mapped);
  setup.kernel_words = "mode=scalable";
  setup.vmm_words = fmt::format("hda updates=1 settle_ms=20 mapped={}", mapped);
  setup.devices = sound_card();
  setup.time = time;
  setup.next = NextImage::Module;  // the other scenarios take theirs from fw_cfg
  setup.time_limit = std::chrono::seconds(120);
  Machine machine(bench.binary, setup);
  check_good_end(machine, bench, outcome);
  const std::vector<Line> lines = machine.serial().lines();
  const std::vector<Update> updates = collect_updates(lines);
  outcome.expect_equal("live updates with " + mapped, updates.size(), 1u);
  Measured measured;
  if (!updates.empty()) measured.update = updates.front();
  if (const auto boot = find_line(lines, outcome, "boot", "")) measured.tsc_hz = boot->number("tsc_hz").value_or(0);
  return measured;
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
    const auto start = Clock::now();
    const Measured small = measure(bench, outcome, "64M", time);
    const Measured large = measure(bench, outcome, "1G", time);
    if (small.update && large.update) {
      outcome.expect("touched in the blackout is the same for 64 MiB and 1 GiB",
                     small.update->touched == large.update->touched,
                     touched_text(small.update->touched) + "; " + touched_text(large.update->touched));
      outcome.tell("touched: " + touched_text(large.update->touched));
      const u64 scale = counted ? u64{1} << icount_shift : 1;
      const char* unit = counted ? "instructions" : "cycles";
      outcome.tell(fmt::format("{} and {} {}", small.update->blackout_cycles / scale,
                               large.update->blackout_cycles / scale, unit));
      if (!counted) outcome.tell(fmt::format("{:.2f} ms", static_cast<double>(large.update->blackout_ns) / 1e6));
      outcome.tell_at_end(fmt::format("\n  {}, 1 GiB mapped by pages of 4 KiB:\n{}", outcome.name(),
                                      large.update->phases_text(unit, scale)));
    }
    outcome.set_seconds(std::chrono::duration<double>(Clock::now() - start).count());
    outcomes.push_back(std::move(outcome));
  }
  outcomes.front().tell_at_end(
      "  Linux under the same emulation: 1.65 to 2.45 s from its reboot call to the next kernel's first process. That\n"
      "  is a whole kernel that starts all its drivers and a file system; what is timed here is the gap between two\n"
      "  kernels that start nothing but the IOMMU, so the two numbers say what a guest waits for, not who is "
      "faster.\n");
  return outcomes;
}

std::vector<Outcome> run_boot_scenario(const Bench& bench) {
  constexpr double longest_seconds = 0.5;
  constexpr unsigned most_runs = 6;  // the fastest counts: the computer has other things to do
  Outcome outcome = outcome_of(bench, "boot");
  const auto start = Clock::now();
  double fastest = 1e9;
  u64 loaded_bytes = 0;
  for (unsigned run = 0; run < most_runs && fastest >= longest_seconds; ++run) {
    MachineSetup setup = setup_of(bench, "boot");
    setup.kernel_words = "mode=scalable";
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
  outcome.set_seconds(std::chrono::duration<double>(Clock::now() - start).count());
  return {outcome};
}

}  // namespace metal_test

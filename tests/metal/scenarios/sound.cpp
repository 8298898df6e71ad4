// Sound in both directions through many kernels, and in every kind of table that QEMU's unit walks: second stage in
// both modes, first stage in scalable mode (QEMU 10). Four levels each: the guest's IOVAs need 48 bits.
#include "tests/metal/scenario.hpp"

namespace metal_test {
namespace {

constexpr unsigned first_release_with_first_stage = 10;
constexpr const char* first_stage_unit = "intel-iommu,aw-bits=48,x-scalable-mode=on,x-flts=on";

void check_tables(const std::optional<Look>& held, const SoundPlan& plan, Outcome& outcome) {
  if (!held) return outcome.expect("tables inside a blackout", false, "they were not seen");
  const bool scalable = plan.mode.starts_with("scalable");
  outcome.expect_equal("scalable mode", held->tables.scalable, scalable);
  outcome.expect_equal("translated devices", held->tables.devices.size(), 1u);
  for (const DeviceTables& device : held->tables.devices) {
    outcome.expect_equal("first-stage tables", device.first_stage, plan.first_stage);
    outcome.expect_equal("levels", device.levels, 4u);
  }
  if (scalable) check_rid_pasid(held, outcome);
}

/// Watches every jump; what was held in the last.
std::optional<Look> watch_all(Machine& machine, const SoundPlan& plan, Outcome& outcome) {
  JumpWatch watch(machine, outcome);
  if (!machine.wait_for([](const Line& line) { return line.is("ready", "hda"); })) return std::nullopt;
  for (u64 jump = 1; jump <= plan.jumps; ++jump) {
    if (!watch.watch(jump)) break;
    // The next look wants tables that stay until the next jump.
    const auto finished = [&](const Line& line) {
      return line.is("finished-update") && line.number("generation") == jump;
    };
    if (!machine.wait_for(finished)) break;
  }
  return watch.held();
}

}  // namespace

Outcome run_sound(const Bench& bench, const SoundPlan& plan) {
  Outcome outcome = outcome_of(bench, plan.name);
  const bool watched = plan.time == Time::Real;
  MachineSetup setup = setup_of(bench, plan.name);
  setup.kernel_words = fmt::format("mode={} metal.hold_us={}", plan.mode, watched ? 20'000'000 : 0);
  setup.vmm_words = fmt::format("hda updates={} settle_ms={}", plan.jumps, watched ? 500 : 10);
  setup.devices = sound_card();
  if (!plan.iommu.empty()) setup.iommu = plan.iommu;
  setup.time = plan.time;
  setup.time_limit = plan.time_limit;
  Machine machine(bench.binary, setup);
  if (watched) check_tables(watch_all(machine, plan, outcome), plan, outcome);
  check_good_end(machine, bench, outcome);

  const std::vector<Line> lines = machine.serial().lines();
  if (const auto total = find_line(lines, outcome, "total", "hda")) {
    check_fields(*total, outcome, {{"stale", 0}});
    outcome.expect_more("buffers gone round", total->number("wraps").value_or(0), 0);
    outcome.tell(fmt::format("{} wraps", total->number("wraps").value_or(0)));
  }
  const std::vector<Update> updates = collect_updates(lines);
  outcome.expect_equal("live updates", updates.size(), plan.jumps);
  for (u64 i = 0; i < updates.size(); ++i) {
    if (updates[i].generation != i + 1)
      outcome.expect(fmt::format("update {}", i + 1), false, fmt::format("is said to be {}", updates[i].generation));
    if (updates[i].touched != updates[0].touched)
      outcome.expect(fmt::format("update {} touches what the first does", i + 1), false, "it does not");
  }
  outcome.tell(fmt::format("{} updates", updates.size()));
  return outcome.ended();
}

SoundPlan chain_plan(u64 jumps) {
  return {.name = "chain",
          .iommu = {},
          .jumps = jumps,
          .time = Time::Instructions,
          .time_limit = std::chrono::seconds(60 + 5 * jumps)};
}

SoundPlan first_stage_plan() {
  return {.name = "stages first",
          .mode = std::string(scalable_mode) + " stage=first",
          .iommu = first_stage_unit,
          .first_stage = true};
}

std::vector<Outcome> run_chain_scenario(const Bench& bench) { return {run_sound(bench, chain_plan(100))}; }

std::vector<Outcome> run_stages_scenario(const Bench& bench) {
  std::vector<Outcome> outcomes;
  outcomes.push_back(run_sound(bench, {.name = "stages legacy", .mode = "legacy", .iommu = {}}));
  outcomes.push_back(run_sound(bench, {.name = "stages second", .iommu = {}}));
  if (bench.release >= first_release_with_first_stage) outcomes.push_back(run_sound(bench, first_stage_plan()));
  return outcomes;
}

}  // namespace metal_test

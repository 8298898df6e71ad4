// Two devices do DMA; one of them is not preserved. From the cut-off on it faults and its target pages stay as they
// are, seen from outside; the other loses nothing.
#include "tests/metal/scenario.hpp"

namespace metal_test {
namespace {

constexpr u64 frames = 10'000;
constexpr u16 sound_card_source = 7 << 3;

/// Without that the rest would prove nothing.
void check_sound_card_writes(Machine& machine, Outcome& outcome) {
  constexpr auto a_while = std::chrono::milliseconds(50);
  if (!machine.stop()) return;
  const auto look = machine.look();
  const PageDigests before = machine.memory().digest_pages();
  if (!look || !machine.go_on()) return;
  std::this_thread::sleep_for(a_while);
  if (!machine.stop()) return;
  const std::vector<PhysAddr> changed = changed_pages(before, machine.memory().digest_pages());
  machine.go_on();
  UnitTables tables;
  for (const DeviceTables& device : look->tables.devices)
    if (device.source == sound_card_source) tables.devices.push_back(device);
  const PageSet targets = writable_pages(machine.memory(), tables);
  const auto hit = [&](PhysAddr page) { return targets.contains({page, page_size_bytes}); };
  outcome.expect_more("pages that the sound card wrote before the cut-off",
                      static_cast<u64>(std::ranges::count_if(changed, hit)), 0);
}

}  // namespace

Outcome run_unpreserved(const Bench& bench) {
  const std::string name = "unpreserved";
  Outcome outcome = outcome_of(bench, name);
  Feeder feeder(frames, 5'000);
  MachineSetup setup = setup_of(bench, name);
  setup.kernel_words = fmt::format("mode={} metal.hold_us=20000000 {}", scalable_mode, watch_network_card);
  setup.vmm_words = fmt::format("net hda leave=hda updates=1 frames={} settle_ms=500", frames);
  setup.devices = join(network_card(feeder.card_end()), sound_card());
  setup.inherited = {feeder.card_end()};
  setup.time_limit = std::chrono::seconds(90);
  Machine machine(bench.binary, setup);
  feeder.close_card_end();
  JumpWatch watch(machine, outcome);
  watch.set_unpreserved({sound_card_source});
  if (machine.wait_for([](const Line& line) { return line.is("ready", "net"); })) {
    feeder.start();
    check_sound_card_writes(machine, outcome);
    watch.watch(1);
    check_rid_pasid(watch.held(), outcome);
  }
  check_good_end(machine, bench, outcome, {sound_card_source});
  const FeedCounts fed = feeder.stop();

  const std::vector<Line> lines = machine.serial().lines();
  outcome.expect_equal("live updates", collect_updates(lines).size(), 1u);
  outcome.expect_equal("frames sent by the feeder", fed.sent, frames);
  if (const auto total = find_line(lines, outcome, "total", "net"))
    check_fields(*total, outcome,
                 {{"received", frames}, {"gaps", 0}, {"duplicates", 0}, {"wrong", 0}, {"tpr", frames}, {"mpc", 0}});
  (void)find_line(lines, outcome, "left", "hda");
  outcome.tell(fmt::format("{} refused requests of the sound card, {} frames", machine.trace().faults, fed.sent));
  return outcome.ended();
}

std::vector<Outcome> run_unpreserved_scenario(const Bench& bench) { return {run_unpreserved(bench)}; }

}  // namespace metal_test

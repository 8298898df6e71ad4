// The network card under a steady stream of numbered frames, through jump after jump.
//
// Lossless transport proves nothing by itself, since a dead card would only delay frames: so frames are counted that
// were delivered inside each blackout (scenarios/landed.hpp), and nothing less than all of it together counts as zero
// loss.
#include "tests/metal/scenario.hpp"
#include "tests/metal/scenarios/landed.hpp"

namespace metal_test {
namespace {

constexpr double lowest_share = 0.2;  // of the planned rate, all stalls included

/// Whatever the head passed in a blackout is filled, and it passed something. After the branch alone, where the control
/// without bus mastering has nothing to show, that holds for all jumps together: the last one may find little left.
void check_deliveries(const std::vector<Line>& lines, const NetPlan& plan, Outcome& outcome) {
  std::vector<u64> in_blackouts;
  u64 after_branches = 0;
  for (u64 jump = 1; jump <= plan.jumps; ++jump) {
    const std::string what = fmt::format("jump {}: frames delivered in the blackout", jump);
    const auto whole = delivered(lines, jump, "LastConsent", "AdoptionDone");
    const auto after = delivered(lines, jump, "Entered", "AdoptionDone");
    if (!whole || !after) {
      outcome.expect(what, false, "the lines do not say it");
      continue;
    }
    outcome.expect_more(what, whole->filled, 0);
    outcome.expect_equal(what + ", of the descriptors passed", whole->filled, whole->passed);
    in_blackouts.push_back(whole->filled);
    after_branches += after->filled;
  }
  if (plan.jumps == 0) return;
  outcome.expect_more("frames delivered between branch and adoption", after_branches, 0);
  outcome.tell(fmt::format("{} delivered in blackouts", fmt::join(in_blackouts, "+")));
}

/// The watched register, read by kernels at each milestone: the card went on without any of them.
void check_card_went_on(const std::vector<Update>& updates, const NetPlan& plan, Outcome& outcome) {
  outcome.expect_equal("live updates", updates.size(), plan.jumps);
  for (const Update& update : updates) {
    const PhaseTime* from = update.find("JumpBegin");
    const PhaseTime* to = update.find("Entered");
    const bool moved = from != nullptr && to != nullptr && from->value != to->value;
    outcome.expect(fmt::format("update {}: the card's head moved over the jump", update.generation), moved,
                   moved ? fmt::format("{} to {}", from->value, to->value) : "it did not, or was not sampled");
  }
}

/// Stalls are no loss, but a stream that mostly stands proves less than it says: the wire is full while the machine is
/// stopped to be looked at, and while its computer has other things to do.
void check_rate(const FeedCounts& fed, const NetPlan& plan, Outcome& outcome) {
  const double least = lowest_share * static_cast<double>(plan.rate);
  outcome.expect("rate that the feeder reached", fed.rate() >= least,
                 fmt::format("{:.0f}/s, expected {:.0f} at least; {} stalls, {:.2f} s", fed.rate(), least, fed.stalls,
                             fed.stalled_seconds));
  outcome.tell(fmt::format("{} frames at {:.0f}/s of {} ({} stalls, {:.2f} s)", fed.sent, fed.rate(), plan.rate,
                           fed.stalls, fed.stalled_seconds));
}

void check_totals(const std::vector<Line>& lines, const FeedCounts& fed, const NetPlan& plan, Outcome& outcome) {
  outcome.expect_equal("frames sent by the feeder", fed.sent, plan.frames);
  const auto total = find_line(lines, outcome, "total", "net");
  if (!total) return;
  check_fields(*total, outcome,
               {{"received", plan.frames},
                {"next", plan.frames},
                {"gaps", 0},
                {"duplicates", 0},
                {"wrong", 0},
                {"tpr", plan.frames},
                {"mpc", 0},
                {"rnbc", 0},
                {"sent", fed.answers}});
  outcome.expect_more("answers of the guest", fed.answers, 0);
  outcome.expect_equal("wrong answers of the guest", fed.wrong_answers, 0u);
}

}  // namespace

Outcome run_net(const Bench& bench, const NetPlan& plan) {
  Outcome outcome = outcome_of(bench, plan.name);
  Feeder feeder(plan.frames, plan.rate);
  MachineSetup setup = setup_of(bench, plan.name);
  setup.kernel_words = fmt::format("mode={} metal.hold_us={} {}", plan.mode, plan.hold_us, watch_network_card);
  setup.vmm_words = fmt::format("net updates={} frames={} settle_ms={}", plan.jumps, plan.frames, plan.settle_ms);
  if (plan.replacements != 0) setup.vmm_words += fmt::format(" replace={}", plan.replacements);
  setup.devices = network_card(feeder.card_end());
  setup.next =
      plan.mode == std::string_view("legacy") ? NextImage::Module : NextImage::FwCfg;  // both, over three jumps
  setup.inherited = {feeder.card_end()};
  setup.time_limit = plan.time_limit;
  Machine machine(bench.binary, setup);
  feeder.close_card_end();

  JumpWatch watch(machine, outcome);
  if (machine.wait_for([](const Line& line) { return line.is("ready", "net"); })) {
    feeder.start();
    for (u64 jump = 1; jump <= plan.jumps; ++jump) {
      if (!watch.watch(jump)) break;
      const auto finished = [&](const Line& line) {
        return line.is("finished-update") && line.number("generation") == jump;
      };
      if (!machine.wait_for(finished)) break;
      watch.look_at_faults("after the last page tables were replaced");
    }
  }
  check_good_end(machine, bench, outcome);
  const FeedCounts fed = feeder.stop();
  const std::vector<Line> lines = machine.serial().lines();
  check_totals(lines, fed, plan, outcome);
  check_rate(fed, plan, outcome);
  check_deliveries(lines, plan, outcome);
  check_card_went_on(collect_updates(lines), plan, outcome);
  if (plan.jumps != 0) outcome.expect_more("pages that devices wrote while watched", watch.pages_written(), 0);
  if (plan.replacements != 0) {
    const auto replaced = find_line(lines, outcome, "replaced", "net");
    if (replaced) check_fields(*replaced, outcome, {{"count", plan.replacements}});
    outcome.tell(fmt::format("{} replacements", plan.replacements));
  }
  return outcome.ended();
}

std::vector<Outcome> run_net_scenario(const Bench& bench) {
  NetPlan scalable;
  scalable.settle_ms = 200;  // frames are left for the last jump
  NetPlan legacy = scalable;
  legacy.name = "net legacy";
  legacy.mode = "legacy";
  return {run_net(bench, legacy), run_net(bench, scalable)};
}

std::vector<Outcome> run_replace_scenario(const Bench& bench) {
  NetPlan plan;
  plan.name = "replace";
  plan.jumps = 1;
  plan.replacements = 1000;
  return {run_net(bench, plan)};
}

}  // namespace metal_test

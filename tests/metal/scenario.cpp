// See scenario.hpp.
#include "tests/metal/scenario.hpp"

#include <algorithm>

namespace metal_test {

namespace {

/// The empty one that blocks everything before there is memory to give out, and the one that stays. A live boot sets
/// none.
constexpr u64 roots_of_a_cold_boot = 2;

}  // namespace

const std::vector<Scenario>& scenarios() {
  static const std::vector<Scenario> all{
      {"boot", "image size, and time from power-on to a kernel that serves a VMM", run_boot_scenario},
      {"net", "e1000e receives numbered frames through three jumps, in both modes", run_net_scenario},
      {"nvme", "a queue full of reads and writes over a jump; the host compares every block", run_nvme_scenario},
      {"hda", "sound in both directions; every instruction is the same in every run", run_hda_scenario},
      {"replace", "the page table is replaced 1,000 times under traffic", run_replace_scenario},
      {"controls", "what is broken on purpose is seen", run_controls_scenario},
      {"refusals", "machines and images that cannot do it say so", run_refusals_scenario},
      {"chain", "a hundred kernels, one after the other, under sound", run_chain_scenario},
      {"stages", "sound in second-stage and first-stage tables", run_stages_scenario},
      {"edu", "one transfer under way over every jump", run_edu_scenario},
      {"unpreserved", "a device that nobody preserved faults and writes nothing", run_unpreserved_scenario},
      {"blackout", "from the last consent to adopted units, for 64 MiB and 1 GiB mapped", run_blackout_scenario},
  };
  return all;
}

std::vector<Outcome> run_scenario(const Scenario& scenario, const Bench& bench) {
  Outcome outcome = outcome_of(bench, scenario.name);
  try {
    return scenario.run(bench);
  } catch (const std::exception& error) {  // RunError, or of files or memory
    outcome.expect("it can be run", false, error.what());
  }
  return {outcome};
}

MachineSetup setup_of(const Bench& bench, const std::string& name, const std::string& part) {
  std::string folder = name + fmt::format(" qemu{}", bench.release);
  std::ranges::replace(folder, ' ', '-');
  return {.image = bench.image,
          .next_image = {},
          .folder = part.empty() ? bench.logs / folder : bench.logs / folder / part,
          .kernel_words = {},
          .vmm_words = {},
          .devices = {},
          .inherited = {}};
}

Outcome outcome_of(const Bench& bench, const std::string& name) {
  return {fmt::format("{} (QEMU {})", name, bench.release), setup_of(bench, name).folder};
}

std::vector<std::string> network_card(int wire) {
  return {"-netdev", "dgram,id=wire,local.type=fd,local.str=" + std::to_string(wire), "-device",
          "e1000e,netdev=wire,addr=4"};
}
std::vector<std::string> dma_test_device() { return {"-device", "edu,addr=5,dma_mask=0xffffffffffffffff"}; }
std::vector<std::string> nvme_disk(const std::filesystem::path& disk) {
  return {"-drive", "if=none,id=disk,format=raw,throttling.iops-total=100,file=" + disk.string(), "-device",
          "nvme,drive=disk,serial=holdfast,addr=6"};
}
std::vector<std::string> sound_card() {
  return {"-audiodev", "none,id=silence", "-device", "intel-hda,addr=7", "-device", "hda-duplex,audiodev=silence"};
}

std::vector<std::string> join(std::vector<std::string> first, const std::vector<std::string>& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

host::Ending check_end(Machine& machine, const Bench& bench, Outcome& outcome, const std::vector<Status>& expected) {
  const host::Ending ending = machine.wait_for_end();
  const bool as_expected = !machine.was_late() && ending.how == host::Ending::How::Exited &&
                           std::ranges::find(expected, static_cast<Status>(ending.number)) != expected.end();
  std::string seen = ending_text(ending, machine.was_late());
  if (!as_expected) {
    const auto lines = machine.serial().lines();
    seen += lines.empty() ? "; it said nothing" : "; its last line: " + lines.back().text;
    if (const std::string complaints = machine.complaints(); !complaints.empty()) seen += "; QEMU: " + complaints;
  }
  outcome.expect("end", as_expected, seen);
  if (bench.keeps_memory) machine.save_memory();
  return ending;
}

void check_rid_pasid(const std::optional<Look>& look, Outcome& outcome) {
  if (!look || !look->tables.scalable) return outcome.expect("scalable tables", false, "none were seen");
  outcome.expect("translated devices", !look->tables.devices.empty(), std::to_string(look->tables.devices.size()));
  for (const DeviceTables& device : look->tables.devices)
    outcome.expect_equal(source_text(device.source) + " RID_PASID", device.rid_pasid, rid_pasid);
}

void check_good_end(Machine& machine, const Bench& bench, Outcome& outcome, const std::set<u16>& unpreserved) {
  check_end(machine, bench, outcome, {Status::Done});
  for (const Line& line : machine.serial().lines())
    if (line.is("failed") || line.text.find(": error: ") != std::string::npos)
      outcome.expect("no failure on its lines", false, line.text);
  const TraceCounts trace = machine.trace();
  outcome.expect_equal("translation was switched", trace.enables, 1u);
  outcome.expect_equal("root pointers set", trace.roots, roots_of_a_cold_boot);
  u64 expected = 0;
  for (const u16 source : unpreserved) {
    const auto faults = trace.faults_of.find(source);
    const u64 count = faults == trace.faults_of.end() ? 0 : faults->second;
    outcome.expect_more(source_text(source) + " refused requests", count, 0);
    expected += count;
  }
  outcome.expect(
      "no other refused request", trace.faults == expected,
      fmt::format("{} faults, {} expected; {}", trace.faults, expected, fmt::join(trace.first_faults, "; ")));
  const u64 updates = collect_updates(machine.serial().lines()).size();
  outcome.expect_none("tables are walked anew after each jump", check_walked_anew(trace, updates, unpreserved));
}

std::optional<Line> find_line(const std::vector<Line>& lines, Outcome& outcome, std::string_view what,
                              std::string_view workload) {
  const auto found = std::ranges::find_if(lines, [&](const Line& line) { return line.is(what, workload); });
  if (found != lines.end()) return *found;
  outcome.expect(fmt::format("line \"{}\" of {}", what, workload), false, "it did not come");
  return std::nullopt;
}

void check_fields(const Line& line, Outcome& outcome, const std::vector<std::pair<const char*, u64>>& fields) {
  for (const auto& [name, expected] : fields) {
    const auto number = line.number(name);
    const std::string what = fmt::format("{} {}", line.field("workload"), name);
    if (number)
      outcome.expect_equal(what, *number, expected);
    else
      outcome.expect(what, false, "the line does not say: " + line.text);
  }
}

bool says(const std::vector<Line>& lines, std::string_view text) {
  return std::ranges::any_of(lines, [&](const Line& line) { return line.text.find(text) != std::string::npos; });
}

}  // namespace metal_test

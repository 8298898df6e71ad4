// A disk in the middle of a batch of reads and writes when the kernels change; afterwards the host reads the disk
// itself and compares every block with what the guest's last word about it should have left there.
//
// That commands are in flight over the jump is seen from outside, in the completion queue in RAM, while the old kernel
// waits to branch: the batch goes on and is not done. How much of it the next guest finds when it looks first is told,
// for a slow computer may have given the disk time for all of it; nothing is gone, and all of it comes in the end.
#include <fstream>

#include "host/run_error.hpp"
#include "tests/metal/scenario.hpp"
#include "tests/metal/scenarios/holds.hpp"
#include "vmm/disk_pattern.hpp"
#include "vmm/nvme_driver.hpp"
#include "vmm/workload.hpp"

namespace metal_test {
namespace {

constexpr u64 disk_units = 2048;  // more than the guest uses: what lies behind must stay as it is
constexpr u64 untouched = 0x6468'6f6c'6466'6173;

constexpr u64 commands_per_batch = 2 * vmm::units_per_batch;
constexpr u16 disk_source = 6 << 3;

using Unit = std::array<u64, vmm::words_per_unit>;

void create_disk(const std::filesystem::path& path) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream file(path, std::ios::binary);
  Unit unit;
  for (u64 i = 0; i < disk_units; ++i) {
    for (u64 word = 0; word < unit.size(); ++word) unit[word] = untouched ^ (i << 16 | word);
    file.write(reinterpret_cast<const char*>(unit.data()), sizeof unit);
  }
  if (!file.flush()) throw host::RunError(host::ExitCode::InputMissing, "cannot write " + path.string());
}

/// The batch that wrote each unit last, of @p batches.
std::vector<std::optional<u64>> last_writers(u64 batches, u64 units) {
  std::vector<std::optional<u64>> last(disk_units);
  for (u64 batch = 0; batch < batches; ++batch)
    for (u64 slot = 0; slot < vmm::units_per_batch; ++slot) last.at(vmm::unit_of(batch, slot, units)) = batch;
  return last;
}

using Completions = std::array<hw::nvme::Completion, vmm::Nvme::entries>;

/// Where the controller's completions are, by the tables it uses. The machine stands still meanwhile, which lets the
/// disk finish what is under way: long before the jump.
std::optional<PhysAddr> find_completions(Machine& machine) {
  if (!machine.stop()) return std::nullopt;
  const auto look = machine.look();
  if (!look || !machine.go_on()) return std::nullopt;
  const u64 iova = vmm::control_iova(vmm::WorkloadKind::Nvme) + vmm::Nvme::completion_offset;
  for (const DeviceTables& device : look->tables.devices)
    for (const sim::walk::Leaf& leaf : device.leaves)
      if (device.source == disk_source && leaf.iova <= iova && iova - leaf.iova < leaf.page_bytes)
        return leaf.address + (iova - leaf.iova);
  return std::nullopt;
}

/// The machine runs on: this must not wait for the disk. A phase tag is written at once with the rest of its word.
std::optional<Completions> read_completions(const Machine& machine, PhysAddr queue) {
  const std::byte* at = machine.memory().find(queue, sizeof(Completions));
  if (at == nullptr) return std::nullopt;
  Completions completions;
  std::memcpy(completions.data(), at, sizeof completions);
  return completions;
}

/// The entry that is written next: up to it tags are of this round.
u32 next_entry(const Completions& completions) {
  u32 next = 1;
  while (next < completions.size() && hw::nvme::phase_of(completions[next]) == hw::nvme::phase_of(completions.front()))
    ++next;
  return next % vmm::Nvme::entries;
}

/// Where the next completion goes when the old kernel has come to its branch, and when it is let go.
struct Flight {
  u32 at_branch = 0;
  u32 let_go = 0;
};

/// Holds the old kernel of jump @p jump at its branch until a command completes, and then lets it go.
std::optional<Flight> watch_flight(Machine& machine, u64 jump) {
  constexpr auto patience = std::chrono::seconds(10);
  constexpr auto moment = std::chrono::milliseconds(1);
  std::optional<Flight> flight;
  if (!machine.wait_for([](const Line& line) { return line.is("ready", "nvme"); })) return flight;
  const auto queue = find_completions(machine);
  if (machine.wait_for_hold(jump, metal::holds_before_branch) && queue) {
    const auto end = Clock::now() + patience;
    do {
      const auto now = read_completions(machine, *queue);
      if (!now) break;
      if (!flight) flight = {.at_branch = next_entry(*now), .let_go = 0};
      flight->let_go = next_entry(*now);
      std::this_thread::sleep_for(moment);
    } while (flight->let_go == flight->at_branch && Clock::now() < end && !machine.has_ended());
  }
  end_holds(machine, jump);
  return flight;
}

void check_flight(const std::vector<Line>& lines, const std::optional<Flight>& flight, Outcome& outcome) {
  outcome.expect("the completion queue in the blackout, from outside", flight.has_value(),
                 flight ? "seen" : "it was missed");
  const auto back = find_line(lines, outcome, "back", "nvme");
  if (!flight || !back) return;
  const auto first = back->number("first");
  const auto landed = back->number("landed");
  const bool is_whole = first && landed && *first < vmm::Nvme::entries;
  outcome.expect("where its queue stands, by the next guest", is_whole, back->text);
  if (!is_whole) return;
  const u64 at_branch = vmm::Nvme::Queue::distance(static_cast<u32>(*first), flight->at_branch);
  const u64 let_go = vmm::Nvme::Queue::distance(static_cast<u32>(*first), flight->let_go);
  outcome.expect("commands of the batch completed when the old kernel branches", let_go < commands_per_batch,
                 fmt::format("{}, expected fewer than {}", let_go, commands_per_batch));
  outcome.expect_more("commands completed after the old kernel came to its branch", let_go, at_branch);
  outcome.expect("no completion is gone", *landed >= let_go, fmt::format("{} of {}", *landed, let_go));
  outcome.tell(fmt::format("{} of {} commands in flight at the branch, {} when the next guest looked",
                           commands_per_batch - let_go, commands_per_batch, commands_per_batch - *landed));
}

/// Everything that was issued came back: a batch is so many writes and, but for the first, as many reads.
void check_commands(const Line& total, Outcome& outcome) {
  const u64 batches = total.number("batches").value_or(0);
  outcome.expect_more("batches", batches, 1);
  if (batches < 2) return;
  check_fields(total, outcome,
               {{"writes", batches * vmm::units_per_batch},
                {"reads", (batches - 1) * vmm::units_per_batch},
                {"wrong", 0},
                {"errors", 0}});
}

void compare_disk(const std::filesystem::path& path, u64 batches, u64 units, Outcome& outcome) {
  std::ifstream file(path, std::ios::binary);
  const auto last = last_writers(batches, units);
  std::vector<std::string> wrong;
  u64 written = 0;
  Unit unit;
  for (u64 i = 0; i < disk_units; ++i) {
    file.read(reinterpret_cast<char*>(unit.data()), sizeof unit);
    if (!file) throw host::RunError(host::ExitCode::InputMissing, "cannot read " + path.string());
    written += last[i] ? 1 : 0;
    for (u64 word = 0; word < unit.size(); ++word) {
      const u64 expected = last[i] ? vmm::disk_word(*last[i], i, word) : untouched ^ (i << 16 | word);
      if (unit[word] == expected) continue;
      if (wrong.size() < 4)
        wrong.push_back(fmt::format("page {} word {}: {:#x}, expected {:#x} ({})", i, word, unit[word], expected,
                                    last[i] ? fmt::format("of batch {}", *last[i]) : "as before the run"));
      break;
    }
  }
  outcome.expect_none("the disk, page by page", wrong);
  outcome.expect_more("pages written", written, 0);
  outcome.tell(fmt::format("{} pages compared, {} of them written", disk_units, written));
}

}  // namespace

Outcome run_nvme(const Bench& bench) {
  const std::string name = "nvme";
  Outcome outcome = outcome_of(bench, name);
  MachineSetup setup = setup_of(bench, name);
  const std::filesystem::path disk = setup.folder.string() + ".disk";
  create_disk(disk);
  setup.kernel_words = fmt::format("mode={} metal.hold_us=20000000", scalable_mode);  // ended by who looked
  setup.vmm_words = "nvme updates=2 frames=1000";
  // A batch takes a second: longer than a jump.
  setup.devices = join(nvme_disk(disk), {"-set", "drive.disk.throttling.iops-total=30"});
  Machine machine(bench.binary, setup);
  // QEMU lets a disk finish everything before it stops: at the first jump nobody stops it, and commands are under way.
  const auto flight = watch_flight(machine, 1);
  const auto finished_first = [](const Line& line) {
    return line.is("finished-update") && line.number("generation") == 1;
  };
  JumpWatch watch(machine, outcome);
  watch.set_idle();
  if (machine.wait_for(finished_first)) watch.watch(2);
  check_good_end(machine, bench, outcome);

  const std::vector<Line> lines = machine.serial().lines();
  check_flight(lines, flight, outcome);
  if (const auto total = find_line(lines, outcome, "total", "nvme")) {
    check_commands(*total, outcome);
    const u64 units = total->number("units").value_or(0);
    const bool fits = units != 0 && units <= disk_units;
    outcome.expect("pages in use", fits, fmt::format("{} of {}", units, disk_units));
    if (fits) compare_disk(disk, total->number("batches").value_or(0), units, outcome);
  }
  if (outcome.passed() && !bench.keeps_memory) std::filesystem::remove(disk);
  return outcome.ended();
}

std::vector<Outcome> run_nvme_scenario(const Bench& bench) { return {run_nvme(bench)}; }

}  // namespace metal_test

// A disk with its queue full of reads and writes when the kernels change; afterwards the host reads the disk itself and
// compares every block with what the guest's last word about it should have left there.
#include <fstream>

#include "host/run_error.hpp"
#include "tests/metal/scenario.hpp"
#include "vmm/disk_pattern.hpp"

namespace metal_test {
namespace {

constexpr u64 disk_units = 2048;  // more than the guest uses: what lies behind must stay as it is
constexpr u64 untouched = 0x6468'6f6c'6466'6173;

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
  const auto start = Clock::now();
  MachineSetup setup = setup_of(bench, name);
  const std::filesystem::path disk = setup.folder.string() + ".disk";
  create_disk(disk);
  setup.kernel_words = "mode=scalable metal.hold_us=500000";
  setup.vmm_words = "nvme updates=2 frames=2000";
  setup.devices = nvme_disk(disk);
  Machine machine(bench.binary, setup);
  // QEMU lets a disk finish everything before it stops: at the first jump nobody looks, and requests are on their way.
  const auto finished_first = [](const Line& line) {
    return line.is("finished-update") && line.number("generation") == 1;
  };
  if (machine.wait_for(finished_first)) JumpWatch(machine, outcome).watch(2);
  check_good_end(machine, bench, outcome);

  const std::vector<Line> lines = machine.serial().lines();
  if (const auto back = find_line(lines, outcome, "back", "nvme")) {
    const u64 landed = back->number("landed").value_or(0);
    outcome.expect_more("requests completed in the blackout", landed, 0);
    outcome.tell(fmt::format("{} completed in the blackout", landed));
  }
  if (const auto total = find_line(lines, outcome, "total", "nvme")) {
    check_fields(*total, outcome, {{"wrong", 0}, {"errors", 0}});
    outcome.expect_more("reads", total->number("reads").value_or(0), 0);
    outcome.expect_more("writes", total->number("writes").value_or(0), 0);
    const u64 units = total->number("units").value_or(0);
    const bool fits = units != 0 && units <= disk_units;
    outcome.expect("pages in use", fits, fmt::format("{} of {}", units, disk_units));
    if (fits) compare_disk(disk, total->number("batches").value_or(0), units, outcome);
  }
  if (outcome.passed() && !bench.keeps_memory) std::filesystem::remove(disk);
  outcome.set_seconds(std::chrono::duration<double>(Clock::now() - start).count());
  return outcome;
}

std::vector<Outcome> run_nvme_scenario(const Bench& bench) { return {run_nvme(bench)}; }

}  // namespace metal_test

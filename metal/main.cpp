// metal_main: from the entry of the image to a kernel that serves a VMM; and the end of the machine.
#include "holdfast/base/place.hpp"
#include "holdfast/kernel/kernel.hpp"
#include "host/direct_user_memory.hpp"
#include "host/local_syscalls.hpp"
#include "metal/clock.hpp"
#include "metal/console.hpp"
#include "metal/cpu.hpp"
#include "metal/exceptions.hpp"
#include "metal/exit.hpp"
#include "metal/image_slots.hpp"
#include "metal/kept_log.hpp"
#include "metal/metal_world.hpp"
#include "metal/page_map.hpp"
#include "metal/pvh.hpp"
#include "metal/saboteur.hpp"
#include "metal/watched_register.hpp"
#include "vmm/run_workloads.hpp"

extern "C" {
extern char metal_image_start[] __attribute__((visibility("hidden")));
extern char metal_image_end[] __attribute__((visibility("hidden")));
}

namespace metal {
namespace {

/// How this image was entered; entry.S knows the numbers.
enum class Entry : u32 { Pvh = 0, Live = 1 };

Place<Options> options_place;
Place<MetalWorld> world_place;
Place<kernel::Kernel> kernel_place;
Place<pci::ConfigSpace> config_place;
Place<KernelSaboteur> saboteur_place;
Place<host::DirectUserMemory> user_place;
Place<host::LocalSyscalls> system_place;
Place<std::array<MemoryRange, max_memory_ranges>> map_place;

[[noreturn]] void give_up(ExitCode code, std::string_view step, Code why) {
  print_kept_log();
  vmm::Line line("failed");
  line.pair("step", step).pair("errno", static_cast<u64>(to_errno(why))).pair("name", errno_name(why));
  print_line(line.view());
  exit_machine(code);
}

void explain(std::string_view what, std::string_view bad) {
  TextLine line;
  print_line(line.text(what).text(bad).view());
}

PhysRange own_image() {
  const u64 start = reinterpret_cast<u64>(metal_image_start);
  return {PhysAddr(start), reinterpret_cast<u64>(metal_image_end) - start};
}

void read_what_the_loader_says(u64 start_info) {
  BootPage page{};  // low memory still belongs to the loader
  std::string_view bad;
  if (const Status read = read_start_info({.base = 0, .size_bytes = 4 * gib}, start_info, own_image(), page, bad);
      !read.ok()) {
    explain("what the loader says cannot be used: ", bad);
    give_up(ExitCode::BootFailed, "start_info", read.code());
  }
  page.magic = boot_page_magic;
  page.version = boot_page_version;
  boot_page() = page;
}

/// What the kernel before this one wrote. A machine whose boot page cannot be read cannot even be blocked.
void check_boot_page() {
  std::string_view bad;
  if (const Status good = check(boot_page(), bad); !good.ok()) {
    print_kept_log();
    explain("the boot page that the kernel before left cannot be believed: ", bad);
    give_up(ExitCode::BootFailed, "boot-page", good.code());
  }
}

std::span<const MemoryRange> read_memory_map() {
  const BootPage& page = boot_page();
  auto& map = map_place.create();
  for (u32 i = 0; i < page.memory_entries; ++i)
    map[i] = {{PhysAddr(page.memory[i].start), page.memory[i].size_bytes},
              static_cast<MemoryKind>(page.memory[i].kind)};
  return {map.data(), page.memory_entries};
}

const Options& read_options() {
  const BootPage& page = boot_page();
  Options& options = options_place.create();
  std::string_view bad;
  const std::string_view line(page.command_line.data(), page.command_line_bytes);
  if (const Status parsed = parse_options(line, options, bad); !parsed.ok()) {
    explain("the command line has a word that means nothing: ", bad);
    give_up(ExitCode::BootFailed, "command-line", parsed.code());
  }
  return options;
}

void start_clock(MetalWorld& world, std::span<const MemoryRange> map) {
  BootPage& page = boot_page();
  if (page.tsc_hz == 0) {
    const DirectMap direct(world, map);
    const auto rate = measure_tsc_hz(direct, PhysAddr(page.rsdp));
    if (!rate.ok()) give_up(ExitCode::BootFailed, "clock", rate.code());
    if (!is_plausible_rate(*rate)) give_up(ExitCode::BootFailed, "clock", Code::OutOfRange);
    page.tsc_hz = *rate;
  }
  world.set_clock(page.tsc_hz);
}

/// The register that metal.watch names, once and for all kernels to come.
void find_watched_register(const pci::ConfigSpace& config, const Options& options, std::span<const MemoryRange> map) {
  if (options.watch.vendor == 0 || boot_page().watched_register != 0) return;
  const auto function = find_function(config, options.watch.vendor, options.watch.device);
  if (!function.ok()) give_up(ExitCode::BootFailed, "metal.watch", function.code());
  const auto low = config.read<u32>(0, *function, hw::pci::bar0_offset);
  const auto high = config.read<u32>(0, *function, hw::pci::bar0_offset + sizeof low);
  const auto address = register_in_bar(low, high, options.watch.offset, mapped_bytes(map));
  if (!address.ok()) {
    print_line("metal.watch: BAR 0 of the device does not put that register where this kernel can read it");
    give_up(ExitCode::BootFailed, "metal.watch", address.code());
  }
  boot_page().watched_register = address->value;
}

class SerialConsole final : public vmm::Console {
 public:
  void line(std::string_view text) override { print_line(text); }
};

[[noreturn]] void run_vmm(const MetalWorld& world, vmm::Syscalls& system, std::string_view words) {
  const vmm::ParsedOptions parsed = vmm::parse_workload_options(words, boot_page().generation);
  if (!parsed.ok()) {
    TextLine line;
    line.text("the words behind \"--\": ").text(parsed.why);
    print_line(line.text(parsed.bad_word.empty() ? "" : ": ").text(parsed.bad_word).view());
    give_up(ExitCode::BootFailed, "vmm-words", Code::Invalid);
  }
  SerialConsole console;
  const vmm::Outcome outcome = vmm::run_workloads(system, parsed.options, console);
  if (world.update_attempt() == UpdateAttempt::CameBack) exit_machine(ExitCode::JumpFailed);
  if (outcome != vmm::Outcome::Finished) exit_machine(ExitCode::ScenarioFailed);
  exit_machine(world.update_attempt() == UpdateAttempt::Refused ? ExitCode::UpdateRefused : ExitCode::Done);
}

[[noreturn]] void run(Entry entry, u64 entered_at) {
  const std::span<const MemoryRange> map = read_memory_map();
  PageMap::install(map, boot_page().generation);
  const Options& options = read_options();
  MetalWorld& world = world_place.create(options, own_image());
  start_clock(world, map);

  const BootPage& page = boot_page();
  const BootInfo boot{.memory_map = map,
                      .own_image = own_image(),
                      .rsdp = PhysAddr(page.rsdp),
                      .command_line = options.kernel_words(),
                      .handover = entry == Entry::Live ? page.handover : Handover(),
                      .image_area_bytes = image_slots * image_slot_bytes};
  kernel::Kernel& kernel = kernel_place.create(world, boot);
  if (const Status booted = kernel.boot(); !booted.ok()) {
    world.phase(Phase::JumpFailed, {});  // nothing is kept back any more
    give_up(ExitCode::BootFailed, "boot", booted.code());
  }
  boot_page().image_area_start = kernel.image_area().start.value;
  boot_page().image_area_bytes = kernel.image_area().size_bytes;
  world.set_image_area(kernel.image_area());
  vmm::Line line("boot");
  line.pair("generation", page.generation).pair("image", own_image().size_bytes);
  print_line(line.pair("cycles", read_tsc() - entered_at).pair("tsc_hz", page.tsc_hz).view());

  pci::ConfigSpace& config = config_place.create(world);
  if (const Status open = config.open(kernel.memory().map, boot.rsdp); !open.ok())
    give_up(ExitCode::BootFailed, "mcfg", open.code());
  find_watched_register(config, options, map);
  world.set_saboteur(saboteur_place.create(options, kernel, config));

  const auto process = kernel.spawn(user_place.create());
  if (!process.ok()) give_up(ExitCode::BootFailed, "spawn", process.code());
  run_vmm(world, system_place.create(world, **process), options.vmm_line);
}

}  // namespace

extern "C" [[noreturn, gnu::visibility("hidden")]] void metal_main(u32 entry, u64 start_info) {
  const u64 entered_at = read_tsc();
  install_exceptions();
  if (static_cast<Entry>(entry) == Entry::Live) {
    check_boot_page();
    take_sample(entered_sample);
  } else {
    read_what_the_loader_says(start_info);
  }
  run(static_cast<Entry>(entry), entered_at);
}

}  // namespace metal

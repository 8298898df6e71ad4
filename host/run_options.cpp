// What a run needs, and whether it is there.
#include "host/run_options.hpp"

#include <algorithm>
#include <bit>
#include <fstream>
#include <sstream>

#include "host/run_error.hpp"

namespace host {
namespace {

constexpr u64 KiB = 1024;
constexpr u64 MiB = 1024 * KiB;
constexpr u64 GiB = 1024 * MiB;
constexpr u64 max_guest_memory_bytes = 64 * MiB;
constexpr u64 max_mapped_bytes = u64{1} << 46;  // of a 48-bit address space, the window starts at 4 GiB
constexpr u64 max_ram_bytes = 1024 * GiB;
constexpr u64 min_ram_bytes = 32 * MiB;
constexpr u64 process_overhead_bytes = 128 * MiB;  // three processes and their page tables

u64 domain_count(const RunOptions& options) {
  return options.domains == vmm::DomainLayout::Shared ? 1 : options.devices;
}

/// Page tables of one domain. With larger leaves allowed it still may need small ones: guest memory is in any order.
u64 table_bytes(u64 mapped_bytes) {
  u64 tables = 4;  // one of each level, at least
  for (u64 covered = 2 * MiB; covered <= 512 * GiB; covered *= 512) tables += mapped_bytes / covered + 1;
  return tables * page_size_bytes;
}

/// A line "name:  number kB" of /proc/meminfo, or a file that holds one number. 0 when it is not there.
u64 available_memory_bytes() {
  std::ifstream info("/proc/meminfo");
  for (std::string line; std::getline(info, line);) {
    std::istringstream words(line);
    std::string name;
    u64 kilobytes = 0;
    if (words >> name >> kilobytes && name == "MemAvailable:") return kilobytes * KiB;
  }
  return 0;
}

/// What the control group of a container leaves, or the largest number when it sets no limit.
u64 group_limit_bytes() {
  u64 limit = ~u64{0};
  for (const char* path : {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}) {
    std::ifstream file(path);
    u64 bytes = 0;
    if (file >> bytes) limit = std::min(limit, bytes);
  }
  return limit;
}

void check_shape(const RunOptions& options) {
  auto usage = [](const std::string& what, const std::string& next) {
    throw RunError(ExitCode::Usage, what, "", next);
  };
  if (options.devices == 0 || options.devices > vmm::max_devices)
    usage("--devices " + std::to_string(options.devices) + " is out of range",
          "give 1 to " + std::to_string(vmm::max_devices));
  if (options.updates == 0) usage("--updates 0 makes no update", "give 1 or more");
  if (options.mapped_bytes % page_size_bytes != 0 || options.mapped_bytes == 0)
    usage("--mapped " + size_text(options.mapped_bytes) + " is not a positive number of 4 KiB pages",
          "give a multiple of 4K, such as 256M");
  if (options.mapped_bytes > max_mapped_bytes)
    usage("--mapped " + size_text(options.mapped_bytes) + " does not fit into a 48-bit address space",
          "give at most " + size_text(max_mapped_bytes));
  if (options.ram_bytes % page_size_bytes != 0)
    usage("--ram " + size_text(options.ram_bytes) + " is not a number of 4 KiB pages",
          "give a multiple of 4K, such as 1G");
  if (options.ram_bytes < min_ram_bytes || options.ram_bytes > max_ram_bytes)
    usage("--ram " + size_text(options.ram_bytes) + " is out of range",
          "give " + size_text(min_ram_bytes) + " to " + size_text(max_ram_bytes));
}

}  // namespace

u64 guest_memory_bytes(const RunOptions& options) {
  u64 largest = std::bit_floor(std::max(options.ram_bytes / 8, page_size_bytes));
  u64 divisor = u64{1} << std::countr_zero(options.mapped_bytes);
  return std::min({largest, divisor, max_guest_memory_bytes});
}

u64 needed_ram_bytes(const RunOptions& options) {
  u64 tables = 2 * domain_count(options) * table_bytes(options.mapped_bytes);
  u64 shares = options.ram_bytes / 256 + std::max(2 * MiB, options.ram_bytes / 64);  // frame table, scratch
  return guest_memory_bytes(options) + tables + tables / 16 + shares + 4 * MiB;
}

void check_options(const RunOptions& options) {
  check_shape(options);
  u64 needed = needed_ram_bytes(options);
  if (needed > options.ram_bytes)
    throw RunError(ExitCode::Usage,
                   "--ram " + size_text(options.ram_bytes) + " is too little: the run needs about " + size_text(needed),
                   "each of " + std::to_string(domain_count(options)) + " domains maps " +
                       size_text(options.mapped_bytes) +
                       ", and while one is replaced its old and its new page tables exist",
                   "give --ram " + std::to_string((needed + needed / 8 + MiB - 1) / MiB) +
                       "M or more, a smaller --mapped, or --domains shared");
  u64 available = std::min(available_memory_bytes(), group_limit_bytes());
  u64 total = needed + process_overhead_bytes;
  if (available != 0 && total > available)
    throw RunError(
        ExitCode::InputMissing,
        "this computer has " + size_text(available) + " of memory to spare; the run touches about " + size_text(total),
        "the machine's RAM is real memory once it is touched", "give smaller --mapped, --ram or --devices");
}

std::string size_text(u64 size_bytes) {
  struct Unit {
    u64 bytes;
    const char* name;
  };
  for (const Unit& unit : {Unit{1024 * GiB, "TiB"}, Unit{GiB, "GiB"}, Unit{MiB, "MiB"}, Unit{KiB, "KiB"}}) {
    if (size_bytes < unit.bytes) continue;
    u64 tenths = size_bytes / unit.bytes * 10 + size_bytes % unit.bytes * 10 / unit.bytes;
    std::string text = std::to_string(tenths / 10);
    if (tenths % 10 != 0) text += "." + std::to_string(tenths % 10);
    return text + " " + unit.name;
  }
  return std::to_string(size_bytes) + " bytes";
}

vmm::Options vmm_options(const RunOptions& options) {
  return {.devices = options.devices,
          .domains = options.domains,
          .leaves = options.leaves,
          .preservation = options.preservation,
          .mapped_bytes = options.mapped_bytes,
          .file_bytes = guest_memory_bytes(options),
          .seed = options.seed,
          .updates = options.updates};
}

std::string kernel_command_line(TranslationMode mode, AnswerPolicy policy) {
  return std::string(mode == TranslationMode::Legacy ? "mode=legacy" : "mode=scalable") +
         (policy == AnswerPolicy::Linux ? " policy=linux" : " policy=holdfast");
}

}  // namespace host

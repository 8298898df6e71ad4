// KernelArguments as words "key=number", and back.
#include "host/kernel_arguments.hpp"

#include <charconv>
#include <cstring>

#include "holdfast/base/panic.hpp"
#include "host/run_error.hpp"

namespace host {
namespace {

/// Calls visit(key, field) for every number of @p a: one list for both directions.
template <class Arguments, class Visit>
void for_each_number(Arguments& a, Visit&& visit) {
  visit("ram-fd", a.machine.ram);
  visit("registers-fd", a.machine.registers);
  visit("link-fd", a.machine.link);
  visit("report-fd", a.report_fd);
  visit("fdt", a.handover.fdt);
  visit("fdt-size", a.handover.fdt_size_bytes);
  visit("scratch", a.handover.scratch);
  visit("scratch-size", a.handover.scratch_size_bytes);
  visit("devices", a.vmm.devices);
  visit("domains", a.vmm.domains);
  visit("leaves", a.vmm.leaves);
  visit("preservation", a.vmm.preservation);
  visit("mapped", a.vmm.mapped_bytes);
  visit("file", a.vmm.file_bytes);
  visit("seed", a.vmm.seed);
  visit("updates", a.vmm.updates);
  visit("generation", a.vmm.generation);
  visit("settle", a.vmm.settle_transfers);
  visit("mode", a.mode);
  visit("policy", a.policy);
  visit("log", a.log_level);
  visit("dump", a.dump);
}

constexpr u64 number_count = 22;

[[noreturn]] void refuse(std::string_view word) {
  throw RunError(ExitCode::Usage, "holdfast kernel: unexpected or missing argument '" + std::string(word) + "'",
                 "this subcommand is started by `holdfast run`", "use `holdfast run`");
}

}  // namespace

ArgumentWords::ArgumentWords(std::span<const std::string_view> first, const KernelArguments& arguments) {
  for (std::string_view word : first) {
    begin_word();
    append(word);
  }
  for_each_number(arguments,
                  [this](std::string_view key, const auto& field) { append_number(key, static_cast<u64>(field)); });
}

void ArgumentWords::begin_word() {
  verify_invariant(x_count + 1 < x_pointers.size() && x_used < x_text.size(),
                   "more argument words than there is room for");
  if (x_count != 0) ++x_used;  // the zero behind the previous word
  x_pointers[x_count++] = x_text.data() + x_used;
}

void ArgumentWords::append(std::string_view text) {
  verify_invariant(x_text.size() - x_used > text.size() + 1, "argument words longer than there is room for");
  std::memcpy(x_text.data() + x_used, text.data(), text.size());
  x_used += text.size();
}

void ArgumentWords::append_number(std::string_view key, u64 value) {
  std::array<char, 24> digits{};
  char* end = std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr;
  begin_word();
  append(key);
  append("=");
  append({digits.data(), static_cast<std::size_t>(end - digits.data())});
}

std::vector<std::string> ArgumentWords::strings() const {
  return {x_pointers.begin(), x_pointers.begin() + static_cast<std::ptrdiff_t>(x_count)};
}

KernelArguments parse_kernel_arguments(std::span<char* const> words) {
  KernelArguments arguments;
  u64 understood = 0;
  for (const char* pointer : words) {
    const std::string_view word(pointer);
    const std::size_t equals = word.find('=');
    if (equals == std::string_view::npos) refuse(word);
    const std::string_view key = word.substr(0, equals);
    const std::string_view digits = word.substr(equals + 1);
    u64 value = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (error != std::errc() || end != digits.data() + digits.size()) refuse(word);
    bool known = false;
    for_each_number(arguments, [&](std::string_view name, auto& field) {
      if (name != key) return;
      field = static_cast<std::remove_reference_t<decltype(field)>>(value);
      known = true;
    });
    if (!known) refuse(word);
    ++understood;
  }
  if (understood != number_count) refuse("(count)");
  return arguments;
}

}  // namespace host

// `holdfast`: the processes world.
#include <cstdlib>
#include <string_view>

#include "cli/run_world.hpp"
#include "host/kernel_process.hpp"
#include "host/run_machine.hpp"
#include "host/sim_machine.hpp"
#include "host/supervisor.hpp"

namespace cli {
namespace {

/// HOLDFAST_LOG. By default errors only: that the device which is not preserved faults is a warning, and no news here.
holdfast::LogLevel log_level() {
  const char* text = std::getenv("HOLDFAST_LOG");
  const std::string_view wanted = text == nullptr ? "" : text;
  if (wanted == "debug") return holdfast::LogLevel::Debug;
  if (wanted == "info") return holdfast::LogLevel::Info;
  if (wanted == "warning") return holdfast::LogLevel::Warning;
  return holdfast::LogLevel::Error;
}

}  // namespace

host::RunReport run_world(const host::RunOptions& options, const Invocation& invocation, const Progress& progress) {
  if (options.world == host::WorldKind::Model) continue_as("holdfast_traced", invocation);
  host::SimMachineBuilder builder(host::machine_config(options));
  host::SupervisorSettings settings;
  settings.options = options;
  settings.log_level = log_level();
  settings.progress = progress;
  host::Supervisor supervisor(std::move(settings), builder);
  host::RunReport report = host::build_report(options, supervisor.run());
  report.notes.emplace_back("a modelled machine: no firmware, no device probing and no CPU bring-up is in these times");
  if (!options.dump_directory.empty())
    report.notes.emplace_back("each blackout includes the time of the dump; devices went on while RAM was copied");
  return report;
}

int run_kernel_command(std::span<char* const> words) { return host::run_kernel_process(words); }

}  // namespace cli

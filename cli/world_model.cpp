// `holdfast_traced`: the model world.
#include <cstdio>

#include "cli/run_world.hpp"
#include "host/model/model_run.hpp"
#include "host/run_error.hpp"

namespace cli {

host::RunReport run_world(const host::RunOptions& options, const Invocation& invocation, const Progress& progress) {
  if (options.world == host::WorldKind::Processes) continue_as("holdfast", invocation);
  if (!options.dump_directory.empty())
    throw host::RunError(host::ExitCode::Usage, "--dump works in the processes world only",
                         "the model world keeps its machine in memory", "leave out --world model or --dump");
  progress("running in the model world, step by step");
  host::RunReport report = host::run_model(options);
  report.notes.emplace_back(
      "time in the model world is virtual: it moves only with what the kernel does to the machine");
  return report;
}

int run_kernel_command(std::span<char* const>) {
  std::fputs("holdfast kernel: the model world has no kernel processes\n", stderr);
  return static_cast<int>(host::ExitCode::Usage);
}

}  // namespace cli

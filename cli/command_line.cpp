// From argv to a subcommand and its exit code.
#include "cli/command_line.hpp"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <string_view>

#include "cli/commands.hpp"
#include "host/run_error.hpp"

namespace {

constexpr const char* description =
    "holdfast: live update of a kernel under devices that keep doing DMA.\n"
    "The IOMMU tables that devices use stay where they are while one kernel replaces the other; the new kernel takes\n"
    "them over, checks them and replaces them.";

constexpr const char* exit_codes =
    "Exit codes: 0 all is clean, 1 something that was checked is not as it must be, 2 usage, 3 something that is\n"
    "needed is missing, 4 input corrupt or of an unknown version, 70 internal error, 130 interrupted.\n"
    "Environment: HOLDFAST_LOG=debug|info|warning|error (what kernels print to stderr; default: error), NO_COLOR.";

}  // namespace

namespace cli {

int run_command_line(int argc, char** argv) {
  // Entered in the middle of a blackout: no parser is built.
  if (argc >= 2 && std::string_view(argv[1]) == "kernel")
    return run_kernel_command({argv + 2, static_cast<std::size_t>(argc - 2)});

  CLI::App app(description, "holdfast");
  app.set_version_flag("--version", "holdfast " HOLDFAST_VERSION);
  app.require_subcommand(1);
  app.footer(exit_codes);
  int exit_code = static_cast<int>(host::ExitCode::Ok);
  add_run_command(app, {argc, argv}, exit_code);
  auto is_named = [argv](const CLI::App* command) { return command->check_name(argv[1]); };
  if (argc >= 2 && argv[1][0] != '-' && app.get_subcommands(is_named).empty()) {
    std::fprintf(stderr, "holdfast: there is no command '%s'\n  what next: holdfast --help lists them\n", argv[1]);
    return static_cast<int>(host::ExitCode::Usage);
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? exit_code : static_cast<int>(host::ExitCode::Usage);
  }
  return exit_code;
}

}  // namespace cli

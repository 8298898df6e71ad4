// The subcommands of `holdfast`: each adds itself to the parser, in a file of its own.
#pragma once

#include <CLI/CLI.hpp>
#include <span>

namespace cli {

/// What the process was started with; some commands start it again.
struct Invocation {
  int argc = 0;
  char** argv = nullptr;
};

/// `holdfast run`. @p exit_code is set when the command has run.
void add_run_command(CLI::App& app, const Invocation& invocation, int& exit_code);

/// `holdfast kernel`: one kernel process; started by `run` only, never by people. @p words: what stands behind it.
int run_kernel_command(std::span<char* const> words);

}  // namespace cli

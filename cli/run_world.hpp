// Where a run takes place. Two programs are built from the same command: `holdfast` with the plain library and the
// processes world, `holdfast_traced` with the traced library and the model world. Each supplies this function.
#pragma once

#include <functional>
#include <string>

#include "cli/commands.hpp"
#include "host/report.hpp"

namespace cli {

using Progress = std::function<void(const std::string&)>;

/// Runs @p options in the world that this program has; for the other world it starts the other program in its place.
/// @throws host::RunError.
[[nodiscard]] host::RunReport run_world(const host::RunOptions& options, const Invocation& invocation,
                                        const Progress& progress);

/// Replaces this process by @p program, which stands in the same directory, with the same arguments. Returns only by
/// @throws host::RunError (InputMissing).
[[noreturn]] void continue_as(const std::string& program, const Invocation& invocation);

}  // namespace cli

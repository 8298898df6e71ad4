// A kernel process: what `holdfast kernel ...` runs. Boots a Kernel on the machine that the arguments name, runs one
// generation of the VMM on it, and ends in the jump to its successor or at the end of the run.
#pragma once

#include <span>

namespace host {

/// @p words: the arguments behind "holdfast kernel". Returns the exit code; not at all when the jump succeeds.
int run_kernel_process(std::span<char* const> words);

}  // namespace host

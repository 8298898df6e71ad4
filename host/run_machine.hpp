// The machine that a run gets: its devices, units and capabilities, from the options of `holdfast run`.
#pragma once

#include "host/run_options.hpp"
#include "sim/machine_config.hpp"

namespace host {

/// Two units; the preserved devices first, in the order of their bus addresses (vfio0, vfio1, ...), the last of them
/// behind a root port; then the device that is not preserved, behind another.
[[nodiscard]] sim::MachineConfig machine_config(const RunOptions& options);

}  // namespace host

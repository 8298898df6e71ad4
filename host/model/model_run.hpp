// `holdfast run --world model`: the whole run on the modelled machine, stepped and deterministic, in this process.
#pragma once

#include "host/report.hpp"

namespace host {

/// @throws RunError (Internal) when a kernel panics or ends where it should not.
[[nodiscard]] RunReport run_model(const RunOptions& options);

}  // namespace host

// What a modelled machine marked and counted, in the terms of a run's evidence.
#pragma once

#include "host/machine_model.hpp"
#include "sim/machine.hpp"

namespace host {

[[nodiscard]] Mark mark_of(const sim::Mark& seen);
[[nodiscard]] MachineAudit audit_of(const sim::Machine& machine);

}  // namespace host

// Reads guest memory and says what the devices really did: lost, repeated and wrong transfers.
#pragma once

#include "vmm/guest.hpp"

namespace vmm {

enum class EngineState : u32 { Running, Stopped };

/// Fills report.audit, device_audit and device_transfers. While an engine runs a slot may hold any sequence number from
/// the last one completed before the read to the one under way after it; stopped, exactly one.
bool audit_guest(Calls& calls, const Options& options, Guest& guest, EngineState state, Report& report);

}  // namespace vmm

// The small VMM: one guest with passthrough devices that survives live updates of the kernel below it.
//
// A generation is one kernel's time: the first builds the guest, every later one takes it back, moves its devices to
// new translations and finishes. Devices never stop. Everything that must outlive the jump is in preserved files.
// Freestanding; allocates nothing; written against the user boundary only.
#pragma once

#include "vmm/report.hpp"
#include "vmm/syscalls.hpp"

namespace vmm {

/// Runs one generation to its end: the jump (does not return when it succeeds), the last check, or a failure.
/// The last report is returned as well as sent.
Report run_generation(Syscalls& system, const Options& options, Reporter& reporter);

}  // namespace vmm

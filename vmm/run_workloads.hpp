// The guest programs of a machine with real devices: each drives one device through live updates of the kernel below
// it.
//
// A generation is one kernel's time. The first finds the devices, builds and starts them; every later one takes them
// back, moves them to new page tables and finishes. Devices never stop. Says what it sees in lines (vmm/console.hpp):
//
//   hf: ready workload=W generation=0                       its device takes input
//   hf: back workload=W generation=N first=I landed=K       what waited for it: K in its own unit, since it looked
//                                                           last, which was before it was preserved; first: the
//                                                           ring's or queue's entry, if it has one
//   hf: left workload=W                                     it was not to be preserved (leave=W); in every generation
//                                                           after the first
//   hf: lost workload=W step=S errno=E                      it did not come through the update; the others go on
//   hf: replaced workload=W count=N ns=T                    its page table, under the running device
//   hf: unfinished errno=E                                  the session cannot be finished: something was lost
//   hf: finished-update generation=N
//   hf: refused generation=N errno=E                        the live update: the kernel is the same as before, devices
//                                                           go on, and no other is tried
//   hf: total workload=W key=value ...                      at the end
//   hf: failed workload=W step=S errno=E
//
// Freestanding; allocates nothing; written against the user boundary only; needs less than 16 KiB of stack.
#pragma once

#include "vmm/console.hpp"
#include "vmm/report.hpp"
#include "vmm/syscalls.hpp"
#include "vmm/workload_options.hpp"

namespace vmm {

/// Runs one generation to its end: the jump (does not return when it succeeds), or the last check.
/// Finished: all updates made or one refused, and whatever was not lost is right. NothingCameBack: this kernel has no
/// session for us. Failed: a line said why.
Outcome run_workloads(Syscalls& system, const WorkloadOptions& options, Console& console);

}  // namespace vmm

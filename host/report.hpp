// What a run found: the data behind the table and the JSON of `holdfast run`.
#pragma once

#include <string>
#include <vector>

#include "holdfast/base/world.hpp"
#include "host/run_options.hpp"

namespace host {

struct PhaseTimes {
  u64 preserve = 0;   // system calls of the VMM, in the running system
  u64 freeze = 0;     // reboot called .. last consent
  u64 cut_off = 0;    // last consent .. unpreserved devices are blocked
  u64 jump = 0;       // .. first act of the new kernel
  u64 live_boot = 0;  // .. it takes calls
  u64 retrieve = 0;   // system calls of the VMM, under the new kernel
  u64 replace = 0;
  u64 finish = 0;
};

/// Completed transfers of the preserved devices.
struct TransferCounts {
  u64 before = 0;  // since the previous blackout
  u64 gap = 0;     // in this one
  u64 after = 0;   // until the next one, or the end
};

/// The device that is not preserved, from the cut-off until the new kernel takes calls.
struct BystanderCounts {
  u64 transfers = 0;  // must be none
  u64 faulted = 0;
};

struct UpdateReport {
  PhaseTimes phases_ns;
  u64 blackout_ns = 0;
  TouchCounts touched_in_blackout;
  u64 mapped_bytes = 0;
  TransferCounts transfers;
  u64 lost = 0;
  u64 repeated = 0;
  u64 wrong = 0;
  u64 faulted = 0;
  BystanderCounts bystander;
};

struct RunReport {
  WorldKind world = WorldKind::Processes;
  TranslationMode mode = TranslationMode::Scalable;
  std::vector<UpdateReport> updates;
  bool clean = false;
  std::vector<std::string> complaints;  // why it is not clean
  std::vector<std::string> notes;       // what the reader of the figures must know
};

}  // namespace host

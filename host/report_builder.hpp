// Makes the report of a run from what the machine marked and counted and what the VMM found in guest memory.
//
// The machine counts, not the kernels: times and transfers come from its marks. Lost, repeated and wrong transfers come
// from both; where they disagree the run is not clean.
#pragma once

#include <span>

#include "host/machine_model.hpp"
#include "host/report.hpp"

namespace host {

/// Everything that is known when a run has ended.
struct RunEvidence {
  std::vector<Mark> marks;
  std::vector<vmm::Report> vmm_reports;  // in the order of their arrival
  MachineAudit audit;                    // engines stopped
  u64 refused_writes = 0;                // of kernels that were not in service any more
};

[[nodiscard]] RunReport build_report(const RunOptions& options, const RunEvidence& evidence);

}  // namespace host

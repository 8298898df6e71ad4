#include "host/machine_evidence.hpp"

namespace host {
namespace {

DeviceCounts counts_of(const sim::EngineCounters& counters) {
  return {.transfers = counters.transfers,
          .faulted = counters.faulted,
          .lost = counters.lost,
          .repeated = counters.repeated,
          .wrong = counters.wrong};
}

}  // namespace

Mark mark_of(const sim::Mark& seen) {
  Mark mark;
  mark.phase = seen.phase;
  mark.time_ns = seen.time_ns;
  mark.touched = seen.touched;
  mark.devices = static_cast<u32>(seen.devices.size());
  for (std::size_t device = 0; device < seen.devices.size(); ++device)
    mark.counts.at(device) = counts_of(seen.devices[device]);
  return mark;
}

MachineAudit audit_of(const sim::Machine& machine) {
  MachineAudit audit;
  audit.devices = static_cast<u32>(machine.device_count());
  audit.wild_accesses = machine.wild();
  for (std::size_t device = 0; device < machine.device_count(); ++device) {
    const sim::AuditResult memory = machine.audit(device);
    audit.counts.at(device) = counts_of(machine.counters(device));
    audit.memory.at(device) = {.lost = memory.lost, .repeated = memory.repeated, .wrong = memory.wrong};
    audit.refused.at(device) = memory.refused;
  }
  return audit;
}

}  // namespace host

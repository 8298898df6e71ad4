#include "host/model/model_run.hpp"

#include "host/local_syscalls.hpp"
#include "host/model/model_session.hpp"
#include "host/report_builder.hpp"
#include "host/run_error.hpp"
#include "host/run_machine.hpp"
#include "vmm/vmm.hpp"

namespace host {
namespace {

class Collector final : public vmm::Reporter {
 public:
  explicit Collector(std::vector<vmm::Report>& reports) : x_reports(reports) {}
  void report(const vmm::Report& report) override { x_reports.push_back(report); }

 private:
  std::vector<vmm::Report>& x_reports;
};

vmm::Options vmm_options(const RunOptions& options) {
  vmm::Options vmm;
  vmm.devices = options.devices;
  vmm.domains = options.domains;
  vmm.leaves = options.leaves;
  vmm.preservation = options.preservation;
  vmm.mapped_bytes = options.mapped_bytes;
  vmm.file_bytes = guest_memory_bytes(options);
  vmm.seed = options.seed;
  vmm.updates = options.updates;
  return vmm;
}

std::string command_line(const RunOptions& options) {
  return std::string(options.mode == TranslationMode::Legacy ? "mode=legacy" : "mode=scalable") +
         (options.policy == AnswerPolicy::Linux ? " policy=linux" : " policy=holdfast");
}

DeviceCounts counts_of(const sim::EngineCounters& counters) {
  return {counters.transfers, counters.faulted, counters.lost, counters.repeated, counters.wrong};
}

Mark mark_of(const sim::Mark& from) {
  Mark mark;
  mark.phase = from.phase;
  mark.time_ns = from.time_ns;
  mark.touched = from.touched;
  mark.devices = static_cast<u32>(from.devices.size());
  for (std::size_t i = 0; i < from.devices.size(); ++i) mark.counts.at(i) = counts_of(from.devices[i]);
  return mark;
}

RunEvidence evidence_of(sim::Machine& machine, std::vector<vmm::Report> reports) {
  RunEvidence evidence;
  for (const sim::Mark& mark : machine.marks()) evidence.marks.push_back(mark_of(mark));
  evidence.vmm_reports = std::move(reports);
  evidence.audit.devices = static_cast<u32>(machine.device_count());
  evidence.audit.wild_accesses = static_cast<u32>(machine.wild());
  for (std::size_t i = 0; i < machine.device_count(); ++i) {
    DeviceCounts& counts = evidence.audit.counts.at(i);
    counts = counts_of(machine.counters(i));
    const sim::AuditResult audit = machine.audit(i);
    // What stands in memory now counts beside what the engine saw pass by.
    counts.lost += audit.lost;
    counts.repeated += audit.repeated;
    counts.wrong += audit.wrong;
  }
  return evidence;
}

}  // namespace

RunReport run_model(const RunOptions& options) {
  ModelSession session(machine_config(options), command_line(options));
  std::vector<vmm::Report> reports;
  reports.reserve(2 * (options.updates + 1));
  Collector collector(reports);
  vmm::Options vmm = vmm_options(options);
  while (true) {
    const Generation generation = session.run([&](ModelSession::Context& context) {
      LocalSyscalls system(context.world, context.process);
      vmm::run_generation(system, vmm, collector);
    });
    if (generation.jumped()) {
      ++vmm.generation;
      --vmm.updates;
      continue;
    }
    if (!generation.returned() || generation.boot != Code::Ok)
      throw RunError(ExitCode::Internal, "kernel " + std::to_string(vmm.generation) + ": " + generation.text());
    return build_report(options, evidence_of(session.machine(), std::move(reports)));
  }
}

}  // namespace host

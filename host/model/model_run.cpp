#include "host/model/model_run.hpp"

#include "host/local_syscalls.hpp"
#include "host/machine_evidence.hpp"
#include "host/model/model_session.hpp"
#include "host/report_builder.hpp"
#include "host/report_collector.hpp"
#include "host/run_error.hpp"
#include "host/run_machine.hpp"
#include "vmm/vmm.hpp"

namespace host {
namespace {

RunEvidence evidence_of(sim::Machine& machine, std::vector<vmm::Report> reports) {
  RunEvidence evidence;
  for (const sim::Mark& mark : machine.marks()) evidence.marks.push_back(mark_of(mark));
  evidence.vmm_reports = std::move(reports);
  evidence.audit = audit_of(machine);
  return evidence;
}

}  // namespace

RunReport run_model(const RunOptions& options) {
  ModelSession session(machine_config(options), kernel_command_line(options.mode, options.policy));
  std::vector<vmm::Report> reports;
  reports.reserve(2 * (options.updates + 1));
  ReportCollector collector(reports);
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

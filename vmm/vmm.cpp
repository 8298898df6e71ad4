#include "vmm/vmm.hpp"

#include "vmm/audit.hpp"
#include "vmm/bystander.hpp"
#include "vmm/guest.hpp"

namespace vmm {
namespace {

/// Waits until every engine has made options.settle_transfers more transfers.
bool let_devices_run(Calls& calls, const Options& options, Guest& guest) {
  for (u32 i = 0; i < options.devices; ++i) {
    DmaEngine engine(calls, guest.device_fds[i]);
    const u64 until = engine.transfers() + options.settle_transfers;
    // Bounded by time, not by turns: an engine whose translation is broken makes no progress.
    const u64 deadline = calls.system().now_ns() + u64{10'000'000'000};
    while (engine.transfers() < until) {
      if (calls.failed()) return false;
      if (calls.system().now_ns() > deadline)
        return calls.check(-to_errno(Code::TimedOut), "wait for a device that makes no transfers");
      calls.system().pause();
    }
  }
  return true;
}

class Generation {
 public:
  Generation(Syscalls& system, const Options& options, Reporter& reporter)
      : x_calls(system), x_options(options), x_reporter(reporter) {
    x_report.generation = options.generation;
    x_report.devices = options.devices;
    x_report.mapped_bytes = options.mapped_bytes * hwpt_count(options);
  }

  Report run() {
    x_report.outcome = live();
    if (x_report.outcome == Outcome::Failed) x_calls.describe(x_report);
    x_reporter.report(x_report);
    return x_report;
  }

 private:
  Outcome live() {
    if (x_options.generation == 0) {
      if (!build_guest(x_calls, x_options, x_guest)) return Outcome::Failed;
    } else {
      Presence found = Presence::Absent;
      if (!take_back(found)) return Outcome::Failed;
      if (found == Presence::Absent) return Outcome::NothingCameBack;
    }
    if (!start_bystander(x_calls, x_options) || !let_devices_run(x_calls, x_options, x_guest)) return Outcome::Failed;
    return x_options.updates == 0 ? finish_run() : start_update();
  }

  bool take_back(Presence& found) {
    u64 start = now();
    if (!retrieve_guest(x_calls, x_options, x_guest, found)) return false;
    if (found == Presence::Absent) return true;
    x_report.retrieve_ns = now() - start;
    start = now();
    if (!replace_domains(x_calls, x_options, x_guest)) return false;
    x_report.replace_ns = now() - start;
    start = now();
    if (!finish_session(x_calls, x_guest)) return false;
    x_report.finish_ns = now() - start;
    return true;
  }

  /// Returns only when the update was refused.
  Outcome start_update() {
    if (!audit_guest(x_calls, x_options, x_guest, EngineState::Running, x_report)) return Outcome::Failed;
    if (x_options.preservation == Preservation::Preserve) {
      const u64 start = now();
      if (!preserve_guest(x_calls, x_options, x_guest)) return Outcome::Failed;
      x_report.preserve_ns = now() - start;
    }
    x_report.outcome = Outcome::Running;
    x_reporter.report(x_report);
    x_calls.check(x_calls.system().reboot_kexec(), "reboot");
    return Outcome::Failed;
  }

  Outcome finish_run() {
    for (u32 i = 0; i < x_options.devices; ++i)
      if (!DmaEngine(x_calls, x_guest.device_fds[i]).stop()) return Outcome::Failed;
    if (!audit_guest(x_calls, x_options, x_guest, EngineState::Stopped, x_report)) return Outcome::Failed;
    return Outcome::Finished;
  }

  u64 now() { return x_calls.system().now_ns(); }

  Calls x_calls;
  Options x_options;
  Reporter& x_reporter;
  Report x_report;
  Guest x_guest;
};

}  // namespace

Report run_generation(Syscalls& system, const Options& options, Reporter& reporter) {
  return Generation(system, options, reporter).run();
}

}  // namespace vmm

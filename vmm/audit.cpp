#include "vmm/audit.hpp"

namespace vmm {
namespace {

using hw::dma_engine::Parameters;
using hw::dma_engine::Slot;
using hw::dma_engine::Verdict;

bool read_slot(Calls& calls, i32 memory_fd, const Parameters& parameters, u64 page, Slot& slot) {
  const u64 at = page * page_size_bytes + parameters.slot_offset;
  return calls.check(calls.system().pread(memory_fd, &slot, sizeof slot, at), "pread of a slot");
}

/// A running engine may rewrite the slot between the two reads of its counter, and while the slot itself is read: the
/// content is right when it is right for any count in between. The machine may be descheduled in the middle of a slot,
/// so what looks wrong is read again until @p deadline.
Verdict judge_running(Calls& calls, i32 memory_fd, const Parameters& parameters, u64 page, DmaEngine& engine,
                      u64 deadline) {
  u64 before = engine.transfers();
  while (true) {
    Slot slot;
    if (!read_slot(calls, memory_fd, parameters, page, slot)) return Verdict::Wrong;
    const u64 after = engine.transfers();
    const Verdict verdict = judge_live(parameters, page, before, slot);
    const bool newer = slot.number > before && slot.number - 1 <= after &&
                       judge_live(parameters, page, slot.number - 1, slot) == Verdict::Right;
    if (verdict == Verdict::Right || newer) return Verdict::Right;
    if (verdict == Verdict::Lost) return verdict;  // an old but whole value: no later read makes up for it
    if (calls.failed() || calls.system().now_ns() > deadline) return verdict;
    before = after;
    calls.system().pause();
  }
}

void count(Audit& audit, Verdict verdict) {
  audit.lost += verdict == Verdict::Lost;
  audit.repeated += verdict == Verdict::Repeated;
  audit.wrong += verdict == Verdict::Wrong;
}

bool audit_device(Calls& calls, const Options& options, Guest& guest, u32 device, EngineState state, Audit& audit) {
  const Parameters parameters = window_of(options, device);
  DmaEngine engine(calls, guest.device_fds[device]);
  const u64 completed = engine.transfers();
  constexpr u64 patience_ns = 2'000'000'000;
  const u64 deadline = calls.system().now_ns() + patience_ns;
  for (u64 page = 0; page < parameters.slots(); ++page) {
    if (state == EngineState::Running) {
      count(audit, judge_running(calls, guest.memory_fd, parameters, page, engine, deadline));
      continue;
    }
    Slot slot;
    if (!read_slot(calls, guest.memory_fd, parameters, page, slot)) return false;
    count(audit, judge(parameters, page, completed, slot));
  }
  return !calls.failed();
}

}  // namespace

bool audit_guest(Calls& calls, const Options& options, Guest& guest, EngineState state, Report& report) {
  report.audit = {};
  for (u32 i = 0; i < options.devices; ++i) {
    Audit& audit = report.device_audit[i];
    audit = {};
    if (!audit_device(calls, options, guest, i, state, audit)) return false;
    report.device_transfers[i] = DmaEngine(calls, guest.device_fds[i]).transfers();
    report.audit.lost += audit.lost;
    report.audit.repeated += audit.repeated;
    report.audit.wrong += audit.wrong;
  }
  return true;
}

}  // namespace vmm

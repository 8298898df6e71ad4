// Marks and counters to figures per update, and the judgement.
#include "host/report_builder.hpp"

#include <algorithm>
#include <cstring>
#include <optional>

namespace host {
namespace {

/// The marks of one update that came about.
struct UpdateMarks {
  Mark freeze_begin;
  Mark last_consent;
  Mark cut_off_done;
  Mark jump_begin;
  Mark boot_entry;
  Mark adoption_done;
  Mark live_boot_done;
  bool complete = false;
};

using Counts = std::array<DeviceCounts, max_machine_devices>;

/// Groups the marks by update; an update that was given up (JumpFailed) is none.
std::vector<UpdateMarks> updates_of(const std::vector<Mark>& marks) {
  std::vector<UpdateMarks> updates;
  std::optional<UpdateMarks> open;
  for (const Mark& mark : marks) {
    if (mark.phase == Phase::FreezeBegin) open.emplace().freeze_begin = mark;
    if (!open) continue;  // cold boot
    switch (mark.phase) {
      case Phase::FreezeBegin: break;
      case Phase::LastConsent: open->last_consent = mark; break;
      case Phase::CutOffDone: open->cut_off_done = mark; break;
      case Phase::JumpBegin: open->jump_begin = mark; break;
      case Phase::JumpFailed: open.reset(); break;
      case Phase::BootEntry: open->boot_entry = mark; break;
      case Phase::AdoptionDone: open->adoption_done = mark; break;
      case Phase::VerifyDone: break;
      case Phase::LiveBootDone:
        open->live_boot_done = mark;
        open->complete = true;
        updates.push_back(*open);
        open.reset();
        break;
    }
  }
  return updates;
}

constexpr u64 since(u64 start, u64 end) { return end > start ? end - start : 0; }

u64 time_between(const Mark& start, const Mark& end) { return since(start.time_ns, end.time_ns); }

/// Sum of one counter over the preserved devices, from @p start to @p end.
u64 grown(const RunOptions& options, const Counts& start, const Counts& end, u64 DeviceCounts::* counter) {
  u64 sum = 0;
  for (u32 device = 0; device < options.devices; ++device) sum += since(start[device].*counter, end[device].*counter);
  return sum;
}

const vmm::Report* last_report_of(std::span<const vmm::Report> reports, u32 generation) {
  const vmm::Report* found = nullptr;
  for (const vmm::Report& report : reports)
    if (report.generation == generation) found = &report;
  return found;
}

TouchCounts operator+(const TouchCounts& a, const TouchCounts& b) {
  return {a.tables + b.tables, a.blocks + b.blocks, a.records + b.records, a.files + b.files, a.frames + b.frames};
}

std::string audit_text(const vmm::Audit& audit) {
  return std::to_string(audit.lost) + " lost, " + std::to_string(audit.repeated) + " repeated, " +
         std::to_string(audit.wrong) + " wrong";
}

class Builder {
 public:
  Builder(const RunOptions& options, const RunEvidence& evidence)
      : x_options(options), x_evidence(evidence), x_marks(updates_of(evidence.marks)) {
    x_report.world = options.world;
    x_report.mode = options.mode;
  }

  RunReport build() {
    for (std::size_t i = 0; i < x_marks.size(); ++i) x_report.updates.push_back(update(i));
    judge_updates();
    judge_run();
    x_report.clean = x_report.complaints.empty();
    return std::move(x_report);
  }

 private:
  UpdateReport update(std::size_t index) {
    const UpdateMarks& at = x_marks[index];
    UpdateReport update;
    update.phases_ns.freeze = time_between(at.freeze_begin, at.last_consent);
    update.phases_ns.cut_off = time_between(at.last_consent, at.cut_off_done);
    update.phases_ns.jump = time_between(at.cut_off_done, at.boot_entry);
    update.phases_ns.live_boot = time_between(at.boot_entry, at.live_boot_done);
    update.blackout_ns = time_between(at.last_consent, at.adoption_done);
    update.touched_in_blackout = at.jump_begin.touched + at.adoption_done.touched;  // the old kernel's, the new one's
    count_transfers(index, update);
    add_vmm(static_cast<u32>(index), update);
    return update;
  }

  void count_transfers(std::size_t index, UpdateReport& update) {
    const UpdateMarks& at = x_marks[index];
    const Counts before = index == 0 ? Counts{} : x_marks[index - 1].adoption_done.counts;
    const Counts start = index == 0 ? Counts{} : at.last_consent.counts;
    const Counts end = index + 1 < x_marks.size() ? x_marks[index + 1].last_consent.counts : x_evidence.audit.counts;
    auto sum = [&](const Counts& from, const Counts& to, u64 DeviceCounts::* counter) {
      return grown(x_options, from, to, counter);
    };
    update.transfers.before = sum(before, at.last_consent.counts, &DeviceCounts::transfers);
    update.transfers.gap = sum(at.last_consent.counts, at.adoption_done.counts, &DeviceCounts::transfers);
    update.transfers.after = sum(at.adoption_done.counts, end, &DeviceCounts::transfers);
    update.lost = sum(start, end, &DeviceCounts::lost);
    update.repeated = sum(start, end, &DeviceCounts::repeated);
    update.wrong = sum(start, end, &DeviceCounts::wrong);
    update.faulted = sum(start, end, &DeviceCounts::faulted);
    if (x_options.devices >= max_machine_devices) return;
    const DeviceCounts& cut_off = at.cut_off_done.counts[x_options.devices];
    const DeviceCounts& booted = at.live_boot_done.counts[x_options.devices];
    update.bystander.transfers = since(cut_off.transfers, booted.transfers);
    update.bystander.faulted = since(cut_off.faulted, booted.faulted);
  }

  /// Update @p index ends generation @p index and begins the next one.
  void add_vmm(u32 index, UpdateReport& update) {
    if (const vmm::Report* old = last_report_of(x_evidence.vmm_reports, index)) {
      update.phases_ns.preserve = old->preserve_ns;
      update.mapped_bytes = old->mapped_bytes;
    }
    const vmm::Report* next = last_report_of(x_evidence.vmm_reports, index + 1);
    if (next == nullptr) return;
    update.phases_ns.retrieve = next->retrieve_ns;
    update.phases_ns.replace = next->replace_ns;
    update.phases_ns.finish = next->finish_ns;
    add_finding(index, "lost", update.lost, next->audit.lost);
    add_finding(index, "repeated", update.repeated, next->audit.repeated);
    add_finding(index, "wrong", update.wrong, next->audit.wrong);
  }

  /// The machine counts what passes, the VMM what it finds in guest memory later; the report shows the worse.
  void add_finding(u32 index, const char* what, u64& count, u64 found_by_vmm) {
    if (count != found_by_vmm)
      complain(index, std::string(what) + ": " + std::to_string(count) + " as the machine counts, " +
                          std::to_string(found_by_vmm) + " as the VMM finds");
    count = std::max(count, found_by_vmm);
  }

  void judge_updates() {
    for (std::size_t i = 0; i < x_report.updates.size(); ++i) {
      const UpdateReport& update = x_report.updates[i];
      auto must_be_none = [&](u64 count, const char* what) {
        if (count != 0) complain(i, std::to_string(count) + " " + what);
      };
      must_be_none(update.lost, "transfers of preserved devices were lost");
      must_be_none(update.repeated, "transfers of preserved devices were repeated");
      must_be_none(update.wrong, "transfers of preserved devices went wrong");
      must_be_none(update.faulted, "accesses of preserved devices faulted");
      must_be_none(update.bystander.transfers,
                   "transfers of the device that is not preserved got through after the cut-off");
      if (update.transfers.gap == 0) complain(i, "no transfer of a preserved device in the blackout");
    }
  }

  void judge_run() {
    if (x_report.updates.size() != x_options.updates)
      complain(std::to_string(x_report.updates.size()) + " of " + std::to_string(x_options.updates) +
               " updates were made");
    if (x_evidence.audit.wild_accesses != 0)
      complain(std::to_string(x_evidence.audit.wild_accesses) + " writes of devices to memory that nobody gave them");
    if (x_evidence.refused_writes != 0)
      complain(std::to_string(x_evidence.refused_writes) +
               " register writes of a kernel that was not in service any more");
    if (x_evidence.vmm_reports.empty()) return complain("the VMM reported nothing");
    judge_last_report(x_evidence.vmm_reports.back());
  }

  void judge_last_report(const vmm::Report& last) {
    switch (last.outcome) {
      case vmm::Outcome::Running: complain("the VMM did not come back after the last jump"); break;
      case vmm::Outcome::NothingCameBack:
        complain("the new kernel had nothing for the VMM: nothing was preserved");
        break;
      case vmm::Outcome::Failed:
        complain(std::string(last.step, ::strnlen(last.step, sizeof last.step)) + " failed with errno " +
                 std::to_string(last.error) + " (" + std::strerror(last.error) + ")");
        break;
      case vmm::Outcome::Finished: compare_with_machine(last); break;
    }
  }

  /// Engines are stopped: machine and VMM must have counted the same, and find the same in guest memory.
  void compare_with_machine(const vmm::Report& last) {
    for (u32 device = 0; device < std::min(last.devices, vmm::max_devices); ++device) {
      const std::string name = "device " + std::to_string(device);
      const u64 transfers = x_evidence.audit.counts[device].transfers;
      if (transfers != last.device_transfers[device])
        complain(name + " made " + std::to_string(transfers) + " transfers as the machine counts, " +
                 std::to_string(last.device_transfers[device]) + " as the VMM counts");
      if (x_evidence.audit.memory[device] != last.device_audit[device])
        complain(name + ": the machine finds " + audit_text(x_evidence.audit.memory[device]) +
                 " in guest memory, the VMM " + audit_text(last.device_audit[device]));
      if (x_evidence.audit.refused[device] != 0)
        complain(name + ": " + std::to_string(x_evidence.audit.refused[device]) +
                 " pages of guest memory are not translated in the end");
    }
  }

  void complain(std::string text) { x_report.complaints.push_back(std::move(text)); }
  void complain(std::size_t index, const std::string& text) {
    complain("update " + std::to_string(index + 1) + ": " + text);
  }

  const RunOptions& x_options;
  const RunEvidence& x_evidence;
  std::vector<UpdateMarks> x_marks;
  RunReport x_report;
};

}  // namespace

RunReport build_report(const RunOptions& options, const RunEvidence& evidence) {
  return Builder(options, evidence).build();
}

}  // namespace host

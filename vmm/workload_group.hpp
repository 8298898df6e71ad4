// The workloads of one generation, what they do together, and what they say of it.
//
// One that fails does not end the others at once: for_each() goes on with the rest and answers false.
#pragma once

#include <array>

#include "vmm/assignment.hpp"
#include "vmm/edu_workload.hpp"
#include "vmm/hda_workload.hpp"
#include "vmm/net_workload.hpp"
#include "vmm/nvme_workload.hpp"

namespace vmm {

class WorkloadGroup {
 public:
  using Status = Assignment::Status;

  WorkloadGroup(Syscalls& system, const WorkloadOptions& options, Console& console);

  [[nodiscard]] bool any(Status status) const;

  /// Calls @p body(assignment) for each that runs; those for which it is false have failed. True when none has.
  template <class Body>
  bool for_each(Body&& body);
  /// The same, without those that are not to be preserved.
  template <class Body>
  bool for_each_preserved(Body&& body);
  /// The same as for_each(), but they are lost: the others go on as if these were not there.
  template <class Body>
  void come_back(Body&& body);

  /// A bound device for whoever waits for such a one. True when it was kept.
  bool offer_device(const DeviceIdentity& identity, i32 fd, u32 id);
  void say_ready();
  void say_left();
  /// What devices did unobserved; all are counted before anything is printed, for printing takes time.
  void say_landed();
  void say_totals();

  bool poll_all();
  /// Polls until @p reached(assignment) for each that runs, and until @p settle_ns have passed. A device that is not
  /// there yet and makes no progress fails with @p step.
  template <class Reached>
  bool run_until(u64 settle_ns, const char* step, Reached&& reached);
  /// Until each has done numerator/denominator of the whole run.
  bool run_share(u64 numerator, u64 denominator, u64 settle_ns);
  /// Nothing new is begun, and what was under way is done.
  bool become_quiet();
  /// There was no jump after all.
  void resume();
  /// As often as the options say, polled in between.
  bool replace_all(i32 iommufd);

 private:
  /// A device that makes no progress for so long makes none any more.
  static constexpr u64 patience_ns = 10'000'000'000;
  /// One value for each assignment.
  using Counts = std::array<u64, workload_kinds>;
  struct Progress {
    u64 done = 0;
    u64 since_ns = 0;
  };

  static u32 index_of(Assignment& a) { return static_cast<u32>(a.workload().plan().kind); }
  void give_up(Assignment& a, Status status, std::string_view what);
  bool is_alive(Assignment& a, Progress& progress, const char* step);
  u64 now_ns() { return x_system.now_ns(); }

  Syscalls& x_system;
  const WorkloadOptions& x_options;
  Console& x_console;
  NetWorkload x_net;
  NvmeWorkload x_nvme;
  HdaWorkload x_hda;
  EduWorkload x_edu;
  std::array<Assignment, workload_kinds> x_assignments;
};

template <class Body>
bool WorkloadGroup::for_each(Body&& body) {
  bool all = true;
  for (Assignment& a : x_assignments) {
    if (!a.running() || body(a)) continue;
    give_up(a, Status::Failed, "failed");
    all = false;
  }
  return all;
}

template <class Body>
bool WorkloadGroup::for_each_preserved(Body&& body) {
  return for_each([&](Assignment& a) { return x_options.leaves(a.workload().plan().kind) || body(a); });
}

template <class Body>
void WorkloadGroup::come_back(Body&& body) {
  for (Assignment& a : x_assignments)
    if (a.running() && !body(a)) give_up(a, Status::Lost, "lost");
}

template <class Reached>
bool WorkloadGroup::run_until(u64 settle_ns, const char* step, Reached&& reached) {
  std::array<Progress, workload_kinds> progress{};
  const u64 start_ns = now_ns();
  for (Progress& p : progress) p.since_ns = start_ns;
  while (true) {
    if (!poll_all()) return false;
    bool all = now_ns() - start_ns >= settle_ns;
    const bool alive = for_each([&](Assignment& a) {
      if (reached(a)) return true;
      all = false;
      return is_alive(a, progress[index_of(a)], step);
    });
    if (!alive) return false;
    if (all) return true;
    x_system.pause();
  }
}

}  // namespace vmm

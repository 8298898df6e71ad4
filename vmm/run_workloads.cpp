#include "vmm/run_workloads.hpp"

#include <array>

#include "vmm/assignment.hpp"
#include "vmm/edu_workload.hpp"
#include "vmm/hda_workload.hpp"
#include "vmm/net_workload.hpp"
#include "vmm/nvme_workload.hpp"

namespace vmm {
namespace {

constexpr std::string_view workloads_session = "holdfast-workloads";
constexpr u64 states_token = 1;
constexpr u64 iommufd_token = 2;
constexpr u64 states_bytes = (workload_kinds + 1) * page_size_bytes;
/// A device that makes no progress for so long makes none any more.
constexpr u64 patience_ns = 5'000'000'000;

/// What the next generation must have been asked as well.
struct RunState {
  u64 magic = 0x31736e75726b6668;  // "hfkruns1"
  u32 generation = 0;              // that wrote it
  u32 kinds = 0;
  u32 lost = 0;  // of kinds
  u32 updates = 0;
  u64 frames = 0;
  u64 mapped_bytes = 0;
};

class Generation {
 public:
  Generation(Syscalls& system, const WorkloadOptions& options, Console& console)
      : x_calls(system),
        x_options(options),
        x_console(console),
        x_assignments{Assignment(system, x_net), Assignment(system, x_nvme), Assignment(system, x_hda),
                      Assignment(system, x_edu)} {}

  Outcome run() {
    for (Assignment& a : x_assignments)
      if (x_options.has(a.workload().plan().kind)) a.status = Assignment::Status::Running;
    Presence found = Presence::Present;
    const bool begun = x_options.generation == 0 ? build() : take_back(found);
    if (found == Presence::Absent) return Outcome::NothingCameBack;
    if (!begun) return fail();
    if (x_options.generation == x_options.updates || !x_updates_go_on) return finish();
    if (!run_until_update() || !start_update()) return fail();
    return Outcome::Failed;
  }

 private:
  // What one assignment says.

  void say(std::string_view what, Assignment& a, const char* step, i32 error) {
    x_console.line(
        Line(what).pair("workload", a.name()).pair("step", step).pair("errno", static_cast<u64>(error)).view());
  }
  void set_failed(Assignment& a) {
    a.status = Assignment::Status::Failed;
    say("failed", a, a.calls().step(), a.calls().error());
  }
  void set_lost(Assignment& a) {
    a.status = Assignment::Status::Lost;
    say("lost", a, a.calls().step(), a.calls().error());
  }
  /// Calls @p body(a) for each that runs; those for which it is false have failed. True when none has.
  template <class Body>
  bool for_each(Body&& body) {
    bool all = true;
    for (Assignment& a : x_assignments) {
      if (!a.running() || body(a)) continue;
      set_failed(a);
      all = false;
    }
    return all;
  }
  [[nodiscard]] bool any(Assignment::Status status) const {
    for (const Assignment& a : x_assignments)
      if (a.status == status) return true;
    return false;
  }

  // First generation.

  bool build() {
    if (!create_memory(x_calls, "holdfast-workload-states", states_bytes, x_states_fd)) return false;
    x_iommufd = static_cast<i32>(x_calls.system().open("/dev/iommu"));
    if (!x_calls.check(x_iommufd, "open of /dev/iommu") || !find_devices()) return false;
    if (!for_each([&](Assignment& a) { return a.build(x_iommufd, x_options); })) return false;
    for (Assignment& a : x_assignments)
      if (a.running())
        x_console.line(Line("ready").pair("workload", a.name()).pair("generation", x_options.generation).view());
    return true;
  }

  /// The first device of each kind, in the order of the kernel's device files.
  bool find_devices() {
    constexpr u32 most_devices = 20;
    for (u32 number = 0; number < most_devices; ++number) {
      Calls probe(x_calls.system());
      i32 fd = -1;
      if (!open_device(probe, number, fd)) {
        if (probe.error() == to_errno(Code::NotFound)) return true;
        continue;  // somebody else's, or blocked
      }
      if (!offer_device(probe, fd)) probe.system().close(fd);
    }
    return true;
  }

  /// True when somebody kept it. A device that cannot be bound or read is nobody's.
  bool offer_device(Calls& probe, i32 fd) {
    u32 id = 0;
    DeviceIdentity identity;
    if (!bind_device(probe, fd, x_iommufd, id) || !read_identity(probe, fd, identity)) return false;
    for (Assignment& a : x_assignments) {
      if (!a.running() || a.has_device() || !matches(a.workload().plan().match, identity)) continue;
      a.take_device(fd, id);
      return true;
    }
    return false;
  }

  // Later generations.

  bool take_back(Presence& found) {
    if (!retrieve_session(x_calls, workloads_session, x_session, found)) return false;
    if (found == Presence::Absent) return true;
    if (!retrieve_file(x_calls, x_session, states_token, x_states_fd, "retrieve of the states")) return false;
    if (!check_run_state()) return false;
    if (!retrieve_file(x_calls, x_session, iommufd_token, x_iommufd, "retrieve of the iommufd")) return false;
    come_back([&](Assignment& a) { return a.retrieve(x_session, x_iommufd, x_states_fd, x_options); });
    say_landed();
    come_back([&](Assignment& a) { return a.rebuild(x_iommufd, x_options); });
    if (!finish_or_leave() || !poll_all() || !replace_all()) return false;
    x_console.line(Line("finished-update").pair("generation", x_options.generation).view());
    return true;
  }

  /// As for_each(), but what does not succeed is lost.
  template <class Body>
  void come_back(Body&& body) {
    for (Assignment& a : x_assignments)
      if (a.running() && !body(a)) set_lost(a);
  }

  /// All are counted before anything is printed: printing takes time.
  void say_landed() {
    std::array<u64, workload_kinds> landed{};
    come_back(
        [&](Assignment& a) { return a.workload().count_landed(landed[static_cast<u32>(a.workload().plan().kind)]); });
    for (Assignment& a : x_assignments) {
      if (!a.running()) continue;
      Line line("back");
      line.pair("workload", a.name()).pair("generation", x_options.generation);
      x_console.line(line.pair("landed", landed[static_cast<u32>(a.workload().plan().kind)]).view());
    }
  }

  /// A session of which something was lost is not finished: that would need what is blocked. It stays as it is, and no
  /// further update is made.
  bool finish_or_leave() {
    if (!any(Assignment::Status::Lost)) return finish_session(x_calls, x_session);
    Calls attempt(x_calls.system());
    if (!finish_session(attempt, x_session)) {
      x_updates_go_on = false;
      x_console.line(Line("unfinished").pair("errno", static_cast<u64>(attempt.error())).view());
    }
    return true;
  }

  bool check_run_state() {
    RunState state;
    if (!MemoryFile(x_calls, x_states_fd).read(0, state)) return false;
    const bool same = state.magic == RunState{}.magic && state.generation + 1 == x_options.generation &&
                      state.kinds == x_options.kinds && state.updates == x_options.updates &&
                      state.frames == x_options.frames && state.mapped_bytes == x_options.mapped_bytes &&
                      (state.lost & ~state.kinds) == 0;
    if (!x_calls.check(same ? 0 : -to_errno(Code::Corrupt), "comparison of the run's state with its options"))
      return false;
    for (Assignment& a : x_assignments)
      if ((state.lost & bit_of(a.workload().plan().kind)) != 0) a.status = Assignment::Status::Lost;
    return true;
  }

  // While devices run.

  bool poll_all() {
    return for_each([](Assignment& a) { return a.workload().poll(); });
  }

  /// Polls until @p reached(a) for each that runs, and until @p settle_ns have passed. A device that is not there yet
  /// and makes no progress fails.
  template <class Reached>
  bool run_until(u64 settle_ns, const char* step, Reached&& reached) {
    struct Progress {
      u64 done = 0;
      u64 since_ns = 0;
    };
    std::array<Progress, workload_kinds> progress{};
    const u64 start_ns = now_ns();
    for (Progress& p : progress) p.since_ns = start_ns;
    while (true) {
      if (!poll_all()) return false;
      const u64 now = now_ns();
      bool all = now - start_ns >= settle_ns;
      const bool alive = for_each([&](Assignment& a) {
        if (reached(a)) return true;
        all = false;
        Progress& p = progress[static_cast<u32>(a.workload().plan().kind)];
        if (p.done != a.workload().done()) p = {a.workload().done(), now};
        return now - p.since_ns < patience_ns || a.calls().check(-to_errno(Code::TimedOut), step);
      });
      if (!alive) return false;
      if (all) return true;
      x_calls.system().pause();
    }
  }

  /// Each has done its share of the whole run.
  bool run_share(u64 settle_ns) {
    return run_until(settle_ns, "wait for a device that makes no progress", [&](Assignment& a) {
      return a.workload().done() >=
             a.workload().goal() * (u64{x_options.generation} + 1) / (u64{x_options.updates} + 1);
    });
  }
  bool become_quiet() {
    for (Assignment& a : x_assignments)
      if (a.running()) a.workload().hold();
    return run_until(0, "wait for what is under way", [](Assignment& a) { return a.workload().quiet(); });
  }

  bool replace_all() {
    if (x_options.replace == 0) return true;
    std::array<u64, workload_kinds> spent_ns{};
    for (u32 n = 0; n < x_options.replace; ++n) {
      const bool replaced = for_each([&](Assignment& a) {
        const u64 start_ns = now_ns();
        const bool ok = a.replace(x_iommufd);
        spent_ns[static_cast<u32>(a.workload().plan().kind)] += now_ns() - start_ns;
        return ok;
      });
      if (!replaced || !poll_all()) return false;
    }
    for (Assignment& a : x_assignments) {
      if (!a.running()) continue;
      Line line("replaced");
      line.pair("workload", a.name()).pair("count", x_options.replace);
      x_console.line(line.pair("ns", spent_ns[static_cast<u32>(a.workload().plan().kind)]).view());
    }
    return true;
  }

  // The jump.

  bool run_until_update() { return run_share(x_options.settle_ns) && become_quiet(); }

  /// Returns only when it failed.
  bool start_update() {
    if (!preserve()) return false;
    const bool launched = for_each([&](Assignment& a) { return a.workload().launch() && a.save_state(x_states_fd); });
    if (!launched || !save_run_state()) return false;
    return x_calls.check(x_calls.system().reboot_kexec(), "reboot");
  }

  /// Memory before the page tables that map it, those before the devices attached through them.
  bool preserve() {
    if (!for_each([&](Assignment& a) { return a.mark(x_iommufd); })) return false;
    if (!create_session(x_calls, workloads_session, x_session)) return false;
    if (!preserve_file(x_calls, x_session, x_states_fd, states_token, "preserve of the states")) return false;
    if (!for_each([&](Assignment& a) { return a.preserve_memory(x_session); })) return false;
    if (!preserve_file(x_calls, x_session, x_iommufd, iommufd_token, "preserve of the iommufd")) return false;
    return for_each([&](Assignment& a) { return a.preserve_device(x_session); });
  }

  bool save_run_state() {
    RunState state;
    state.generation = x_options.generation;
    state.kinds = x_options.kinds;
    state.updates = x_options.updates;
    state.frames = x_options.frames;
    state.mapped_bytes = x_options.mapped_bytes;
    for (Assignment& a : x_assignments)
      if (a.status == Assignment::Status::Lost) state.lost |= bit_of(a.workload().plan().kind);
    return MemoryFile(x_calls, x_states_fd).write(0, state);
  }

  // The end.

  Outcome finish() {
    const bool replaces_now = x_options.updates == 0 && x_options.replace != 0;
    if (replaces_now && (!run_half() || !replace_all())) return fail();
    if (!run_whole() || !become_quiet()) return fail();
    if (!for_each([](Assignment& a) { return a.workload().stop(); })) return fail();
    say_totals();
    const bool sound = for_each([](Assignment& a) {
      const bool is_sound = a.workload().sound();
      return a.calls().check(is_sound ? 0 : -to_errno(Code::Mismatch), "comparison of the totals");
    });
    return sound ? Outcome::Finished : Outcome::Failed;
  }

  bool run_half() {
    return run_until(0, "wait for a device that makes no progress",
                     [](Assignment& a) { return a.workload().done() >= a.workload().goal() / 2; });
  }
  bool run_whole() {
    return run_until(x_options.settle_ns, "wait for a device that makes no progress",
                     [](Assignment& a) { return a.workload().done() >= a.workload().goal(); });
  }

  void say_totals() {
    for (Assignment& a : x_assignments) {
      if (!a.running() && a.status != Assignment::Status::Failed) continue;
      Line line("total");
      line.pair("workload", a.name());
      a.workload().describe(line);
      x_console.line(line.view());
    }
  }

  Outcome fail() {
    if (x_calls.failed())
      x_console.line(
          Line("failed").pair("step", x_calls.step()).pair("errno", static_cast<u64>(x_calls.error())).view());
    say_totals();
    return Outcome::Failed;
  }

  u64 now_ns() { return x_calls.system().now_ns(); }

  Calls x_calls;
  const WorkloadOptions& x_options;
  Console& x_console;
  NetWorkload x_net;
  NvmeWorkload x_nvme;
  HdaWorkload x_hda;
  EduWorkload x_edu;
  std::array<Assignment, workload_kinds> x_assignments;
  i32 x_states_fd = -1;
  i32 x_iommufd = -1;
  i32 x_session = -1;
  bool x_updates_go_on = true;
};

}  // namespace

Outcome run_workloads(Syscalls& system, const WorkloadOptions& options, Console& console) {
  return Generation(system, options, console).run();
}

}  // namespace vmm

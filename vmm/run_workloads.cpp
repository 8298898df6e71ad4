#include "vmm/run_workloads.hpp"

#include "vmm/workload_group.hpp"

namespace vmm {
namespace {

constexpr std::string_view workloads_session = "holdfast-workloads";
constexpr u64 states_token = 1;
constexpr u64 iommufd_token = 2;
constexpr u64 states_bytes = (workload_kinds + 1) * page_size_bytes;

/// What the next generation must have been asked as well. First in the file of states.
struct RunState {
  u64 magic = 0x31736e75726b6668;  // "hfkruns1"
  u32 generation = 0;              // that wrote it
  u32 kinds = 0;
  u32 updates = 0;
  u32 left = 0;
  u64 frames = 0;
  u64 mapped_bytes = 0;
};

class Generation {
 public:
  Generation(Syscalls& system, const WorkloadOptions& options, Console& console)
      : x_calls(system), x_options(options), x_console(console), x_group(system, options, console) {}

  Outcome run() {
    Presence found = Presence::Present;
    const bool begun = x_options.generation == 0 ? build() : take_back(found);
    if (begun && found == Presence::Absent) return Outcome::NothingCameBack;
    if (!begun) return fail();
    return x_options.generation == x_options.updates || !x_updates_go_on ? finish() : update();
  }

 private:
  // First generation.

  bool build() {
    if (!create_memory(x_calls, "holdfast-workload-states", states_bytes, x_states_fd)) return false;
    x_iommufd = static_cast<i32>(x_calls.system().open("/dev/iommu"));
    if (!x_calls.check(x_iommufd, "open of /dev/iommu")) return false;
    find_devices();
    if (!x_group.for_each([&](Assignment& a) { return a.build(x_iommufd, x_options); })) return false;
    x_group.say_ready();
    return true;
  }

  /// The first device of each kind, in the order of the kernel's device files. One that cannot be opened, bound or read
  /// is somebody else's, or blocked.
  void find_devices() {
    constexpr u32 most_devices = 20;
    for (u32 number = 0; number < most_devices; ++number) {
      Calls probe(x_calls.system());
      i32 fd = -1;
      u32 id = 0;
      DeviceIdentity identity;
      if (!open_device(probe, number, fd)) {
        if (probe.error() == to_errno(Code::NotFound)) return;
        continue;
      }
      const bool is_known = bind_device(probe, fd, x_iommufd, id) && read_identity(probe, fd, identity);
      if (!is_known || !x_group.offer_device(identity, fd, id)) probe.system().close(fd);
    }
  }

  // Later generations.

  bool take_back(Presence& found) {
    if (!retrieve_session(x_calls, workloads_session, x_session, found)) return false;
    if (found == Presence::Absent) return true;
    if (!retrieve_file(x_calls, x_session, states_token, x_states_fd, "retrieve of the states")) return false;
    if (!check_run_state()) return false;
    if (!retrieve_file(x_calls, x_session, iommufd_token, x_iommufd, "retrieve of the iommufd")) return false;
    x_group.come_back([&](Assignment& a) { return a.retrieve(x_session, x_iommufd, x_states_fd, x_options); });
    x_group.say_landed();
    x_group.say_left();
    x_group.come_back([&](Assignment& a) { return a.rebuild(x_iommufd, x_options); });
    if (!finish_or_leave() || !x_group.poll_all() || !x_group.replace_all(x_iommufd)) return false;
    if (x_updates_go_on) x_console.line(Line("finished-update").pair("generation", x_options.generation).view());
    return true;
  }

  /// A session of which something was lost cannot be finished: that would need what is blocked. It stays as it is, and
  /// no further update is made.
  bool finish_or_leave() {
    if (!x_group.any(Assignment::Status::Lost)) return finish_session(x_calls, x_session);
    x_updates_go_on = false;
    Calls attempt(x_calls.system());
    if (!finish_session(attempt, x_session))
      x_console.line(Line("unfinished").pair("errno", static_cast<u64>(attempt.error())).view());
    return true;
  }

  bool check_run_state() {
    RunState state;
    if (!MemoryFile(x_calls, x_states_fd).read(0, state)) return false;
    const bool same = state.magic == RunState{}.magic && state.generation + 1 == x_options.generation &&
                      state.kinds == x_options.kinds && state.left == x_options.left &&
                      state.updates == x_options.updates && state.frames == x_options.frames &&
                      state.mapped_bytes == x_options.mapped_bytes;
    return x_calls.check(same ? 0 : -to_errno(Code::Corrupt), "comparison of the run's state with its options");
  }

  bool save_run_state() {
    RunState state;
    state.generation = x_options.generation;
    state.kinds = x_options.kinds;
    state.left = x_options.left;
    state.updates = x_options.updates;
    state.frames = x_options.frames;
    state.mapped_bytes = x_options.mapped_bytes;
    return MemoryFile(x_calls, x_states_fd).write(0, state);
  }

  // The jump.

  /// Returns only when there was no jump.
  Outcome update() {
    const bool ready =
        x_group.run_share(u64{x_options.generation} + 1, u64{x_options.updates} + 1, x_options.settle_ns) &&
        x_group.become_quiet() && preserve();
    if (!ready || !launch()) return fail();
    return go_on(x_calls.system().reboot_kexec());
  }

  /// The kernel @p refused to be updated. What was preserved for that is given back: the session ends unused.
  Outcome go_on(i64 refused) {
    Line line("refused");
    line.pair("generation", x_options.generation).pair("errno", static_cast<u64>(-refused));
    x_console.line(line.view());
    if (!x_calls.check(x_calls.system().close(x_session), "close of the session")) return fail();
    x_group.resume();
    return finish();
  }

  /// Memory before the page tables that map it, those before the devices attached through them.
  bool preserve() {
    if (!x_group.for_each_preserved([&](Assignment& a) { return a.mark(x_iommufd); })) return false;
    if (!create_session(x_calls, workloads_session, x_session)) return false;
    if (!preserve_file(x_calls, x_session, x_states_fd, states_token, "preserve of the states")) return false;
    if (!x_group.for_each_preserved([&](Assignment& a) { return a.preserve_memory(x_session); })) return false;
    if (!preserve_file(x_calls, x_session, x_iommufd, iommufd_token, "preserve of the iommufd")) return false;
    return x_group.for_each_preserved([&](Assignment& a) { return a.preserve_device(x_session); });
  }

  bool launch() {
    return x_group.for_each([](Assignment& a) { return a.workload().launch(); }) &&
           x_group.for_each_preserved([&](Assignment& a) { return a.save_state(x_states_fd); }) && save_run_state();
  }

  // The end.

  Outcome finish() {
    // Without an update page tables are replaced in the middle of the run.
    const bool replaces_now = x_options.updates == 0 && x_options.replace != 0;
    if (replaces_now && (!x_group.run_share(1, 2, 0) || !x_group.replace_all(x_iommufd))) return fail();
    if (!x_group.run_share(1, 1, x_options.settle_ns) || !x_group.become_quiet()) return fail();
    if (!x_group.for_each([](Assignment& a) { return a.workload().stop(); })) return fail();
    x_group.say_totals();
    const bool sound = x_group.for_each([](Assignment& a) {
      const bool is_sound = a.workload().sound();
      return a.calls().check(is_sound ? 0 : -to_errno(Code::Mismatch), "comparison of the totals");
    });
    return sound ? Outcome::Finished : Outcome::Failed;
  }

  Outcome fail() {
    if (x_calls.failed()) {
      Line line("failed");
      line.pair("step", x_calls.step());
      x_console.line(line.pair("errno", static_cast<u64>(x_calls.error())).view());
    }
    x_group.say_totals();
    return Outcome::Failed;
  }

  Calls x_calls;
  const WorkloadOptions& x_options;
  Console& x_console;
  WorkloadGroup x_group;
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

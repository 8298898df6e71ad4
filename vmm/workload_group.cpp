#include "vmm/workload_group.hpp"

namespace vmm {

WorkloadGroup::WorkloadGroup(Syscalls& system, const WorkloadOptions& options, Console& console)
    : x_system(system),
      x_options(options),
      x_console(console),
      x_assignments{Assignment(system, x_net), Assignment(system, x_nvme), Assignment(system, x_hda),
                    Assignment(system, x_edu)} {
  for (Assignment& a : x_assignments) {
    const WorkloadKind kind = a.workload().plan().kind;
    if (!options.has(kind)) continue;
    a.status = options.generation != 0 && options.leaves(kind) ? Status::Left : Status::Running;
  }
}

bool WorkloadGroup::any(Status status) const {
  for (const Assignment& a : x_assignments)
    if (a.status == status) return true;
  return false;
}

void WorkloadGroup::give_up(Assignment& a, Status status, std::string_view what) {
  a.status = status;
  Line line(what);
  line.pair("workload", a.name()).pair("step", a.calls().step());
  x_console.line(line.pair("errno", static_cast<u64>(a.calls().error())).view());
}

bool WorkloadGroup::offer_device(const DeviceIdentity& identity, i32 fd, u32 id) {
  for (Assignment& a : x_assignments) {
    if (!a.running() || a.has_device() || !matches(a.workload().plan().match, identity)) continue;
    a.take_device(fd, id);
    return true;
  }
  return false;
}

void WorkloadGroup::say_ready() {
  for (Assignment& a : x_assignments)
    if (a.running())
      x_console.line(Line("ready").pair("workload", a.name()).pair("generation", x_options.generation).view());
}

void WorkloadGroup::say_left() {
  for (Assignment& a : x_assignments)
    if (a.status == Status::Left) x_console.line(Line("left").pair("workload", a.name()).view());
}

void WorkloadGroup::say_landed() {
  std::array<Landed, workload_kinds> landed{};
  come_back([&](Assignment& a) { return a.workload().count_landed(landed[index_of(a)]); });
  for (Assignment& a : x_assignments) {
    if (!a.running()) continue;
    Line line("back");
    const Landed& its = landed[index_of(a)];
    line.pair("workload", a.name()).pair("generation", x_options.generation);
    if (its.first) line.pair("first", *its.first);
    x_console.line(line.pair("landed", its.count).view());
  }
}

void WorkloadGroup::say_totals() {
  for (Assignment& a : x_assignments) {
    if (!a.running() && a.status != Status::Failed) continue;
    Line line("total");
    line.pair("workload", a.name());
    a.workload().describe(line);
    x_console.line(line.view());
  }
}

bool WorkloadGroup::poll_all() {
  return for_each([](Assignment& a) { return a.workload().poll(); });
}

bool WorkloadGroup::is_alive(Assignment& a, Progress& progress, const char* step) {
  const u64 now = now_ns();
  if (progress.done != a.workload().done()) progress = {.done = a.workload().done(), .since_ns = now};
  return now - progress.since_ns < patience_ns || a.calls().check(-to_errno(Code::TimedOut), step);
}

bool WorkloadGroup::run_share(u64 numerator, u64 denominator, u64 settle_ns) {
  return run_until(settle_ns, "wait for a device that makes no progress",
                   [=](Assignment& a) { return a.workload().done() >= a.workload().goal() * numerator / denominator; });
}

bool WorkloadGroup::become_quiet() {
  for (Assignment& a : x_assignments)
    if (a.running()) a.workload().hold();
  return run_until(0, "wait for what is under way", [](Assignment& a) { return a.workload().quiet(); });
}

void WorkloadGroup::resume() {
  for (Assignment& a : x_assignments)
    if (a.running()) a.workload().resume();
}

bool WorkloadGroup::replace_all(i32 iommufd) {
  if (x_options.replace == 0) return true;
  Counts spent_ns{};
  for (u32 n = 0; n < x_options.replace; ++n) {
    const bool replaced = for_each([&](Assignment& a) {
      const u64 start_ns = now_ns();
      const bool ok = a.replace(iommufd);
      spent_ns[index_of(a)] += now_ns() - start_ns;
      return ok;
    });
    if (!replaced || !poll_all()) return false;
  }
  for (Assignment& a : x_assignments) {
    if (!a.running()) continue;
    Line line("replaced");
    line.pair("workload", a.name()).pair("count", x_options.replace);
    x_console.line(line.pair("ns", spent_ns[index_of(a)]).view());
  }
  return true;
}

}  // namespace vmm

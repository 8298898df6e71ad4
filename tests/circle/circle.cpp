#include "tests/circle/circle.hpp"

#include "host/report_collector.hpp"
#include "uapi/holdfast/holdfast.h"

namespace circle {
namespace {

u64 stale_uses(const sim::Machine& machine) {
  u64 sum = 0;
  for (std::size_t i = 0; i < machine.unit_count(); ++i) sum += machine.unit(i).stats().stale;
  return sum;
}

}  // namespace

void WatchedSyscalls::pause() {
  const u64 before = stale_uses(x_machine);
  LocalSyscalls::pause();
  EXPECT_EQ(stale_uses(x_machine), before) << "an invalidation is missing";
}

i64 WatchedSyscalls::ioctl(i32 fd, u32 command, void* argument) {
  if (command == LIVEUPDATE_SESSION_FINISH && steps_before_finish == 0) steps_before_finish = x_world.steps();
  return LocalSyscalls::ioctl(fd, command, argument);
}

sim::MachineConfig machine_config(const Scene& scene) {
  sim::MachineConfig config;
  config.ram_bytes = scene.ram_bytes;
  config.units = 2;
  config.caches = scene.caches;
  config.stages = scene.stages;
  config.reports_rid_pasid = scene.reports_rid_pasid;
  config.deepest_levels = scene.levels;
  config.count_stale_uses = scene.stale == StaleUses::Counted;
  config.devices.resize(preserved_devices + (scene.has_own_device ? 2 : 1));
  config.devices[0].device = 3;
  config.devices[1].bus = 1;  // behind a root port, and another unit
  config.devices[1].unit = 1;
  config.devices[bystander].bus = 2;
  if (scene.has_own_device) config.devices[own_device].bus = 3;  // the last one that a bus walk meets
  return config;
}

std::string command_line(const Scene& scene) {
  return "mode=" + scene.mode + " tables=" + scene.tables + " rid_pasid=" + std::to_string(scene.rid_pasid) +
         (scene.stage.empty() ? "" : " stage=" + scene.stage) + (scene.rps.empty() ? "" : " rps=" + scene.rps);
}

vmm::Options vmm_options(const Scene& scene) {
  vmm::Options options;
  options.devices = preserved_devices;
  options.domains = scene.domains;
  options.leaves = scene.leaves;
  options.mapped_bytes = scene.mapped_bytes;
  options.file_bytes = scene.file_bytes;
  options.updates = scene.updates;
  options.settle_transfers = scene.settle_transfers;
  return options;
}

Circle::Circle(const Scene& scene, sim::ModelPace pace)
    : session(machine_config(scene), command_line(scene), pace), vmm(vmm_options(scene)) {
  reports.reserve(64);
}

host::Generation Circle::generation(sim::GenerationPlan plan) {
  host::ReportCollector collector(reports);
  host::Generation generation = session.run(
      [&](host::ModelSession::Context& context) {
        WatchedSyscalls system(context);
        vmm::run_generation(system, vmm, collector);
        steps_before_finish = system.steps_before_finish;
      },
      std::move(plan));
  if (generation.jumped()) {
    ++vmm.generation;
    --vmm.updates;
  }
  return generation;
}

void Circle::run_to_the_end() {
  while (true) {
    const host::Generation ended = generation();
    if (ended.jumped()) continue;
    ASSERT_TRUE(ended.returned()) << ended.text();
    ASSERT_EQ(ended.boot, Code::Ok) << ended.text();
    ASSERT_FALSE(reports.empty());
    ASSERT_EQ(reports.back().outcome, vmm::Outcome::Finished)
        << reports.back().step << ": errno " << reports.back().error << "\n"
        << ended.text();
    return;
  }
}

void expect_clean(Circle& circle) {
  sim::Machine& machine = circle.session.machine();
  ASSERT_FALSE(circle.reports.empty());
  const vmm::Report& last = circle.reports.back();
  for (u32 i = 0; i < preserved_devices; ++i) {
    SCOPED_TRACE("device " + std::to_string(i));
    const sim::EngineCounters counters = machine.counters(i);
    EXPECT_EQ(counters.lost, 0u);
    EXPECT_EQ(counters.repeated, 0u);
    EXPECT_EQ(counters.wrong, 0u);
    EXPECT_EQ(counters.faulted, 0u);
    // Machine and VMM look at the same memory on different ways, and agree.
    const sim::AuditResult audit = machine.audit(i);
    EXPECT_TRUE(audit.clean()) << audit.lost << " lost " << audit.repeated << " repeated " << audit.wrong << " wrong "
                               << audit.refused << " refused";
    EXPECT_EQ(last.device_audit[i], vmm::Audit{});
    EXPECT_EQ(last.device_transfers[i], counters.transfers);
  }
  EXPECT_EQ(machine.wild(), 0u);
  for (std::size_t i = 0; i < machine.unit_count(); ++i) {
    EXPECT_EQ(machine.unit(i).stats().misuses, 0u);
    EXPECT_EQ(machine.unit(i).stats().queue_errors, 0u);
  }
}

}  // namespace circle

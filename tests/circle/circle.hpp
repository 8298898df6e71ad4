// The scene of the circle tests: two units; two preserved devices that share a domain and one device that nobody
// preserves; the VMM of vmm/ on top. Where a scene says so, also one that the kernel's own driver has. Small enough to
// be run hundreds of times.
#pragma once

#include <gtest/gtest.h>

#include "host/local_syscalls.hpp"
#include "host/model/model_session.hpp"
#include "vmm/vmm.hpp"

namespace circle {

using namespace holdfast;  // NOLINT

/// Counting walks afresh at every cache hit, which takes most of a run's time.
enum class StaleUses : u8 { Counted, Ignored };

struct Scene {
  std::string mode = "scalable";
  std::string tables = "arena";
  std::string stage;  // of the command line; empty: not said
  sim::Stages stages = sim::Stages::Second;
  u8 levels = 4;
  u32 rid_pasid = 0;
  bool reports_rid_pasid = true;  // of the units
  std::string rps;                // of the command line; empty: not said
  sim::CacheModel caches = sim::CacheModel::Hoarding;
  u64 ram_bytes = u64{32} << 20;
  u64 file_bytes = u64{256} << 10;
  u64 mapped_bytes = u64{1} << 20;
  vmm::DomainLayout domains = vmm::DomainLayout::Shared;
  vmm::LeafChoice leaves = vmm::LeafChoice::Only4K;
  u32 updates = 2;
  u64 settle_transfers = 64;
  StaleUses stale = StaleUses::Counted;
  bool has_own_device = false;
};

inline constexpr u32 preserved_devices = 2;
inline constexpr u32 bystander = preserved_devices;
inline constexpr u32 own_device = bystander + 1;  // no VMM opens it

[[nodiscard]] sim::MachineConfig machine_config(const Scene& scene);
[[nodiscard]] std::string command_line(const Scene& scene);
[[nodiscard]] vmm::Options vmm_options(const Scene& scene);

/// While the VMM only waits, the kernel changes nothing, so every use of a cached translation that a fresh walk
/// contradicts is the trace of an invalidation that is missing. (During a change such uses are the hardware's right.)
class WatchedSyscalls : public host::LocalSyscalls {
 public:
  explicit WatchedSyscalls(host::ModelSession::Context& context)
      : LocalSyscalls(context.world, context.process), x_world(context.world), x_machine(context.machine.machine()) {}
  void pause() override;
  i64 ioctl(i32 fd, u32 command, void* argument) override;
  /// Step hooks of this generation before the first LIVEUPDATE_SESSION_FINISH; 0 when it was not called.
  u64 steps_before_finish = 0;

 private:
  sim::ModelWorld& x_world;
  sim::Machine& x_machine;
};

/// Runs the VMM generation after generation until it ends.
class Circle {
 public:
  explicit Circle(const Scene& scene, sim::ModelPace pace = {});

  /// One generation of the VMM under the next kernel.
  host::Generation generation(sim::GenerationPlan plan = {});
  /// All that are left. The last one's report is in reports.back().
  void run_to_the_end();

  host::ModelSession session;
  vmm::Options vmm;
  u64 steps_before_finish = 0;  // of the last generation, see WatchedSyscalls
  std::vector<vmm::Report> reports;
};

/// Nothing lost, repeated, wrong or faulted by the preserved devices; no wild write; no use of the units against the
/// manual.
void expect_clean(Circle& circle);

}  // namespace circle

// The scene of the circle tests: two units; two preserved devices that share a domain and one device that nobody
// preserves; the VMM of vmm/ on top. Small enough to be run hundreds of times.
#pragma once

#include <gtest/gtest.h>

#include "host/local_syscalls.hpp"
#include "host/model/model_session.hpp"
#include "vmm/vmm.hpp"

namespace circle {

using namespace holdfast;  // NOLINT

struct Scene {
  std::string mode = "scalable";
  std::string tables = "arena";
  sim::CacheModel caches = sim::CacheModel::Hoarding;
  u64 ram_bytes = u64{32} << 20;
  u64 file_bytes = u64{256} << 10;
  u64 mapped_bytes = u64{1} << 20;
  vmm::DomainLayout domains = vmm::DomainLayout::Shared;
  vmm::LeafChoice leaves = vmm::LeafChoice::Only4K;
  u32 updates = 2;
  u64 settle_transfers = 64;
};

inline constexpr u32 preserved_devices = 2;
inline constexpr u32 bystander = preserved_devices;

[[nodiscard]] sim::MachineConfig machine_config(const Scene& scene);
[[nodiscard]] std::string command_line(const Scene& scene);
[[nodiscard]] vmm::Options vmm_options(const Scene& scene);

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
  std::vector<vmm::Report> reports;
};

/// Nothing lost, repeated, wrong or faulted by the preserved devices; no wild write; no use of a stale translation.
void expect_clean(Circle& circle);

}  // namespace circle

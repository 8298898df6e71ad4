// A workload's assignment: its device file, its memory files, its address space and page table, and how all of them are
// built, preserved, taken back and replaced. Several share one iommufd and one session.
//
// Each has Calls of its own: what fails for one does not end the others.
#pragma once

#include "vmm/session_calls.hpp"
#include "vmm/workload.hpp"

namespace vmm {

class Assignment {
 public:
  enum class Status : u32 {
    Unused,
    Running,
    Left,    // was not to be preserved: its device is blocked
    Lost,    // did not come through the update: its device is blocked, the others go on
    Failed,  // of itself
  };

  Assignment(Syscalls& system, Workload& workload) : x_calls(system), x_workload(workload) {}

  [[nodiscard]] Workload& workload() { return x_workload; }
  [[nodiscard]] Calls& calls() { return x_calls; }
  [[nodiscard]] std::string_view name() const { return name_of(x_workload.plan().kind); }
  [[nodiscard]] bool running() const { return status == Status::Running; }
  [[nodiscard]] bool has_device() const { return x_device_fd >= 0; }

  /// Keeps a bound device that matches the workload's plan.
  void take_device(i32 device_fd, u32 device_id);
  /// First generation, after take_device(): files, address space, page table, attached, started.
  bool build(i32 iommufd, const WorkloadOptions& options);

  // Before the jump, in this order.
  bool mark(i32 iommufd);
  bool preserve_memory(i32 session);
  bool preserve_device(i32 session);
  bool save_state(i32 states_fd);

  // After it, in this order.
  bool retrieve(i32 session, i32 iommufd, i32 states_fd, const WorkloadOptions& options);
  /// A new address space and page table while the old one translates; compared; swapped in under the running device.
  bool rebuild(i32 iommufd, const WorkloadOptions& options);

  /// Another page table over the same address space, swapped in under the running device.
  bool replace(i32 iommufd);

  Status status = Status::Unused;

 private:
  void assign(const WorkloadOptions& options);
  bool can_reach(i32 iommufd);
  bool build_address_space(i32 iommufd, const WorkloadOptions& options);
  [[nodiscard]] u64 token(u64 group, u64 index) const;
  [[nodiscard]] u64 state_offset() const;

  Calls x_calls;
  Workload& x_workload;
  i32 x_device_fd = -1;
  i32 x_file_fds[workload_files]{-1, -1};
  u32 x_device_id = 0;
  u32 x_ioas_id = 0;
  u32 x_hwpt_id = 0;
};

/// What configuration space of a bound device says.
bool read_identity(Calls& calls, i32 device_fd, DeviceIdentity& identity);

}  // namespace vmm

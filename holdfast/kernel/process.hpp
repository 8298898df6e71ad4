// Process: one user process: its descriptors, its memory, and the system calls it makes.
//
// Every call answers like Linux's: a value >= 0 or a negative errno. Calls of all processes are served one at a time,
// under the kernel's mutex (LockRank::Kernel). User memory is touched only through UserMemory.
#pragma once

#include <string_view>

#include "holdfast/base/list.hpp"
#include "holdfast/kernel/descriptors.hpp"

namespace holdfast::kernel {

class Kernel;

class Process {
 public:
  Process(Kernel& kernel, UserMemory& user);
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  /// @p path: "/dev/iommu", "/dev/liveupdate", "/dev/vfio/devices/vfio<n>".
  i64 open(std::string_view path);
  i64 close(i32 fd);
  i64 ioctl(i32 fd, u32 command, u64 argument);
  i64 pread(i32 fd, u64 to, u64 length, u64 offset);
  i64 pwrite(i32 fd, u64 from, u64 length, u64 offset);
  i64 mmap(i32 fd, u64 length, u32 protection, u64 offset);
  /// The name is for people only, as on Linux, and is not kept.
  i64 memfd_create(std::string_view name);
  i64 ftruncate(i32 fd, u64 size_bytes);
  /// fcntl(F_ADD_SEALS).
  i64 add_seals(i32 fd, u32 seals);
  /// reboot(LINUX_REBOOT_CMD_KEXEC): returns only when the live update was refused or the jump failed.
  i64 reboot_kexec();
  /// Closes everything. The Kernel frees the object (Kernel::reap).
  void exit();
  /// Over its descriptors and what the files behind them say of themselves: areas, page tables, marks, attachments,
  /// sizes, seals.
  [[nodiscard]] u64 state_hash() const;

 private:
  friend class Kernel;
  template <class Operation>
  i64 with_file(i32 fd, Operation&& operation);

  Kernel& x_kernel;
  UserMemory& x_user;
  Descriptors x_descriptors;
  ListHook x_kernel_link;
};

}  // namespace holdfast::kernel

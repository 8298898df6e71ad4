// The user boundary as a guest-side program sees it: system calls by their Linux names, nothing of the kernel behind
// them.
//
// Every call answers like Linux's: a value >= 0, or a negative errno. Implemented over a kernel::Process (host/), and
// later over a real system. Threads: one caller at a time.
#pragma once

#include "holdfast/base/types.hpp"

namespace vmm {

using namespace holdfast;

class Syscalls {
 public:
  virtual i64 open(const char* path) = 0;
  virtual i64 close(i32 fd) = 0;
  virtual i64 ioctl(i32 fd, u32 command, void* argument) = 0;
  virtual i64 pread(i32 fd, void* to, u64 length, u64 offset) = 0;
  virtual i64 pwrite(i32 fd, const void* from, u64 length, u64 offset) = 0;
  virtual i64 memfd_create(const char* name) = 0;
  virtual i64 ftruncate(i32 fd, u64 size_bytes) = 0;
  virtual i64 add_seals(i32 fd, u32 seals) = 0;
  /// reboot(LINUX_REBOOT_CMD_KEXEC): returns only on failure.
  virtual i64 reboot_kexec() = 0;
  virtual u64 now_ns() = 0;
  /// Lets the machine run on for a moment.
  virtual void pause() = 0;

 protected:
  ~Syscalls() = default;
};

}  // namespace vmm

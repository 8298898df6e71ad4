// The VMM's system calls, served by a kernel::Process in the same program.
#pragma once

#include "holdfast/base/world.hpp"
#include "holdfast/kernel/process.hpp"
#include "vmm/syscalls.hpp"

namespace host {

class LocalSyscalls : public vmm::Syscalls {
 public:
  LocalSyscalls(holdfast::World& world, holdfast::kernel::Process& process) : x_world(world), x_process(process) {}

  vmm::i64 open(const char* path) override { return x_process.open(path); }
  vmm::i64 close(vmm::i32 fd) override { return x_process.close(fd); }
  vmm::i64 ioctl(vmm::i32 fd, vmm::u32 command, void* argument) override {
    return x_process.ioctl(fd, command, reinterpret_cast<vmm::u64>(argument));
  }
  vmm::i64 pread(vmm::i32 fd, void* to, vmm::u64 length, vmm::u64 offset) override {
    return x_process.pread(fd, reinterpret_cast<vmm::u64>(to), length, offset);
  }
  vmm::i64 pwrite(vmm::i32 fd, const void* from, vmm::u64 length, vmm::u64 offset) override {
    return x_process.pwrite(fd, reinterpret_cast<vmm::u64>(from), length, offset);
  }
  vmm::i64 memfd_create(const char* name) override { return x_process.memfd_create(name); }
  vmm::i64 ftruncate(vmm::i32 fd, vmm::u64 size_bytes) override { return x_process.ftruncate(fd, size_bytes); }
  vmm::i64 add_seals(vmm::i32 fd, vmm::u32 seals) override { return x_process.add_seals(fd, seals); }
  vmm::i64 reboot_kexec() override { return x_process.reboot_kexec(); }
  vmm::u64 now_ns() override { return x_world.now_ns(); }
  void pause() override { x_world.relax(); }

 private:
  holdfast::World& x_world;
  holdfast::kernel::Process& x_process;
};

}  // namespace host

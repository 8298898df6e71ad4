// How drivers reach a device and the memory that it reaches: pread and pwrite, nothing mapped.
//
// A read or write that is cut short is a failure. Failures are kept in Calls; the functions say true or false.
#pragma once

#include "holdfast/hw/pci/config.hpp"
#include "uapi/holdfast/holdfast.h"
#include "vmm/call.hpp"

namespace vmm {

/// Registers and configuration space of a bound device file.
class DeviceFile {
 public:
  DeviceFile() = default;
  DeviceFile(Calls& calls, i32 fd) : x_calls(&calls), x_fd(fd) {}

  [[nodiscard]] Calls& calls() const { return *x_calls; }

  template <class T>
  bool read_register(u64 offset, T& value) const {
    return transfer(x_calls->system().pread(x_fd, &value, sizeof value, in_bar0(offset)), sizeof value,
                    "read of a device register");
  }
  template <class T>
  bool write_register(u64 offset, T value) const {
    return transfer(x_calls->system().pwrite(x_fd, &value, sizeof value, in_bar0(offset)), sizeof value,
                    "write of a device register");
  }
  template <class T>
  bool read_config(u64 offset, T& value) const {
    return transfer(x_calls->system().pread(x_fd, &value, sizeof value, in_config(offset)), sizeof value,
                    "read of configuration space");
  }
  /// Registers answer, DMA is allowed, no interrupt line is driven.
  bool enable() const {
    const u16 command = hw::pci::Command()
                            .with<hw::pci::command::InterruptDisable>(1)
                            .with<hw::pci::command::BusMaster>(1)
                            .with<hw::pci::command::MemorySpace>(1)
                            .raw();
    return transfer(x_calls->system().pwrite(x_fd, &command, sizeof command, in_config(hw::pci::command_offset)),
                    sizeof command, "write of the command register");
  }

  [[nodiscard]] u64 now_ns() const { return x_calls->system().now_ns(); }
  /// Waits until @p condition() answers true; it may fail through Calls.
  template <class Condition>
  bool wait(u64 patience_ns, const char* step, Condition&& condition) const {
    const u64 deadline = x_calls->system().now_ns() + patience_ns;
    while (!condition()) {
      if (x_calls->failed()) return false;
      if (x_calls->system().now_ns() > deadline) return x_calls->check(-to_errno(Code::TimedOut), step);
      x_calls->system().pause();
    }
    return !x_calls->failed();
  }

 private:
  static constexpr u64 in_bar0(u64 offset) { return VFIO_PCI_INDEX_TO_OFFSET(VFIO_PCI_BAR0_REGION_INDEX) + offset; }
  static constexpr u64 in_config(u64 offset) { return VFIO_PCI_INDEX_TO_OFFSET(VFIO_PCI_CONFIG_REGION_INDEX) + offset; }
  bool transfer(i64 done, u64 wanted, const char* step) const {
    return x_calls->check(done < 0 || static_cast<u64>(done) == wanted ? done : -to_errno(Code::Io), step);
  }

  Calls* x_calls = nullptr;
  i32 x_fd = -1;
};

/// Part of a memory file, from @p base on.
class MemoryFile {
 public:
  MemoryFile() = default;
  MemoryFile(Calls& calls, i32 fd, u64 base = 0) : x_calls(&calls), x_fd(fd), x_base(base) {}

  [[nodiscard]] MemoryFile at(u64 offset) const { return {*x_calls, x_fd, x_base + offset}; }

  template <class T>
  bool read(u64 offset, T& value) const {
    return read_bytes(offset, &value, sizeof value);
  }
  template <class T>
  bool write(u64 offset, const T& value) const {
    return write_bytes(offset, &value, sizeof value);
  }
  bool read_bytes(u64 offset, void* to, u64 length) const {
    return transfer(x_calls->system().pread(x_fd, to, length, x_base + offset), length, "pread of memory");
  }
  bool write_bytes(u64 offset, const void* from, u64 length) const {
    return transfer(x_calls->system().pwrite(x_fd, from, length, x_base + offset), length, "pwrite of memory");
  }

 private:
  bool transfer(i64 done, u64 wanted, const char* step) const {
    return x_calls->check(done < 0 || static_cast<u64>(done) == wanted ? done : -to_errno(Code::Io), step);
  }

  Calls* x_calls = nullptr;
  i32 x_fd = -1;
  u64 x_base = 0;
};

}  // namespace vmm

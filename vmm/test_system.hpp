// System calls for tests of drivers: memory files in the heap, one device whose registers are a map, a clock that moves
// with every pause. What a device does by itself, the test does.
#pragma once

#include <cstring>
#include <functional>
#include <map>
#include <vector>

#include "uapi/holdfast/holdfast.h"
#include "vmm/device_access.hpp"

namespace vmm {

class TestSystem final : public Syscalls {
 public:
  static constexpr i32 device_fd = 1000;
  static constexpr u64 bar0 = VFIO_PCI_INDEX_TO_OFFSET(VFIO_PCI_BAR0_REGION_INDEX);
  static constexpr u64 config = VFIO_PCI_INDEX_TO_OFFSET(VFIO_PCI_CONFIG_REGION_INDEX);

  virtual ~TestSystem() = default;

  std::map<u64, u64> registers;    // by offset in the device file; never written: 0
  std::map<u64, i32> retrievable;  // by token
  std::function<void(u64 offset, u64 value)> on_register_write = [](u64, u64) {};
  std::function<void(i32 fd, u64 offset)> before_pread = [](i32, u64) {};
  u64 clock_ns = 0;

  std::vector<u8>& file(i32 fd) { return x_files.at(fd); }
  template <class T>
  T get(i32 fd, u64 offset) {
    T value;
    std::memcpy(&value, file(fd).data() + offset, sizeof value);
    return value;
  }
  template <class T>
  void put(i32 fd, u64 offset, const T& value) {
    std::memcpy(file(fd).data() + offset, &value, sizeof value);
  }
  i32 new_file(u64 size_bytes) {
    const auto fd = static_cast<i32>(memfd_create(""));
    file(fd).resize(size_bytes);
    return fd;
  }
  u64 bar(u64 offset) { return registers[bar0 + offset]; }

  i64 open(const char*) override { return -to_errno(Code::NotFound); }
  i64 close(i32) override { return 0; }
  i64 ioctl(i32, u32 command, void* argument) override {
    if (command == LIVEUPDATE_SESSION_RETRIEVE_FD) {
      auto& retrieve = *static_cast<liveupdate_session_retrieve_fd*>(argument);
      const auto found = retrievable.find(retrieve.token);
      if (found == retrievable.end()) return -to_errno(Code::Corrupt);
      retrieve.fd = found->second;
    }
    return 0;
  }
  i64 pread(i32 fd, void* to, u64 length, u64 offset) override {
    before_pread(fd, offset);
    if (fd == device_fd) {
      std::memcpy(to, &registers[offset], length);
      return static_cast<i64>(length);
    }
    const std::vector<u8>& bytes = file(fd);
    if (offset > bytes.size()) return 0;
    length = std::min(length, bytes.size() - offset);
    std::memcpy(to, bytes.data() + offset, length);
    return static_cast<i64>(length);
  }
  i64 pwrite(i32 fd, const void* from, u64 length, u64 offset) override {
    if (fd == device_fd) {
      u64 value = 0;
      std::memcpy(&value, from, length);
      registers[offset] = value;
      if (offset < config) on_register_write(offset - bar0, value);
      return static_cast<i64>(length);
    }
    std::vector<u8>& bytes = file(fd);
    if (offset > bytes.size()) return 0;
    length = std::min(length, bytes.size() - offset);
    std::memcpy(bytes.data() + offset, from, length);
    return static_cast<i64>(length);
  }
  i64 memfd_create(const char*) override {
    const i32 fd = static_cast<i32>(x_files.size()) + 1;
    x_files[fd] = {};
    return fd;
  }
  i64 ftruncate(i32 fd, u64 size_bytes) override {
    file(fd).resize(size_bytes);
    return 0;
  }
  i64 add_seals(i32, u32) override { return 0; }
  i64 reboot_kexec() override { return -to_errno(Code::Busy); }
  u64 now_ns() override { return clock_ns; }
  void pause() override { clock_ns += 1'000'000; }

 private:
  std::map<i32, std::vector<u8>> x_files;
};

}  // namespace vmm

// Test support (hosted; never part of the library): a calling process, and a world that keeps book of what devices may
// write.
//
// TestProcess: user memory is the test's own memory (an address below 64 KiB faults), descriptors are a map.
//   process.ioctl(*file, IOMMU_DESTROY, argument)     the errno code; the argument is read and written in place
#pragma once

#include <map>
#include <vector>

#include "holdfast/luo/file.hpp"
#include "holdfast/memory/test_world.hpp"

namespace holdfast {

class TestUser final : public UserMemory {
 public:
  static constexpr u64 faulting = 0x1000;

  Status read(u64 user_address, std::span<std::byte> to) override {
    if (user_address < 0x10000) return Code::Fault;
    std::memcpy(to.data(), reinterpret_cast<const void*>(user_address), to.size());
    return {};
  }
  Status write(u64 user_address, std::span<const std::byte> from) override {
    if (user_address < 0x10000 || read_only) return Code::Fault;
    std::memcpy(reinterpret_cast<void*>(user_address), from.data(), from.size());
    return {};
  }

  bool read_only = false;  // answers cannot be written back
};

class TestFds final : public luo::FdTable {
 public:
  Result<luo::FileRef> get(i32 fd) override {
    const auto at = files.find(fd);
    if (at == files.end()) return Code::BadFd;
    return at->second;
  }
  Result<i32> install(luo::FileRef file) override {
    i32 fd = 3;
    while (files.contains(fd)) ++fd;
    files.emplace(fd, std::move(file));
    return fd;
  }
  Status close(i32 fd) override {
    const auto at = files.find(fd);
    if (at == files.end()) return Code::BadFd;
    const luo::FileRef last = std::move(at->second);
    files.erase(at);
    return {};
  }

  std::map<i32, luo::FileRef> files;
};

struct TestProcess {
  TestUser user;
  TestFds fds;
  luo::CallContext call{user, fds};

  i32 install(luo::FileRef file) { return fds.install(std::move(file)).value(); }
  template <class T>
  Code ioctl(luo::File& file, u32 command, T& argument) {
    return file.ioctl(call, command, reinterpret_cast<u64>(&argument)).code();
  }
  Code ioctl_at(luo::File& file, u32 command, u64 address) { return file.ioctl(call, command, address).code(); }
  Result<u64> pwrite(luo::File& file, const void* from, u64 length, u64 offset) {
    return file.pwrite(call, reinterpret_cast<u64>(from), length, offset);
  }
  Result<u64> pread(luo::File& file, void* to, u64 length, u64 offset) {
    return file.pread(call, reinterpret_cast<u64>(to), length, offset);
  }
};

/// A machine whose owner notes which pages devices may write.
class GrantWorld : public TestWorld {
 public:
  using TestWorld::TestWorld;
  GrantWorld(const GrantWorld& before, AfterJump jump) : TestWorld(before, jump) {
    for (const auto& [page, state] : before.granted)
      if (state == GuestMemory::Preserved) granted[page] = state;
  }

  void guest_memory(PhysRange range, GuestMemory state) override {
    for (u64 at = range.start.value; at < range.start.value + range.size_bytes; at += page_size_bytes) {
      if (state == GuestMemory::Revoked)
        granted.erase(at);
      else
        granted[at] = state == GuestMemory::Unpreserved ? GuestMemory::Granted : state;
    }
  }
  [[nodiscard]] u64 pages(GuestMemory state) const {
    u64 count = 0;
    for (const auto& [page, is] : granted) count += is == state;
    return count;
  }

  std::map<u64, GuestMemory> granted;
};

}  // namespace holdfast

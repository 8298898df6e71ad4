// The RAM of a referee machine: one memfd that QEMU and the test both map, at the physical address where the machine
// has it.
//
// The first half GiB has fixed uses, the same for every machine (offsets from the start):
//
//   0        firmware, device tree, program
//   8 MiB    the IOMMU's own structures: root and context tables, queues, and the landing page
//   16 MiB   bookkeeping of those who see all of it from here on as theirs
//   96 MiB   page tables: OwnRam's
//   256 MiB  targets of mappings, up to the end
//
// Threads: QEMU writes at the same time; the test looks only after the device said that it is done. Failure: RunError.
#pragma once

#include <fcntl.h>

#include <cstring>

#include "host/shared_memory.hpp"
#include "sim/walk/walk.hpp"

namespace referee {

using namespace holdfast;  // NOLINT: a test of the library

inline constexpr u64 mib = u64{1} << 20;
inline constexpr u64 gib = u64{1} << 30;

class SharedRam final : public sim::PhysicalMemory {
 public:
  static constexpr u64 size_bytes = 2 * gib;  // so that a whole aligned GiB is there

  explicit SharedRam(PhysAddr start)
      : x_start(start),
        x_file(host::create_shared_file("referee-ram", size_bytes)),
        x_mapping(x_file.get(), size_bytes, host::Access::ReadWrite) {}

  [[nodiscard]] int file() const { return x_file.get(); }
  [[nodiscard]] PhysAddr start() const { return x_start; }
  [[nodiscard]] PhysAddr structures() const { return x_start + 8 * mib; }
  [[nodiscard]] PhysRange tables() const { return {x_start + 96 * mib, 64 * mib}; }
  /// Everything from the bookkeeping on.
  [[nodiscard]] PhysRange whole() const { return {x_start + 16 * mib, size_bytes - 16 * mib}; }
  [[nodiscard]] PhysRange targets() const { return {x_start + 256 * mib, size_bytes - 256 * mib}; }
  /// An address where no machine has RAM.
  [[nodiscard]] PhysAddr nowhere() const { return PhysAddr(u64{1} << 37); }

  /// @p address is trusted.
  [[nodiscard]] std::span<std::byte> bytes(PhysAddr address, u64 size) const {
    return x_mapping.bytes().subspan(address - x_start, size);
  }
  [[nodiscard]] u64 load(PhysAddr address) const {
    return __atomic_load_n(reinterpret_cast<const u64*>(bytes(address, 8).data()), __ATOMIC_ACQUIRE);
  }
  void store(PhysAddr address, u64 value) const {
    __atomic_store_n(reinterpret_cast<u64*>(bytes(address, 8).data()), value, __ATOMIC_RELEASE);
  }
  void clear(PhysRange range) const { std::memset(bytes(range.start, range.size_bytes).data(), 0, range.size_bytes); }

  /// Gives the memory of all targets back to the computer; they read zero.
  void drop_targets() const {
    const int how = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    [[maybe_unused]] const int ignored = ::fallocate(file(), how, static_cast<off_t>(targets().start - x_start),
                                                     static_cast<off_t>(targets().size_bytes));
  }

  /// For the walkers: nothing where there is no RAM.
  [[nodiscard]] const std::byte* find(PhysAddr address, u64 size) const override {
    return PhysRange{x_start, size_bytes}.contains(address, size) ? bytes(address, size).data() : nullptr;
  }

 private:
  PhysAddr x_start;
  host::UniqueFd x_file;
  host::SharedMapping x_mapping;
};

}  // namespace referee

// The machine's RAM as the test sees it: one memfd that QEMU maps too, physical address 0 at its start.
//
// Threads: QEMU writes at the same time unless it is stopped. Failure: RunError.
#pragma once

#include <vector>

#include "host/shared_memory.hpp"
#include "metal/boot_page.hpp"
#include "sim/guest_ram.hpp"

namespace metal_test {

using namespace holdfast;  // NOLINT: a test of the library

/// A number for each page's content; equal contents have equal numbers.
using PageDigests = std::vector<u64>;

class GuestMemory final : public sim::PhysicalMemory {
 public:
  explicit GuestMemory(u64 size_bytes)
      : x_file(host::create_shared_file("metal-ram", size_bytes)),
        x_mapping(x_file.get(), size_bytes, host::Access::ReadWrite) {}

  [[nodiscard]] int file() const { return x_file.get(); }
  [[nodiscard]] u64 size_bytes() const { return x_mapping.bytes().size(); }
  [[nodiscard]] std::span<std::byte> bytes() const { return x_mapping.bytes(); }
  [[nodiscard]] const std::byte* find(PhysAddr address, u64 size) const override {
    return PhysRange{PhysAddr(0), size_bytes()}.contains(address, size) ? bytes().data() + address.value : nullptr;
  }

  /// The kernel that waits in its blackout waits no longer.
  void end_hold() const {
    auto* page = reinterpret_cast<metal::BootPage*>(bytes().data() + metal::boot_page_address.value);
    __atomic_store_n(&page->holding, u32{0}, __ATOMIC_RELEASE);
  }
  [[nodiscard]] PageDigests digest_pages() const;
  /// Everything, to a file where holes stay holes.
  void save(const std::string& path) const;

 private:
  host::UniqueFd x_file;
  host::SharedMapping x_mapping;
};

/// Pages whose content differs; both of the same memory.
[[nodiscard]] std::vector<PhysAddr> changed_pages(const PageDigests& before, const PageDigests& after);

}  // namespace metal_test

// Test support (hosted): one live update, ready to be looked at from both sides.
//
// Unit 0: devices a and b share a domain. Unit 1: device c has one of its own, and d is attached to the domain of a.
// Device u (unit 0) is not preserved. Both domains map guest memory that crosses.
#pragma once

#include <functional>

#include "holdfast/iommu/test_machine.hpp"

namespace holdfast::iommu {

struct Update {
  static constexpr SourceId a{0, 1, 0};
  static constexpr SourceId b{2, 0, 0};
  static constexpr SourceId c{0x10, 0, 0};
  static constexpr SourceId d{0x11, 0, 0};
  static constexpr SourceId u{0, 5, 0};
  static constexpr u64 number = 3;
  static constexpr u64 token = 77;
  static constexpr Iova guest_at{0x10000000};

  explicit Update(u64 ram_bytes = u64{32} << 20, const CoreOptions& with = {}, u64 times_mapped = 1)
      : machine(ram_bytes), options(with), old(machine, with) {
    for (SourceId id : all()) {
      Device& device = old.add_device(id);
      EXPECT_TRUE(old.core().claim_owner(device, this).ok());
    }
    guest = old.guest_memory(4);
    shared = make_domain({a, b, d}, times_mapped);
    own = make_domain({c}, 1);
    make_domain({u}, 1);
    old.open_flbs();
    shared_record = *old.core().preserve_domain(*shared);
    own_record = *old.core().preserve_domain(*own);
    for (SourceId id : preserved()) EXPECT_TRUE(old.core().preserve_device(old.device(id), token).ok());
  }

  static std::vector<SourceId> all() { return {a, b, c, d, u}; }
  static std::vector<SourceId> preserved() { return {a, b, c, d}; }
  static std::vector<DeviceIdentity> identities() {
    std::vector<DeviceIdentity> found;
    for (SourceId id : all()) found.push_back(identity_of(id));
    return found;
  }

  void jump() {
    numbers = old.jump(number);
    for (SourceId id : preserved()) entries[id.value] = *unit_of(old, id).entry(id);
  }
  Kernel& live(Kernel::Until until = Kernel::Until::Verified) { return live(identities(), until); }
  Kernel& live(const std::vector<DeviceIdentity>& found, Kernel::Until until = Kernel::Until::Verified) {
    if (numbers.fdt == 0) jump();
    return next.emplace(machine, numbers, found, until, options);
  }

  static FakeUnit& unit_of(Kernel& kernel, SourceId id) { return kernel.unit(id.bus() < 0x10 ? 0 : 1); }
  /// Hardware of the new kernel still has what the old one left.
  bool translates_as_before(SourceId id) {
    const FakeUnit::Entry* entry = unit_of(*next, id).entry(id);
    return entry != nullptr && *entry == entries.at(id.value);
  }
  bool is_blocked(SourceId id) {
    const FakeUnit::Entry* entry = unit_of(*next, id).entry(id);
    return entry == nullptr || entry->lo == 0;
  }

  Machine machine;
  CoreOptions options;
  Kernel old;
  PhysRange guest;
  Domain* shared = nullptr;
  Domain* own = nullptr;
  PhysAddr shared_record;
  PhysAddr own_record;
  holdfast::Handover numbers;
  std::map<u16, FakeUnit::Entry> entries;
  std::optional<Kernel> next;

 private:
  Domain* make_domain(std::initializer_list<SourceId> ids, u64 times_mapped) {
    Domain& domain = **old.core().create_domain(old.device(*ids.begin()), {.page_sizes = 0x1000, .mode = {}});
    for (u64 i = 0; i < times_mapped; ++i)
      EXPECT_TRUE(old.core().map(domain, guest_at + i * guest.size_bytes, {&guest, 1}, pt::Prot::ReadWrite).ok());
    for (SourceId id : ids) EXPECT_TRUE(old.core().attach(old.device(id), domain).ok());
    return &domain;
  }
};

}  // namespace holdfast::iommu

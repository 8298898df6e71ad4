// The direct map: this kernel's view of machine RAM, at World::direct_map() + physical address.
//
// Two kinds of question: bytes() and at() are for addresses this kernel made itself and panic when one lies beyond RAM;
// find() is for addresses that somebody else wrote (records, tables, ACPI) and answers Corrupt.
// RAM means every range of the memory map, reserved ones included: they can be read, but are never allocated.
//
// The memory map must outlive the DirectMap. Threads: immutable after construction.
#pragma once

#include <span>

#include "holdfast/base/checked.hpp"
#include "holdfast/base/world.hpp"

namespace holdfast {

class DirectMap {
 public:
  /// @p memory_map is sorted and disjoint.
  DirectMap(World& world, std::span<const MemoryRange> memory_map);

  [[nodiscard]] World& world() const { return *x_world; }
  [[nodiscard]] std::span<const MemoryRange> memory_map() const { return x_memory_map; }
  /// One past the last byte of RAM.
  [[nodiscard]] PhysAddr end() const { return x_end; }

  /// True when all @p size bytes from @p address are RAM; false for an empty range. No overflow for any input.
  [[nodiscard]] bool is_ram(PhysAddr address, u64 size) const;

  [[nodiscard]] std::byte* bytes(PhysAddr trusted) const {
    verify_invariant(trusted < x_end, "physical address beyond RAM");
    return x_base + trusted.value;
  }
  template <class T>
  [[nodiscard]] T* at(PhysAddr trusted) const {
    return reinterpret_cast<T*>(bytes(trusted));
  }
  /// @p count objects of type T at an address that is not trusted. Error: Corrupt (not RAM, misaligned, too many).
  template <class T>
  [[nodiscard]] Result<T*> find(PhysAddr untrusted, u64 count = 1) const {
    auto size = checked_mul(u64{sizeof(T)}, count);
    if (!size || !untrusted.is_aligned(alignof(T)) || !is_ram(untrusted, *size)) return Code::Corrupt;
    return at<T>(untrusted);
  }
  /// Inverse of bytes(), for any pointer into the direct map.
  [[nodiscard]] PhysAddr phys(const void* pointer) const {
    return PhysAddr(static_cast<u64>(static_cast<const std::byte*>(pointer) - x_base));
  }

 private:
  World* x_world;
  std::byte* x_base;
  std::span<const MemoryRange> x_memory_map;
  PhysAddr x_end;
};

}  // namespace holdfast

// The only ways to touch what hardware reads: registers, and memory that the IOMMU walks.
//
// hw_store writes root, context, PASID, page-table and queue entries. VT-d fetches entries in aligned 16-byte pieces
// (VT-d 5.0, 9.1), so a 16-byte store that no fetch can tear is part of the contract; compilers promise none, hence the
// inline assembly. In the traced build every access calls World::step before and after.
#pragma once

#include "holdfast/base/world.hpp"

namespace holdfast {

/// Sixteen bytes that hardware fetches at once.
struct alignas(16) Quad {
  u64 lo = 0;
  u64 hi = 0;
  constexpr bool operator==(const Quad&) const = default;
};

inline void trace_step(World& world) {
  if constexpr (traced) world.step();
}

/// Release store of one aligned 8-byte entry.
inline void hw_store(World& world, u64* where, u64 value) {
  trace_step(world);
  __atomic_store_n(where, value, __ATOMIC_RELEASE);
  trace_step(world);
}

/// Replaces an entry that still reads @p expected, which hardware (accessed and dirty bits) or another CPU may change;
/// false, and nothing is written, when it does not.
[[nodiscard]] inline bool hw_exchange(World& world, u64* where, u64 expected, u64 value) {
  trace_step(world);
  const bool done = __atomic_compare_exchange_n(where, &expected, value, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
  trace_step(world);
  return done;
}

/// Sets and clears bits of an entry that hardware may change at the same moment: entry ^= @p bits.
inline void hw_flip(World& world, u64* where, u64 bits) {
  trace_step(world);
  __atomic_fetch_xor(where, bits, __ATOMIC_ACQ_REL);
  trace_step(world);
}

/// Single-copy atomic store of one aligned 16-byte entry.
inline void hw_store(World& world, Quad* where, Quad value) {
  trace_step(world);
  u64 expected_lo = where->lo;
  u64 expected_hi = where->hi;
  bool stored = false;
  do {
    asm volatile("lock cmpxchg16b %[target]"
                 : [target] "+m"(*where), "+a"(expected_lo), "+d"(expected_hi), "=@ccz"(stored)
                 : "b"(value.lo), "c"(value.hi)
                 : "memory");
  } while (!stored);
  trace_step(world);
}

/// One 8-byte load of memory that hardware (accessed and dirty bits) or another CPU may write.
[[nodiscard]] inline u64 hw_load(const u64* where) { return __atomic_load_n(where, __ATOMIC_ACQUIRE); }

template <class T>
[[nodiscard]] inline T reg_read(World& world, PhysAddr address) {
  static_assert(sizeof(T) == 1 || sizeof(T) == 2 || sizeof(T) == 4 || sizeof(T) == 8);
  trace_step(world);
  T value = static_cast<T>(world.mmio_read(address, static_cast<Width>(sizeof(T))));
  trace_step(world);
  return value;
}

template <class T>
inline void reg_write(World& world, PhysAddr address, T value) {
  static_assert(sizeof(T) == 1 || sizeof(T) == 2 || sizeof(T) == 4 || sizeof(T) == 8);
  trace_step(world);
  world.mmio_write(address, static_cast<Width>(sizeof(T)), value);
  trace_step(world);
}

}  // namespace holdfast

// What only assembly can say: ports, the time stamp counter, control registers.
//
// Every access to a port or a register carries a "memory" clobber: a device may read or write RAM behind it.
#pragma once

#include "holdfast/base/types.hpp"

namespace metal {

using namespace holdfast;  // NOLINT: a world of the library

inline void out8(u16 port, u8 value) { asm volatile("outb %0, %1" : : "a"(value), "Nd"(port) : "memory"); }
inline void out16(u16 port, u16 value) { asm volatile("outw %0, %1" : : "a"(value), "Nd"(port) : "memory"); }
inline void out32(u16 port, u32 value) { asm volatile("outl %0, %1" : : "a"(value), "Nd"(port) : "memory"); }
inline u8 in8(u16 port) {
  u8 value = 0;
  asm volatile("inb %1, %0" : "=a"(value) : "Nd"(port) : "memory");
  return value;
}
inline u32 in32(u16 port) {
  u32 value = 0;
  asm volatile("inl %1, %0" : "=a"(value) : "Nd"(port) : "memory");
  return value;
}

/// Not before anything that stands above it.
[[nodiscard]] inline u64 read_tsc() {
  u32 low = 0;
  u32 high = 0;
  asm volatile("lfence; rdtsc" : "=a"(low), "=d"(high) : : "memory");
  return u64{high} << 32 | low;
}

[[nodiscard]] inline u64 read_cr2() {
  u64 value = 0;
  asm volatile("movq %%cr2, %0" : "=r"(value));
  return value;
}
inline void write_msr(u32 number, u64 value) {
  asm volatile("wrmsr" : : "c"(number), "a"(static_cast<u32>(value)), "d"(static_cast<u32>(value >> 32)) : "memory");
}
inline void write_cr3(u64 value) { asm volatile("movq %0, %%cr3" : : "r"(value) : "memory"); }

}  // namespace metal

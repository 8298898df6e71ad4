// What a machine looks like from outside: memory map, where its RAM and registers lie in the shared files, how many
// devices. Plain data, written once by the machine process and read by every kernel process.
#pragma once

#include <array>
#include <span>

#include "holdfast/base/boot_info.hpp"

namespace host {

using namespace holdfast;

/// [address, address + size_bytes) of the machine is [file_offset, ...) of a shared file.
struct Piece {
  u64 address = 0;
  u64 size_bytes = 0;
  u64 file_offset = 0;
};

/// A fixed-size list that may lie in shared memory.
template <class T, u32 Capacity>
struct FixedList {
  u32 count = 0;
  std::array<T, Capacity> items{};

  /// False when the list is full.
  bool push_back(const T& item) {
    if (count == Capacity) return false;
    items[count++] = item;
    return true;
  }
  [[nodiscard]] std::span<const T> span() const { return {items.data(), count < Capacity ? count : Capacity}; }
};

struct MachineShape {
  FixedList<Piece, 8> ram;                // RAM, by address
  FixedList<Piece, 64> registers;         // registers and configuration space
  FixedList<MemoryRange, 32> memory_map;  // what firmware says; sorted, disjoint
  u64 ram_file_bytes = 0;
  u64 register_file_bytes = 0;
  u64 rsdp = 0;
  u64 control_page = 0;  // address of the control page (sim/control.hpp); 0: the machine has none
  u32 devices = 0;       // DMA engines, the one that is not preserved included

  /// One past the last byte of RAM.
  [[nodiscard]] u64 ram_end() const {
    u64 end = 0;
    for (const Piece& piece : ram.span())
      end = piece.address + piece.size_bytes > end ? piece.address + piece.size_bytes : end;
    return end;
  }
};

}  // namespace host

// OwnRam: for programs that take a part of the library, page tables above all, and have RAM for it but no machine: a
// World that is one range of RAM and nothing else, and Memory brought up in it.
//
//   OwnRam ram(bytes, PhysAddr(0x1'0000'0000));
//   TRY(ram.open());
//   TRY_ASSIGN(pt::Table* table, pt::Table::create(ram.memory(), config));
//
// Physical addresses are those that hardware uses: the first byte has the one given. The range pays for its own frame
// table: 16 bytes for each page below its end, from address 0 on. There are no registers (all ones, as where nothing
// answers), no clock (each reading is later than the last), no log and no jump; what needs them implements World
// itself.
//
// Threads: one at a time, because it keeps one record of held locks. Failure: as the methods say.
#pragma once

#include "holdfast/base/locks.hpp"
#include "holdfast/memory/memory.hpp"

namespace holdfast {

class OwnRam final : public World {
 public:
  /// @p ram is readable, writable and nobody else's; it outlives this object.
  OwnRam(std::span<std::byte> ram, PhysAddr start);
  OwnRam(const OwnRam&) = delete;
  OwnRam& operator=(const OwnRam&) = delete;

  /// Once, before anything is allocated. Errors: Invalid (not whole pages at whole pages, or beyond the last address),
  /// NoMemory (too small for its frame table).
  Status open();
  [[nodiscard]] Memory& memory() { return x_memory; }

  [[nodiscard]] std::byte* direct_map() const override { return x_base; }
  u64 mmio_read(PhysAddr address, Width width) override;
  void mmio_write(PhysAddr, Width, u64) override {}
  u64 now_ns() override { return ++x_now; }
  void relax() override {}
  void log(LogLevel, std::string_view) override {}
  ThreadLocks& thread_locks() override { return x_locks; }
  void phase(Phase, const TouchCounts&) override {}
  Result<u64> read_next_image_note(std::span<std::byte>) override { return Code::NotFound; }
  Status prepare_jump(std::span<const PhysRange>) override { return Code::NotSupported; }
  void cancel_jump() override {}
  Code jump(const Handover&) override { return Code::NotSupported; }

 private:
  std::byte* x_base;  // of physical address 0
  MemoryRange x_range;
  ThreadLocks x_locks;
  u64 x_now = 0;
  Memory x_memory;
};

}  // namespace holdfast

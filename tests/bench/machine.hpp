// The machine of the benchmarks: RAM in large pages, a World with vector kernels and a flush hook, Memory brought up in
// it; its caches, which can be swept; and allocators that hand out pages in random order. One for all rows, because
// making one takes longer than most rows.
//
//   0 .. 32 MiB       frame table and lists of this kernel (scratch)
//   32 .. 64 MiB      those of the next kernel, and 4 MiB for its heap
//   64 .. 66 MiB      what pages are mapped to
//   from 192 MiB on   where scattered tables lie
//
// Threads: one. Failure: std::runtime_error.
#pragma once

#include <cpuid.h>
#include <sys/mman.h>

#include <algorithm>
#include <random>
#include <stdexcept>
#include <vector>

#include "holdfast/base/locks.hpp"
#include "holdfast/memory/memory.hpp"
#include "holdfast/vector/word_kernels.hpp"

namespace holdfast::bench {

/// Zeroed, in pages of 2 MiB where the system has them.
class LargePages {
 public:
  explicit LargePages(u64 bytes) : x_bytes(bytes) {
    void* const all = mmap(nullptr, bytes + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (all == MAP_FAILED) throw std::runtime_error("no memory for the benchmark");
    x_all = static_cast<std::byte*>(all);
    x_base = x_all + (page - reinterpret_cast<std::uintptr_t>(all) % page);
    madvise(x_base, bytes, MADV_HUGEPAGE);
    for (u64 at = 0; at < bytes; at += page_size_bytes) x_base[at] = std::byte{0};
  }
  ~LargePages() { munmap(x_all, x_bytes + page); }
  LargePages(const LargePages&) = delete;
  LargePages& operator=(const LargePages&) = delete;

  [[nodiscard]] std::byte* base() const { return x_base; }
  [[nodiscard]] u64 bytes() const { return x_bytes; }

 private:
  static constexpr u64 page = u64{2} << 20;
  u64 x_bytes;
  std::byte* x_all = nullptr;
  std::byte* x_base = nullptr;
};

/// Writes the lines of [@p start, @p start + @p bytes) back and drops them from every cache.
inline void sweep(const void* start, u64 bytes) {
  static const bool many_at_once = [] {  // CLFLUSHOPT; the older CLFLUSH waits for each line
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
    return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0 && (ebx >> 23 & 1) != 0;
  }();
  const auto* at = static_cast<const char*>(start);
  for (u64 offset = 0; offset < bytes; offset += 64) {
    if (many_at_once)
      asm volatile("clflushopt %0" : : "m"(at[offset]) : "memory");
    else
      asm volatile("clflush %0" : : "m"(at[offset]) : "memory");
  }
  asm volatile("mfence" : : : "memory");
}

class BenchWorld final : public World {
 public:
  explicit BenchWorld(std::byte* base) : x_base(base), x_kernels(best_word_kernels()) {}

  [[nodiscard]] std::byte* direct_map() const override { return x_base; }
  u64 mmio_read(PhysAddr, Width) override { return 0; }
  void mmio_write(PhysAddr, Width, u64) override {}
  u64 now_ns() override { return 0; }
  void relax() override {}
  void log(LogLevel, std::string_view) override {}
  ThreadLocks& thread_locks() override { return x_locks; }
  /// The hook is called, and nothing flushed: that costs what the machine makes of it.
  void flush_cache(const void*, std::size_t bytes) override { x_flushed += bytes; }
  [[nodiscard]] const WordKernels& word_kernels() const override { return x_kernels; }
  void phase(Phase, const TouchCounts&) override {}
  Result<u64> read_next_image_note(std::span<std::byte>) override { return Code::NotFound; }
  Status prepare_jump(std::span<const PhysRange>) override { return {}; }
  void cancel_jump() override {}
  Code jump(const Handover&) override { return Code::NotSupported; }

 private:
  std::byte* x_base;
  const WordKernels& x_kernels;
  ThreadLocks x_locks;
  u64 x_flushed = 0;
};

class Machine {
 public:
  static constexpr u64 ram_bytes = u64{768} << 20;
  static constexpr PhysRange scratch{PhysAddr(0), u64{32} << 20};
  static constexpr PhysRange next_scratch{PhysAddr(u64{32} << 20), u64{28} << 20};
  static constexpr PhysRange next_free{PhysAddr(u64{60} << 20), u64{4} << 20};
  static constexpr Block target{PhysAddr(u64{64} << 20), 9};
  static constexpr PhysAddr scattered{u64{192} << 20};

  static Machine& get() {
    static Machine only;
    return only;
  }

  [[nodiscard]] BenchWorld& world() { return x_world; }
  [[nodiscard]] Memory& memory() { return x_memory; }
  [[nodiscard]] const BootInfo& boot() const { return x_boot; }
  /// Nothing of RAM is in a cache afterwards.
  void sweep_caches() const { sweep(x_ram.base(), ram_bytes); }

 private:
  Machine()
      : x_ram(ram_bytes),
        x_world(x_ram.base()),
        x_map{{{PhysAddr(0), ram_bytes}, MemoryKind::Ram}},
        x_boot{.memory_map = x_map, .own_image = {}, .rsdp = {}, .command_line = {}, .handover = {}},
        x_memory(x_world, x_boot),
        x_early(x_memory.map, scratch) {
    if (!x_memory.place_frames(x_early).ok()) throw std::runtime_error("no room for the frame table");
    for (const PhysRange& range : {scratch, next_scratch, next_free, PhysRange{target.start, target.size_bytes()}})
      x_memory.mark(range, FrameState::Scratch);
    x_memory.open();
  }

  LargePages x_ram;
  BenchWorld x_world;
  std::vector<MemoryRange> x_map;
  BootInfo x_boot;
  Memory x_memory;
  EarlyAllocator x_early;
};

/// While it lives the allocator has nothing but what next() gave it: one block after the other, in random order, none
/// beside the other, as in a machine whose memory is in use. open() gives it the lower part of RAM again.
class ScatteredBlocks {
 public:
  ScatteredBlocks(Memory& memory, unsigned order, u64 seed) : x_memory(memory), x_order(order) {
    for (auto block = memory.buddy.allocate(order); block.ok(); block = memory.buddy.allocate(order))
      (*block < Machine::scattered ? x_low : x_high).push_back(*block);
    for (auto page = memory.buddy.allocate(0); page.ok(); page = memory.buddy.allocate(0)) x_rest.push_back(*page);
    std::shuffle(x_high.begin(), x_high.end(), std::mt19937_64(seed));
  }
  ScatteredBlocks(const ScatteredBlocks&) = delete;
  ScatteredBlocks& operator=(const ScatteredBlocks&) = delete;
  ~ScatteredBlocks() {
    open();
    release(x_high, x_order);
    release(x_rest, 0);
  }

  void next() {
    if (x_high.empty()) throw std::runtime_error("the machine of the benchmark is too small");
    x_memory.buddy.release(x_high.back(), x_order);
    x_high.pop_back();
  }
  void open() { release(x_low, x_order); }

 private:
  void release(std::vector<PhysAddr>& blocks, unsigned order) {
    for (const PhysAddr block : blocks) x_memory.buddy.release(block, order);
    blocks.clear();
  }

  Memory& x_memory;
  unsigned x_order;
  std::vector<PhysAddr> x_low;
  std::vector<PhysAddr> x_high;
  std::vector<PhysAddr> x_rest;
};

}  // namespace holdfast::bench

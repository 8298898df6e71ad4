// Test support (hosted; never part of the library): a World with nothing but RAM, and Memory brought up in it.
//
//   TestWorld world(64 << 20);                 // cold machine with 64 MiB
//   TestMemory host(world);                    // scratch chosen, frames placed, buddy and heap open
//   use(host.memory, world.allocations, ...);
//
// A live update: TestWorld next(world, AfterJump{}) is the same RAM at another virtual address. Then
// TestMemory(next, TestOpen::Later), claim what came in, host.memory.open().
//
// fail_allocation_at = k makes the k-th allocation from now on fail (traced build). on_step runs before and after every
// hw_store and register access (traced build). Registers are a map; derive to model a device.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "holdfast/base/locks.hpp"
#include "holdfast/memory/memory.hpp"

namespace holdfast {

struct AfterJump {};

class TestWorld : public World {
 public:
  explicit TestWorld(u64 ram_bytes)
      : x_ram(std::make_shared<Ram>(ram_bytes)), memory_map{{{PhysAddr(0), ram_bytes}, MemoryKind::Ram}} {
    map_ram();
  }
  /// The world of the next kernel: same RAM and registers, another view.
  TestWorld(const TestWorld& before, AfterJump)
      : x_ram(before.x_ram), memory_map(before.memory_map), registers(before.registers) {
    map_ram();
  }
  TestWorld(const TestWorld&) = delete;
  TestWorld& operator=(const TestWorld&) = delete;
  virtual ~TestWorld() { munmap(x_base, x_ram->bytes); }

  [[nodiscard]] u64 ram_bytes() const { return x_ram->bytes; }
  /// Calls @p operation and says whether it made an allocation fail that was asked to: for (k = 1; failing(k, op);
  /// ++k).
  template <class F>
  bool failing(u64 k, F&& operation) {
    allocations = 0;
    fail_allocation_at = k;
    operation();
    fail_allocation_at = 0;
    return allocations >= k;
  }

  /// The same, and every allocation after the k-th fails as well: for code that tries again with less.
  template <class F>
  bool starving(u64 k, F&& operation) {
    starved = true;
    const bool failed = failing(k, operation);
    starved = false;
    return failed;
  }

  [[nodiscard]] std::byte* direct_map() const override { return x_base; }
  u64 mmio_read(PhysAddr address, Width) override { return registers[address.value]; }
  void mmio_write(PhysAddr address, Width, u64 value) override { registers[address.value] = value; }
  u64 now_ns() override {
    return static_cast<u64>(std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1));
  }
  void relax() override { std::this_thread::yield(); }
  void log(LogLevel, std::string_view message) override { log_lines.emplace_back(message); }
  ThreadLocks& thread_locks() override {
    thread_local ThreadLocks locks;
    return locks;
  }
  void phase(Phase phase, const TouchCounts& touched) override { phases.emplace_back(phase, touched); }
  Result<u64> read_next_image_note(std::span<std::byte>) override { return Code::NotFound; }
  Status prepare_jump(std::span<const PhysRange>) override { return {}; }
  void cancel_jump() override {}
  Code jump(const Handover&) override { return Code::NotSupported; }
  void step() override {
    if (on_step) on_step();
  }
  bool may_allocate() override {
    ++allocations;
    return starved && fail_allocation_at != 0 ? allocations < fail_allocation_at : allocations != fail_allocation_at;
  }

 private:
  struct Ram {
    explicit Ram(u64 size) : bytes(size), fd(memfd_create("test-ram", MFD_CLOEXEC)) {
      if (fd < 0 || ftruncate(fd, static_cast<off_t>(size)) != 0)
        throw std::runtime_error("no memory for the test RAM");
    }
    ~Ram() { close(fd); }
    Ram(const Ram&) = delete;
    Ram& operator=(const Ram&) = delete;
    u64 bytes;
    int fd;
  };
  void map_ram() {
    void* base = mmap(nullptr, x_ram->bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, x_ram->fd, 0);
    if (base == MAP_FAILED) throw std::runtime_error("the test RAM cannot be mapped");
    x_base = static_cast<std::byte*>(base);
  }

  std::shared_ptr<Ram> x_ram;
  std::byte* x_base = nullptr;

 public:
  std::vector<MemoryRange> memory_map;  // may be changed before a TestMemory is made
  std::map<u64, u64> registers;
  std::vector<std::string> log_lines;
  std::vector<std::pair<Phase, TouchCounts>> phases;
  std::function<void()> on_step;
  u64 allocations = 0;
  u64 fail_allocation_at = 0;
  bool starved = false;
};

enum class TestOpen : u8 { Now, Later };

/// Memory of a TestWorld. Scratch is the second sixteenth of RAM, at least 2 MiB.
class TestMemory {
 public:
  explicit TestMemory(TestWorld& world, TestOpen open = TestOpen::Now, Handover handover = {})
      : boot{.memory_map = world.memory_map, .own_image = {}, .rsdp = {}, .command_line = {}, .handover = handover},
        memory(world, boot),
        early(memory.map, scratch_of(world)) {
    if (!memory.place_frames(early).ok()) throw std::runtime_error("scratch is too small for the frame table");
    memory.mark(early.range(), FrameState::Scratch);
    if (open == TestOpen::Now) memory.open();
  }

  [[nodiscard]] PhysRange scratch() const { return early.range(); }

  BootInfo boot;
  Memory memory;
  EarlyAllocator early;

 private:
  static PhysRange scratch_of(const TestWorld& world) {
    const u64 size = align_down(std::max<u64>(world.ram_bytes() / 16, u64{2} << 20), u64{2} << 20);
    return {PhysAddr(size), size};
  }
};

}  // namespace holdfast

// A machine small enough to be checked at a glance, and what the fake kernel of host_test knows of it.
//
// RAM: 4 MiB from 0, and 4 MiB from 4 GiB, so that there is a hole. Registers: the control page and one page with an
// adder: writes to +0 are summed up in +8. One "device" adds 1 to the counter at device_counter with every step.
#pragma once

#include <time.h>
#include <unistd.h>

#include <cstring>

#include "host/machine_model.hpp"
#include "sim/control.hpp"

namespace host::test {

inline constexpr u64 low_bytes = u64{4} << 20;
inline constexpr u64 high_start = u64{4} << 30;
inline constexpr u64 adder_page = 0xfed90000;
inline constexpr u64 control_page = 0xfed80000;
inline constexpr u64 device_counter = high_start + 0x1000;  // physical address
inline constexpr u64 deadly_register = adder_page + 0x10;   // a write here ends the machine process

class TestMachine final : public MachineModel {
 public:
  TestMachine(std::span<std::byte> ram, std::span<std::byte> registers) : x_ram(ram), x_registers(registers) {}

  void write_register(const RegisterWrite& write) override {
    if (write.address == deadly_register) ::_exit(9);
    if (write.address == adder_page) add_word(page_size_bytes + 8, write.value);
    if (write.address - control_page >= page_size_bytes) return;
    const u64 offset = write.address - control_page;
    std::memcpy(x_control.data() + offset, &write.value, write.width_bytes);
    if (offset == sim::control::mark_offset) mark(static_cast<Phase>(write.value));
  }
  bool step(u64 turns) override {
    auto* counter = reinterpret_cast<u64*>(x_ram.data() + device_counter);
    __atomic_fetch_add(counter, turns, __ATOMIC_RELAXED);
    return true;
  }
  [[nodiscard]] const std::vector<Mark>& marks() const override { return x_marks; }
  [[nodiscard]] MachineAudit audit() override {
    MachineAudit audit;
    audit.devices = 1;
    audit.counts[0] = counts();
    return audit;
  }

 private:
  [[nodiscard]] DeviceCounts counts() const {
    const auto* counter = reinterpret_cast<const u64*>(x_ram.data() + device_counter);
    return {
        .transfers = __atomic_load_n(counter, __ATOMIC_RELAXED), .faulted = 0, .lost = 0, .repeated = 0, .wrong = 0};
  }
  void add_word(u64 offset, u64 value) {
    auto* word = reinterpret_cast<u64*>(x_registers.data() + offset);
    __atomic_fetch_add(word, value, __ATOMIC_RELEASE);
  }
  void mark(Phase phase) {
    Mark mark;
    mark.phase = phase;
    mark.devices = 1;
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    mark.time_ns = static_cast<u64>(now.tv_sec) * 1'000'000'000 + static_cast<u64>(now.tv_nsec);
    std::memcpy(&mark.touched.tables, x_control.data() + sim::control::touched_tables_offset, 8);
    mark.counts[0] = counts();
    x_marks.push_back(mark);
  }

  std::span<std::byte> x_ram;
  std::span<std::byte> x_registers;
  std::array<std::byte, page_size_bytes> x_control{};
  std::vector<Mark> x_marks;
};

class TestMachineBuilder final : public MachineBuilder {
 public:
  [[nodiscard]] u64 ram_file_bytes() const override { return high_start + low_bytes; }
  [[nodiscard]] u64 register_file_bytes() const override { return 2 * page_size_bytes; }
  std::unique_ptr<MachineModel> build(std::span<std::byte> ram, std::span<std::byte> registers,
                                      MachineShape& shape) override {
    shape.ram.push_back({.address = 0, .size_bytes = low_bytes, .file_offset = 0});
    shape.ram.push_back({.address = high_start, .size_bytes = low_bytes, .file_offset = high_start});
    shape.registers.push_back({.address = control_page, .size_bytes = page_size_bytes, .file_offset = 0});
    shape.registers.push_back({.address = adder_page, .size_bytes = page_size_bytes, .file_offset = page_size_bytes});
    shape.memory_map.push_back({{PhysAddr(0), low_bytes}, MemoryKind::Ram});
    shape.memory_map.push_back({{PhysAddr(high_start), low_bytes}, MemoryKind::Ram});
    shape.ram_file_bytes = ram_file_bytes();
    shape.register_file_bytes = register_file_bytes();
    shape.control_page = control_page;
    shape.devices = 1;
    return std::make_unique<TestMachine>(ram, registers);
  }
};

/// What the fake kernel does; carried in vmm::Options::seed.
enum class Script : u64 {
  Update,          // jumps until no update is left, checking that RAM and descriptors survive
  CrashAfterJump,  // generation 1 dies of a signal
  ExitAfterJump,   // generation 1 exits with code 3
  Hang,            // never ends
  KillMachine,     // writes the deadly register, then waits for ever
  RefusedBoot,     // reports that it cannot come up
  FailedJump,      // the next image has no note
};

/// main() of the fake kernel.
int run_fake_kernel(std::span<char* const> words, const char* program);

}  // namespace host::test

// The modelled machine: RAM, firmware tables, PCI functions with DMA engines, VT-d units, and the referee that counts.
//
// The owner supplies RAM and the register backing as memory, and the clock as a function. Kernels read registers with
// plain loads of the backing (mmio_read does the same); their stores arrive through mmio_write and are in effect when
// it returns. step() makes the rest of the machine act. Given the same configuration and the same sequence of calls a
// machine does the same things.
//
// Threads: one at a time for every function; RAM and the backing may be read, and RAM written, by others meanwhile.
// Failure: a bad configuration or too small a backing throws from the constructor; accesses to addresses where nothing
// is read as all ones and are dropped, as on real hardware.
#pragma once

#include <functional>
#include <memory>

#include "sim/dma_engine.hpp"
#include "sim/grants.hpp"
#include "sim/machine_config.hpp"
#include "sim/pci_function.hpp"
#include "sim/vtd_unit.hpp"

namespace sim {

/// What the machine saw when a kernel marked a milestone.
struct Mark {
  Phase phase{};
  u64 time_ns = 0;
  std::vector<EngineCounters> devices;  // in the order of MachineConfig::devices
  TouchCounts touched;
  u64 wild = 0;
};

class Machine {
 public:
  using Clock = std::function<u64()>;

  /// @p ram as memory_map(config) describes it, zeroed or as a previous owner left it; the firmware tables are written.
  /// @p backing mmio_backing_bytes(config) bytes, 8-byte aligned; its content is replaced.
  Machine(MachineConfig config, RamView ram, std::span<std::byte> backing, Clock clock);
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  [[nodiscard]] u64 mmio_read(PhysAddr address, Width width) const;
  void mmio_write(PhysAddr address, Width width, u64 value);

  /// @p transfers turns for each running engine, in an order that depends on the seed. Returns the transfers completed.
  u64 step(u64 transfers);

  [[nodiscard]] const MachineConfig& config() const { return x_config; }
  [[nodiscard]] const GuestRam& ram() const { return x_ram; }
  [[nodiscard]] std::size_t device_count() const { return x_engines.size(); }
  [[nodiscard]] EngineCounters counters(std::size_t device) const { return x_engines.at(device)->counters(); }
  [[nodiscard]] bool running(std::size_t device) const { return x_engines.at(device)->running(); }
  [[nodiscard]] const hw::dma_engine::Parameters& parameters(std::size_t device) const {
    return x_engines.at(device)->parameters();
  }
  /// Every slot of the device's memory file, judged through a walk of the tables without caches.
  [[nodiscard]] AuditResult audit(std::size_t device) const { return x_engines.at(device)->audit(); }
  [[nodiscard]] VtdUnit& unit(std::size_t index) { return *x_units.at(index); }
  [[nodiscard]] const VtdUnit& unit(std::size_t index) const { return *x_units.at(index); }
  [[nodiscard]] std::size_t unit_count() const { return x_units.size(); }

  /// DMA writes outside granted memory.
  [[nodiscard]] u64 wild() const { return x_grants.wild(); }
  [[nodiscard]] const Grants& grants() const { return x_grants; }
  void guest_memory(PhysRange range, GuestMemory what) { x_grants.set(range, what); }
  [[nodiscard]] const std::vector<Mark>& marks() const { return x_marks; }

 private:
  struct Window {
    MmioRegion region;
    RegisterFile registers;
  };
  [[nodiscard]] const Window* window_at(PhysAddr address, Width width) const;
  [[nodiscard]] RegisterFile registers_at(PhysAddr start) const;
  void build_functions(std::span<std::byte> backing);
  void config_write(u64 offset, Width width, u64 value);
  void control_write(u64 offset, Width width, u64 value);
  void mark(Phase phase);
  [[nodiscard]] std::span<std::byte> config_space(std::span<std::byte> backing, SourceId id) const;

  MachineConfig x_config;
  GuestRam x_ram;
  Clock x_clock;
  std::vector<Window> x_windows;
  Grants x_grants;
  std::vector<std::unique_ptr<VtdUnit>> x_units;
  std::vector<std::unique_ptr<DmaEngine>> x_engines;
  std::vector<PciFunction> x_functions;  // devices first, in order; then root ports
  std::vector<Mark> x_marks;
  u64 x_round = 0;
};

}  // namespace sim

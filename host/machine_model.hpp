// The machine as its process drives it, and what it tells about itself. The model itself is in sim/; tests have a
// smaller one.
#pragma once

#include <array>
#include <memory>
#include <span>
#include <vector>

#include "holdfast/base/world.hpp"
#include "host/machine_shape.hpp"
#include "host/write_ring.hpp"
#include "vmm/report.hpp"

namespace host {

inline constexpr u32 max_machine_devices = vmm::max_devices + 1;  // the one that is not preserved included

/// What one device did since the machine was built, counted by the machine.
struct DeviceCounts {
  u64 transfers = 0;  // completed
  u64 faulted = 0;    // refused by the unit
  u64 lost = 0;
  u64 repeated = 0;
  u64 wrong = 0;
  bool operator==(const DeviceCounts&) const = default;
};

/// A milestone, with the time and the counters at which the machine saw it.
struct Mark {
  Phase phase = Phase::BootEntry;
  u32 devices = 0;
  u64 time_ns = 0;  // CLOCK_MONOTONIC
  TouchCounts touched;
  std::array<DeviceCounts, max_machine_devices> counts{};
};

/// What the machine knows when it is asked.
struct MachineAudit {
  u32 devices = 0;
  u64 wild_accesses = 0;  // of devices, to memory that nobody gave them
  std::array<DeviceCounts, max_machine_devices> counts{};
  std::array<vmm::Audit, max_machine_devices> memory{};  // what guest memory holds, as the machine reads it
  std::array<u64, max_machine_devices> refused{};        // places in it that the unit does not translate
};

class MachineModel {
 public:
  virtual ~MachineModel() = default;

  virtual void write_register(const RegisterWrite& write) = 0;
  /// Lets units and devices act @p turns times. False when no device works.
  virtual bool step(u64 turns) = 0;
  [[nodiscard]] virtual const std::vector<Mark>& marks() const = 0;
  [[nodiscard]] virtual MachineAudit audit() = 0;
};

/// Builds a machine inside its process. The sizes are known before, so that the shared files can be made.
class MachineBuilder {
 public:
  virtual ~MachineBuilder() = default;

  [[nodiscard]] virtual u64 ram_file_bytes() const = 0;
  [[nodiscard]] virtual u64 register_file_bytes() const = 0;
  /// Fills @p shape completely. @p ram and @p registers are zeroed and outlive the machine.
  virtual std::unique_ptr<MachineModel> build(std::span<std::byte> ram, std::span<std::byte> registers,
                                              MachineShape& shape) = 0;
};

}  // namespace host

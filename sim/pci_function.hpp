// Configuration space of one modelled function: an endpoint with one 4 KiB memory BAR, or a root port.
//
// Both have a PCI Express capability at 0x40; endpoints offer function-level reset. Registers read from the owner's
// memory; write() keeps read-only bits. Not modelled: moving a BAR away from where firmware put it (the register keeps
// the value, the decoder does not follow), interrupts, error reporting.
#pragma once

#include "sim/machine_config.hpp"
#include "sim/register_file.hpp"

namespace sim {

/// What a configuration write means for the rest of the machine.
enum class ConfigEffect : u8 { None, CommandChanged, FunctionReset };

class PciFunction {
 public:
  /// All ones before: the owner's memory of functions that are not there stays so.
  PciFunction(RegisterFile config_space, SourceId id) : x_config(config_space), x_id(id) {}

  void make_endpoint(const DeviceConfig& device, PhysAddr bar);
  void make_root_port(u8 secondary_bus);

  ConfigEffect write(u64 offset, Width width, u64 value);
  /// Function-level reset: command and device control go back to zero; what firmware assigned stays.
  void reset();

  [[nodiscard]] SourceId id() const { return x_id; }
  [[nodiscard]] bool bus_master() const;
  [[nodiscard]] bool memory_space() const;

 private:
  void make_common(u8 layout, u8 port_type, u32 class_code);
  [[nodiscard]] u8 writable_bits(u64 offset) const;

  RegisterFile x_config;
  SourceId x_id;
  bool x_bridge = false;
};

}  // namespace sim

#include "host/run_machine.hpp"

namespace host {

sim::MachineConfig machine_config(const RunOptions& options) {
  constexpr u8 first_device = 3;
  sim::MachineConfig config;
  config.ram_bytes = options.ram_bytes;
  config.units = 2;
  config.seed = options.seed;
  for (u32 i = 0; i <= options.devices; ++i) {
    sim::DeviceConfig device;
    const bool is_last_preserved = i + 1 == options.devices;
    const bool is_bystander = i == options.devices;
    device.bus = is_bystander ? 2 : is_last_preserved ? 1 : 0;
    device.device = device.bus == 0 ? static_cast<u8>(first_device + i) : u8{0};
    device.unit = i % config.units;
    config.devices.push_back(device);
  }
  return config;
}

}  // namespace host

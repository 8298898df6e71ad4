#include "sim/machine_config.hpp"

#include <algorithm>
#include <set>
#include <stdexcept>

#include "holdfast/hw/pci/config.hpp"

namespace sim {
namespace {

void require(bool holds, const char* what) {
  if (!holds) throw std::invalid_argument(what);
}

constexpr u64 ecam_bytes = bus_count * hw::pci::bus_config_bytes;
constexpr u64 min_ram_bytes = u64{4} << 20;

}  // namespace

void check(const MachineConfig& config) {
  require(config.ram_bytes >= min_ram_bytes && config.ram_bytes % page_size_bytes == 0,
          "RAM must be whole pages and at least 4 MiB");
  require(config.ram_bytes <= u64{1} << 40, "RAM must not exceed 1 TiB");
  require(config.units >= 1 && config.units <= max_units, "a machine has 1 to 16 units");
  require(config.domain_count_code <= 6, "CAP.ND is 0 to 6");
  require(config.deepest_levels >= 3 && config.deepest_levels <= 5, "page tables have 3 to 5 levels");
  require(config.fault_records >= 1 && config.fault_records <= 224, "a unit has 1 to 224 fault records");
  std::set<u16> taken;
  for (const DeviceConfig& device : config.devices) {
    require(device.bus < bus_count && device.device < 32 && device.function < 8,
            "a device stands outside buses 0 to 3");
    require(device.bus != 0 || device.device < first_root_port_device, "devices 0x1c and up of bus 0 are root ports");
    require(device.unit < config.units, "a device names a unit that does not exist");
    require(taken.insert(device.source_id().value).second, "two devices have the same address");
  }
}

std::vector<MemoryRange> memory_map(const MachineConfig& config) {
  const u64 low_end = std::min(config.ram_bytes, low_ram_limit);
  std::vector<MemoryRange> map{
      {{PhysAddr(0), page_size_bytes}, MemoryKind::Reserved},
      {{PhysAddr(page_size_bytes), firmware_area.start.value - page_size_bytes}, MemoryKind::Ram},
      {firmware_area, MemoryKind::Reserved},
      {{firmware_area.start + firmware_area.size_bytes, low_end - 0x100000}, MemoryKind::Ram},
  };
  if (config.ram_bytes > low_end)
    map.push_back({{PhysAddr(high_ram_start), config.ram_bytes - low_end}, MemoryKind::Ram});
  return map;
}

u64 ram_span_bytes(const MachineConfig& config) {
  const PhysRange last = memory_map(config).back().range;
  return (last.start + last.size_bytes).value;
}

std::vector<u8> secondary_buses(const MachineConfig& config) {
  std::set<u8> buses;
  for (const DeviceConfig& device : config.devices)
    if (device.bus != 0) buses.insert(device.bus);
  return {buses.begin(), buses.end()};
}

PhysAddr bar_address(const MachineConfig& config, unsigned device) {
  return bar_start + (u64{config.devices.at(device).bus} << 20) + u64{device} * hw::dma_engine::bar0_bytes;
}

std::vector<MmioRegion> mmio_layout(const MachineConfig& config) {
  std::vector<MmioRegion> regions{{ecam_start, ecam_bytes, 0}};
  for (unsigned i = 0; i < config.devices.size(); ++i)
    regions.push_back({bar_address(config, i), hw::dma_engine::bar0_bytes, 0});
  regions.push_back({control_start, page_size_bytes, 0});
  for (unsigned unit = 0; unit < config.units; ++unit) regions.push_back({unit_address(unit), page_size_bytes, 0});
  std::sort(regions.begin(), regions.end(), [](const auto& a, const auto& b) { return a.start < b.start; });
  u64 offset = 0;
  for (MmioRegion& region : regions) {
    region.backing_offset = offset;
    offset += region.size_bytes;
  }
  return regions;
}

u64 mmio_backing_bytes(const MachineConfig& config) {
  const MmioRegion last = mmio_layout(config).back();
  return last.backing_offset + last.size_bytes;
}

}  // namespace sim

// ConfigSpace: see config_space.hpp.
#include "holdfast/pci/config_space.hpp"

#include <cstring>

#include "holdfast/pci/acpi.hpp"

namespace holdfast::pci {

Status ConfigSpace::open(const DirectMap& map, PhysAddr rsdp) {
  TRY_ASSIGN(const auto table, find_acpi_table(map, rsdp, hw::acpi::mcfg_signature));
  x_count = 0;
  if (table.size() < sizeof(hw::acpi::Mcfg)) return Code::Corrupt;
  for (u64 at = sizeof(hw::acpi::Mcfg); at + sizeof(hw::acpi::McfgAllocation) <= table.size();
       at += sizeof(hw::acpi::McfgAllocation)) {
    hw::acpi::McfgAllocation entry;
    std::memcpy(&entry, table.data() + at, sizeof entry);
    const Window window{entry.segment, entry.start_bus, entry.end_bus, PhysAddr(entry.base_address)};
    const auto last = checked_add(window.base.value, u64{window.end_bus} << 20 | 0xfffff);
    if (window.base.value == 0 || !window.base.is_aligned(hw::pci::bus_config_bytes) || !last ||
        window.start_bus > window.end_bus)
      return Code::Corrupt;
    for (const Window& other : windows())
      if (other.segment == window.segment && other.start_bus <= window.end_bus && window.start_bus <= other.end_bus)
        return Code::Corrupt;
    if (x_count == max_windows) return Code::NoSpace;
    x_windows[x_count++] = window;
  }
  return {};
}

PhysAddr ConfigSpace::address_of(u16 segment, SourceId id, u64 offset) const {
  if (offset >= hw::pci::function_config_bytes) return {};
  for (const Window& window : windows())
    if (window.segment == segment && window.start_bus <= id.bus() && id.bus() <= window.end_bus)
      return window.base + hw::pci::ecam_offset(id) + offset;
  return {};
}

Result<BridgeBuses> ConfigSpace::buses_below(u16 segment, SourceId bridge) const {
  if (!is_present(segment, bridge)) return Code::NoDevice;
  const hw::pci::HeaderType type(read<u8>(segment, bridge, hw::pci::header_type_offset));
  if (type.get<hw::pci::header_type::Layout>() != static_cast<u64>(hw::pci::HeaderLayout::Bridge))
    return Code::NoDevice;
  const BridgeBuses buses{read<u8>(segment, bridge, hw::pci::secondary_bus_offset),
                          read<u8>(segment, bridge, hw::pci::subordinate_bus_offset)};
  // Below a bridge are only higher buses; so a walk down always ends.
  if (buses.secondary <= bridge.bus() || buses.subordinate < buses.secondary) return Code::NoDevice;
  return buses;
}

Result<u64> ConfigSpace::find_capability(u16 segment, SourceId id, hw::pci::CapabilityId capability) const {
  const hw::pci::ConfigStatus status(read<u16>(segment, id, hw::pci::status_offset));
  if (status.get<hw::pci::status::CapabilitiesList>() == 0) return Code::NotFound;
  u64 at = read<u8>(segment, id, hw::pci::capabilities_pointer_offset) & 0xfcu;
  // No more capabilities than fit between the header and the end of the first 256 bytes.
  for (unsigned count = 0; count < 48 && at >= hw::pci::first_capability_offset; ++count) {
    if (read<u8>(segment, id, at) == static_cast<u8>(capability)) return at;
    at = read<u8>(segment, id, at + 1) & 0xfcu;
  }
  return Code::NotFound;
}

}  // namespace holdfast::pci

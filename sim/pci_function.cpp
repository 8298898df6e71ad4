#include "sim/pci_function.hpp"

#include "holdfast/hw/dma_engine/registers.hpp"
#include "holdfast/hw/pci/config.hpp"

namespace sim {

using namespace hw::pci;

namespace {

constexpr u64 express_at = 0x40;
constexpr u64 device_control_at = express_at + express_device_control_offset;
constexpr u32 bridge_class_code = 0x060400;
constexpr u16 root_port_vendor = 0xf01d;
constexpr u16 root_port_device = 0x0100;

}  // namespace

void PciFunction::make_common(u8 layout, u8 port_type, u32 class_code) {
  x_config.fill(0);
  x_config.store(status_offset, ConfigStatus().with<status::CapabilitiesList>(1).raw());
  x_config.store(revision_id_offset, class_code << 8 | 1);
  x_config.store(header_type_offset, layout);
  x_config.store(capabilities_pointer_offset, static_cast<u8>(express_at));
  x_config.store(express_at, static_cast<u8>(CapabilityId::Express));
  x_config.store(express_at + express_capabilities_offset, ExpressCapabilities()
                                                               .with<express_capabilities::PortType>(port_type)
                                                               .with<express_capabilities::Version>(2)
                                                               .raw());
}

void PciFunction::make_endpoint(const DeviceConfig& device, PhysAddr bar) {
  const PortType type = device.bus == 0 ? PortType::IntegratedEndpoint : PortType::Endpoint;
  make_common(static_cast<u8>(HeaderLayout::Endpoint), static_cast<u8>(type), hw::dma_engine::class_code);
  x_config.store(vendor_id_offset, device.vendor_id);
  x_config.store(device_id_offset, device.device_id);
  x_config.store(subsystem_vendor_id_offset, device.vendor_id);
  x_config.store(bar0_offset, static_cast<u32>(bar.value));
  x_config.store(command_offset, Command().with<command::MemorySpace>(1).raw());
  x_config.store(express_at + express_device_capabilities_offset, device_capabilities_flr);
}

void PciFunction::make_root_port(u8 secondary_bus) {
  x_bridge = true;
  make_common(static_cast<u8>(HeaderLayout::Bridge), static_cast<u8>(PortType::RootPort), bridge_class_code);
  x_config.store(vendor_id_offset, root_port_vendor);
  x_config.store(device_id_offset, root_port_device);
  x_config.store(secondary_bus_offset, secondary_bus);
  x_config.store(subordinate_bus_offset, secondary_bus);
  const u16 window = static_cast<u16>((bar_start.value + (u64{secondary_bus} << 20)) >> 16);
  x_config.store(memory_base_offset, window);
  x_config.store(memory_limit_offset, window);
  // Firmware turns on what is needed to reach the devices behind; requests from them pass upstream.
  x_config.store(command_offset, Command().with<command::MemorySpace>(1).with<command::BusMaster>(1).raw());
}

bool PciFunction::bus_master() const {
  return Command(x_config.load<u16>(command_offset)).get<command::BusMaster>() != 0;
}
bool PciFunction::memory_space() const {
  return Command(x_config.load<u16>(command_offset)).get<command::MemorySpace>() != 0;
}

u8 PciFunction::writable_bits(u64 offset) const {
  switch (offset) {
    case command_offset: return 0x47;
    case command_offset + 1: return 0x05;
    case cache_line_size_offset:
    case interrupt_line_offset: return 0xff;
    case device_control_at: return 0xff;
    case device_control_at + 1: return 0x7f;  // bit 15 starts a reset and reads as 0
    default: break;
  }
  if (!x_bridge)
    return offset == bar0_offset + 1 ? 0xf0 : offset == bar0_offset + 2 || offset == bar0_offset + 3 ? 0xff : 0;
  const bool bridge_register = (offset >= primary_bus_offset && offset <= subordinate_bus_offset) ||
                               (offset >= memory_base_offset && offset < memory_limit_offset + 2) ||
                               (offset >= bridge_control_offset && offset < bridge_control_offset + 2);
  return bridge_register ? 0xff : 0;
}

void PciFunction::reset() {
  x_config.store(command_offset, u16{0});
  x_config.store(device_control_at, u16{0});
}

ConfigEffect PciFunction::write(u64 offset, Width width, u64 value) {
  const u64 size = static_cast<u64>(width);
  if (width == Width::Qword || offset % size != 0 || offset + size > function_config_bytes) return ConfigEffect::None;
  const u16 command_before = x_config.load<u16>(command_offset);
  u64 next = 0;
  for (u64 i = 0; i < size; ++i) {
    const u8 mask = writable_bits(offset + i);
    const u8 old = x_config.load<u8>(offset + i);
    const u8 byte = static_cast<u8>((old & ~mask) | (value >> (8 * i) & mask));
    next |= u64{byte} << (8 * i);
  }
  switch (width) {
    case Width::Byte: x_config.store(offset, static_cast<u8>(next)); break;
    case Width::Word: x_config.store(offset, static_cast<u16>(next)); break;
    default: x_config.store(offset, static_cast<u32>(next)); break;
  }
  const u64 top = device_control_at + 1;
  const bool covers_flr = offset <= top && top < offset + size;
  if (!x_bridge && covers_flr && (value >> (8 * (top - offset)) & 0x80) != 0) {
    reset();
    return ConfigEffect::FunctionReset;
  }
  return x_config.load<u16>(command_offset) != command_before ? ConfigEffect::CommandChanged : ConfigEffect::None;
}

}  // namespace sim

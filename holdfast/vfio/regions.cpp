// Reading and writing a device's regions: configuration space and BAR 0.
#include <bit>

#include "holdfast/hw/pci/config.hpp"
#include "holdfast/vfio/vfio_device.hpp"
#include "uapi/holdfast/vfio.h"

namespace holdfast::vfio {
namespace {

namespace regs = hw::pci;

constexpr u64 offset_mask = (u64{1} << VFIO_PCI_OFFSET_SHIFT) - 1;

/// The widest aligned access that fits.
Width width_at(u64 at, u64 left, u64 widest) {
  u64 width = widest;
  while (at % width != 0 || width > left) width /= 2;
  return static_cast<Width>(width);
}

}  // namespace

u64 VfioDevice::region_size(u32 index) const {
  if (index == VFIO_PCI_CONFIG_REGION_INDEX) return regs::function_config_bytes;
  if (index != VFIO_PCI_BAR0_REGION_INDEX) return 0;
  const auto bar = x_devices.pci().bar(*x_slot.function, 0);
  return bar.ok() ? bar->size_bytes : 0;
}

bool VfioDevice::has_function_reset() const {
  const pci::Function& function = *x_slot.function;
  const pci::ConfigSpace& config = x_devices.pci().config();
  const auto express = config.find_capability(function.segment, function.id, regs::CapabilityId::Express);
  if (!express.ok()) return false;
  const u64 at = *express + regs::express_device_capabilities_offset;
  return (config.read<u32>(function.segment, function.id, at) & regs::device_capabilities_flr) != 0;
}

Result<VfioDevice::Region> VfioDevice::find_region(u64 length, u64 offset) const {
  if (x_revoked) return Code::NoDevice;
  if (!is_bound()) return Code::Invalid;
  Region region{.index = static_cast<u32>(offset >> VFIO_PCI_OFFSET_SHIFT),
                .offset = offset & offset_mask,
                .length = length,
                .bar = {}};
  const u64 size = region_size(region.index);
  if (region.offset >= size) return Code::Invalid;
  region.length = std::min(length, size - region.offset);
  if (region.index == VFIO_PCI_CONFIG_REGION_INDEX) return region;

  const pci::Function& function = *x_slot.function;
  const regs::Command command(x_devices.pci().config().read<u16>(function.segment, function.id, regs::command_offset));
  if (command.get<regs::command::MemorySpace>() == 0) return Code::Io;
  TRY_ASSIGN(const PhysRange bar, x_devices.pci().bar(function, 0));
  region.bar = bar.start;
  return region;
}

u64 VfioDevice::read_region(const Region& region, u64 at, Width width) const {
  World& world = x_devices.memory().world;
  const pci::Function& function = *x_slot.function;
  const pci::ConfigSpace& config = x_devices.pci().config();
  const bool is_config = region.index == VFIO_PCI_CONFIG_REGION_INDEX;
  switch (width) {
    case Width::Byte:
      return is_config ? config.read<u8>(function.segment, function.id, at) : reg_read<u8>(world, region.bar + at);
    case Width::Word:
      return is_config ? config.read<u16>(function.segment, function.id, at) : reg_read<u16>(world, region.bar + at);
    case Width::Dword:
      return is_config ? config.read<u32>(function.segment, function.id, at) : reg_read<u32>(world, region.bar + at);
    case Width::Qword: return reg_read<u64>(world, region.bar + at);
  }
  return 0;
}

void VfioDevice::write_region(const Region& region, u64 at, Width width, u64 value) {
  World& world = x_devices.memory().world;
  if (region.index == VFIO_PCI_CONFIG_REGION_INDEX) {
    const u64 shift = at % 4 * 8;  // an access never crosses a double word
    const u64 bytes = ((u64{1} << (8 * static_cast<u64>(width))) - 1) << shift & 0xffff;
    if (at / 4 * 4 != regs::command_offset || bytes == 0) return;
    const u64 old = read_region(region, regs::command_offset, Width::Word);
    return write_command(static_cast<u16>((old & ~bytes) | (value << shift & bytes)));
  }
  switch (width) {
    case Width::Byte: return reg_write(world, region.bar + at, static_cast<u8>(value));
    case Width::Word: return reg_write(world, region.bar + at, static_cast<u16>(value));
    case Width::Dword: return reg_write(world, region.bar + at, static_cast<u32>(value));
    case Width::Qword: return reg_write(world, region.bar + at, value);
  }
}

void VfioDevice::write_command(u16 value) {
  pci::Pci& pci = x_devices.pci();
  pci::Function& function = *x_slot.function;
  const u16 writable = static_cast<u16>(~regs::Command::reserved_bits());
  const regs::Command command(static_cast<u16>(value & writable));
  pci.config().write<u16>(function.segment, function.id, regs::command_offset, command.raw());
  // The bridges above as well.
  if (command.get<regs::command::BusMaster>() != 0) pci.set_bus_master(function, pci::BusMaster::On);
}

Result<u64> VfioDevice::pread(luo::CallContext& call, u64 to, u64 length, u64 offset) {
  TRY_ASSIGN(const Region region, find_region(length, offset));
  const u64 widest = region.index == VFIO_PCI_CONFIG_REGION_INDEX ? 4 : 8;
  for (u64 done = 0; done < region.length;) {
    const Width width = width_at(region.offset + done, region.length - done, widest);
    const u64 value = read_region(region, region.offset + done, width);
    const auto bytes = std::as_bytes(std::span<const u64, 1>(&value, 1)).first(static_cast<u64>(width));
    TRY(call.user.write(to + done, bytes));
    done += bytes.size();
  }
  return region.length;
}

Result<u64> VfioDevice::pwrite(luo::CallContext& call, u64 from, u64 length, u64 offset) {
  TRY_ASSIGN(const Region region, find_region(length, offset));
  const u64 widest = region.index == VFIO_PCI_CONFIG_REGION_INDEX ? 4 : 8;
  for (u64 done = 0; done < region.length;) {
    const Width width = width_at(region.offset + done, region.length - done, widest);
    u64 value = 0;
    const auto bytes = std::as_writable_bytes(std::span<u64, 1>(&value, 1)).first(static_cast<u64>(width));
    TRY(call.user.read(from + done, bytes));
    write_region(region, region.offset + done, width, value);
    done += bytes.size();
  }
  return region.length;
}

}  // namespace holdfast::vfio

// Pci: the walk, and what can be done with a function. See pci.hpp.
#include "holdfast/pci/pci.hpp"
#include "holdfast/base/checked.hpp"

#include <bit>

#include "holdfast/abi/checksum.hpp"
#include "holdfast/abi/pci.hpp"
#include "holdfast/base/text_line.hpp"

namespace holdfast::pci {
namespace {

using hw::pci::Command;

constexpr u64 reset_wait_ns = 100'000'000;  // PCIe 6.0 6.6.2: the function is ready 100 ms after the reset

}  // namespace

Pci::Pci(Memory& memory, kho::Handover& handover, iommu::Core& core, const ConfigSpace& config)
    : x_memory(memory), x_handover(handover), x_core(core), x_config(config), x_flb(*this) {}

Status Pci::scan() {
  for (const ConfigSpace::Window& window : x_config.windows()) {
    // Buses that no bridge leads to are root buses of their own.
    std::array<u64, 4> reached{};
    for (unsigned bus = window.start_bus; bus <= window.end_bus; ++bus) {
      if ((reached[bus / 64] >> (bus % 64) & 1) != 0) continue;
      TRY(scan_bus(window.segment, static_cast<u8>(bus), nullptr, reached));
    }
  }
  compare_incoming();
  return {};
}

/// Depth is bounded: a bus below a bridge has a higher number, and each bus is walked once.
Status Pci::scan_bus(u16 segment, u8 bus, Function* upstream, std::array<u64, 4>& reached) {
  if ((reached[bus / 64] >> (bus % 64) & 1) != 0) return {};
  reached[bus / 64] |= u64{1} << (bus % 64);
  for (u8 device = 0; device < hw::pci::devices_per_bus; ++device) {
    for (u8 number = 0; number < hw::pci::functions_per_device; ++number) {
      const SourceId id(bus, device, number);
      if (x_config.is_present(segment, id)) {
        TRY_ASSIGN(Function * function, add_function(segment, id, upstream));
        if (function->is_bridge) TRY(scan_below(*function, reached));
      }
      if (number == 0 && !is_multi_function(segment, id)) break;
    }
  }
  return {};
}

bool Pci::is_multi_function(u16 segment, SourceId first) const {
  if (!x_config.is_present(segment, first)) return false;
  const hw::pci::HeaderType type(x_config.read<u8>(segment, first, hw::pci::header_type_offset));
  return type.get<hw::pci::header_type::MultiFunction>() != 0;
}

Status Pci::scan_below(Function& bridge, std::array<u64, 4>& reached) {
  const auto buses = x_config.buses_below(bridge.segment, bridge.id);
  if (!buses.ok()) {
    TextLine line;
    line.text("pci: bridge ").device(bridge.segment, bridge.id).text(": bus numbers make no sense, nothing below it");
    x_memory.world.log(LogLevel::Warning, line.view());
    return {};
  }
  return scan_bus(bridge.segment, buses->secondary, &bridge, reached);
}

Result<Function*> Pci::add_function(u16 segment, SourceId id, Function* upstream) {
  TRY_ASSIGN(Function * function, x_memory.heap.create<Function>());
  function->segment = segment;
  function->id = id;
  function->vendor = x_config.read<u16>(segment, id, hw::pci::vendor_id_offset);
  function->device = x_config.read<u16>(segment, id, hw::pci::device_id_offset);
  function->class_revision = x_config.read<u32>(segment, id, hw::pci::revision_id_offset);
  function->upstream = upstream;
  const hw::pci::HeaderType type(x_config.read<u8>(segment, id, hw::pci::header_type_offset));
  function->is_bridge = type.get<hw::pci::header_type::Layout>() == static_cast<u64>(hw::pci::HeaderLayout::Bridge);
  const abi::pci::Device* crossed = find_incoming(*function);
  function->is_incoming = crossed != nullptr;
  if (!function->is_bridge) {
    const Status registered = register_endpoint(*function);
    if (!registered.ok()) {
      x_memory.heap.destroy(function);
      return registered.error();
    }
    read_bars(*function, crossed);
  }
  x_functions.push_back(*function);
  ++x_function_count;
  return function;
}

/// A function that no unit covers is left to itself. Error: NoMemory.
Status Pci::register_endpoint(Function& function) {
  const iommu::DeviceIdentity identity{.segment = function.segment,
                                       .id = function.id,
                                       .vendor = function.vendor,
                                       .device = function.device,
                                       .class_revision = function.class_revision};
  const auto device = x_core.register_device(identity);
  if (device.code() == Code::NoMemory) return Code::NoMemory;
  if (device.ok()) function.iommu_device = *device;
  return {};
}

/// Addresses are firmware's. Sizes are found by writing ones with decoding off, and only where nothing runs: of a
/// function that crossed they are what the previous kernel found, if that is possible.
void Pci::read_bars(Function& function, const abi::pci::Device* crossed) {
  const auto read = [&](u64 offset) { return x_config.read<u32>(function.segment, function.id, offset); };
  const auto write = [&](u64 offset, u32 value) { x_config.write<u32>(function.segment, function.id, offset, value); };
  const Command command(x_config.read<u16>(function.segment, function.id, hw::pci::command_offset));
  const auto set_command = [&](Command to) {
    x_config.write<u16>(function.segment, function.id, hw::pci::command_offset, to.raw());
  };
  const bool may_write = !keeps_running(function);
  if (may_write) set_command(command.with<hw::pci::command::MemorySpace>(0).with<hw::pci::command::IoSpace>(0));
  for (unsigned index = 0; index < hw::pci::bar_count; ++index) {
    const u64 offset = hw::pci::bar0_offset + 4u * index;
    const u32 low = read(offset);
    const hw::pci::Bar raw(low);
    Function::Bar& bar = function.bars[index];
    bar.is_io = raw.get<hw::pci::bar::IoSpace>() != 0;
    bar.is_64bit = !bar.is_io && raw.get<hw::pci::bar::Type>() == 2 && index + 1 < hw::pci::bar_count;
    bar.is_prefetchable = !bar.is_io && raw.get<hw::pci::bar::Prefetchable>() != 0;
    const u32 high = bar.is_64bit ? read(offset + 4) : 0;
    const u32 address_mask = bar.is_io ? ~u32{3} : ~u32{0xf};
    const PhysAddr address(u64{high} << 32 | (low & address_mask));
    u64 size = crossed == nullptr ? 0 : crossed->bar_bytes[index];
    if (may_write) {
      write(offset, ~u32{0});
      if (bar.is_64bit) write(offset + 4, ~u32{0});
      const u64 writable = u64{bar.is_64bit ? read(offset + 4) : 0} << 32 | (read(offset) & address_mask);
      write(offset, low);
      if (bar.is_64bit) write(offset + 4, high);
      size = writable & (~writable + 1);
    }
    if (address.value != 0 && is_power_of_two(size) && address.is_aligned(size)) bar.range = {address, size};
    if (bar.is_64bit) ++index;
  }
  if (may_write) set_command(command);
}

bool Pci::keeps_running(const Function& function) const {
  return function.is_incoming ||
         (function.iommu_device != nullptr && function.iommu_device->state() == iommu::Device::State::Incoming);
}

void Pci::close() {
  while (Function* function = x_functions.back()) {
    if (function->iommu_device != nullptr)
      MUST(x_core.unregister_device(*function->iommu_device), "no device is in use when PCI is closed");
    x_functions.remove(*function);
    x_memory.heap.destroy(function);
  }
  x_function_count = 0;
}

void Pci::for_each_function(kho::Visitor<Function&> visit) const {
  for (const Function& function : x_functions) visit(const_cast<Function&>(function));
}

Result<Function*> Pci::find(u16 segment, SourceId id) const {
  for (const Function& function : x_functions)
    if (function.segment == segment && function.id == id) return const_cast<Function*>(&function);
  return Code::NotFound;
}

Result<PhysRange> Pci::bar(const Function& function, unsigned index) const {
  if (index >= hw::pci::bar_count) return Code::Invalid;
  const Function::Bar& bar = function.bars[index];
  if (bar.range.size_bytes == 0 || bar.is_io) return Code::NotFound;
  return bar.range;
}

void Pci::set_bus_master(Function& function, BusMaster to) {
  for (Function* at = &function; at != nullptr; at = at->upstream) {
    const Command command(x_config.read<u16>(at->segment, at->id, hw::pci::command_offset));
    const Command wanted = command.with<hw::pci::command::BusMaster>(to == BusMaster::On ? 1 : 0);
    if (wanted != command) x_config.write<u16>(at->segment, at->id, hw::pci::command_offset, wanted.raw());
    if (to == BusMaster::Off) return;  // others below the bridges may need them
  }
}

BusMaster Pci::bus_master(const Function& function) const {
  const Command command(x_config.read<u16>(function.segment, function.id, hw::pci::command_offset));
  return command.get<hw::pci::command::BusMaster>() != 0 ? BusMaster::On : BusMaster::Off;
}

Status Pci::reset(Function& function) {
  if (function.preserved != 0 || keeps_running(function)) return Code::Busy;
  const auto express = x_config.find_capability(function.segment, function.id, hw::pci::CapabilityId::Express);
  if (!express.ok()) return Code::NotSupported;
  const u32 capabilities =
      x_config.read<u32>(function.segment, function.id, *express + hw::pci::express_device_capabilities_offset);
  if ((capabilities & hw::pci::device_capabilities_flr) == 0) return Code::NotSupported;

  const u16 command = x_config.read<u16>(function.segment, function.id, hw::pci::command_offset);
  std::array<u32, hw::pci::bar_count> bars{};
  for (unsigned i = 0; i < hw::pci::bar_count; ++i)
    bars[i] = x_config.read<u32>(function.segment, function.id, hw::pci::bar0_offset + 4u * i);
  set_bus_master(function, BusMaster::Off);
  const u64 control = *express + hw::pci::express_device_control_offset;
  const u16 value = x_config.read<u16>(function.segment, function.id, control);
  x_config.write<u16>(function.segment, function.id, control,
                      static_cast<u16>(value | hw::pci::device_control_initiate_flr));
  const u64 start = x_memory.world.now_ns();
  while (!x_config.is_present(function.segment, function.id)) {
    if (x_memory.world.now_ns() - start > reset_wait_ns) return Code::TimedOut;
    x_memory.world.relax();
  }
  for (unsigned i = 0; i < hw::pci::bar_count; ++i)
    x_config.write<u32>(function.segment, function.id, hw::pci::bar0_offset + 4u * i, bars[i]);
  x_config.write<u16>(function.segment, function.id, hw::pci::command_offset,
                      Command(command).with<hw::pci::command::BusMaster>(0).raw());
  return {};
}

}  // namespace holdfast::pci

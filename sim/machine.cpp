#include "sim/machine.hpp"

#include <stdexcept>

#include "holdfast/hw/pci/config.hpp"
#include "sim/acpi_writer.hpp"
#include "sim/control.hpp"

namespace sim {
namespace {

const MachineConfig& checked(const MachineConfig& config) {
  check(config);
  return config;
}

}  // namespace

Machine::Machine(MachineConfig config, RamView ram, std::span<std::byte> backing, Clock clock)
    : x_config(checked(config)), x_ram(std::move(ram)), x_clock(std::move(clock)), x_grants(x_ram.end()) {
  if (backing.size() < mmio_backing_bytes(x_config)) throw std::invalid_argument("the register backing is too small");
  for (const MmioRegion& region : mmio_layout(x_config))
    x_windows.push_back({region, RegisterFile(backing.subspan(region.backing_offset, region.size_bytes))});
  for (unsigned unit = 0; unit < x_config.units; ++unit)
    x_units.push_back(std::make_unique<VtdUnit>(x_config, x_ram, registers_at(unit_address(unit))));
  build_functions(backing);
  RegisterFile control_page = registers_at(control_start);
  control_page.fill(0);
  control_page.store(control::id_offset, control::id_value);
  write_acpi_tables(x_config, x_ram);
}

RegisterFile Machine::registers_at(PhysAddr start) const {
  for (const Window& window : x_windows)
    if (window.region.start == start) return window.registers;
  throw std::logic_error("no register window starts there");
}

std::span<std::byte> Machine::config_space(std::span<std::byte> backing, SourceId id) const {
  const MmioRegion ecam = mmio_layout(x_config).front();
  return backing.subspan(ecam.backing_offset + hw::pci::ecam_offset(id), hw::pci::function_config_bytes);
}

void Machine::build_functions(std::span<std::byte> backing) {
  registers_at(ecam_start).fill(0xff);  // a function that is not there reads as all ones
  for (unsigned i = 0; i < x_config.devices.size(); ++i) {
    const DeviceConfig& device = x_config.devices[i];
    const SourceId id = device.source_id();
    x_functions.emplace_back(RegisterFile(config_space(backing, id)), id);
    x_functions.back().make_endpoint(device, bar_address(x_config, i));
    x_engines.push_back(std::make_unique<DmaEngine>(registers_at(bar_address(x_config, i)),
                                                    DmaPath(*x_units[device.unit], x_ram, x_grants, id)));
  }
  u8 port = first_root_port_device;
  for (const u8 bus : secondary_buses(x_config)) {
    const SourceId id(0, port++, 0);
    x_functions.emplace_back(RegisterFile(config_space(backing, id)), id);
    x_functions.back().make_root_port(bus);
  }
}

const Machine::Window* Machine::window_at(PhysAddr address, Width width) const {
  for (const Window& window : x_windows) {
    const PhysRange range{window.region.start, window.region.size_bytes};
    if (range.contains(address, static_cast<u64>(width))) return &window;
  }
  return nullptr;
}

u64 Machine::mmio_read(PhysAddr address, Width width) const {
  const Window* window = window_at(address, width);
  if (window == nullptr) return ~u64{0} >> (64 - 8 * static_cast<unsigned>(width));
  return window->registers.load(address - window->region.start, width);
}

void Machine::mmio_write(PhysAddr address, Width width, u64 value) {
  const Window* window = window_at(address, width);
  if (window == nullptr || !address.is_aligned(static_cast<u64>(width))) return;
  const PhysAddr start = window->region.start;
  const u64 offset = address - start;
  if (start == ecam_start) return config_write(offset, width, value);
  if (start == control_start) return control_write(offset, width, value);
  if (start >= units_start)
    return x_units[(start - units_start) / page_size_bytes]->register_write(offset, width, value);
  for (unsigned i = 0; i < x_engines.size(); ++i)
    if (bar_address(x_config, i) == start && x_functions[i].memory_space())
      return x_engines[i]->register_write(offset, width, value);
}

void Machine::config_write(u64 offset, Width width, u64 value) {
  const SourceId id(static_cast<u16>(offset / hw::pci::function_config_bytes));
  for (std::size_t i = 0; i < x_functions.size(); ++i) {
    if (x_functions[i].id() != id) continue;
    const ConfigEffect effect = x_functions[i].write(offset % hw::pci::function_config_bytes, width, value);
    if (i >= x_engines.size()) return;
    if (effect == ConfigEffect::FunctionReset) x_engines[i]->reset();
    if (effect != ConfigEffect::None) x_engines[i]->set_bus_master(x_functions[i].bus_master());
    return;
  }
}

void Machine::control_write(u64 offset, Width width, u64 value) {
  RegisterFile page = registers_at(control_start);
  if (width == Width::Qword && offset >= control::touched_tables_offset && offset <= control::guest_size_offset)
    return page.store(offset, value);
  if (width != Width::Dword) return;
  if (offset == control::mark_offset) {
    page.store(offset, static_cast<u32>(value));
    return mark(static_cast<Phase>(value));
  }
  if (offset != control::guest_op_offset || value > static_cast<u64>(GuestMemory::Revoked)) return;
  page.store(offset, static_cast<u32>(value));
  x_grants.set({PhysAddr(page.load<u64>(control::guest_start_offset)), page.load<u64>(control::guest_size_offset)},
               static_cast<GuestMemory>(value));
}

void Machine::mark(Phase phase) {
  const RegisterFile page = registers_at(control_start);
  Mark result{.phase = phase,
              .time_ns = x_clock(),
              .devices = {},
              .touched = {.tables = page.load<u64>(control::touched_tables_offset),
                          .blocks = page.load<u64>(control::touched_blocks_offset),
                          .records = page.load<u64>(control::touched_records_offset),
                          .files = page.load<u64>(control::touched_files_offset),
                          .frames = page.load<u64>(control::touched_frames_offset)},
              .wild = x_grants.wild()};
  for (const auto& engine : x_engines) result.devices.push_back(engine->counters());
  x_marks.push_back(std::move(result));
  if (phase == Phase::AdoptionDone) x_grants.end_of_blackout();
}

u64 Machine::step(u64 transfers) {
  u64 completed = 0;
  for (u64 turn = 0; turn < transfers; ++turn) {
    for (const auto& unit : x_units) unit->tick();
    const u64 first = x_engines.empty() ? 0 : hw::dma_engine::mix(x_config.seed, x_round) % x_engines.size();
    ++x_round;
    for (u64 i = 0; i < x_engines.size(); ++i) {
      DmaEngine& engine = *x_engines[(first + i) % x_engines.size()];
      if (engine.step()) ++completed;
    }
  }
  return completed;
}

}  // namespace sim

// Core: units, devices, owners. See core.hpp.
#include "holdfast/iommu/core.hpp"

namespace holdfast::iommu {

Core::Core(Memory& memory, kho::Handover& handover, const CoreOptions& options)
    : x_memory(memory),
      x_handover(handover),
      x_options(options),
      x_mutex(memory.world, LockRank::Iommu),
      x_outgoing(memory, handover),
      x_incoming(memory),
      x_records_flb(*this),
      x_attest_flb(*this),
      x_keep(memory.heap) {}

Status Core::add_unit(Unit& unit) {
  Guard guard(x_mutex);
  for (const UnitState& state : units())
    if (state.unit->register_base() == unit.register_base()) return Code::Exists;
  if (x_unit_count == max_units) return Code::NoSpace;
  x_units[x_unit_count++].unit = &unit;
  return {};
}

Status Core::start_fresh() {
  Guard guard(x_mutex);
  Code first = Code::Ok;
  for (UnitState& state : units()) {
    start_unit(state);
    if (state.working) continue;
    distrust({.kind = Quarantined::Kind::Unit, .address = state.unit->register_base(), .reason = state.reason});
    if (first == Code::Ok) first = Code::Io;
  }
  return first == Code::Ok ? Status() : first;
}

Core::UnitState& Core::state_of(const Unit& unit) {
  for (UnitState& state : units())
    if (state.unit == &unit) return state;
  panic("a device is behind a unit that the core does not know");
}

Core::UnitState* Core::find_unit_of(u16 segment, SourceId id) {
  for (UnitState& state : units())
    if (state.unit->segment() == segment && state.unit->covers(id)) return &state;
  return nullptr;
}

Device* Core::find_device_locked(u16 segment, SourceId id) const {
  for (const Device& device : x_devices)
    if (device.x_identity.segment == segment && device.x_identity.id == id) return const_cast<Device*>(&device);
  return nullptr;
}

void Core::for_each_quarantined(kho::Visitor<const Quarantined&> visit) const {
  Guard guard(x_mutex);
  visit_quarantined(visit);
}

void Core::visit_quarantined(const kho::Visitor<const Quarantined&>& visit) const {
  using Kind = Quarantined::Kind;
  for (const std::string_view reason : {x_incoming.reason(), x_incoming.broken_chain()})
    if (!reason.empty()) visit({.kind = Kind::Records, .reason = reason});
  for (const UnitState& state : units())
    if (!state.reason.empty())
      visit({.kind = Kind::Unit, .address = state.unit->register_base(), .reason = state.reason});
  for (const IncomingUnit& unit : x_incoming.units)
    if (!unit.reason.empty() && unit.is_stranger)
      visit({.kind = Kind::Unit, .address = PhysAddr(unit.record.token), .reason = unit.reason});
  for (const IncomingDomain& domain : x_incoming.domains)
    if (!domain.reason.empty()) visit({.kind = Kind::Domain, .address = domain.address, .reason = domain.reason});
  for (const IncomingDevice& device : x_incoming.devices)
    if (!device.reason.empty())
      visit({.kind = Kind::Device,
             .address = device.address,
             .segment = device.segment(),
             .id = device.id(),
             .reason = device.reason});
}

Result<Device*> Core::register_device(const DeviceIdentity& identity) {
  Guard guard(x_mutex);
  UnitState* state = find_unit_of(identity.segment, identity.id);
  if (state == nullptr || !state->working) return Code::NoDevice;
  if (find_device_locked(identity.segment, identity.id) != nullptr) return Code::Exists;
  TRY_ASSIGN(Device * device, x_memory.heap.create<Device>(identity, *state->unit));
  x_devices.push_back(*device);
  IncomingDevice* incoming = x_incoming.find_device(identity.segment, identity.id);
  if (incoming != nullptr && !incoming->is_settled) adopt_device_object(*device, *incoming);
  return device;
}

Status Core::unregister_device(Device& device) {
  Guard guard(x_mutex);
  if (device.is_preserved() || device.x_owner != nullptr) return Code::Busy;
  if (device.x_state == Device::State::Incoming)
    part_from_object(device);
  else
    TRY(block_device(device));
  x_devices.remove(device);
  x_memory.heap.destroy(&device);
  return {};
}

Result<Device*> Core::find_device(u16 segment, SourceId id) const {
  Guard guard(x_mutex);
  Device* device = find_device_locked(segment, id);
  if (device == nullptr) return Code::NotFound;
  return device;
}

void Core::for_each_device(kho::Visitor<Device&> visit) const {
  Guard guard(x_mutex);
  for (const Device& device : x_devices) visit(const_cast<Device&>(device));
}

Status Core::claim_owner(Device& device, const void* owner, std::optional<u64> token) {
  Guard guard(x_mutex);
  if (device.x_state == Device::State::Quarantined) return Code::Corrupt;
  if (device.x_owner == owner) return {};
  if (device.x_owner != nullptr) return Code::Busy;
  if (device.x_restored_token && device.x_restored_token != token) return Code::NotPermitted;
  // What an owner before left behind is not the new one's.
  if (device.x_domain != nullptr && !device.x_restored_token) {
    if (device.is_preserved()) return Code::Busy;
    TRY(block_device(device));
  }
  device.x_owner = owner;
  return {};
}

void Core::release_owner(Device& device, const void* owner) {
  Guard guard(x_mutex);
  if (device.x_owner == owner) device.x_owner = nullptr;
}

}  // namespace holdfast::iommu

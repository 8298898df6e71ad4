// Core, outgoing: FLBs, what preserving a domain and a device writes, freeze and cut-off. See core.hpp.
//
// Every step that can fail comes before the first that changes what stands in memory for the next kernel; each has its
// exact inverse, so that a failure leaves every byte and the preserved set as they were.
#include "holdfast/base/text_line.hpp"
#include "holdfast/iommu/core.hpp"
#include "holdfast/iommu/undo.hpp"

namespace holdfast::iommu {

Result<u64> Core::RecordsFlb::preserve() { return x_core.open_records(); }
void Core::RecordsFlb::unpreserve() { x_core.close_records(); }
void Core::RecordsFlb::finish() { x_core.finish_records(); }
Result<u64> Core::AttestFlb::preserve() { return x_core.open_attest(); }
void Core::AttestFlb::unpreserve() { x_core.close_attest(); }
void Core::AttestFlb::finish() { x_core.finish_attest(); }

Result<u64> Core::open_records() {
  Guard guard(x_mutex);
  const bool in_arenas = x_options.table_mode == TableMode::Arena;
  TRY_ASSIGN(const PhysAddr page,
             x_outgoing.open_records(in_arenas ? abi::iommu::version_arenas : abi::iommu::version_pages));
  return page.value;
}

Result<u64> Core::open_attest() {
  Guard guard(x_mutex);
  TRY_ASSIGN(const PhysAddr page, x_outgoing.open_attest(x_options.table_mode));
  return page.value;
}

void Core::close_records() {
  Guard guard(x_mutex);
  for (const Domain& domain : x_domains)
    verify_invariant(!domain.is_preserved(), "the IOMMU records go while a domain is preserved");
  x_outgoing.close_records();
}

void Core::close_attest() {
  Guard guard(x_mutex);
  for (const Domain& domain : x_domains)
    verify_invariant(!domain.is_preserved(), "the attestation goes while a domain is preserved");
  x_outgoing.close_attest();
}

Result<PhysAddr> Core::preserve_domain(Domain& domain) {
  Guard guard(x_mutex);
  if (domain.is_identity()) return Code::NotSupported;  // a record names a table
  if (!x_outgoing.has_records() || !x_outgoing.has_attest()) return Code::Invalid;
  if (domain.is_preserved()) return Code::Busy;
  if (domain.x_kind == Domain::Kind::Quarantined) return Code::Corrupt;
  if (domain.x_kind == Domain::Kind::Unverified) return Code::Again;
  // A restored domain in arenas cannot be passed on by a kernel that writes version 1.
  if (domain.x_config.mode == TableMode::Arena && x_options.table_mode == TableMode::Page) return Code::NotSupported;
  if (domain.is_live()) TRY(flush(domain));

  TRY_ASSIGN(const PhysAddr record_at, x_outgoing.domains.allocate());
  Undo undo_record([&] { x_outgoing.domains.release(record_at); });
  TRY_ASSIGN(const PhysAddr attest_at, x_outgoing.domain_attests.allocate());
  Undo undo_attest([&] { x_outgoing.domain_attests.release(attest_at); });
  TRY_ASSIGN(const PhysAddr block_list, x_outgoing.write_block_list(blocks_of(domain)));
  Undo undo_list([&] { x_outgoing.free_block_list(block_list); });
  pt::SavedTable saved;
  if (domain.is_live()) {
    TRY(domain.x_table->preserve(x_handover));
    saved = domain.x_table->saved();
  } else {
    TRY_ASSIGN(saved, domain.x_restored->pass_on(x_handover));
  }
  undo_list.keep();
  undo_attest.keep();
  undo_record.keep();

  auto& record = x_outgoing.domains.at(record_at);
  record.top_table_phys = saved.top.value;
  record.top_level = saved.top_level;
  record.vasz = saved.iova_bits;
  record.sign_extend = saved.extent == pt::IovaExtent::SignExtended ? 1 : 0;
  auto& attest = x_outgoing.domain_attests.at(attest_at);
  attest.record_phys = record_at.value;
  attest.format = static_cast<u32>(domain.x_config.format);
  attest.table_mode = static_cast<u32>(domain.x_config.mode == TableMode::Arena ? abi::attest::TableMode::Arena
                                                                                : abi::attest::TableMode::Page);
  attest.levels = static_cast<u8>(saved.top_level + 1);
  attest.iova_bits = saved.iova_bits;
  attest.block_list = block_list.value;
  attest.block_count = blocks_of(domain).size();
  attest.table_count = saved.table_count;
  attest.checksum_root = saved.checksum;
  domain.x_record = record_at;
  domain.x_attest = attest_at;
  seal_domain(domain);
  return record_at;
}

std::span<const Block> Core::blocks_of(const Domain& domain) {
  return domain.is_live() ? domain.x_table->arena().blocks() : domain.x_restored->blocks();
}

Status Core::unpreserve_domain(Domain& domain) {
  Guard guard(x_mutex);
  if (!domain.is_preserved()) return {};
  if (domain.x_preserved_devices != 0) return Code::Busy;
  if (domain.is_live())
    domain.x_table->unpreserve(x_handover);
  else
    domain.x_restored->cancel_pass_on(x_handover);
  x_outgoing.free_block_list(PhysAddr(x_outgoing.domain_attests.at(domain.x_attest).block_list));
  x_outgoing.domain_attests.release(domain.x_attest);
  x_outgoing.domains.release(domain.x_record);
  domain.x_attest = domain.x_record = PhysAddr();
  return {};
}

Status Core::preserve_device(Device& device, u64 owner_token) {
  Guard guard(x_mutex);
  if (device.is_preserved()) return Code::Busy;
  if (device.x_identity.isolation != Isolation::Singleton) return Code::NotSupported;
  if (device.x_state == Device::State::Quarantined) return Code::Corrupt;
  if (device.x_owner == nullptr && !device.x_restored_token) return Code::Invalid;
  Domain* domain = device.x_domain;
  if (domain != nullptr && domain->is_identity()) return Code::NotSupported;
  if (domain == nullptr || !domain->is_preserved()) return Code::Invalid;
  UnitState& state = state_of(device.unit());

  TRY_ASSIGN(const PhysAddr record_at, x_outgoing.devices.allocate());
  Undo undo_record([&] { x_outgoing.devices.release(record_at); });
  TRY_ASSIGN(const PhysAddr attest_at, x_outgoing.device_attests.allocate());
  Undo undo_attest([&] { x_outgoing.device_attests.release(attest_at); });
  auto& record = x_outgoing.devices.at(record_at);
  TRY(device.unit().preserve_device(x_handover, device.id(), record.intel));
  Undo undo_entry([&] { device.unit().unpreserve_device(x_handover, device.id(), record.intel); });
  TRY(preserve_unit(state, device));
  undo_entry.keep();
  undo_attest.keep();
  undo_record.keep();

  record.header.ref_count = 1;
  record.devid = device.id().value;
  record.pci_domain_nr = device.x_identity.segment;
  record.dma_owner_token = owner_token;
  record.domain_iommu.attachment_id = find_link(*domain, device.unit())->did.value;
  record.domain_iommu.domain_phys = domain->x_record.value;
  record.domain_iommu.iommu_phys = state.record.value;
  auto& attest = x_outgoing.device_attests.at(attest_at);
  attest.record_phys = record_at.value;
  attest.devid = record.devid;
  attest.pci_domain_nr = record.pci_domain_nr;
  attest.vendor = device.x_identity.vendor;
  attest.device = device.x_identity.device;
  attest.class_revision = device.x_identity.class_revision;
  device.x_record = record_at;
  device.x_attest = attest_at;
  ++domain->x_preserved_devices;
  seal_device(device);
  seal_domain(*domain);
  return {};
}

/// One more preserved device on the unit. Its record exists while there is one; context tables that came up since the
/// last time are added.
Status Core::preserve_unit(UnitState& state, Device& device) {
  if (state.preserved_devices != 0) {
    auto& record = x_outgoing.units.at(state.record);
    device.x_tables_before = record.intel.context_tables_bitmap;
    TRY(state.unit->preserve(x_handover, record.intel));
    device.x_tables_after = record.intel.context_tables_bitmap;
  } else {
    TRY_ASSIGN(const PhysAddr record_at, x_outgoing.units.allocate());
    Undo undo_record([&] { x_outgoing.units.release(record_at); });
    TRY_ASSIGN(const PhysAddr attest_at, x_outgoing.unit_attests.allocate());
    Undo undo_attest([&] { x_outgoing.unit_attests.release(attest_at); });
    auto& record = x_outgoing.units.at(record_at);
    TRY(state.unit->preserve(x_handover, record.intel));
    undo_attest.keep();
    undo_record.keep();
    record.token = state.unit->register_base().value;
    record.type = static_cast<u64>(abi::iommu::UnitType::Intel);
    state.record = record_at;
    state.attest = attest_at;
    device.x_tables_before = device.x_tables_after = record.intel.context_tables_bitmap;
  }
  ++state.preserved_devices;
  seal_unit(state);
  return {};
}

void Core::unpreserve_device(Device& device) {
  Guard guard(x_mutex);
  if (!device.is_preserved()) return;
  UnitState& state = state_of(device.unit());
  unpreserve_unit(state, device);
  device.unit().unpreserve_device(x_handover, device.id(), x_outgoing.devices.at(device.x_record).intel);
  x_outgoing.device_attests.release(device.x_attest);
  x_outgoing.devices.release(device.x_record);
  device.x_attest = device.x_record = PhysAddr();
  device.x_tables_before = device.x_tables_after = {};
  --device.x_domain->x_preserved_devices;
  seal_domain(*device.x_domain);
}

void Core::unpreserve_unit(UnitState& state, Device& device) {
  auto& record = x_outgoing.units.at(state.record);
  if (--state.preserved_devices != 0) {
    // Newest first, as sessions are undone: the tables that were added for this device go with it.
    if (record.intel.context_tables_bitmap == device.x_tables_after) {
      abi::iommu::IntelUnit added{};
      for (std::size_t i = 0; i < device.x_tables_after.size(); ++i)
        added.context_tables_bitmap[i] = device.x_tables_after[i] & ~device.x_tables_before[i];
      state.unit->unpreserve(x_handover, added);
      record.intel.context_tables_bitmap = device.x_tables_before;
    }
    return seal_unit(state);
  }
  state.unit->unpreserve(x_handover, record.intel);
  x_outgoing.unit_attests.release(state.attest);
  x_outgoing.units.release(state.record);
  state.attest = state.record = PhysAddr();
}

void Core::seal_unit(const UnitState& state) {
  const UnitLimits& limits = state.unit->limits();
  auto& record = x_outgoing.units.at(state.record);
  record.header.ref_count = state.preserved_devices;
  auto& attest = x_outgoing.unit_attests.at(state.attest);
  attest.record_phys = state.record.value;
  attest.register_base = state.unit->register_base().value;
  attest.capability = limits.capability;
  attest.extended_capability = limits.extended_capability;
  attest.root_table = record.intel.root_table;
  attest.page_sizes = page_sizes_of_any_format(limits);
  attest.domain_ids = limits.domain_ids;
  attest.scalable = limits.scalable ? 1 : 0;
  attest.iova_bits = limits.iova_bits;
  attest.levels_mask = levels_of_any_format(limits);
  attest.coherent = limits.coherent_tables ? 1 : 0;
  x_outgoing.seal(attest, record);
}

void Core::seal_domain(const Domain& domain) {
  auto& record = x_outgoing.domains.at(domain.x_record);
  record.header.ref_count = domain.x_preserved_devices;
  x_outgoing.seal(x_outgoing.domain_attests.at(domain.x_attest), record);
}

void Core::seal_device(const Device& device) {
  x_outgoing.seal(x_outgoing.device_attests.at(device.x_attest), x_outgoing.devices.at(device.x_record));
}

bool Core::preserves(pt::Format format) const {
  Guard guard(x_mutex);
  for (const Domain& domain : x_domains)
    if (domain.is_preserved() && domain.x_config.format == format) return true;
  return false;
}

Status Core::attest_memfd(PhysAddr record, u32 open_flags, u32 mode) {
  Guard guard(x_mutex);
  if (!x_outgoing.has_attest()) return Code::Invalid;
  TRY_ASSIGN(const PhysAddr attest_at, x_outgoing.memfd_attests.allocate());
  auto& attest = x_outgoing.memfd_attests.at(attest_at);
  attest.record_phys = record.value;
  attest.open_flags = open_flags;
  attest.mode = mode;
  attest.checksum = abi::checksum_of(attest);
  return {};
}

void Core::forget_memfd(PhysAddr record) {
  Guard guard(x_mutex);
  if (!x_outgoing.has_attest()) return;
  const PhysAddr found = x_outgoing.memfd_attests.find(
      [&](const abi::attest::MemfdAttest& attest) { return attest.record_phys == record.value; });
  if (found.value != 0) x_outgoing.memfd_attests.release(found);
}

Status Core::prepare_freeze(u64 generation) {
  Guard guard(x_mutex);
  verify_invariant(!x_is_freezing, "a freeze is prepared twice");
  u64 count = 0;
  for (const Device& device : x_devices)
    if (device.is_preserved()) ++count;
  for (const UnitState& state : units()) {
    if (!state.working) continue;
    if (const Status alive = state.unit->check_alive(); !alive.ok()) {
      TextLine line;
      line.text("iommu: the live update is refused: unit at ").hex(state.unit->register_base().value);
      x_memory.world.log(LogLevel::Error, line.text(" does not answer, or its root table cannot be preserved").view());
      return alive;
    }
  }
  TRY(x_keep.reserve(count));
  for (const UnitState& state : units())
    for (const Device& device : x_devices)
      if (&device.unit() == state.unit && device.is_preserved())
        MUST(x_keep.push_back(device.id()), "room was reserved");
  x_generation = generation;
  x_is_freezing = true;
  return {};
}

void Core::forget_freeze() {
  x_keep.clear();
  x_generation = 0;
  x_is_freezing = false;
}

void Core::abandon_freeze() {
  Guard guard(x_mutex);
  if (x_is_freezing) forget_freeze();
}

Status Core::cut_off() {
  Guard guard(x_mutex);
  verify_invariant(x_is_freezing, "the cut-off comes after prepare_freeze()");
  std::span<const SourceId> keep = x_keep.span();
  for (UnitState& state : units()) {
    const auto kept = keep.first(state.preserved_devices);
    keep = keep.subspan(state.preserved_devices);
    if (!state.working) continue;
    state.cut_off = true;
    if (const Status done = state.unit->cut_off(kept); !done.ok()) {
      reinstate_locked();
      return done;
    }
  }
  for (const Device& device : x_devices) {
    if (!device.is_preserved()) continue;
    x_memory.touches.record();
    x_outgoing.device_attests.at(device.x_attest).live_entry = device.unit().read_entry(device.id()).words;
    seal_device(device);
  }
  if (x_outgoing.has_attest()) x_outgoing.set_generation(x_generation);
  return {};
}

void Core::reinstate() {
  Guard guard(x_mutex);
  if (x_is_freezing) reinstate_locked();
}

void Core::reinstate_locked() {
  for (UnitState& state : units()) {
    if (state.cut_off) state.unit->reinstate();
    state.cut_off = false;
  }
  for (const Device& device : x_devices) {
    if (!device.is_preserved()) continue;
    x_outgoing.device_attests.at(device.x_attest).live_entry = {};
    seal_device(device);
  }
  if (x_outgoing.has_attest()) x_outgoing.set_generation(0);
  forget_freeze();
}

u64 Core::state_hash() const {
  Guard guard(x_mutex);
  u64 hash = x_outgoing.state_hash();
  const auto add = [&](u64 value) { hash = abi::checksum_add(hash, value); };
  for (const UnitState& state : units()) {
    add(state.unit->state_hash());
    add(state.unit->dids_in_use());
    add(u64{state.working} | u64{state.adopted} << 1 | u64{state.owns_tables} << 2 | u64{state.cut_off} << 3);
    add(state.preserved_devices);
  }
  for (const Domain& domain : x_domains) hash_domain(domain, hash);
  for (const Device& device : x_devices) {
    add(device.x_identity.segment | u64{device.id().value} << 16);
    add(device.x_domain == nullptr ? 0 : 1);
    add(device.x_domain == nullptr ? 0 : device.x_domain->x_top.value);
    add(device.x_owner != nullptr ? 1 : 0);
    add(device.x_restored_token ? *device.x_restored_token + 1 : 0);
    add(static_cast<u64>(device.x_state));
    add(device.x_record.value);
  }
  add(x_is_freezing ? 1 : 0);
  return hash;
}

void Core::hash_domain(const Domain& domain, u64& hash) const {
  const auto add = [&](u64 value) { hash = abi::checksum_add(hash, value); };
  add(static_cast<u64>(domain.x_kind));
  add(domain.x_top.value);
  add(domain.x_attachments);
  add(domain.x_record.value);
  add(domain.x_preserved_devices);
  for (const UnitLink& link : domain.x_links) {
    add(link.unit->register_base().value);
    add(u64{link.did.value} << 32 | link.devices);
  }
  const auto add_page = [&](PhysAddr page) {
    add(page.value);
    add(abi::checksum({x_memory.map.bytes(page), page_size_bytes}, ~u64{0}));
  };
  if (domain.is_live()) {
    add(domain.x_table->table_count());
    add(domain.x_table->preserved() ? 1 : 0);
    domain.x_table->collect([&](PhysAddr page, unsigned) { add_page(page); });
  } else if (domain.x_restored != nullptr) {
    for (const Block& block : domain.x_restored->blocks())
      for (u64 offset = 0; offset < block.size_bytes(); offset += page_size_bytes) add_page(block.start + offset);
  }
}

}  // namespace holdfast::iommu

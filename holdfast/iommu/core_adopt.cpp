// Core, live boot (a): from records to running units, before there is any memory to allocate. See core.hpp.
//
// Order: everything is read; then each unit is adopted, quarantined or started; then the live entries are read and
// compared; then what is left over is blocked.
#include "holdfast/base/text_line.hpp"
#include "holdfast/iommu/core.hpp"

namespace holdfast::iommu {
namespace {

class PreservedBlocks final : public PreservedSet {
 public:
  explicit PreservedBlocks(const kho::IncomingMap& map) : x_map(map) {}
  [[nodiscard]] bool contains(Block block) const override { return x_map.contains(block); }

 private:
  const kho::IncomingMap& x_map;
};

/// The unit is the one that was attested, in the mode it was in.
bool is_attested(const UnitLimits& now, const abi::attest::UnitAttest& then) {
  return now.scalable == (then.scalable != 0) && now.iova_bits == then.iova_bits &&
         levels_of_any_format(now) == then.levels_mask && page_sizes_of_any_format(now) == then.page_sizes &&
         now.domain_ids == then.domain_ids && now.coherent_tables == (then.coherent != 0) &&
         now.capability == then.capability && now.extended_capability == then.extended_capability;
}

}  // namespace

/// Blocks every present entry that no adopted device accounts for.
class Core::StrayEntries final : public EntryVisitor, public DeviceFilter {
 public:
  StrayEntries(Core& core, UnitState& state) : x_core(core), x_state(state) {}

  [[nodiscard]] bool contains(SourceId id) const override {
    const IncomingDevice* device = x_core.x_incoming.find_device(x_state.unit->segment(), id);
    return device != nullptr && device->is_adopted && device->unit == x_state.unit;
  }
  /// Recorded, and not believed: whatever its entries lead to is nobody's.
  void disown(SourceId id) {
    if (!contains(id) && !x_state.unit->disown(id, *this).ok()) x_failed = true;
  }
  void entry(SourceId id) override {
    if (contains(id)) return;
    const u16 segment = x_state.unit->segment();
    const IncomingDevice* device = x_core.x_incoming.find_device(segment, id);
    disown(id);
    ++x_core.x_report.entries_blocked;
    TextLine line;
    line.text("iommu: blocked ").device(segment, id);
    line.text(device == nullptr ? ": it has an entry and no record" : ": its record was not believed");
    x_core.x_memory.world.log(LogLevel::Warning, line.view());
    if (!x_state.unit->block(id).ok()) x_failed = true;
  }
  [[nodiscard]] bool failed() const { return x_failed; }

 private:
  Core& x_core;
  UnitState& x_state;
  bool x_failed = false;
};

Status Core::adopt(const kho::IncomingMap& incoming, EarlyAllocator& early) {
  Guard guard(x_mutex);
  TRY_ASSIGN(const Incoming::Found found, x_incoming.open(incoming, early));
  x_has_incoming_records = x_incoming.record_pages.size() != 0;
  x_has_incoming_attest = x_incoming.attest_pages.size() != 0;

  const PreservedBlocks preserved(incoming);
  for (UnitState& state : units()) {
    if (found == Incoming::Found::Nothing)
      start_unit(state);
    else if (found == Incoming::Found::Refused)
      quarantine_unit(state, x_incoming.reason());
    else
      adopt_unit(state, preserved);
  }
  for (IncomingUnit& unit : x_incoming.units) {
    if (unit.unit == nullptr && unit.reason.empty()) unit.reason = "no unit of this machine is the recorded one";
    unit.is_stranger = !unit.reason.empty();
    for (const UnitState& state : units())
      if (state.unit->register_base().value == unit.record.token) unit.is_stranger = false;
  }

  for (IncomingDevice& device : x_incoming.devices) {
    if (device.reason.empty()) device.reason = adopt_entry(device, preserved);
    if (device.reason.empty()) ++x_report.devices_adopted;
  }
  for (UnitState& state : units())
    if (state.adopted) block_strays(state);

  for (const IncomingDevice& device : x_incoming.devices)
    if (!device.reason.empty()) ++x_report.devices_quarantined;
  visit_quarantined([&](const Quarantined& what) { distrust(what); });
  return {};
}

void Core::start_unit(UnitState& state) {
  const Status started = state.unit->start_fresh();
  state.working = started.ok();
  if (state.working)
    ++x_report.units_fresh;
  else
    state.reason = "it does not start";
  if (!state.working) keep_restored_tables();
}

void Core::quarantine_unit(UnitState& state, std::string_view reason) {
  state.adopted = false;
  ++x_report.units_quarantined;
  state.working = state.unit->quarantine().ok();
  state.reason = state.working ? reason : "it cannot be quarantined";
  if (!state.working) keep_restored_tables();
}

/// A unit that does not answer may go on with what it has cached. Which domains it knew only damaged or missing records
/// could say, so no table that came in is given to anyone else.
void Core::keep_restored_tables() {
  x_is_reach_unknown = true;
  for (IncomingDomain& incoming : x_incoming.domains) incoming.is_kept = true;
}

void Core::block_adopted(std::string_view reason) {
  Guard guard(x_mutex);
  for (UnitState& state : units()) {
    if (!state.adopted) continue;
    lose_devices(*state.unit, reason);  // before the quarantine takes all domain ids back
    quarantine_unit(state, reason);
    distrust({.kind = Quarantined::Kind::Unit, .address = state.unit->register_base(), .reason = state.reason});
  }
}

void Core::adopt_unit(UnitState& state, const PreservedSet& preserved) {
  const u64 base = state.unit->register_base().value;
  IncomingUnit* record = nullptr;
  std::string_view reason;
  for (IncomingUnit& unit : x_incoming.units) {
    if (unit.record.token != base) continue;
    if (!unit.reason.empty())
      reason = unit.reason;
    else if (record == nullptr)
      record = &unit;
    else
      unit.reason = "it is recorded twice";
  }
  if (record == nullptr) {
    if (reason.empty() && !x_incoming.was_attested(PhysAddr(base))) return start_unit(state);
    return quarantine_unit(state, reason.empty() ? "it is attested and not recorded" : reason);
  }
  if (!is_attested(state.unit->limits(), record->attest)) {
    record->reason = "it is not the unit, or not in the mode, that was attested";
    return quarantine_unit(state, record->reason);
  }
  const UnitAdoption adoption{.root_table = PhysAddr(record->record.intel.root_table),
                              .context_tables = record->record.intel.context_tables_bitmap};
  const Status adopted = state.unit->adopt(adoption, preserved);
  if (!adopted.ok()) {
    record->reason = adopted.code() == Code::TimedOut   ? "its queue does not answer"
                     : adopted.code() == Code::NoMemory ? "scratch memory ran out"
                                                        : "its tables contradict the records";
    return quarantine_unit(state, record->reason);
  }
  record->unit = state.unit;
  state.working = state.adopted = true;
  ++x_report.units_adopted;
}

std::string_view Core::adopt_entry(IncomingDevice& device, const PreservedSet& preserved) {
  const abi::iommu::DeviceMap& map = device.record.domain_iommu;
  const IncomingUnit* unit = x_incoming.find_unit(PhysAddr(map.iommu_phys));
  if (unit == nullptr) return "its unit is not recorded";
  if (unit->unit == nullptr) return "its unit was not adopted";
  IncomingDomain* domain = x_incoming.find_domain(PhysAddr(map.domain_phys));
  if (domain == nullptr) return "its domain is not recorded";
  if (!domain->reason.empty()) return "its domain was not believed";
  if (unit->unit->segment() != device.segment() || !unit->unit->covers(device.id()))
    return "its unit is not the recorded one";
  const u8 levels = domain->attest.levels;
  const auto format = static_cast<pt::Format>(domain->attest.format);
  if (unit->unit->limits().find(format, levels) == nullptr) return "its unit cannot walk its tables";
  const IncomingDevice* earlier = x_incoming.find_device(device.segment(), device.id());
  if (earlier != nullptr && earlier->is_adopted) return "it is recorded twice";
  const Status structures = unit->unit->adopt_device(device.id(), device.record.intel, preserved);
  if (structures.code() == Code::OutOfRange) return "its RID_PASID lies beyond its PASID directory";
  if (structures.code() == Code::NotSupported) return "its unit does not know its RID_PASID";
  if (!structures.ok()) return "its PASID tables contradict its record";

  const DomainId did(static_cast<u16>(map.attachment_id));
  const EntrySpec recorded{
      .top = PhysAddr(domain->record.top_table_phys), .levels = levels, .did = did, .format = format};
  const LiveEntry live = unit->unit->read_entry(device.id());
  if (live.state != LiveEntry::State::Translating) return "its hardware entry does not translate";
  if (live.spec != recorded) return "its hardware entry is not the recorded one";
  if (live.words != device.attest.live_entry) return "its hardware entry is not the attested one";

  device.unit = unit->unit;
  device.domain = domain;
  const std::string_view reason = link_incoming(device, did);
  device.is_adopted = reason.empty();
  return reason;
}

std::string_view Core::link_incoming(IncomingDevice& device, DomainId did) {
  // One id for each domain on each unit; several devices of the domain share it.
  for (const IncomingDevice* link = device.domain->links; link != nullptr; link = link->next_link) {
    if (link->unit != device.unit) continue;
    return link->record.domain_iommu.attachment_id == did.value ? "" : "its domain has another id on this unit";
  }
  const Status reserved = device.unit->reserve_did(did);
  if (reserved.code() == Code::Exists) return "its domain id belongs to another domain";
  if (!reserved.ok()) return "its domain id is out of range";
  device.next_link = device.domain->links;
  device.domain->links = &device;
  return {};
}

void Core::block_strays(UnitState& state) {
  StrayEntries strays(*this, state);
  state.unit->for_each_present_entry(strays);
  for (const IncomingDevice& device : x_incoming.devices)
    if (device.segment() == state.unit->segment() && state.unit->covers(device.id())) strays.disown(device.id());
  if (!strays.failed()) return;
  lose_devices(*state.unit, "its unit was quarantined");  // before the quarantine takes all domain ids back
  quarantine_unit(state, "an entry of it cannot be blocked");
}

void Core::lose_devices(const Unit& unit, std::string_view reason) {
  for (IncomingDevice& device : x_incoming.devices) {
    if (device.unit != &unit || !device.is_adopted) continue;
    device.is_adopted = false;
    device.reason = reason;
    --x_report.devices_adopted;
  }
  for (IncomingDomain& domain : x_incoming.domains) {
    IncomingDevice** link = &domain.links;
    while (*link != nullptr) {
      IncomingDevice& device = **link;
      if (device.unit != &unit) {
        link = &device.next_link;
        continue;
      }
      device.unit->release_did(DomainId(static_cast<u16>(device.record.domain_iommu.attachment_id)));
      *link = device.next_link;
    }
  }
}

void Core::distrust(const Quarantined& what) {
  report(what);
  if (x_options.policy == QuarantinePolicy::Panic) panic("incoming IOMMU state is not to be trusted");
}

void Core::report(const Quarantined& what) const {
  TextLine line;
  line.text("iommu: ");
  switch (what.kind) {
    case Quarantined::Kind::Records: line.text("incoming records"); break;
    case Quarantined::Kind::Unit: line.text("unit at ").hex(what.address.value); break;
    case Quarantined::Kind::Domain: line.text("restored domain ").hex(what.address.value); break;
    case Quarantined::Kind::Device: line.text("device ").device(what.segment, what.id); break;
  }
  line.text(": ").text(what.reason);
  x_memory.world.log(LogLevel::Error, line.view());
}

}  // namespace holdfast::iommu

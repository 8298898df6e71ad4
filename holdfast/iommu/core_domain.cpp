// Core: domains, their ids on each unit, and which device goes through which. See core.hpp.
#include <algorithm>
#include <bit>

#include "holdfast/base/text_line.hpp"
#include "holdfast/iommu/core.hpp"
#include "holdfast/iommu/undo.hpp"

namespace holdfast::iommu {
namespace {

/// The fewest levels that cover the unit's width, else the most there are; 0 when there are none.
u8 choose_levels(const TableLimits& tables, u8 iova_bits) {
  u8 best = 0;
  for (u8 levels = 3; levels <= 5; ++levels) {
    if ((tables.levels_mask >> levels & 1) == 0) continue;
    best = levels;
    if (12 + 9 * levels >= iova_bits) break;
  }
  return best;
}

}  // namespace

Result<Domain*> Core::create_domain(const Device& limits_from, const DomainOptions& options) {
  Guard guard(x_mutex);
  const UnitLimits& limits = limits_from.unit().limits();
  const TableLimits& tables = limits.tables.front();
  const u8 levels = choose_levels(tables, limits.iova_bits);
  const u64 page_sizes = tables.page_sizes & (options.page_sizes == 0 ? ~u64{0} : options.page_sizes);
  const TableMode mode = options.mode.value_or(x_options.table_mode);
  if (levels == 0 || (page_sizes & page_size_bytes) == 0) return Code::Invalid;
  // A successor that knows version 1 only would misread blocks.
  if (mode == TableMode::Arena && x_options.table_mode == TableMode::Page) return Code::Invalid;

  TRY_ASSIGN(Domain * domain, x_memory.heap.create<Domain>());
  domain->x_config.format = tables.format;
  domain->x_config.levels = levels;
  domain->x_config.iova_bits = static_cast<u8>(std::min(limits.iova_bits, widest_iova(tables.format, levels)));
  domain->x_config.phys_bits = 52;  // runs are RAM; the unit's own width covers all RAM
  domain->x_config.page_sizes = page_sizes;
  domain->x_config.coherent = limits.coherent_tables;
  domain->x_config.mode = mode;
  auto table = pt::Table::create(x_memory, domain->x_config);
  if (!table.ok()) {
    x_memory.heap.destroy(domain);
    return table.error();
  }
  domain->x_table = *table;
  domain->x_top = domain->x_table->top();
  x_domains.push_back(*domain);
  return domain;
}

Result<Domain*> Core::create_identity_domain(const Device& limits_from) {
  Guard guard(x_mutex);
  if (!limits_from.unit().limits().pass_through) return Code::NotSupported;
  TRY_ASSIGN(Domain * domain, x_memory.heap.create<Domain>());
  domain->x_kind = Domain::Kind::Identity;
  x_domains.push_back(*domain);
  return domain;
}

Status Core::destroy_domain(Domain& domain) {
  Guard guard(x_mutex);
  return destroy_locked(domain);
}

Status Core::destroy_locked(Domain& domain) {
  if (domain.x_attachments != 0 || domain.is_preserved()) return Code::Busy;
  for (UnitLink& link : domain.x_links) TRY(settle_link(domain, link));
  if (domain.is_live()) {
    domain.x_gather.complete(*domain.x_table);  // no id is left under which hardware could remember
    pt::Table::destroy(domain.x_table);
  } else if (domain.is_restored()) {
    free_restored_tables(domain);
  }
  x_domains.remove(domain);
  x_memory.heap.destroy(&domain);
  return {};
}

/// What is not freed stays as it came, in the incoming map: nobody else gets it.
void Core::free_restored_tables(Domain& domain) {
  IncomingDomain* incoming = incoming_of(domain);
  if (incoming != nullptr) incoming->domain = nullptr;
  if (incoming != nullptr && incoming->is_kept) {
    TextLine line;
    line.text("iommu: the tables of restored domain ").hex(incoming->address.value);
    line.text(" stay taken: a unit that does not answer may still know them");
    x_memory.world.log(LogLevel::Error, line.view());
    return pt::RestoredTable::forget(domain.x_restored);
  }
  const Status freed = pt::RestoredTable::destroy(domain.x_restored, x_handover);
  if (freed.code() == Code::NotSupported) pt::RestoredTable::forget(domain.x_restored);
  if (freed.code() == Code::Corrupt)
    x_memory.world.log(LogLevel::Error, "iommu: pages of a restored domain belonged to somebody else");
}

Status Core::map(Domain& domain, Iova iova, std::span<const PhysRange> runs, pt::Prot prot, Iova* first_collision) {
  Guard guard(x_mutex);
  if (!domain.is_live()) return Code::NotSupported;
  if (domain.is_preserved()) return Code::Busy;
  TRY(flush(domain));
  TRY(domain.x_table->map(iova, runs, prot, domain.x_gather, first_collision));
  const Status flushed = flush(domain);
  if (flushed.ok()) return {};
  // Hardware may have seen it: it forgets with the flush that is owed.
  u64 bytes = 0;
  for (const PhysRange& run : runs) bytes += run.size_bytes;
  const auto taken_back = domain.x_table->unmap(iova, bytes, domain.x_gather);
  verify_invariant(taken_back.ok() && *taken_back == bytes, "what was just mapped cannot be unmapped");
  return flushed;
}

Status Core::settle(Domain& domain) {
  Guard guard(x_mutex);
  return flush(domain);
}

Result<u64> Core::unmap(Domain& domain, Iova iova, u64 length) {
  Guard guard(x_mutex);
  if (!domain.is_live()) return Code::NotSupported;
  if (domain.is_preserved()) return Code::Busy;
  TRY(flush(domain));
  TRY_ASSIGN(const u64 bytes, domain.x_table->unmap(iova, length, domain.x_gather));
  TRY(flush(domain));
  return bytes;
}

/// Hardware forgets what the last change of the table took away; only then are its pages free.
Status Core::flush(Domain& domain) {
  if (domain.x_gather.empty()) return {};
  for (const UnitLink& link : domain.x_links) TRY(link.unit->invalidate(tag_of(domain, link), domain.x_gather));
  domain.x_gather.complete(*domain.x_table);
  return {};
}

const pt::Reader* Core::reader_of(const Domain& domain, std::optional<pt::TreeReader>& storage) const {
  if (domain.is_live()) return domain.x_table;
  if (domain.x_kind != Domain::Kind::Restored) return nullptr;
  auto reader = domain.x_restored->reader();
  if (!reader.ok()) return nullptr;
  storage = *reader;
  return &*storage;
}

Result<pt::Translation> Core::lookup(const Domain& domain, Iova iova) const {
  Guard guard(x_mutex);
  std::optional<pt::TreeReader> storage;
  const pt::Reader* reader = reader_of(domain, storage);
  if (reader == nullptr) return Code::NotSupported;
  return reader->lookup(iova);
}

Result<std::optional<Iova>> Core::compare(const Domain& from, const Domain& to) const {
  Guard guard(x_mutex);
  std::optional<pt::TreeReader> from_storage;
  std::optional<pt::TreeReader> to_storage;
  const pt::Reader* from_reader = reader_of(from, from_storage);
  const pt::Reader* to_reader = reader_of(to, to_storage);
  if (from_reader == nullptr || to_reader == nullptr) return Code::NotSupported;
  return pt::compare(*from_reader, *to_reader);
}

bool Core::can_walk(const Unit& unit, const pt::TableConfig& config) {
  const UnitLimits& limits = unit.limits();
  const TableLimits* tables = limits.find(config.format, config.levels);
  return tables != nullptr && config.iova_bits <= limits.iova_bits && (config.page_sizes & ~tables->page_sizes) == 0 &&
         (!config.coherent || limits.coherent_tables);
}

Status Core::can_take(const Device& device, const Domain& domain) {
  if (device.x_identity.isolation != Isolation::Singleton) return Code::NotSupported;
  if (domain.is_identity() && !device.unit().limits().pass_through) return Code::NotSupported;
  if (domain.is_identity()) return device.owner() != nullptr ? Status() : Code::NotPermitted;
  if (!domain.is_live()) return Code::NotSupported;
  return can_walk(device.unit(), domain.x_config) ? Status() : Code::Invalid;
}

Status Core::attach(Device& device, Domain& domain) {
  Guard guard(x_mutex);
  if (device.is_preserved() || domain.is_preserved()) return Code::Busy;
  if (device.x_state == Device::State::Quarantined) return Code::Corrupt;
  if (device.x_restored_token && device.x_owner == nullptr) return Code::NotPermitted;
  if (device.x_domain == &domain) return {};
  TRY(can_take(device, domain));

  TRY_ASSIGN(UnitLink * link, take_link(domain, device.unit()));
  Undo undo([&] { drop_unused_link(domain, *link); });
  TRY(device.unit().prepare(device.id()));
  undo.keep();
  if (const Status pointed = point_entry(device, domain, *link); !pointed.ok()) {
    // The entry is as it was, but hardware may have seen the new id: it is flushed before it is anyone else's.
    put_link(domain, *link);
    return pointed;
  }
  if (device.x_domain != nullptr) leave(device);
  join(device, domain);
  return {};
}

/// An identity domain has an id of its own on each unit, as every domain has, though hardware would let all of them
/// share one: so what is to be forgotten of it is named, and given back, like that of any other.
EntrySpec Core::spec_of(const Domain& domain, const UnitLink& link) {
  if (domain.is_identity()) return EntrySpec::pass_through(link.did);
  return {.top = domain.x_top, .levels = domain.x_config.levels, .did = link.did, .format = domain.x_config.format};
}

Status Core::point_entry(Device& device, const Domain& domain, const UnitLink& link) {
  const EntrySpec to = spec_of(domain, link);
  const Domain* old = device.x_domain;
  if (old == nullptr) return device.unit().install(device.id(), to);
  return device.unit().replace(device.id(), spec_of(*old, *find_link(*old, device.unit())), to);
}

Status Core::detach(Device& device) {
  Guard guard(x_mutex);
  if (device.is_preserved()) return Code::Busy;
  if (device.x_restored_token && device.x_owner == nullptr) return Code::NotPermitted;
  return block_device(device);
}

Status Core::block_device(Device& device) {
  if (const Status blocked = device.unit().block(device.id()); !blocked.ok()) {
    if (device.x_domain != nullptr && device.x_domain->is_restored()) x_is_reach_unknown = true;
    return blocked;
  }
  if (device.x_domain != nullptr) leave(device);
  return {};
}

bool Core::is_reach_unknown() const {
  Guard guard(x_mutex);
  return x_is_reach_unknown;
}

/// The device's entry leads to @p domain now; its link was taken.
void Core::join(Device& device, Domain& domain) {
  device.x_domain = &domain;
  domain.x_devices.push_back(device);
  ++domain.x_attachments;
}

/// The device's entry no longer leads to its domain.
void Core::leave(Device& device) {
  Domain& domain = *device.x_domain;
  domain.x_devices.remove(device);
  device.x_domain = nullptr;
  if (device.x_state == Device::State::Incoming) {
    device.x_state = Device::State::Normal;
    device.x_restored_token.reset();
  }
  --domain.x_attachments;
  put_link(domain, *find_link(domain, device.unit()));
}

UnitLink* Core::find_link(const Domain& domain, const Unit& unit) {
  for (const UnitLink& link : domain.x_links)
    if (link.unit == &unit) return const_cast<UnitLink*>(&link);
  return nullptr;
}

Result<UnitLink*> Core::take_link(Domain& domain, Unit& unit) {
  if (UnitLink* link = find_link(domain, unit); link != nullptr) {
    ++link->devices;
    return link;
  }
  TRY_ASSIGN(UnitLink * link, x_memory.heap.create<UnitLink>());
  const auto did = unit.allocate_did();
  if (!did.ok()) {
    x_memory.heap.destroy(link);
    return did.error();
  }
  link->unit = &unit;
  link->did = *did;
  link->devices = 1;
  domain.x_links.push_back(*link);
  return link;
}

/// The attach did not come to the entry: hardware never saw a new id.
void Core::drop_unused_link(Domain& domain, UnitLink& link) {
  if (--link.devices != 0 || link.is_owed) return;
  link.unit->release_did(link.did);
  domain.x_links.remove(link);
  x_memory.heap.destroy(&link);
}

/// The last device of the domain on a unit returns the id, once hardware has forgotten it. If that fails the link
/// stays, with no device: destroying the domain tries again.
void Core::put_link(Domain& domain, UnitLink& link) {
  if (--link.devices != 0) return;
  if (!settle_link(domain, link).ok())
    x_memory.world.log(LogLevel::Error, "iommu: a domain id could not be flushed and stays taken");
}

Status Core::settle_link(Domain& domain, UnitLink& link) {
  verify_invariant(link.devices == 0, "a domain id in use is not given back");
  link.is_owed = true;
  if (const Status forgotten = link.unit->invalidate_domain(tag_of(domain, link)); !forgotten.ok()) {
    if (domain.is_restored()) x_is_reach_unknown = true;
    return forgotten;
  }
  link.unit->release_did(link.did);
  domain.x_links.remove(link);
  x_memory.heap.destroy(&link);
  return {};
}

}  // namespace holdfast::iommu

// Core, live boot (b) and (c) and the end of what came in: ownership, verification, quarantine, drop, finish.
// See core.hpp.
#include <algorithm>

#include "holdfast/iommu/core.hpp"
#include "holdfast/iommu/undo.hpp"
#include "holdfast/pt/stamp.hpp"

namespace holdfast::iommu {
namespace {

bool contains_page(std::span<const Block> blocks, PhysAddr page) {
  const auto after = std::upper_bound(blocks.begin(), blocks.end(), page,
                                      [](PhysAddr address, const Block& block) { return address < block.start; });
  return after != blocks.begin() && page - std::prev(after)->start < std::prev(after)->size_bytes();
}

/// By rising address, without overlap.
bool overlap(std::span<const Block> blocks, PhysRange range) {
  const auto at = std::upper_bound(blocks.begin(), blocks.end(), range.start, [](PhysAddr wanted, const Block& block) {
    return wanted < block.start + block.size_bytes();
  });
  return at != blocks.end() && at->start < range.start + range.size_bytes;
}

/// Both by rising address.
bool overlap(std::span<const Block> a, std::span<const Block> b) {
  auto left = a.begin();
  auto right = b.begin();
  while (left != a.end() && right != b.end()) {
    if (left->start + left->size_bytes() <= right->start)
      ++left;
    else if (right->start + right->size_bytes() <= left->start)
      ++right;
    else
      return true;
  }
  return false;
}

/// A block in which no table was met is not the domain's: an empty block is never kept, so never handed over.
bool every_block_is_used(const FrameTable& frames, std::span<const Block> blocks, u32 generation) {
  return std::all_of(blocks.begin(), blocks.end(), [&](const Block& block) {
    for (u64 offset = 0; offset < block.size_bytes(); offset += page_size_bytes)
      if (pt::generation_of(frames.at(block.start + offset).mark) == generation) return true;
    return false;
  });
}

Quarantined about(const IncomingDevice& device) {
  return {.kind = Quarantined::Kind::Device,
          .address = device.address,
          .segment = device.segment(),
          .id = device.id(),
          .reason = device.reason};
}

pt::SavedTable saved_table(const IncomingDomain& incoming) {
  return {.top = PhysAddr(incoming.record.top_table_phys),
          .top_level = static_cast<u8>(incoming.record.top_level),
          .iova_bits = incoming.attest.iova_bits,
          .extent = incoming.record.sign_extend != 0 ? pt::IovaExtent::SignExtended : pt::IovaExtent::Lower,
          .table_count = incoming.attest.table_count,
          .checksum = incoming.attest.checksum_root};
}

std::string_view verify_reason(pt::VerifyReason reason) {
  return reason == pt::VerifyReason::Checksum ? "its tables differ from their checksum" : "its tables are not sound";
}

}  // namespace

void Core::check_reach() {
  Guard guard(x_mutex);
  const pt::IncomingOwner anyone(x_memory.frames);
  for (IncomingDomain& incoming : x_incoming.domains) {
    if (!incoming.reason.empty() || incoming.links == nullptr) continue;
    pt::VerifyReport report;
    const auto format = static_cast<pt::Format>(incoming.attest.format);
    if (pt::inspect(x_memory, format, saved_table(incoming), anyone, report).ok()) continue;
    for (IncomingDevice& device : x_incoming.devices)
      if (device.is_adopted && device.domain == &incoming) give_up_incoming(device, verify_reason(report.reason));
    unlink_given_up(incoming);
  }
}

/// Ids of devices that were given up before there was a domain object. Where one could not be blocked the id stays
/// taken, whatever its entry says: hardware did not confirm it.
void Core::unlink_given_up(IncomingDomain& incoming) {
  for (const IncomingDevice* link = incoming.links; link != nullptr; link = link->next_link) {
    bool is_stuck = false;
    for (const IncomingDevice& device : x_incoming.devices)
      is_stuck = is_stuck || (device.is_stuck && device.domain == &incoming && device.unit == link->unit);
    if (!is_stuck) link->unit->release_did(DomainId(static_cast<u16>(link->record.domain_iommu.attachment_id)));
  }
  incoming.links = nullptr;
}

/// No file may take the page as its contents, and no leaf may lead there.
void Core::set_aside(PhysAddr page) {
  Frame* frame = x_memory.frames.find(page);
  if (frame == nullptr || frame->mark != 0) return;
  if (x_set_aside == 0) x_set_aside = pt::stamp_of(x_memory.frames.next_generation(), 0);
  frame->mark = x_set_aside;
}

Status Core::claim_restored() {
  Guard guard(x_mutex);
  for (const PhysAddr page : x_incoming.record_pages) set_aside(page);
  for (const PhysAddr page : x_incoming.attest_pages) set_aside(page);
  for (UnitState& state : units()) {
    if (!state.adopted || state.owns_tables) continue;
    const Status taken = state.unit->take_ownership(x_handover);
    if (taken.code() == Code::NoMemory) return Code::NoMemory;
    state.owns_tables = true;
    if (taken.ok()) continue;
    lose_devices(*state.unit, "its unit was quarantined");  // before the quarantine takes all domain ids back
    quarantine_unit(state, "its tables could not be taken over");
    distrust({.kind = Quarantined::Kind::Unit, .address = state.unit->register_base(), .reason = state.reason});
  }
  for (IncomingDomain& incoming : x_incoming.domains)
    if (incoming.reason.empty() && incoming.domain == nullptr) TRY(make_restored_domain(incoming));
  return {};
}

Status Core::keep_roots() {
  Guard guard(x_mutex);
  for (UnitState& state : units()) {
    const Status kept = state.unit->keep_root(x_handover);
    if (kept.code() == Code::NoMemory) return Code::NoMemory;
    if (kept.ok() || !state.reason.empty()) continue;
    state.reason = "its root table cannot be preserved";
    report({.kind = Quarantined::Kind::Unit, .address = state.unit->register_base(), .reason = state.reason});
  }
  return {};
}

void Core::free_replaced_roots() {
  Guard guard(x_mutex);
  for (const UnitState& state : units()) {
    const PhysAddr root = state.unit->replaced_root();
    if (root.value == 0 || !state.working || !x_handover.is_incoming({root, 0})) continue;
    const bool is_table = pt::generation_of(x_memory.frames.at(root).mark) != 0;  // verification stamps what it meets
    if (is_table || any_record_page([&](PhysAddr page) { return page == root; })) continue;
    x_handover.restore_free(root);
  }
}

/// True when @p is_wanted(page) for a page of records, of the attestation, or of a block list that was found good.
template <class F>
bool Core::any_record_page(F is_wanted) const {
  for (const PhysAddr page : x_incoming.record_pages)
    if (is_wanted(page)) return true;
  for (const PhysAddr page : x_incoming.attest_pages)
    if (is_wanted(page)) return true;
  for (const IncomingDomain& incoming : x_incoming.domains) {
    PhysAddr page(incoming.attest.block_list);
    for (u64 i = 0; i < incoming.block_list_pages; ++i) {
      if (is_wanted(page)) return true;
      page = PhysAddr(x_memory.map.at<abi::attest::BlockListPage>(page)->next);
    }
  }
  return false;
}

Status Core::make_restored_domain(IncomingDomain& incoming) {
  TRY_ASSIGN(Domain * domain, x_memory.heap.create<Domain>());
  Undo undo([&] {
    for (UnitLink& link : domain->x_links) {
      domain->x_links.remove(link);
      x_memory.heap.destroy(&link);
    }
    x_memory.heap.destroy(domain);
  });
  for (const IncomingDevice* device = incoming.links; device != nullptr; device = device->next_link) {
    TRY_ASSIGN(UnitLink * link, x_memory.heap.create<UnitLink>());
    link->unit = device->unit;
    link->did = DomainId(static_cast<u16>(device->record.domain_iommu.attachment_id));
    domain->x_links.push_back(*link);
  }
  undo.keep();
  for (const IncomingDevice& device : x_incoming.devices) {
    if (!device.is_adopted || device.domain != &incoming) continue;
    ++find_link(*domain, *device.unit)->devices;
    ++domain->x_attachments;
  }
  const bool in_arenas = incoming.attest.table_mode == static_cast<u32>(abi::attest::TableMode::Arena);
  domain->x_kind = Domain::Kind::Unverified;
  domain->x_config.format = static_cast<pt::Format>(incoming.attest.format);
  domain->x_config.levels = incoming.attest.levels;
  domain->x_config.iova_bits = incoming.attest.iova_bits;
  domain->x_config.mode = in_arenas ? TableMode::Arena : TableMode::Page;
  domain->x_top = PhysAddr(incoming.record.top_table_phys);
  domain->x_restored_record = incoming.address;
  x_domains.push_back(*domain);
  incoming.domain = domain;
  return {};
}

void Core::adopt_device_object(Device& device, IncomingDevice& incoming) {
  const DeviceIdentity& identity = device.x_identity;
  const abi::attest::DeviceAttest& attest = incoming.attest;
  if (incoming.is_adopted &&
      (identity.vendor != attest.vendor || identity.device != attest.device ||
       identity.class_revision != attest.class_revision || identity.isolation != Isolation::Singleton)) {
    give_up_incoming(incoming, "another device stands in its place");
    distrust(about(incoming));
  }
  incoming.is_settled = true;
  if (!incoming.is_adopted) {
    device.x_state = Device::State::Quarantined;
    device.x_reason = incoming.reason;
    return;
  }
  Domain* domain = incoming.domain->domain;
  verify_invariant(domain != nullptr, "devices are registered after claim_restored()");
  device.x_domain = domain;
  device.x_state = Device::State::Incoming;
  device.x_restored_token = incoming.record.dma_owner_token;
  domain->x_devices.push_back(device);
}

/// The device goes on without an object, as it was before it was registered.
void Core::part_from_object(Device& device) {
  IncomingDevice* incoming = x_incoming.find_device(device.x_identity.segment, device.id());
  verify_invariant(incoming != nullptr && incoming->is_adopted, "an incoming device has an adopted record");
  device.x_domain->x_devices.remove(device);
  incoming->is_settled = false;
}

/// Blocks an adopted device that has no Device object, and takes it out of its domain.
void Core::give_up_incoming(IncomingDevice& incoming, std::string_view reason) {
  verify_invariant(incoming.is_adopted && !incoming.is_settled, "an incoming device is given up once");
  incoming.is_adopted = false;
  incoming.is_settled = true;
  incoming.reason = reason;
  report(about(incoming));
  if (!incoming.unit->block(incoming.id()).ok()) {
    // It may still translate: its domain, id and pages stay taken for ever.
    incoming.reason = "it cannot be blocked";
    incoming.is_stuck = true;
    x_is_reach_unknown = true;
    incoming.domain->is_kept = true;
    report(about(incoming));
    return;
  }
  Domain* domain = incoming.domain->domain;
  if (domain == nullptr) return;
  --domain->x_attachments;
  put_link(*domain, *find_link(*domain, *incoming.unit));
}

void Core::devices_enumerated() {
  Guard guard(x_mutex);
  for (IncomingDevice& device : x_incoming.devices)
    if (device.is_adopted && !device.is_settled) give_up_incoming(device, "it is not in this machine any more");
}

Status Core::verify() {
  Guard guard(x_mutex);
  const auto is_unverified = [](const IncomingDomain& incoming) {
    return incoming.domain != nullptr && incoming.domain->x_kind == Domain::Kind::Unverified;
  };
  for (IncomingDomain& incoming : x_incoming.domains)
    if (is_unverified(incoming)) TRY(verify_domain(incoming));
  for (const IncomingDomain& incoming : x_incoming.domains) {
    if (incoming.domain == nullptr || incoming.domain->x_restored == nullptr) continue;
    for (const Block& block : incoming.domain->x_restored->blocks()) set_aside(block.start);
  }
  bool any = false;
  for (const IncomingDomain& incoming : x_incoming.domains) any = any || is_unverified(incoming);
  if (!any) return {};
  check_disjoint();
  TRY(check_targets());
  for (IncomingDomain& incoming : x_incoming.domains)
    if (is_unverified(incoming)) incoming.domain->x_kind = Domain::Kind::Restored;
  return {};
}

/// Leaves the domain Unverified when it is good; check_disjoint() has the last word. Error: NoMemory.
Status Core::verify_domain(IncomingDomain& incoming) {
  Domain& domain = *incoming.domain;
  if (domain.x_restored == nullptr) {
    Vec<Block> blocks(x_memory.heap);
    TRY_ASSIGN(const bool readable, read_block_list(incoming, blocks));
    if (!readable) return quarantine_domain(incoming, "its block list is not sound"), Status();
    auto table = pt::RestoredTable::create(x_memory, domain.x_config.format, saved_table(incoming),
                                           domain.x_config.mode, blocks.span());
    if (table.code() == Code::NoMemory) return Code::NoMemory;
    if (!table.ok()) return quarantine_domain(incoming, "its table blocks are not its own"), Status();
    domain.x_restored = *table;
  }
  if (domain.x_restored->verified()) return {};
  pt::VerifyReport report;
  const Status verified = domain.x_restored->verify(report);
  if (!verified.ok()) return quarantine_domain(incoming, verify_reason(report.reason)), Status();
  if (!every_block_is_used(x_memory.frames, domain.x_restored->blocks(), report.generation)) {
    pt::RestoredTable::forget(std::exchange(domain.x_restored, nullptr));
    quarantine_domain(incoming, "its block list names memory of others");
  }
  return {};
}

/// False: it is not to be believed. Error: NoMemory.
Result<bool> Core::read_block_list(IncomingDomain& incoming, Vec<Block>& blocks) {
  using Page = abi::attest::BlockListPage;
  u64 left = incoming.attest.block_count;
  if (left > x_memory.frames.count()) return false;
  TRY(blocks.reserve(left));
  u64 pages = 0;
  PhysAddr address(incoming.attest.block_list);
  while (left != 0) {
    if (!address.is_aligned(page_size_bytes) || !x_handover.is_incoming({address, 0})) return false;
    for (const PhysAddr known : x_incoming.record_pages)
      if (known == address) return false;
    for (const PhysAddr known : x_incoming.attest_pages)
      if (known == address) return false;
    x_memory.touches.block();
    const Page& page = *x_memory.map.at<Page>(address);
    set_aside(address);
    if (page.nr_blocks != std::min(left, abi::attest::blocks_per_page) || page.checksum != abi::checksum_of(page))
      return false;
    for (u64 i = 0; i < page.nr_blocks; ++i) {
      if (page.blocks[i].order > max_order) return false;
      TRY(blocks.push_back({PhysAddr(page.blocks[i].phys), static_cast<u32>(page.blocks[i].order)}));
    }
    left -= page.nr_blocks;
    ++pages;
    address = PhysAddr(page.next);
  }
  if (address.value != 0) return false;
  incoming.block_list_pages = pages;
  return true;
}

/// True when a page of records or of a block list lies in the domain's table blocks.
bool Core::holds_records(const IncomingDomain& incoming) const {
  const auto blocks = incoming.domain->x_restored->blocks();
  return any_record_page([&](PhysAddr page) { return contains_page(blocks, page); });
}

/// No two domains own the same memory. Of two that claim it, one that was not verified is wrong; when both were, whose
/// it is cannot be known. The wrong ones are quarantined and never freed.
void Core::check_disjoint() {
  const auto disown = [&](IncomingDomain& incoming) {
    pt::RestoredTable::forget(std::exchange(incoming.domain->x_restored, nullptr));
    if (incoming.domain->x_kind == Domain::Kind::Unverified)
      quarantine_domain(incoming, "its table blocks are not its alone");
  };
  const auto has_blocks = [](const IncomingDomain& incoming) {
    return incoming.domain != nullptr && incoming.domain->x_restored != nullptr;
  };
  for (IncomingDomain& incoming : x_incoming.domains)
    if (has_blocks(incoming) && holds_records(incoming)) disown(incoming);
  for (IncomingDomain& a : x_incoming.domains) {
    for (IncomingDomain& b : x_incoming.domains) {
      if (&a == &b || !has_blocks(a) || !has_blocks(b)) continue;
      if (!overlap(a.domain->x_restored->blocks(), b.domain->x_restored->blocks())) continue;
      const bool a_verified = a.domain->x_restored->verified();
      const bool b_verified = b.domain->x_restored->verified();
      if (!b_verified || a_verified) disown(b);
      if (!a_verified || b_verified) disown(a);
    }
  }
}

/// A domain was verified without knowing the tables of those after it and the blocks of those that failed: a device
/// that writes to them would make its own translations, or write to what was freed. Error: NoMemory.
Status Core::check_targets() {
  Vec<Block> tables(x_memory.heap);
  if (x_incoming.domains.size() < 2) return {};
  for (const IncomingDomain& incoming : x_incoming.domains) {
    if (incoming.domain == nullptr || incoming.domain->x_restored == nullptr) continue;
    for (const Block& block : incoming.domain->x_restored->blocks()) TRY(tables.push_back(block));
  }
  std::sort(tables.begin(), tables.end(), [](const Block& a, const Block& b) { return a.start < b.start; });
  PhysRange run;  // leaves whose targets adjoin are judged together
  const auto leads_to_table = [&] {
    return run.size_bytes != 0 && (overlap(tables.span(), run) || x_memory.frames.any_mark(run));
  };
  const auto visit = [&](Iova, const pt::Translation& to) {
    const bool adjoins = run.start + run.size_bytes == to.address;
    if (!adjoins && leads_to_table()) return pt::Visit::Stop;
    run = adjoins ? PhysRange{run.start, run.size_bytes + to.page_size} : PhysRange{to.address, to.page_size};
    return pt::Visit::Continue;
  };
  for (IncomingDomain& incoming : x_incoming.domains) {
    if (incoming.domain == nullptr || incoming.domain->x_kind != Domain::Kind::Unverified) continue;
    run = {};
    const auto reader = incoming.domain->x_restored->reader();
    if (reader.ok() && (reader->for_each_leaf(visit) == pt::Visit::Stop || leads_to_table()))
      quarantine_domain(incoming, "its tables lead its devices to tables");
  }
  return {};
}

void Core::quarantine_domain(IncomingDomain& incoming, std::string_view reason) {
  Domain& domain = *incoming.domain;
  domain.x_kind = Domain::Kind::Quarantined;
  domain.x_reason = incoming.reason = reason;
  distrust({.kind = Quarantined::Kind::Domain, .address = incoming.address, .reason = reason});
  constexpr std::string_view because = "its domain was quarantined";
  for (Device& device : domain.x_devices) {
    device.x_state = Device::State::Quarantined;
    device.x_reason = because;
    report({.kind = Quarantined::Kind::Device,
            .segment = device.x_identity.segment,
            .id = device.id(),
            .reason = because});
    // If it cannot be blocked it stays attached, so that nothing it may reach is freed.
    if (!block_device(device).ok()) device.x_reason = "it cannot be blocked";
  }
  for (IncomingDevice& device : x_incoming.devices)
    if (device.is_adopted && !device.is_settled && device.domain == &incoming) give_up_incoming(device, because);
}

Result<Domain*> Core::find_restored(PhysAddr record) const {
  Guard guard(x_mutex);
  const IncomingDomain* incoming = x_has_incoming_records ? x_incoming.find_domain(record) : nullptr;
  if (incoming == nullptr) return Code::NotFound;
  if (!incoming->reason.empty()) return Code::Corrupt;
  if (incoming->domain == nullptr) return Code::NotFound;
  if (incoming->domain->x_kind == Domain::Kind::Unverified) return Code::Again;
  return incoming->domain;
}

IncomingDomain* Core::incoming_of(const Domain& domain) {
  for (IncomingDomain& incoming : x_incoming.domains)
    if (incoming.domain == &domain) return &incoming;
  return nullptr;
}

Result<abi::attest::MemfdAttest> Core::find_memfd(PhysAddr record) const {
  Guard guard(x_mutex);
  if (!x_has_incoming_attest) return Code::NotFound;
  Code bad = Code::NotFound;
  for (const Incoming::IncomingMemfd& memfd : x_incoming.memfds) {
    if (memfd.attest.record_phys != record.value) continue;
    if (memfd.is_believed) return memfd.attest;
    bad = Code::Corrupt;
  }
  return bad;
}

Status Core::drop_device(Device& device) {
  Guard guard(x_mutex);
  if (device.is_preserved()) return Code::Busy;
  TRY(block_device(device));
  device.x_state = Device::State::Normal;
  device.x_reason = {};
  device.x_restored_token.reset();
  device.x_owner = nullptr;
  return {};
}

Status Core::drop_domain(PhysAddr record) {
  Guard guard(x_mutex);
  IncomingDomain* incoming = x_incoming.find_domain(record);
  return incoming == nullptr || incoming->domain == nullptr ? Status() : drop_domain_locked(*incoming);
}

Status Core::drop_domain_locked(IncomingDomain& incoming) {
  Domain& domain = *incoming.domain;
  if (domain.is_preserved()) return Code::Busy;
  for (Device& device : domain.x_devices)
    if (device.is_preserved()) return Code::Busy;
  for (Device& device : domain.x_devices) TRY(block_device(device));
  for (IncomingDevice& device : x_incoming.devices)
    if (device.is_adopted && !device.is_settled && device.domain == &incoming)
      give_up_incoming(device, "its domain was dropped");
  return destroy_locked(domain);
}

/// Restored domains that nobody claimed are dropped; then the pages of records go back.
void Core::finish_records() {
  Guard guard(x_mutex);
  if (!x_has_incoming_records) return;
  for (IncomingDomain& incoming : x_incoming.domains) {
    if (incoming.domain == nullptr || drop_domain_locked(incoming).ok()) continue;
    x_memory.world.log(LogLevel::Error,
                       "iommu: a restored domain outlives its records, because a device cannot be blocked");
  }
  x_has_incoming_records = false;
  for (const PhysAddr page : x_incoming.record_pages) x_handover.restore_free(page);
}

void Core::finish_attest() {
  Guard guard(x_mutex);
  if (!x_has_incoming_attest) return;
  x_has_incoming_attest = false;
  for (const IncomingDomain& incoming : x_incoming.domains) {
    PhysAddr page(incoming.attest.block_list);
    for (u64 i = 0; i < incoming.block_list_pages; ++i) {
      const PhysAddr next(x_memory.map.at<abi::attest::BlockListPage>(page)->next);
      x_handover.restore_free(page);
      page = next;
    }
  }
  for (const PhysAddr page : x_incoming.attest_pages) x_handover.restore_free(page);
}

}  // namespace holdfast::iommu

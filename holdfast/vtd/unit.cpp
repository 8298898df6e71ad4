#include "holdfast/vtd/unit.hpp"

#include <new>
#include <utility>

#include "holdfast/vtd/early_array.hpp"
#include "holdfast/vtd/faults.hpp"
#include "holdfast/vtd/table_limits.hpp"

namespace holdfast::vtd {

namespace {

using namespace hw::vtd;  // NOLINT: the registers' own names

using pt::Format;

/// The mode that hardware runs in, if it translates already; nothing if it does not, or in no mode that is known.
std::optional<Mode> mode_in_use(const UnitRegisters& registers) {
  if (registers.status().get<gsts::Tes>() == 0) return std::nullopt;
  const auto found = static_cast<Ttm>(registers.read<Rtaddr>(rtaddr_offset).get<rtaddr::Ttm>());
  if (found == Ttm::Legacy) return Mode::Legacy;
  if (found == Ttm::Scalable) return Mode::Scalable;
  return std::nullopt;
}

InvalidationQueue::Width queue_width(Ecap ecap) {
  return ecap.get<ecap::Smts>() != 0 ? InvalidationQueue::Width::Bits256 : InvalidationQueue::Width::Bits128;
}

bool knows_rid_pasid(Ecap ecap, const UnitOptions& options) {
  return ecap.get<ecap::Rps>() != 0 || options.rid_pasid_support == RidPasidSupport::Assumed;
}

u32 domain_id_count(Cap cap) {
  const u64 shift = 4 + 2 * cap.get<cap::Nd>();
  return shift >= 16 ? u32{1} << 16 : u32{1} << shift;
}

/// Pages of an invalidation that covers @p range with one naturally aligned power of two of pages.
u8 covering_mask(pt::IovaRange range) {
  const u64 first = range.start.value >> page_lg2;
  const u64 last = range.last().value >> page_lg2;
  return static_cast<u8>(std::bit_width(first ^ last));
}

u64 mixed(u64 hash, u64 word) {
  u64 x = hash ^ word;
  x = (x ^ x >> 32) * 0xd6e8feb86659fd93;
  x = (x ^ x >> 32) * 0xd6e8feb86659fd93;
  return x ^ x >> 32;
}

}  // namespace

Result<VtdUnit*> VtdUnit::create(World& world, const DirectMap& map, TouchMeter& touches, EarlyAllocator& early,
                                 const Dmar& dmar, const DmarUnit& description, const UnitOptions& wanted) {
  const UnitRegisters registers(world, description.register_base);
  const auto cap = registers.read<Cap>(cap_offset);
  const auto ecap = registers.read<Ecap>(ecap_offset);
  const auto refuse = [&](std::string_view why) -> Result<VtdUnit*> {
    world.log(LogLevel::Error, unit_line(description.register_base).text("not driven: ").text(why).view());
    return Code::NotSupported;
  };
  if (cap.raw() == ~u64{0}) return refuse("its registers do not answer");
  if (ecap.get<ecap::Qi>() == 0) return refuse("it has no invalidation queue");
  if (cap.get<cap::Cm>() != 0) return refuse("caching mode is not supported yet");
  UnitOptions options = wanted;
  options.mode = choose_mode(cap, ecap, wanted.mode, wanted.format);
  if (const auto in_use = mode_in_use(registers); in_use && *in_use != options.mode) {
    options.mode = *in_use;
    TextLine line = unit_line(description.register_base);
    world.log(LogLevel::Warning, line.text("translation is on in the other mode, which is kept").view());
  }
  const iommu::TableLimits tables = table_limits(cap, ecap, options.mode, wanted.format).front();
  if (tables.levels_mask == 0) return refuse("no page-table depth that is known");
  if (wanted.rid_pasid >= rid_pasid_limit) return Code::Invalid;

  EarlyMemory memory;
  TRY_ASSIGN(memory.queue, InvalidationQueue::allocate(early, queue_width(ecap)));
  TRY_ASSIGN(memory.did_words, early_array<u64>(map, early, DomainIds::words_for(domain_id_count(cap))));
  TRY_ASSIGN(memory.empty_root, early.allocate(page_size_bytes, page_size_bytes));
  TRY_ASSIGN(const PhysAddr object, early.allocate(sizeof(VtdUnit), alignof(VtdUnit)));

  if (wanted.format && tables.format != *wanted.format) {
    TextLine line = unit_line(description.register_base);
    line.text(tables.format == Format::X86FirstStage ? "stage=second is not served: first stage"
                                                     : "stage=first is not served: second stage");
    world.log(LogLevel::Error, line.text(" is all that it has in this mode").view());
  }
  if (options.rid_pasid != 0 && !knows_rid_pasid(ecap, options)) {
    options.rid_pasid = 0;
    TextLine line = unit_line(description.register_base);
    world.log(LogLevel::Warning, line.text("RID_PASID is 0: it knows no other").view());
  }
  return new (static_cast<void*>(map.bytes(object)))
      VtdUnit(world, map, touches, dmar, description, registers, memory, options);
}

VtdUnit::VtdUnit(World& world, const DirectMap& map, TouchMeter& touches, const Dmar& dmar, const DmarUnit& description,
                 const UnitRegisters& registers, const EarlyMemory& memory, const UnitOptions& options)
    : x_world(&world),
      x_map(&map),
      x_touches(&touches),
      x_dmar(&dmar),
      x_description(&description),
      x_registers(registers),
      x_cap(registers.read<Cap>(cap_offset)),
      x_ecap(registers.read<Ecap>(ecap_offset)),
      x_knows_rid_pasid(knows_rid_pasid(x_ecap, options)),
      x_rid_pasid(options.rid_pasid),
      x_wanted_format(options.format),
      x_pass_through_levels(pass_through_levels(x_cap, x_ecap)),
      x_queue(world, map, x_registers, memory.queue, queue_width(x_ecap)),
      x_dids(memory.did_words, domain_id_count(x_cap)),
      x_tables(map, touches),
      x_early_root(memory.empty_root) {
  x_limits.iova_bits = static_cast<u8>(x_cap.get<cap::Mgaw>() + 1);
  x_limits.domain_ids = domain_id_count(x_cap);
  x_limits.pass_through = x_pass_through_levels != 0;
  x_limits.capability = x_cap.raw();
  x_limits.extended_capability = x_ecap.raw();
  set_mode(options.mode);
}

bool VtdUnit::covers(SourceId device) const { return x_dmar->find_unit(segment(), device) == x_description; }

EntryWriter VtdUnit::writer() const {
  return EntryWriter(*x_world,
                     x_ecap.get<ecap::C>() != 0 ? EntryWriter::Walk::Coherent : EntryWriter::Walk::NonCoherent);
}

Draining VtdUnit::draining() const {
  return {.reads = x_cap.get<cap::Drd>() != 0, .writes = x_cap.get<cap::Dwd>() != 0};
}

bool VtdUnit::has_protected_memory() const { return x_cap.get<cap::Plmr>() != 0 || x_cap.get<cap::Phmr>() != 0; }

/// Hardware that keeps writes in a buffer does not see new entries before it is flushed.
Status VtdUnit::commit_writes() {
  if (x_cap.get<cap::Rwbf>() == 0) return {};
  return x_registers.flush_write_buffer();
}

Status VtdUnit::forget(std::span<const Descriptor> batch) {
  const bool owed = std::exchange(x_owes_forgetting, true);
  TRY(commit_writes());
  if (owed) {
    std::array<Descriptor, 3> everything{context_cache_global()};
    u64 count = 1;
    if (x_tables.mode() == Mode::Scalable) everything[count++] = pasid_cache_global();
    everything[count++] = iotlb_global(draining());
    TRY(x_queue.run({everything.data(), count}));
  }
  if (!batch.empty()) TRY(x_queue.run(batch));
  x_owes_forgetting = false;
  return {};
}

Status VtdUnit::forget_everything() {
  x_owes_forgetting = true;
  return forget({});
}

/// 6.5.3.3: what comes of a first stage; of a pass-through entry where there are PASIDs.
bool VtdUnit::is_forgotten_by_pasid(const iommu::CacheTag& tag) const {
  if (tag.kind == iommu::EntryKind::PassThrough) return x_tables.mode() == Mode::Scalable;
  return tag.format == Format::X86FirstStage;
}

/// What was cached of the translation entry of @p device while its tag was @p tag.
Status VtdUnit::forget_entry(SourceId device, const iommu::CacheTag& tag, u32 rid_pasid) {
  const DomainId did = tag.did;
  const bool legacy = x_tables.mode() == Mode::Legacy;
  const bool by_pasid = is_forgotten_by_pasid(tag);
  const std::array<Descriptor, 2> batch{legacy ? context_cache_device(did, device) : pasid_cache_pasid(did, rid_pasid),
                                        by_pasid ? pasid_iotlb_all(did, rid_pasid) : iotlb_domain(draining(), did)};
  return forget(batch);
}

void VtdUnit::mask_events() {
  x_registers.write(fectl_offset, x_registers.read<EventControl>(fectl_offset).with<event_control::Im>(1));
  x_registers.write(iectl_offset, x_registers.read<EventControl>(iectl_offset).with<event_control::Im>(1));
}

Status VtdUnit::invalidate(const iommu::CacheTag& tag, const pt::Gather& gather) {
  if (gather.empty()) return {};
  verify_invariant(tag.kind == iommu::EntryKind::Tables, "a domain without tables has no changes to forget");
  const TableChange change = gather.tables_changed() ? TableChange::Tables : TableChange::LeavesOnly;
  const bool first_stage = tag.format == Format::X86FirstStage;
  const u64 per_range = first_stage ? x_rid_pasids.values().size() : 1;
  std::array<Descriptor, InvalidationQueue::max_batch> batch{};
  u64 count = 0;
  if (first_stage && !x_rid_pasids.all()) return invalidate_domain(tag);
  for (const pt::IovaRange& range : gather.ranges()) {
    const u8 mask = covering_mask(range);
    const bool selective = x_cap.get<cap::Psi>() != 0 && mask <= x_cap.get<cap::Mamv>();
    if (!selective || count + per_range > batch.size()) return invalidate_domain(tag);
    const Iova start(range.start.value >> (page_lg2 + mask) << (page_lg2 + mask));
    if (!first_stage) batch[count++] = iotlb_pages(draining(), tag.did, start, mask, change);
    for (u64 i = 0; first_stage && i < per_range; ++i)
      batch[count++] = pasid_iotlb_pages(tag.did, x_rid_pasids.values()[i], start, mask, change);
  }
  return forget({batch.data(), count});
}

Status VtdUnit::invalidate_domain(const iommu::CacheTag& tag) {
  std::array<Descriptor, RidPasids::capacity> batch{};
  u64 count = 0;
  if (!is_forgotten_by_pasid(tag))
    batch[count++] = iotlb_domain(draining(), tag.did);
  else if (!x_rid_pasids.all())
    batch[count++] = iotlb_global(draining());
  else
    for (const u32 pasid : x_rid_pasids.values()) batch[count++] = pasid_iotlb_all(tag.did, pasid);
  return forget({batch.data(), count});
}

Status VtdUnit::check_alive() {
  // A root that is not kept would be overwritten by the next kernel while hardware reads it.
  if (x_registers.status().get<gsts::Tes>() == 0 || !x_keeps_root) return Code::Io;
  return x_owes_forgetting ? forget({}) : x_queue.run({});
}

u32 VtdUnit::drain_faults() { return vtd::drain_faults(*x_world, x_registers, x_cap); }

u64 VtdUnit::state_hash() const {
  u64 hash = mixed(0, x_registers.read<Rtaddr>(rtaddr_offset).raw());
  hash = mixed(hash, x_registers.status().raw());
  x_tables.for_each_table([&](unsigned half, const ContextTable& table) {
    hash = mixed(hash, half);
    hash = mixed(hash, x_tables.root_word(half));
    hash = mixed(hash, table.preserved ? 1 : 0);
  });
  x_tables.for_each_entry([&](SourceId device, std::span<const Quad> entry) {
    for (const Quad& piece : entry) hash = mixed(mixed(hash, piece.lo), piece.hi);
    if (!ContextTables::is_present(entry)) return;
    for (u64 word : read_entry(device).words) hash = mixed(hash, word);
  });
  for (u64 word : x_dids.words()) hash = mixed(hash, word);
  return mixed(hash, x_keeps_root ? 1 : 0);
}

}  // namespace holdfast::vtd

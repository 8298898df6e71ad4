// VtdUnit, first acts: a fresh start, adoption, quarantine, and what follows when memory is up.

#include "holdfast/vtd/table_limits.hpp"
#include "holdfast/vtd/unit.hpp"

namespace holdfast::vtd {

namespace {

using namespace hw::vtd;  // NOLINT: the registers' own names

constexpr Ttm ttm_of(Mode mode) { return mode == Mode::Scalable ? Ttm::Scalable : Ttm::Legacy; }

}  // namespace

void VtdUnit::set_mode(Mode mode) {
  x_tables.start(mode, x_tables.root());
  x_limits.scalable = mode == Mode::Scalable;
  x_limits.tables = table_limits(x_cap, x_ecap, mode, x_wanted_format);
  x_limits.coherent_tables = mode == Mode::Scalable ? x_ecap.get<ecap::Smpwcs>() != 0 : x_ecap.get<ecap::C>() != 0;
}

Rtaddr VtdUnit::root_pointer(PhysAddr root) const {
  return Rtaddr().with<rtaddr::Rta>(Pfn(root).value).with<rtaddr::Ttm>(static_cast<u64>(ttm_of(x_tables.mode())));
}

/// The root table that an earlier kernel left in use; 0 if none is.
PhysAddr VtdUnit::root_under_translation() const {
  if (x_registers.status().get<gsts::Tes>() == 0) return {};
  return Pfn(x_registers.read<Rtaddr>(rtaddr_offset).get<rtaddr::Rta>()).address();
}

Result<PhysAddr> VtdUnit::make_empty_root() {
  if (x_memory == nullptr) return x_early_root;
  return x_memory->buddy.allocate_zeroed(0);
}

/// Hardware walks @p root from here on, but for what it has cached.
Status VtdUnit::set_root(PhysAddr root) {
  TRY(commit_writes());
  return x_registers.set_root_table(root_pointer(root));
}

/// Root first, then translation: whatever was found, there is no moment at which more gets through than before.
Status VtdUnit::start_with_empty_root() {
  verify_invariant(!x_keeps_root, "a root that the next kernel was promised is replaced");
  const PhysAddr before = root_under_translation();
  x_dids.release_all();
  mask_events();
  TRY_ASSIGN(const PhysAddr root, make_empty_root());
  x_tables.start(x_tables.mode(), root);
  Status forgotten = x_queue.start();
  if (forgotten.ok()) forgotten = commit_writes();
  TRY(x_registers.set_root_table(root_pointer(root)));
  if (forgotten.ok())
    forgotten = forget_everything();
  else
    x_owes_forgetting = true;
  if (forgotten.ok()) x_replaced_root = before;
  // Even without a way to flush its caches the unit must not go on with the old tables, nor without translation.
  TRY(x_registers.enable_translation());
  TRY(forgotten);
  if (has_protected_memory()) TRY(x_registers.disable_protected_memory());
  return {};
}

Status VtdUnit::start_fresh() {
  const Status started = start_with_empty_root();
  if (!started.ok()) x_world->log(LogLevel::Error, line().text("did not start; it does not answer").view());
  return started;
}

Status VtdUnit::quarantine() {
  const Status started = start_with_empty_root();
  x_world->log(LogLevel::Error,
               line()
                   .text(started.ok() ? "quarantined: every device is blocked" : "quarantined, but it does not answer")
                   .view());
  return started;
}

Status VtdUnit::adopt(const iommu::UnitAdoption& state, const iommu::PreservedSet& preserved) {
  const auto refuse = [&](Code code, std::string_view why) -> Status {
    x_world->log(LogLevel::Error, line().text("not adopted: ").text(why).view());
    return code;
  };
  const Mode mode = x_tables.mode();
  const auto found = x_registers.read<Rtaddr>(rtaddr_offset);
  if (x_registers.status().get<gsts::Tes>() == 0) return refuse(Code::Mismatch, "translation is off");
  if (found.get<rtaddr::Ttm>() != static_cast<u64>(ttm_of(mode)))
    return refuse(Code::Mismatch, "hardware runs in another translation mode");
  if (Pfn(found.get<rtaddr::Rta>()).address() != state.root_table)
    return refuse(Code::Mismatch, "hardware walks another root table than the record names");

  const Status checked = x_tables.adopt(mode, state, preserved);
  if (!checked.ok()) return refuse(checked.code(), "root or context tables contradict the record");

  mask_events();
  Status running = x_queue.start();
  if (running.ok()) running = forget_everything();
  if (running.ok()) return {};
  x_tables.start(mode, {});
  return refuse(running.code(), "its invalidation queue does not answer");
}

Status VtdUnit::adopt_device(SourceId device, const abi::iommu::IntelDevice& record,
                             const iommu::PreservedSet& preserved) {
  if (x_tables.mode() == Mode::Legacy)
    return record.pasid_table == 0 && record.max_pasid == 0 ? Status() : Status(Code::Mismatch);
  const std::span<Quad> context = x_tables.entry(device);
  if (context.empty() || !ContextTables::is_present(context)) return Code::Mismatch;
  TRY_ASSIGN(const PasidTables tables, pasid_tables(context));
  if (tables.directory.base.value != record.pasid_table || tables.directory.max_pasid() != record.max_pasid)
    return Code::Mismatch;
  if (!preserved.contains(tables.directory_block()) || !preserved.contains(tables.table_block())) return Code::Corrupt;
  if (!has_pages_of_its_own(device, tables)) return Code::Corrupt;
  x_tables.table_of(device).known.insert(device.devfn());
  x_rid_pasids.insert(tables.rid_pasid);
  return {};
}

Status VtdUnit::disown(SourceId device, const iommu::DeviceFilter& believed) {
  const unsigned half = x_tables.half_of(device);
  ContextTable& table = x_tables.table(half);
  if (table.page.value == 0) return {};
  table.known.erase(device.devfn());
  for (unsigned index = 0; index < x_tables.entries_per_table(); ++index)
    if (believed.contains(x_tables.device_at(half, index))) return {};
  table = {};
  writer().write_word(x_tables.root_word(half), 0);
  TRY(commit_writes());
  return forget_everything();
}

/// No page of @p tables is met twice, belongs to the unit, or to another device that was adopted before.
bool VtdUnit::has_pages_of_its_own(SourceId device, const PasidTables& tables) const {
  const Block directory = tables.directory_block();
  if (PhysRange{directory.start, directory.size_bytes()}.contains(tables.table, 1)) return false;
  if (tables.contains(x_tables.root())) return false;
  bool free = true;
  x_tables.for_each_table([&](unsigned half, const ContextTable& table) {
    if (tables.contains(table.page)) free = false;
    for (unsigned index = 0; index < x_tables.entries_per_table() && free; ++index) {
      const SourceId other = x_tables.device_at(half, index);
      if (other == device || !table.known.contains(other.devfn())) continue;
      const auto others = pasid_tables(x_tables.entry_in(table.page, index));
      if (others.ok() && others->overlaps(tables)) free = false;
    }
  });
  return free;
}

Status VtdUnit::attach_memory(Memory& memory) {
  verify_invariant(x_memory == nullptr, "memory was attached to a unit twice");
  if (x_tables.root() == x_early_root) {
    TRY_ASSIGN(const PhysAddr root, memory.buddy.allocate_zeroed(0));
    // Without an answer hardware may walk either of the two, both empty: the page stays taken.
    const Status set = set_root(root);
    if (set.ok()) x_tables.move_root(root);
    if (!set.ok() || !forget_everything().ok())
      x_world->log(LogLevel::Error, line().text("does not answer while memory comes up").view());
  }
  x_memory = &memory;
  return {};
}

Status VtdUnit::take_ownership(BlockRestorer& restore) {
  verify_invariant(x_memory != nullptr, "ownership was taken before memory was up");
  if (x_owns_tables) return {};
  // Everything that can fail for memory first.
  Status made;
  x_tables.for_each_table([&](unsigned, ContextTable& table) {
    if (!made.ok() || table.undo.value != 0) return;
    const auto page = x_memory->buddy.allocate(0);
    if (page.ok())
      table.undo = *page;
    else
      made = page.error();
  });
  TRY(made);

  Status taken;
  const auto take = [&](Block block) {
    if (!taken.ok()) return;
    const auto restored = restore.restore(block.start);
    if (!restored.ok())
      taken = restored.error();
    else if (*restored != block)
      taken = Code::Corrupt;
  };
  take({x_tables.root(), 0});
  x_tables.for_each_table([&](unsigned half, const ContextTable& table) {
    take({table.page, 0});
    for (unsigned index = 0; index < x_tables.entries_per_table(); ++index) {
      if (!table.known.contains(x_tables.device_at(half, index).devfn())) continue;
      const auto tables = pasid_tables(x_tables.entry_in(table.page, index));
      if (!tables.ok()) continue;
      take(tables->directory_block());
      take(tables->table_block());
    }
  });
  x_owns_tables = taken.ok();
  return taken;
}

}  // namespace holdfast::vtd

// VtdUnit, what happens before the jump: preserve and its inverse, the cut-off and its inverse.

#include <algorithm>
#include <cstring>

#include "holdfast/vtd/unit.hpp"

namespace holdfast::vtd {

namespace {

using namespace hw::vtd;  // NOLINT: the registers' own names

bool has(std::span<const SourceId> devices, SourceId device) {
  return std::find(devices.begin(), devices.end(), device) != devices.end();
}

bool same(std::span<const Quad> a, std::span<const Quad> b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end());
}

}  // namespace

// --- preserve

Status VtdUnit::keep_root(BlockSink& sink) {
  if (x_keeps_root) return {};
  if (x_memory == nullptr || x_tables.root() == x_early_root) return Code::Io;
  TRY(sink.preserve({x_tables.root(), 0}));
  x_keeps_root = true;
  return {};
}

Status VtdUnit::preserve(BlockSink& sink, abi::iommu::IntelUnit& record) {
  if (!x_keeps_root) return Code::Io;
  HalfBitmap added{};
  Status marked;
  x_tables.for_each_table([&](unsigned half, ContextTable& table) {
    if (!marked.ok() || table.preserved) return;
    marked = sink.preserve({table.page, 0});
    if (marked.ok()) set_half(added, half);
  });
  if (!marked.ok()) {
    x_tables.for_each_table([&](unsigned half, ContextTable& table) {
      if (test_half(added, half)) sink.unpreserve({table.page, 0});
    });
    return marked;
  }

  record.phys_addr = register_base().value;
  record.root_table = x_tables.root().value;
  x_tables.for_each_table([&](unsigned half, ContextTable& table) {
    table.preserved = true;
    set_half(record.context_tables_bitmap, half);
  });
  return {};
}

void VtdUnit::unpreserve(BlockSink& sink, abi::iommu::IntelUnit& record) {
  x_tables.for_each_table([&](unsigned half, ContextTable& table) {
    if (!test_half(record.context_tables_bitmap, half) || !table.preserved) return;
    sink.unpreserve({table.page, 0});
    table.preserved = false;
  });
  record = {};
}

Status VtdUnit::preserve_device(BlockSink& sink, SourceId device, abi::iommu::IntelDevice& record) {
  record = {};
  if (x_tables.mode() == Mode::Legacy) return {};
  ContextTable& table = x_tables.table_of(device);
  if (table.page.value == 0 || !table.known.contains(device.devfn())) return Code::Invalid;
  if (table.recorded.contains(device.devfn())) return Code::Busy;
  TRY_ASSIGN(const PasidTables tables, pasid_tables(x_tables.entry(device)));
  TRY(sink.preserve(tables.directory_block()));
  if (const Status marked = sink.preserve(tables.table_block()); !marked.ok()) {
    sink.unpreserve(tables.directory_block());
    return marked;
  }
  table.recorded.insert(device.devfn());
  record.pasid_table = tables.directory.base.value;
  record.max_pasid = tables.directory.max_pasid();
  return {};
}

void VtdUnit::unpreserve_device(BlockSink& sink, SourceId device, abi::iommu::IntelDevice& record) {
  record = {};
  if (x_tables.mode() == Mode::Legacy) return;
  ContextTable& table = x_tables.table_of(device);
  if (table.page.value == 0 || !table.recorded.contains(device.devfn())) return;
  table.recorded.erase(device.devfn());
  const auto tables = pasid_tables(x_tables.entry(device));
  verify_invariant(tables.ok(), "the PASID tables of a preserved device were damaged");
  sink.unpreserve(tables->table_block());
  sink.unpreserve(tables->directory_block());
}

// --- cut-off

/// True when every table on the way of @p device is preserved, or nothing of it is present.
bool VtdUnit::can_keep(SourceId device) const {
  const std::span<Quad> context = x_tables.entry(device);
  if (context.empty() || !ContextTables::is_present(context)) return true;
  const ContextTable& table = x_tables.table_of(device);
  return x_keeps_root && table.preserved &&
         (x_tables.mode() == Mode::Legacy || table.recorded.contains(device.devfn()));
}

Status VtdUnit::cut_off(std::span<const SourceId> keep) {
  verify_invariant(!x_cut_off, "a unit was cut off twice");
  for (SourceId device : keep)
    if (!can_keep(device)) return Code::Invalid;
  bool can_undo = true;
  x_tables.for_each_table([&](unsigned, const ContextTable& table) { can_undo = can_undo && table.undo.value != 0; });
  if (!can_undo) return Code::Invalid;

  x_masks_before = {x_registers.read<EventControl>(fectl_offset), x_registers.read<EventControl>(iectl_offset)};
  save_tables();
  x_cut_off = true;
  const Status done = cut_off_saved(keep);
  if (!done.ok()) reinstate();
  return done;
}

Status VtdUnit::cut_off_saved(std::span<const SourceId> keep) {
  mask_events();
  clear_present_entries(keep);
  TRY(forget_everything());
  clear_rest_of_entries();
  clear_unpreserved_roots();
  TRY(forget_everything());
  if (has_protected_memory()) TRY(x_registers.disable_protected_memory());
  return x_registers.wait_until([&] { return x_queue.is_idle(); });
}

void VtdUnit::save_tables() {
  x_tables.for_each_table([&](unsigned, const ContextTable& table) {
    std::memcpy(x_map->bytes(table.undo), x_map->bytes(table.page), page_size_bytes);
  });
}

void VtdUnit::clear_present_entries(std::span<const SourceId> keep) {
  EntryWriter entries = writer();
  x_tables.for_each_entry([&](SourceId device, std::span<Quad> entry) {
    if (ContextTables::is_present(entry) && !has(keep, device)) entries.clear_present(entry);
  });
}

void VtdUnit::clear_rest_of_entries() {
  EntryWriter entries = writer();
  x_tables.for_each_entry([&](SourceId, std::span<Quad> entry) {
    const std::array<Quad, pieces_per_scalable_context> zero{};
    if (!ContextTables::is_present(entry) && !same(entry, std::span(zero).first(entry.size())))
      entries.clear_rest(entry);
  });
}

void VtdUnit::clear_unpreserved_roots() {
  EntryWriter entries = writer();
  x_tables.for_each_table([&](unsigned half, const ContextTable& table) {
    if (!table.preserved) entries.write_word(x_tables.root_word(half), 0);
  });
}

void VtdUnit::reinstate() {
  if (!x_cut_off) return;
  x_cut_off = false;
  restore_entries();
  restore_roots();
  if (!commit_writes().ok())
    x_world->log(LogLevel::Error, line().text("does not answer; reinstated entries may not be in effect").view());
  x_registers.write(fectl_offset, x_masks_before.fault);
  x_registers.write(iectl_offset, x_masks_before.queue);
}

void VtdUnit::restore_entries() {
  EntryWriter entries = writer();
  x_tables.for_each_table([&](unsigned, const ContextTable& table) {
    for (unsigned index = 0; index < x_tables.entries_per_table(); ++index) {
      const std::span<Quad> entry = x_tables.entry_in(table.page, index);
      const std::span<const Quad> before = x_tables.entry_in(table.undo, index);
      if (!same(entry, before)) entries.install(entry, before);
    }
  });
}

void VtdUnit::restore_roots() {
  EntryWriter entries = writer();
  x_tables.for_each_table([&](unsigned half, const ContextTable& table) {
    if (const u64 word = encode_table_pointer(table.page); x_tables.root_word(half) != word)
      entries.write_word(x_tables.root_word(half), word);
  });
}

}  // namespace holdfast::vtd

// VtdUnit, the entries of its devices: made, read, installed, replaced, blocked.

#include <algorithm>

#include "holdfast/vtd/unit.hpp"

namespace holdfast::vtd {

using iommu::EntrySpec;
using iommu::LiveEntry;

namespace {

void copy_words(std::span<const Quad> pieces, std::array<u64, 8>& words) {
  u64 at = 0;
  for (const Quad& piece : pieces) {
    words[at++] = hw_load(&piece.lo);
    words[at++] = hw_load(&piece.hi);
  }
}

/// What stands in memory, read once: checks and decisions are about one and the same value.
template <u64 Count>
std::array<Quad, Count> snapshot(std::span<const Quad> pieces) {
  std::array<Quad, Count> copy{};
  for (u64 i = 0; i < Count; ++i) copy[i] = {hw_load(&pieces[i].lo), hw_load(&pieces[i].hi)};
  return copy;
}

bool is_clear(std::span<const Quad> entry) {
  return std::all_of(entry.begin(), entry.end(),
                     [](const Quad& piece) { return hw_load(&piece.lo) == 0 && hw_load(&piece.hi) == 0; });
}

}  // namespace

bool VtdUnit::is_possible(const EntrySpec& spec) const {
  if (spec.kind == iommu::EntryKind::PassThrough)
    return x_limits.pass_through && spec == EntrySpec::pass_through(spec.did) && x_dids.is_taken(spec.did);
  return x_limits.find(spec.format, spec.levels) != nullptr && spec.top.value != 0 &&
         spec.top.is_aligned(page_size_bytes) && x_dids.is_taken(spec.did);
}

Result<PasidTables> VtdUnit::pasid_tables(std::span<const Quad> context) const {
  TRY_ASSIGN(const PasidTables tables, read_pasid_tables(*x_map, *x_touches, context));
  if (tables.rid_pasid != 0 && !x_knows_rid_pasid) return Code::NotSupported;
  return tables;
}

VtdUnit::TranslationEntry VtdUnit::translation_entry(SourceId device) const {
  const std::span<Quad> context = x_tables.entry(device);
  if (context.empty() || x_tables.mode() == Mode::Legacy) return {.pieces = context};
  if (!x_tables.table_of(device).known.contains(device.devfn())) return {};
  const auto tables = pasid_tables(context);
  if (!tables.ok()) return {};
  return {.pieces = tables->rid_entry(*x_map), .rid_pasid = tables->rid_pasid};
}

// --- reading

/// What a present entry says.
void VtdUnit::judge(std::span<const Quad> pieces, LiveEntry& live) const {
  live.state = LiveEntry::State::Other;
  const auto spec = encoding().decode(pieces);
  if (!spec) return;
  const bool passes = spec->kind == iommu::EntryKind::PassThrough;
  // Under an id that is nobody's it is an earlier kernel's: one may serve all that passes through.
  const bool is_ours = passes ? x_dids.is_taken(spec->did) : x_limits.find(spec->format, spec->levels) != nullptr;
  if (!is_ours) return;
  live.state = passes ? LiveEntry::State::PassThrough : LiveEntry::State::Translating;
  live.spec = *spec;
}

LiveEntry VtdUnit::read_legacy(std::span<const Quad> context) const {
  const auto pieces = snapshot<pieces_per_legacy_context>(context);
  LiveEntry live;
  copy_words(pieces, live.words);
  if ((pieces[0].lo & present_bit) == 0) return live;
  judge(pieces, live);
  return live;
}

LiveEntry VtdUnit::read_scalable(std::span<const Quad> context) const {
  const auto outer = snapshot<pieces_per_scalable_context>(context);
  LiveEntry live;
  if ((outer[0].lo & present_bit) == 0) return live;
  const auto tables = pasid_tables(outer);
  if (!tables.ok()) {
    live.state = LiveEntry::State::Other;
    copy_words(outer, live.words);
    return live;
  }
  const auto pieces = snapshot<pieces_per_pasid_entry>(tables->rid_entry(*x_map));
  copy_words(pieces, live.words);
  if ((pieces[0].lo & present_bit) == 0) return live;
  judge(pieces, live);
  return live;
}

LiveEntry VtdUnit::read_entry(SourceId device) const {
  const std::span<Quad> context = x_tables.entry(device);
  if (context.empty()) return {};
  x_touches->table();
  return x_tables.mode() == Mode::Legacy ? read_legacy(context) : read_scalable(context);
}

void VtdUnit::for_each_present_entry(iommu::EntryVisitor& visitor) const {
  x_tables.for_each_entry([&](SourceId device, std::span<const Quad> entry) {
    if (ContextTables::is_present(entry)) visitor.entry(device);
  });
}

// --- making tables

Status VtdUnit::prepare(SourceId device) {
  verify_invariant(x_memory != nullptr, "tables were wanted before memory was up");
  ContextTable& table = x_tables.table_of(device);
  const bool scalable = x_tables.mode() == Mode::Scalable;
  if (table.page.value != 0 && (!scalable || table.known.contains(device.devfn()))) return {};

  // A new context table is put into the root only when everything else is there.
  const bool made_table = table.page.value == 0;
  if (made_table) TRY(make_context_table(device));
  if (scalable) {
    const Status made = make_pasid_tables(device, x_tables.entry(device));
    if (!made.ok()) {
      if (made_table) {
        x_memory->buddy.release(table.page, 0);
        x_memory->buddy.release(table.undo, 0);
        table = {};
      }
      return made;
    }
  }
  if (made_table) writer().write_word(x_tables.root_word(x_tables.half_of(device)), encode_table_pointer(table.page));
  return commit_writes();
}

/// Not in the root yet.
Status VtdUnit::make_context_table(SourceId device) {
  TRY_ASSIGN(const PhysAddr page, x_memory->buddy.allocate_zeroed(0));
  const auto undo = x_memory->buddy.allocate(0);
  if (!undo.ok()) {
    x_memory->buddy.release(page, 0);
    return undo.error();
  }
  ContextTable& table = x_tables.table_of(device);
  table = {};
  table.page = page;
  table.undo = *undo;
  return {};
}

Status VtdUnit::make_pasid_tables(SourceId device, std::span<Quad> context) {
  // Somebody else's structures hang here and nobody checked them: block() first.
  if (ContextTables::is_present(context)) return Code::Busy;
  TRY_ASSIGN(const PhysAddr directory, x_memory->buddy.allocate_zeroed(0));
  const auto table = x_memory->buddy.allocate_zeroed(0);
  if (!table.ok()) {
    x_memory->buddy.release(directory, 0);
    return table.error();
  }
  EntryWriter entries = writer();
  entries.write_word(x_map->at<u64>(directory)[directory_index(x_rid_pasid)], encode_table_pointer(*table));
  const ScalableContext made{.directory = {.base = directory, .pdts = one_page_pdts}, .rid_pasid = x_rid_pasid};
  const std::array<Quad, pieces_per_scalable_context> value{encode_scalable_context(made), Quad{}};
  entries.install(context, value);
  x_tables.table_of(device).known.insert(device.devfn());
  x_rid_pasids.insert(x_rid_pasid);
  return {};
}

// --- changing entries

Status VtdUnit::install(SourceId device, const EntrySpec& to) {
  if (!is_possible(to)) return Code::Invalid;
  const std::span<Quad> entry = translation_entry(device).pieces;
  if (entry.empty()) return Code::Invalid;
  if (ContextTables::is_present(entry)) return Code::Busy;
  // What hardware may remember of this entry is another translation, perhaps under an id that is somebody else's now.
  if (x_owes_forgetting) TRY(forget({}));
  const EntryPieces value = encoding().encode(to);
  writer().install(entry, std::span<const Quad>(value).first(entry.size()));
  const Status visible = commit_writes();
  if (visible.ok()) return {};
  // Hardware may have seen it: forgotten before the rest goes, or owed.
  x_owes_forgetting = true;
  writer().clear_present(entry);
  if (forget({}).ok()) writer().clear_rest(entry);
  return visible;
}

Status VtdUnit::replace(SourceId device, const EntrySpec& from, const EntrySpec& to) {
  if (!is_possible(to)) return Code::Invalid;
  const LiveEntry live = read_entry(device);
  if (!live.is_known() || live.spec != from) return Code::Mismatch;
  const TranslationEntry entry = translation_entry(device);
  if (entry.pieces.empty()) return Code::Mismatch;
  return replace_checked(device, entry, from, to);
}

/// See replacement.hpp. The tag of the new table is flushed too, at the end: it may have been cached since the last
/// store.
Status VtdUnit::replace_checked(SourceId device, const TranslationEntry& entry, const EntrySpec& from,
                                const EntrySpec& to) {
  const bool needs_id = Replacement::needs_private_id(from, to);
  DomainId private_id;
  if (needs_id) {
    TRY_ASSIGN(private_id, x_dids.allocate());
  }
  const Replacement change(encoding(), from, to, private_id);
  u64 stored = 0;
  Status forgotten;
  for (const Replacement::Step& step : change.steps()) {
    writer().replace(entry.pieces[step.piece], step.value);
    ++stored;
    forgotten = forget_entry(device, step.before, entry.rid_pasid);
    if (!forgotten.ok()) break;
  }
  if (forgotten.ok() && to.tag() != from.tag()) forgotten = forget_entry(device, to.tag(), entry.rid_pasid);
  const bool is_clean = forgotten.ok() || take_back(device, entry, change.steps().first(stored));
  // What hardware may still have under it would be the next owner's: then it stays taken.
  if (needs_id && is_clean) x_dids.release(private_id);
  return forgotten;
}

/// The same way back. False: the entry is as it was, but hardware may remember what stood there meanwhile.
bool VtdUnit::take_back(SourceId device, const TranslationEntry& entry, std::span<const Replacement::Step> done) {
  Status forgotten;
  for (u64 i = done.size(); i-- != 0;) {
    writer().replace(entry.pieces[done[i].piece], done[i].undo);
    const Status one = forget_entry(device, done[i].after, entry.rid_pasid);
    if (forgotten.ok()) forgotten = one;
  }
  if (!forgotten.ok())
    x_world->log(LogLevel::Error, line().text("a replacement was given up and the unit does not answer").view());
  return forgotten.ok();
}

Status VtdUnit::block(SourceId device) {
  const std::span<Quad> context = x_tables.entry(device);
  if (context.empty() || is_clear(context)) return {};
  const LiveEntry live = read_entry(device);
  const TranslationEntry inner = translation_entry(device);
  std::span<Quad> entry = inner.pieces;
  const bool at_context = entry.empty();
  if (at_context) {
    entry = context;
    x_tables.table_of(device).known.erase(device.devfn());
  }
  if (is_clear(entry)) return {};

  EntryWriter entries = writer();
  // Not present and not clear: an earlier block() was not confirmed by hardware, and all of it is done again.
  if (ContextTables::is_present(entry)) entries.clear_present(entry);
  // The id under which an unknown entry is cached is not known either.
  const bool by_id = live.is_known() && !at_context;
  TRY(by_id ? forget_entry(device, live.spec.tag(), inner.rid_pasid) : forget_everything());
  entries.clear_rest(entry);
  return commit_writes();
}

}  // namespace holdfast::vtd

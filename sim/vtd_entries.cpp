// What the entries of the modelled unit say of a request: root, context and PASID tables. VT-d 4.1, sections 3.4
// (legacy), 3.5 (scalable), 9.1 to 9.6.
//
// Every entry is checked in full in the order of the manual's fault tables: access, present, reserved, valid.
#include "sim/vtd_unit.hpp"

namespace sim {

using namespace hw::vtd;

bool VtdUnit::width_supported(u64 address_width) const {
  return address_width <= 4 && (x_cap.get<cap::Sagaw>() >> address_width & 1) != 0;
}

bool VtdUnit::beyond_host_width(u64 page_frame) const { return page_frame >> (host_address_bits - 12) != 0; }

void VtdUnit::resolve(SourceId sid, VtdCaches* caches, Resolved& resolved) const {
  switch (x_ttm) {
    case Ttm::Legacy: return resolve_legacy(sid, caches, resolved);
    case Ttm::Scalable:
      if (x_config.scalable_mode) return resolve_scalable(sid, caches, resolved);
      break;
    case Ttm::AbortDma: resolved.abort_silently = true; return;
    case Ttm::Reserved: break;
  }
  resolved.fault = FaultReason::RootTableAddressInvalid;
}

void VtdUnit::resolve_legacy(SourceId sid, VtdCaches* caches, Resolved& resolved) const {
  const CachedContext* hit = caches != nullptr ? caches->find_context(sid) : nullptr;
  if (hit != nullptr && !hit->scalable) {
    resolved.stage = hit->stage;
    return;
  }
  CachedContext context;
  resolved.fault = fetch_context(sid, context);
  if (caches != nullptr) context.stage.tag = caches->second_stage_tag(context.stage.did);
  if (resolved.fault == FaultReason::None && caches != nullptr) caches->fill_context(sid, context);
  resolved.stage = context.stage;
  resolved.stage.fault_processing_disabled = context.fault_processing_disabled;
}

FaultReason VtdUnit::fetch_context(SourceId sid, CachedContext& context) const {
  const auto root_words = x_ram.fetch_quad(x_root + u64{sid.bus()} * 16);
  if (!root_words) return FaultReason::RootTableAccess;
  const RootEntry root(RootEntry::Words{root_words->lo, root_words->hi});
  if (root.get<root_entry::P>() == 0) return FaultReason::RootNotPresent;
  if (!root.reserved_clear() || beyond_host_width(root.get<root_entry::Ctp>())) return FaultReason::RootReserved;

  const PhysAddr table = Pfn(root.get<root_entry::Ctp>()).address();
  const auto words = x_ram.fetch_quad(table + u64{sid.devfn()} * 16);
  if (!words) return FaultReason::ContextTableAccess;
  const ContextEntry entry(ContextEntry::Words{words->lo, words->hi});
  context.fault_processing_disabled = entry.get<context_entry::Fpd>() != 0;
  if (entry.get<context_entry::P>() == 0) return FaultReason::ContextNotPresent;
  if (!entry.reserved_clear() || beyond_host_width(entry.get<context_entry::Ssptptr>()))
    return FaultReason::ContextReserved;
  const u64 width = entry.get<context_entry::Aw>();
  const auto type = static_cast<TranslationType>(entry.get<context_entry::Tt>());
  if (type != TranslationType::Untranslated && type != TranslationType::PassThrough) return FaultReason::ContextInvalid;
  if (!width_supported(width)) return FaultReason::ContextInvalid;
  context.stage = {.table = Pfn(entry.get<context_entry::Ssptptr>()).address(),
                   .did = static_cast<u16>(entry.get<context_entry::Did>()),
                   .levels = static_cast<u8>(width + 2),
                   .pass_through = type == TranslationType::PassThrough,
                   .fault_processing_disabled = context.fault_processing_disabled};
  return FaultReason::None;
}

void VtdUnit::resolve_scalable(SourceId sid, VtdCaches* caches, Resolved& resolved) const {
  resolved.scalable = true;
  CachedContext fetched;
  const CachedContext* context = caches != nullptr ? caches->find_context(sid) : nullptr;
  if (context == nullptr || !context->scalable) {
    context = &fetched;
    resolved.fault = fetch_scalable_context(sid, fetched);
    if (resolved.fault == FaultReason::None && caches != nullptr) caches->fill_context(sid, fetched);
  }
  if (resolved.fault != FaultReason::None) {
    resolved.stage.fault_processing_disabled = fetched.fault_processing_disabled;
    return;
  }
  if (const Stage* stage = caches != nullptr ? caches->find_pasid(sid, context->rid_pasid) : nullptr) {
    resolved.stage = *stage;
  } else {
    resolved.fault = fetch_pasid(*context, resolved.stage);
    Stage& fetched_stage = resolved.stage;
    if (caches != nullptr)
      fetched_stage.tag = fetched_stage.first ? caches->first_stage_tag(fetched_stage.did, context->rid_pasid)
                                              : caches->second_stage_tag(fetched_stage.did);
    if (resolved.fault == FaultReason::None && caches != nullptr)
      caches->fill_pasid(sid, context->rid_pasid, resolved.stage);
  }
  if (context->fault_processing_disabled) resolved.stage.fault_processing_disabled = true;
}

FaultReason VtdUnit::fetch_scalable_context(SourceId sid, CachedContext& context) const {
  namespace root_field = scalable_root_entry;
  namespace field = scalable_context_entry;
  const auto root_words = x_ram.fetch_quad(x_root + u64{sid.bus()} * 16);
  if (!root_words) return FaultReason::ScalableRootAccess;
  const bool upper = sid.devfn() >= 0x80;
  const ScalableRootEntry root(ScalableRootEntry::Words{root_words->lo, root_words->hi});
  const bool present = (upper ? root.get<root_field::Up>() : root.get<root_field::Lp>()) != 0;
  const u64 half = upper ? root_words->hi : root_words->lo;
  const u64 frame = upper ? root.get<root_field::Uctp>() : root.get<root_field::Lctp>();
  if (!present) return FaultReason::ScalableRootNotPresent;
  if ((half & ScalableRootEntry::reserved_bits(upper ? 1 : 0)) != 0 || beyond_host_width(frame))
    return FaultReason::ScalableRootReserved;

  const PhysAddr at = Pfn(frame).address() + u64{sid.devfn() & 0x7fu} * 32;
  const auto low = x_ram.fetch_quad(at);
  const auto high = x_ram.fetch_quad(at + 16);
  if (!low || !high) return FaultReason::ScalableContextAccess;
  const ScalableContextEntry entry(ScalableContextEntry::Words{low->lo, low->hi, high->lo, high->hi});
  context.fault_processing_disabled = entry.get<field::Fpd>() != 0;
  if (entry.get<field::P>() == 0) return FaultReason::ScalableContextNotPresent;
  // DTE and PRE are reserved without ECAP.DT and ECAP.PRS, which this unit does not have.
  if (!entry.reserved_clear() || entry.get<field::Dte>() != 0 || entry.get<field::Pre>() != 0 ||
      beyond_host_width(entry.get<field::PasidDirPtr>()))
    return FaultReason::ScalableContextReserved;
  context.scalable = true;
  context.pasid_directory = Pfn(entry.get<field::PasidDirPtr>()).address();
  context.directory_entries = u64{1} << (entry.get<field::Pdts>() + 7);
  context.rid_pasid = static_cast<u32>(entry.get<field::RidPasid>());
  if (context.rid_pasid >> pasid_table_lg2 >= context.directory_entries) return FaultReason::RidPasidInvalid;
  return FaultReason::None;
}

FaultReason VtdUnit::fetch_pasid(const CachedContext& context, Stage& stage) const {
  namespace field = pasid_entry;
  const u64 directory_index = context.rid_pasid >> pasid_table_lg2;
  const auto directory_word = x_ram.load64(context.pasid_directory + directory_index * 8);
  if (!directory_word) return FaultReason::PasidDirectoryAccess;
  const PasidDirectoryEntry directory(*directory_word);
  stage.fault_processing_disabled = directory.get<pasid_directory_entry::Fpd>() != 0;
  if (directory.get<pasid_directory_entry::P>() == 0) return FaultReason::PasidDirectoryNotPresent;
  if (!directory.reserved_clear() || beyond_host_width(directory.get<pasid_directory_entry::SmptblPtr>()))
    return FaultReason::PasidDirectoryReserved;

  const PhysAddr at = Pfn(directory.get<pasid_directory_entry::SmptblPtr>()).address() +
                      u64{context.rid_pasid & (pasid_entries_per_table - 1)} * 64;
  PasidEntry::Words words{};
  for (unsigned piece = 0; piece < 4; ++piece) {
    const auto quad = x_ram.fetch_quad(at + u64{piece} * 16);
    if (!quad) return FaultReason::PasidTableAccess;
    words[2 * piece] = quad->lo;
    words[2 * piece + 1] = quad->hi;
  }
  return read_pasid_entry(PasidEntry(words), stage);
}

FaultReason VtdUnit::read_pasid_entry(const PasidEntry& entry, Stage& stage) const {
  namespace field = pasid_entry;
  stage.fault_processing_disabled |= entry.get<field::Fpd>() != 0;
  if (entry.get<field::P>() == 0) return FaultReason::PasidEntryNotPresent;
  // SSADE, SSEE, SRE, ERE and PWSNP are reserved without ECAP.SSADS, ECAP.SRS/ERS and ECAP.SMPWCS.
  if (!entry.reserved_clear() || entry.get<field::Ssade>() != 0 || entry.get<field::Ssee>() != 0 ||
      entry.get<field::Sre>() != 0 || entry.get<field::Ere>() != 0 ||
      (entry.get<field::Pwsnp>() != 0 && !x_config.coherent) || beyond_host_width(entry.get<field::Ssptptr>()) ||
      beyond_host_width(entry.get<field::Fsptptr>()))
    return FaultReason::PasidEntryReserved;
  const auto type = static_cast<Pgtt>(entry.get<field::Pgtt>());
  const u64 width = entry.get<field::Aw>();
  stage.did = static_cast<u16>(entry.get<field::Did>());
  stage.pass_through = type == Pgtt::PassThrough;
  if (type == Pgtt::FirstStage && has_stage(Stages::First)) {
    const u64 depth = entry.get<field::Fspm>();
    if (depth > x_cap.get<cap::Fl5lp>()) return FaultReason::PasidEntryInvalid;
    stage.first = true;
    stage.table = Pfn(entry.get<field::Fsptptr>()).address();
    stage.levels = static_cast<u8>(4 + depth);
    return FaultReason::None;
  }
  const bool second = type == Pgtt::SecondStage && has_stage(Stages::Second) && width_supported(width);
  if (!second && type != Pgtt::PassThrough) return FaultReason::PasidEntryInvalid;
  stage.table = Pfn(entry.get<field::Ssptptr>()).address();
  stage.levels = static_cast<u8>(width + 2);
  return FaultReason::None;
}

}  // namespace sim

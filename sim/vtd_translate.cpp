// Address translation of the modelled unit: VT-d 4.1, sections 3.7 (second stage), 3.15, 7.1. The entries that lead to
// the tables are read in vtd_entries.cpp, first stages are walked in vtd_first_stage.cpp.
#include "sim/vtd_unit.hpp"

namespace sim {

using namespace hw::vtd;

namespace {

bool in_interrupt_range(u64 address) { return address >= interrupt_range_start && address <= interrupt_range_last; }

FaultReason second_stage_fault(walk::WalkFault fault, Access access, bool scalable) {
  switch (fault) {
    case walk::WalkFault::None: return FaultReason::None;
    case walk::WalkFault::BeyondWidth:
      return scalable ? FaultReason::ScalableBeyondWidth : FaultReason::AddressBeyondWidth;
    case walk::WalkFault::TableAccess:
      return scalable ? FaultReason::SecondStageAccess : FaultReason::PagingEntryAccess;
    case walk::WalkFault::ReservedSet:
      return scalable ? FaultReason::SecondStageReserved : FaultReason::PagingEntryReserved;
    case walk::WalkFault::NotPresent: break;
  }
  if (scalable)
    return access == Access::Read ? FaultReason::ScalableReadNotPermitted : FaultReason::ScalableWriteNotPermitted;
  return access == Access::Read ? FaultReason::ReadNotPermitted : FaultReason::WriteNotPermitted;
}

unsigned level_of(u64 page_bytes) { return page_bytes == page_size_bytes ? 1 : page_bytes == u64{1} << 21 ? 2 : 3; }

}  // namespace

Translation VtdUnit::translate(SourceId sid, u64 iova, Access access) {
  if (!x_translating) return {true, PhysAddr(iova), FaultReason::None};
  Resolved resolved;
  VtdCaches* caches = x_config.caches == CacheModel::Hoarding ? &x_caches : nullptr;
  const Translation result = translate_with(sid, iova, access, caches, resolved, &x_stats);
  if (x_config.count_stale_uses && caches != nullptr) {
    const Translation fresh = translate_afresh(sid, iova, access);
    if (fresh.allowed != result.allowed || (fresh.allowed && fresh.address != result.address)) ++x_stats.stale;
  }
  if (!result.allowed && !resolved.abort_silently)
    record_fault({sid, result.reason, access, iova},
                 resolved.stage.fault_processing_disabled && is_qualified(result.reason));
  return result;
}

Translation VtdUnit::translate_afresh(SourceId sid, u64 iova, Access access) const {
  if (!x_translating) return {true, PhysAddr(iova), FaultReason::None};
  Resolved resolved;
  return translate_with(sid, iova, access, nullptr, resolved, nullptr);
}

Translation VtdUnit::translate_with(SourceId sid, u64 iova, Access access, VtdCaches* caches, Resolved& resolved,
                                    UnitStats* stats) const {
  resolve(sid, caches, resolved);
  if (resolved.fault != FaultReason::None || resolved.abort_silently) return {false, {}, resolved.fault};
  const bool scalable = resolved.scalable;
  // 3.15: addresses here are interrupt requests; the model refuses them, since no engine sends any.
  const FaultReason interrupt = scalable ? FaultReason::ScalableInterruptAddress : FaultReason::InterruptAddress;
  if (in_interrupt_range(iova)) return {false, {}, interrupt};
  const Stage& stage = resolved.stage;
  if (stage.pass_through) {
    if (iova >> host_address_bits != 0)
      return {false, {}, second_stage_fault(walk::WalkFault::BeyondWidth, access, scalable)};
    return {true, PhysAddr(iova), FaultReason::None};
  }
  CachedLeaf leaf;
  if (const FaultReason fault = find_page(resolved, iova, access, caches, stats, leaf); fault != FaultReason::None)
    return {false, {}, fault};
  const PhysAddr address = leaf.address() + (iova & ((u64{1} << walk::level_shift(leaf.level())) - 1));
  if (in_interrupt_range(address.value)) return {false, {}, interrupt};
  return {true, address, FaultReason::None};
}

FaultReason VtdUnit::find_page(const Resolved& resolved, u64 iova, Access access, VtdCaches* caches, UnitStats* stats,
                               CachedLeaf& leaf) const {
  const Stage& stage = resolved.stage;
  const walk::SecondStage tables = tables_of(stage, resolved.scalable);
  const auto refused = [&](walk::WalkFault fault) { return second_stage_fault(fault, access, resolved.scalable); };
  if (iova >> (x_cap.get<cap::Mgaw>() + 1) != 0 || (!stage.first && iova >> tables.width() != 0))
    return refused(walk::WalkFault::BeyondWidth);

  const CachedLeaf* hit = caches != nullptr ? caches->find_leaf(stage.tag, iova) : nullptr;
  // 6.2.4: a write through an entry that was cached clean goes to memory, to set D there.
  if (hit != nullptr && !(stage.first && access == Access::Write && hit->write() && !hit->dirty())) {
    leaf = *hit;
    ++stats->leaf_hits;
  } else {
    if (stats != nullptr) ++stats->walks;
    if (stage.first) return walk_first_stage(stage, iova, access, caches, stats, leaf);
    const walk::Lookup found =
        caches != nullptr ? walk_cached(tables, stage.tag, iova, *caches) : walk::lookup(x_ram, tables, iova);
    // A top table that cannot be read is the fault of the entry that points at it (table 7-3).
    if (found.fault == walk::WalkFault::TableAccess && found.level == tables.levels)
      return resolved.scalable ? FaultReason::SecondStagePointerInvalid : FaultReason::ContextInvalid;
    if (found.fault != walk::WalkFault::None) return refused(found.fault);
    leaf = CachedLeaf(found.address - (iova & (found.page_bytes - 1)), level_of(found.page_bytes), found.read,
                      found.write);
    if (caches != nullptr) caches->fill_leaf(stage.tag, iova, leaf);
  }
  if (access == Access::Read ? leaf.read() : leaf.write()) return FaultReason::None;
  return refused(walk::WalkFault::NotPresent);
}

walk::SecondStage VtdUnit::tables_of(const Stage& stage, bool scalable) const {
  const u64 large = x_cap.get<cap::Sllps>();
  return {.top_table = stage.table,
          .levels = stage.levels,
          .host_address_bits = host_address_bits,
          .pages_2m = (large & 1) != 0,
          .pages_1g = (large & 2) != 0,
          .snoop = scalable ? walk::SnoopBit::Ignored : walk::SnoopBit::AllowedInLeaf};
}

walk::Lookup VtdUnit::walk_cached(const walk::SecondStage& tables, u16 tag, u64 iova, VtdCaches& caches) const {
  walk::Lookup result;
  result.level = tables.levels;
  result.read = result.write = true;
  PhysAddr table = tables.top_table;
  for (unsigned level = 1; level < tables.levels; ++level) {
    const CachedTable* hit = caches.find_table(tag, iova, level);
    if (hit == nullptr) continue;
    table = hit->address();
    result.level = level;
    result.read = hit->read();
    result.write = hit->write();
    break;
  }
  for (;; --result.level) {
    const auto entry = x_ram.load64(table + walk::entry_index(iova, result.level) * 8);
    if (!entry) {
      result.fault = walk::WalkFault::TableAccess;
      return result;
    }
    const walk::EntryKind kind = walk::classify(tables, *entry, result.level);
    if (kind == walk::EntryKind::NotPresent || kind == walk::EntryKind::ReservedSet) {
      result.fault = kind == walk::EntryKind::NotPresent ? walk::WalkFault::NotPresent : walk::WalkFault::ReservedSet;
      return result;
    }
    result.read = result.read && (*entry & walk::ss_read) != 0;
    result.write = result.write && (*entry & walk::ss_write) != 0;
    const PhysAddr address = walk::entry_address(*entry, result.level, kind);
    if (kind == walk::EntryKind::Leaf) {
      result.page_bytes = u64{1} << walk::level_shift(result.level);
      result.address = address + (iova & (result.page_bytes - 1));
      return result;
    }
    table = address;
    caches.fill_table(tag, iova, result.level - 1, CachedTable(table, result.level - 1, result.read, result.write));
  }
}

}  // namespace sim

// First stage of the modelled unit: VT-d 4.1, sections 3.6 and 6.2.5.
//
// Every walk is one of the naive walker's. What the paging-structure cache knows is put before its eyes in place of
// memory: of the deepest table that is cached for the IOVA, the entry that leads to it, as it was when it was cached.
#include "sim/vtd_unit.hpp"

namespace sim {

using namespace hw::vtd;

namespace {

constexpr u64 present = 1;
constexpr u64 writable = 2;
constexpr u64 user = 4;
constexpr u64 accessed = 32;
constexpr u64 dirty = 64;
constexpr unsigned most_levels = 5;

/// An entry that leads to @p table with what the walk to it granted.
u64 entry_for(const CachedTable& table) {
  return table.address().value | present | (table.read() ? user : 0) | (table.write() ? writable : 0) | accessed;
}

}  // namespace

walk::FirstStage VtdUnit::first_stage_of(const Stage& stage, bool sets_bits) const {
  return {.top_table = stage.table,
          .levels = stage.levels,
          .host_address_bits = host_address_bits,
          .form = walk::AddressForm::SignExtended,
          .pages_1g = x_cap.get<cap::Fl1gp>() != 0,
          .accessed_dirty = sets_bits ? walk::AccessedDirty::Set : walk::AccessedDirty::Leave};
}

FaultReason VtdUnit::walk_first_stage(const Stage& stage, u64 iova, Access access, VtdCaches* caches, UnitStats* stats,
                                      CachedLeaf& leaf) const {
  const walk::FirstStage tables = first_stage_of(stage, stats != nullptr);
  std::optional<CachedTable> known;
  for (unsigned level = 1; caches != nullptr && !known && level < stage.levels; ++level)
    if (const CachedTable* hit = caches->find_table(stage.tag, iova, level)) known = *hit;

  walk::WalkResult found;
  std::array<u64, most_levels + 1> words{};  // by the level of the table they were read from, 1 is the lowest
  do {
    unsigned level = stage.levels;  // of the table that is read next
    const walk::ReadWord read = [&](PhysAddr at) -> std::optional<u64> {
      const unsigned here = level--;
      std::optional<u64> word = x_ram.load64(at);
      if (known && here > known->level()) word = entry_for(*known);
      if (word) words[here] = *word;
      return word;
    };
    found = walk::walk(read, tables, iova, access == Access::Read ? walk::Access::Read : walk::Access::Write);
  } while (!write_updates(found.updates));
  const unsigned last_level = found.level + 1;
  if (caches != nullptr) {
    bool may_read = true;
    bool may_write = true;
    for (unsigned level = stage.levels; level > last_level; --level) {
      may_read = may_read && (words[level] & user) != 0;
      may_write = may_write && (words[level] & writable) != 0;
      const PhysAddr table(words[level] & ((u64{1} << host_address_bits) - page_size_bytes));
      if (!known || level <= known->level())
        caches->fill_table(stage.tag, iova, level - 1, CachedTable(table, level - 1, may_read, may_write));
    }
  }
  if (!found.ok()) return static_cast<FaultReason>(found.code);

  const bool is_dirty = (found.word & dirty) != 0 || access == Access::Write;
  leaf = CachedLeaf(found.address - (iova & ((u64{1} << found.page_lg2) - 1)), last_level, found.permissions.read,
                    found.permissions.write, is_dirty);
  if (caches != nullptr) caches->fill_leaf(stage.tag, iova, leaf);
  return FaultReason::None;
}

/// False when an entry is not any more what the walk read: hardware walks again.
bool VtdUnit::write_updates(const std::vector<walk::Update>& updates) const {
  for (const walk::Update& update : updates) {
    u64* entry = reinterpret_cast<u64*>(x_ram.at(update.entry, sizeof(u64)));
    u64 before = update.before;
    if (!__atomic_compare_exchange_n(entry, &before, update.after, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
      return false;
  }
  return true;
}

}  // namespace sim

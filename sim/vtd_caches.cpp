#include "sim/vtd_caches.hpp"

#include <stdexcept>

namespace sim {
namespace {

constexpr unsigned max_table_level = 4;  // the table of level 5 is the top, its pointer comes from the entry

u16 tag_in(u64 key) { return static_cast<u16>(key >> 48); }

}  // namespace

void VtdCaches::insert(FlatCache<Stamped>& cache, u64 tag, const PackedEntry& value) {
  cache.insert(tag, Stamped{value, x_now},
               [this](u64 old, const Stamped& entry) { return alive(tag_in(old), entry.stamp); });
}

void VtdCaches::fill_leaf(u16 tag, u64 iova, const CachedLeaf& leaf) {
  x_leaf_level_used[leaf.level()] = true;
  insert(x_leaves, iova_tag(tag, iova, leaf.level()), leaf);
}

// One entry of level + 1 covers the same IOVAs as the table of this level that it points to.
const CachedTable* VtdCaches::find_table(u16 tag, u64 iova, unsigned level) const {
  const auto* entry = x_tables.find(iova_tag(tag, iova, level + 1));
  return entry != nullptr && alive(tag, entry->stamp) ? &entry->value : nullptr;
}

void VtdCaches::fill_table(u16 tag, u64 iova, unsigned level, const CachedTable& table) {
  insert(x_tables, iova_tag(tag, iova, level + 1), table);
}

u16 VtdCaches::tag_of(u64 owner) {
  if (x_tags.size() == x_tag_flushed.size() && !x_tags.contains(owner))
    throw std::logic_error("more kinds of cached translations than the model has tags");
  return x_tags.try_emplace(owner, static_cast<u16>(x_tags.size())).first->second;
}

void VtdCaches::invalidate_contexts() { x_contexts.clear(); }

void VtdCaches::invalidate_contexts_of_domain(u16 did) {
  x_contexts.erase_if([&](u64, const CachedContext& c) { return !c.scalable && c.stage.did == did; });
}

void VtdCaches::invalidate_contexts_of_device(SourceId sid, unsigned function_mask, u16 did) {
  // 6.5.2.1: FM masks function bits from the middle one up: none, bit 2, bits 2:1, bits 2:0.
  static constexpr std::array<u64, 4> masked{0, 4, 6, 7};
  const u64 compared = 0xffff & ~masked[function_mask & 3];
  x_contexts.erase_if([&](u64 tag, const CachedContext& c) {
    return (tag & compared) == (sid.value & compared) && (c.scalable || c.stage.did == did);
  });
}

void VtdCaches::invalidate_pasids() { x_pasids.clear(); }

void VtdCaches::invalidate_pasids_of_domain(u16 did) {
  x_pasids.erase_if([&](u64, const Stage& stage) { return stage.did == did; });
}

void VtdCaches::invalidate_pasid_in_domain(u16 did, u32 pasid) {
  x_pasids.erase_if([&](u64 tag, const Stage& stage) { return stage.did == did && (tag & 0xfffff) == pasid; });
}

void VtdCaches::invalidate_translations() {
  x_all_flushed = x_now++;
  x_leaf_level_used = {};
}

void VtdCaches::invalidate_translations_of(u16 tag) { x_tag_flushed[tag] = x_now++; }

template <class Cache>
void VtdCaches::erase_range(Cache& cache, u16 tag, u64 first, u64 last, unsigned level) {
  const unsigned shift = 12 + 9 * (level - 1);
  if (shift >= 57) return;
  const u64 count = (last >> shift) - (first >> shift) + 1;
  if (count <= 1 + cache.used() / 4) {
    for (u64 i = 0; i < count; ++i) cache.erase(iova_tag(tag, first + (i << shift), level));
    return;
  }
  const u64 low = iova_tag(tag, first, level);
  const u64 high = iova_tag(tag, last, level);
  cache.erase_if([&](u64 key, const auto&) { return key >= low && key <= high; });
}

void VtdCaches::invalidate_pages(u16 tag, u64 iova, unsigned address_mask, Structures structures) {
  const u64 bytes = u64{1} << (12 + address_mask);
  const u64 first = iova & ~(bytes - 1);
  const u64 last = first + (bytes - 1);
  for (unsigned level = 1; level <= leaf_levels; ++level) erase_range(x_leaves, tag, first, last, level);
  if (structures == Structures::Keep) return;
  for (unsigned level = 1; level <= max_table_level; ++level) erase_range(x_tables, tag, first, last, level + 1);
}

}  // namespace sim

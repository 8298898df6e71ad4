// The caches of one modelled VT-d unit, with the tags that the manual gives them (VT-d 4.1, 6.2).
//
//   context cache            SID                       (an entry remembers its DID)
//   PASID cache              SID, PASID                (an entry remembers its DID)
//   IOTLB                    tag, page number, size
//   paging-structure cache   tag, IOVA prefix, level
//
// The tag is the DID for a second stage, and DID and PASID for a first: a number of this class stands for either.
//
// A hoarding cache keeps an entry until an invalidation that must remove it; each invalidate_ function removes exactly
// what its granularity must remove and nothing more. Only present, valid entries are ever cached (CAP.CM = 0). A
// domain's translations go in O(1): entries carry a stamp, and the domain remembers when it was last flushed.
#pragma once

#include <array>
#include <map>
#include <vector>

#include "sim/flat_cache.hpp"
#include "sim/machine_config.hpp"

namespace sim {

/// Where a request's page table is; from a legacy context entry or a PASID entry.
struct Stage {
  PhysAddr table;
  u16 did = 0;
  u16 tag = 0;  // of its translations in the caches, where there are any
  u8 levels = 0;
  bool first = false;
  bool pass_through = false;
  bool fault_processing_disabled = false;
};

struct CachedContext {
  bool scalable = false;
  Stage stage;  // legacy
  PhysAddr pasid_directory;
  u64 directory_entries = 0;
  u32 rid_pasid = 0;
  bool fault_processing_disabled = false;
};

/// Page or table address with what goes with it in the low bits: an entry of the big caches fits half a cache line.
class PackedEntry {
 public:
  PackedEntry() = default;
  PackedEntry(PhysAddr address, unsigned level, bool read, bool write, bool dirty = false)
      : x_word(address.value | (dirty ? 32u : 0u) | level << 2 | (write ? 2u : 0u) | (read ? 1u : 0u)) {}
  [[nodiscard]] PhysAddr address() const { return PhysAddr(x_word & ~u64{page_size_bytes - 1}); }
  [[nodiscard]] unsigned level() const { return static_cast<unsigned>(x_word >> 2 & 7); }
  [[nodiscard]] bool read() const { return (x_word & 1) != 0; }
  [[nodiscard]] bool write() const { return (x_word & 2) != 0; }
  /// First stage: the entry in memory says D, a write need not go there again.
  [[nodiscard]] bool dirty() const { return (x_word & 32) != 0; }

 private:
  u64 x_word = 0;
};

using CachedLeaf = PackedEntry;   // level 1: 4 KiB
using CachedTable = PackedEntry;  // level of the table

class VtdCaches {
 public:
  [[nodiscard]] const CachedContext* find_context(SourceId sid) const { return x_contexts.find(sid.value); }
  void fill_context(SourceId sid, const CachedContext& context) { x_contexts.insert(sid.value, context); }
  [[nodiscard]] const Stage* find_pasid(SourceId sid, u32 pasid) const { return x_pasids.find(pasid_tag(sid, pasid)); }
  void fill_pasid(SourceId sid, u32 pasid, const Stage& stage) { x_pasids.insert(pasid_tag(sid, pasid), stage); }

  u16 second_stage_tag(u16 did) { return tag_of(did); }
  u16 first_stage_tag(u16 did, u32 pasid) { return tag_of(u64{1} << 36 | u64{pasid} << 16 | did); }

  [[nodiscard]] const CachedLeaf* find_leaf(u16 tag, u64 iova) const {
    for (unsigned level = 1; level <= leaf_levels; ++level) {
      if (!x_leaf_level_used[level]) continue;
      const auto* entry = x_leaves.find(iova_tag(tag, iova, level));
      if (entry != nullptr && alive(tag, entry->stamp)) return &entry->value;
    }
    return nullptr;
  }
  void fill_leaf(u16 tag, u64 iova, const CachedLeaf& leaf);

  /// The table of @p level that covers @p iova.
  [[nodiscard]] const CachedTable* find_table(u16 tag, u64 iova, unsigned level) const;
  void fill_table(u16 tag, u64 iova, unsigned level, const CachedTable& table);

  // Context cache (6.5.2.1). Device-selective in legacy mode removes entries of the source ids that were cached with
  // this DID; in scalable mode context entries have no DID, the argument is ignored there and domain-selective removes
  // nothing.
  void invalidate_contexts();
  void invalidate_contexts_of_domain(u16 did);
  void invalidate_contexts_of_device(SourceId sid, unsigned function_mask, u16 did);

  // PASID cache (6.5.2.2).
  void invalidate_pasids();
  void invalidate_pasids_of_domain(u16 did);
  void invalidate_pasid_in_domain(u16 did, u32 pasid);

  // IOTLB and paging-structure cache (6.5.2.3 by a second-stage tag, 6.5.2.4 by a first-stage tag).
  enum class Structures : u8 { Remove, Keep };  // IH = 0, IH = 1
  void invalidate_translations();
  void invalidate_translations_of(u16 tag);
  void invalidate_pages(u16 tag, u64 iova, unsigned address_mask, Structures structures);

 private:
  struct Stamped {
    PackedEntry value;
    u64 stamp = 0;
  };
  static constexpr unsigned leaf_levels = 3;

  static u64 pasid_tag(SourceId sid, u32 pasid) { return u64{sid.value} << 20 | pasid; }
  // 16 bits of tag, 3 of level, 45 of page number: enough for 57-bit IOVAs.
  static u64 iova_tag(u16 tag, u64 iova, unsigned level) {
    const unsigned shift = 12 + 9 * (level - 1);
    return u64{tag} << 48 | u64{level} << 45 | (iova >> shift << shift >> 12 & ((u64{1} << 45) - 1));
  }
  [[nodiscard]] bool alive(u16 tag, u64 stamp) const { return stamp > x_all_flushed && stamp > x_tag_flushed[tag]; }
  u16 tag_of(u64 owner);
  void insert(FlatCache<Stamped>& cache, u64 tag, const PackedEntry& value);
  template <class Cache>
  static void erase_range(Cache& cache, u16 tag, u64 first, u64 last, unsigned level);

  FlatCache<CachedContext> x_contexts;
  FlatCache<Stage> x_pasids;
  FlatCache<Stamped> x_leaves;
  FlatCache<Stamped> x_tables;
  std::array<bool, leaf_levels + 1> x_leaf_level_used{};
  u64 x_now = 1;  // moves with every flush
  u64 x_all_flushed = 0;
  std::vector<u64> x_tag_flushed = std::vector<u64>(65536);
  std::map<u64, u16> x_tags;
};

}  // namespace sim

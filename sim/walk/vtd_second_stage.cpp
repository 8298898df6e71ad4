#include "sim/walk/vtd_second_stage.hpp"

namespace sim::walk {
namespace {

constexpr u64 bits_from_to(unsigned low, unsigned high) {
  u64 mask = 0;
  for (unsigned bit = low; bit <= high; ++bit) mask |= u64{1} << bit;
  return mask;
}

bool may_be_large(const SecondStage& stage, unsigned level) {
  return (level == 2 && stage.pages_2m) || (level == 3 && stage.pages_1g);
}

u64 reserved_bits(const SecondStage& stage, unsigned level, bool leaf) {
  u64 reserved = ss_transient;
  if (stage.host_address_bits < 52) reserved |= bits_from_to(stage.host_address_bits, 51);
  const bool snoop_allowed = stage.snoop == SnoopBit::Ignored || (leaf && stage.snoop == SnoopBit::AllowedInLeaf);
  if (!snoop_allowed) reserved |= ss_snoop;
  if (leaf && level == 2) reserved |= bits_from_to(12, 20);
  if (leaf && level == 3) reserved |= bits_from_to(12, 29);
  if (!leaf && level > 1) reserved |= ss_page_size;  // set here only where a page of that size cannot be
  return reserved;
}

struct Walk {
  const PhysicalMemory& memory;
  const SecondStage& stage;
  const std::function<void(const Leaf&)>& visit;
  WalkFault first_fault = WalkFault::None;

  void fault(WalkFault what) {
    if (first_fault == WalkFault::None) first_fault = what;
  }

  void table(PhysAddr at, unsigned level, u64 iova, bool read, bool write) {
    for (u64 index = 0; index < 512; ++index) {
      const auto entry = memory.load64(at + index * 8);
      if (!entry) return fault(WalkFault::TableAccess);
      const u64 here = iova + (index << level_shift(level));
      const bool readable = read && (*entry & ss_read) != 0;
      const bool writable = write && (*entry & ss_write) != 0;
      switch (const EntryKind kind = classify(stage, *entry, level)) {
        case EntryKind::NotPresent: break;
        case EntryKind::ReservedSet: fault(WalkFault::ReservedSet); break;
        case EntryKind::Table: table(entry_address(*entry, level, kind), level - 1, here, readable, writable); break;
        case EntryKind::Leaf:
          visit({here, entry_address(*entry, level, kind), u64{1} << level_shift(level), readable, writable});
          break;
      }
    }
  }
};

}  // namespace

EntryKind classify(const SecondStage& stage, u64 entry, unsigned level) {
  if ((entry & (ss_read | ss_write)) == 0) return EntryKind::NotPresent;
  const bool leaf = level == 1 || ((entry & ss_page_size) != 0 && may_be_large(stage, level));
  if ((entry & reserved_bits(stage, level, leaf)) != 0) return EntryKind::ReservedSet;
  return leaf ? EntryKind::Leaf : EntryKind::Table;
}

PhysAddr entry_address(u64 entry, unsigned level, EntryKind kind) {
  return PhysAddr(entry & bits_from_to(kind == EntryKind::Leaf ? level_shift(level) : 12, 51));
}

Lookup lookup(const PhysicalMemory& memory, const SecondStage& stage, u64 iova) {
  Lookup result;
  result.level = stage.levels;
  if (stage.width() < 64 && iova >> stage.width() != 0) {
    result.fault = WalkFault::BeyondWidth;
    return result;
  }
  result.read = result.write = true;
  PhysAddr table = stage.top_table;
  for (unsigned level = stage.levels; level >= 1; --level) {
    result.level = level;
    const auto entry = memory.load64(table + entry_index(iova, level) * 8);
    if (!entry) {
      result.fault = WalkFault::TableAccess;
      return result;
    }
    const EntryKind kind = classify(stage, *entry, level);
    if (kind == EntryKind::NotPresent || kind == EntryKind::ReservedSet) {
      result.fault = kind == EntryKind::NotPresent ? WalkFault::NotPresent : WalkFault::ReservedSet;
      return result;
    }
    result.read = result.read && (*entry & ss_read) != 0;
    result.write = result.write && (*entry & ss_write) != 0;
    if (kind == EntryKind::Leaf) {
      result.page_bytes = u64{1} << level_shift(level);
      result.address = entry_address(*entry, level, kind) + (iova & (result.page_bytes - 1));
      return result;
    }
    table = entry_address(*entry, level, kind);
  }
  return result;
}

WalkFault for_each_leaf(const PhysicalMemory& memory, const SecondStage& stage,
                        const std::function<void(const Leaf&)>& visit) {
  Walk walk{memory, stage, visit};
  walk.table(stage.top_table, stage.levels, 0, true, true);
  return walk.first_fault;
}

}  // namespace sim::walk

// A naive walker of VT-d second-stage tables: VT-d Architecture Specification 4.1, sections 3.7 and 9.8.
//
// Written from the manual, one entry at a time, with no cache and no cleverness: the referee. The entry bits are
// declared here a second time on purpose and are never shared with holdfast/pt. Levels here count as in the manual's
// figures, 1 is the table of 4-KByte pages.
//
// An entry is not present when neither R nor W is set. Permissions are ANDed along the walk. Failure is a WalkFault
// with the level at which it was found; nothing is thrown and nothing is written.
#pragma once

#include <functional>

#include "sim/guest_ram.hpp"

namespace sim::walk {

inline constexpr u64 ss_read = u64{1} << 0;
inline constexpr u64 ss_write = u64{1} << 1;
inline constexpr u64 ss_page_size = u64{1} << 7;
inline constexpr u64 ss_accessed = u64{1} << 8;
inline constexpr u64 ss_dirty = u64{1} << 9;
inline constexpr u64 ss_snoop = u64{1} << 11;
inline constexpr u64 ss_transient = u64{1} << 62;

/// Whether bit 11 may be set in a leaf, in a table entry.
enum class SnoopBit : u8 { Reserved, AllowedInLeaf, Ignored };

/// What the unit and the context or PASID entry say about the tables.
struct SecondStage {
  PhysAddr top_table;
  unsigned levels = 4;              // 3, 4 or 5
  unsigned host_address_bits = 48;  // address bits from here to 51 are reserved
  bool pages_2m = true;
  bool pages_1g = false;
  SnoopBit snoop = SnoopBit::AllowedInLeaf;

  /// IOVAs of this many bits.
  [[nodiscard]] unsigned width() const { return 12 + 9 * levels; }
};

enum class EntryKind : u8 { NotPresent, Table, Leaf, ReservedSet };

/// What one entry, found in a table of @p level, is.
[[nodiscard]] EntryKind classify(const SecondStage& stage, u64 entry, unsigned level);
/// Output address of a leaf, or the next table.
[[nodiscard]] PhysAddr entry_address(u64 entry, unsigned level, EntryKind kind);
/// lg2 of the bytes that one entry of @p level covers.
[[nodiscard]] constexpr unsigned level_shift(unsigned level) { return 12 + 9 * (level - 1); }
[[nodiscard]] constexpr u64 entry_index(u64 iova, unsigned level) { return iova >> level_shift(level) & 0x1ff; }

enum class WalkFault : u8 {
  None,
  BeyondWidth,  // the IOVA needs more bits than the tables translate
  TableAccess,  // a table is not in memory
  NotPresent,
  ReservedSet,
};

struct Lookup {
  WalkFault fault = WalkFault::None;
  unsigned level = 0;  // where the walk ended
  PhysAddr address;    // of the IOVA itself
  u64 page_bytes = 0;
  bool read = false;
  bool write = false;
};

/// Translates one IOVA.
[[nodiscard]] Lookup lookup(const PhysicalMemory& memory, const SecondStage& stage, u64 iova);

struct Leaf {
  u64 iova = 0;
  PhysAddr address;
  u64 page_bytes = 0;
  bool read = false;
  bool write = false;

  bool operator==(const Leaf&) const = default;
};

/// Calls @p visit for every leaf, IOVAs rising. Returns the first fault met (NotPresent never is one); leaves before
/// and after it are still visited. Depth is bounded by stage.levels, so a table that contains itself ends too.
WalkFault for_each_leaf(const PhysicalMemory& memory, const SecondStage& stage,
                        const std::function<void(const Leaf&)>& visit);

}  // namespace sim::walk

// What every naive walker of this folder answers, whatever the format of its tables.
//
// A format is one struct that says what the unit's registers and its context entry say (where the tables are, how many
// levels, which features), and two functions found by overloading on that struct:
//
//   WalkResult  walk(read, tables, iova, access)        one translation, step by step as hardware makes it
//   Enumeration enumerate_leaves(read, tables, visit)   every leaf of the tree, IOVAs rising
//
// Memory is read through a function, one aligned little-endian word at a time, and never written: what hardware would
// write (accessed and dirty bits) is returned as a list of updates. The walkers are the referee of holdfast/pt and
// share nothing with it. Levels count from 0, the table of the smallest pages. Threads: any. Failure: values, never
// thrown.
#pragma once

#include <functional>
#include <optional>
#include <string_view>
#include <vector>

#include "sim/guest_ram.hpp"

namespace sim::walk {

/// The word at an address, or nothing where there is no memory.
using ReadWord = std::function<std::optional<u64>(PhysAddr)>;

/// Reads @p memory, which must outlive the function.
[[nodiscard]] inline ReadWord words_of(const PhysicalMemory& memory) {
  return [&memory](PhysAddr at) { return memory.load64(at); };
}

enum class Access : u8 { Read, Write, Execute };
/// With which privilege the device asks.
enum class Requester : u8 { User, Supervisor };
/// Whether hardware sets accessed and dirty bits.
enum class AccessedDirty : u8 { Leave, Set };

/// What the requester may do. Formats without a bit for execution let it follow read.
struct Permissions {
  bool read = false;
  bool write = false;
  bool execute = false;

  constexpr bool operator==(const Permissions&) const = default;
  [[nodiscard]] constexpr bool allows(Access access) const {
    return access == Access::Read ? read : access == Access::Write ? write : execute;
  }
  friend constexpr Permissions operator&(Permissions a, Permissions b) {
    return {a.read && b.read, a.write && b.write, a.execute && b.execute};
  }
};

inline constexpr Permissions everything{.read = true, .write = true, .execute = true};

enum class Fault : u8 {
  None,
  Configuration,  // no walk begins with such tables: impossible widths, a misaligned root
  InputRange,     // the IOVA is not one that these tables translate
  TableAccess,    // an entry is not in memory
  NotPresent,
  Reserved,     // a reserved bit, or a combination of bits that is reserved
  AddressSize,  // an address in an entry is wider than the unit puts out
  AccessFlag,   // accessed or dirty is clear and hardware does not set it
  Permission,
  Disagreement,  // only when enumerating: members of a contiguous group differ
  TooMany,       // only when enumerating: more tables than any tree of a test has
};

/// Hardware found @p before in an entry and makes it @p after.
struct Update {
  PhysAddr entry;
  u64 before = 0;
  u64 after = 0;

  constexpr bool operator==(const Update&) const = default;
};

struct WalkResult {
  Fault fault = Fault::None;
  std::string_view why;  // in the words of the architecture's manual; empty without a fault
  u32 code = 0;          // the architecture's number for it, as the format's header says; 0 where there is none
  PhysAddr address;      // of the IOVA itself; also when the access is not permitted
  unsigned page_lg2 = 0;
  Permissions permissions;
  unsigned level = 0;  // where the walk ended
  PhysAddr entry;      // the last entry read
  u64 word = 0;        // what was in it
  std::vector<Update> updates;

  [[nodiscard]] bool ok() const { return fault == Fault::None; }
};

/// One translation as two trees can be compared by.
struct Mapping {
  u64 iova = 0;
  PhysAddr address;
  unsigned page_lg2 = 0;
  Permissions permissions;

  constexpr bool operator==(const Mapping&) const = default;
};

/// One leaf, a contiguous group whose members agree counting as one.
struct FoundLeaf {
  Mapping mapping;
  unsigned level = 0;
  PhysAddr entry;  // the first of a group
  u64 word = 0;
  bool dirty = false;  // of any member
};

/// How an enumeration ended. The first fault is kept (an entry that is not present is none); leaves before and behind
/// it are visited all the same, except behind TooMany.
struct Enumeration {
  Fault fault = Fault::None;
  std::string_view why;
  u64 iova = 0;  // that the faulty entry would translate
  unsigned level = 0;
  PhysAddr entry;
  u64 tables = 0;  // read, the root included

  [[nodiscard]] bool ok() const { return fault == Fault::None; }
};

using VisitLeaf = std::function<void(const FoundLeaf&)>;

/// Depth is bounded by the levels of the format, and this bounds the width: a table that contains itself ends too.
inline constexpr u64 max_tables = u64{1} << 16;

/// All mappings of @p tables; what is wrong with the tree goes to @p end.
template <class Tables>
[[nodiscard]] std::vector<Mapping> collect_mappings(const ReadWord& read, const Tables& tables, Enumeration& end) {
  std::vector<Mapping> all;
  end = enumerate_leaves(read, tables, [&](const FoundLeaf& leaf) { all.push_back(leaf.mapping); });
  return all;
}

}  // namespace sim::walk

// Dmar: the remapping units that firmware reports (VT-d 5.0 chapter 8), and which unit is in charge of which device.
//
// The table is untrusted bytes: every length is checked against what contains it, a structure that does not fit makes
// the whole table Corrupt, and no walk of it can loop. Scopes are resolved once, through bridges, while the table is
// opened. Threads: immutable after open(). Memory: the early allocator's; lives as long as the kernel.
#pragma once

#include <span>

#include "holdfast/base/result.hpp"
#include "holdfast/hw/acpi/tables.hpp"
#include "holdfast/memory/direct_map.hpp"
#include "holdfast/memory/early.hpp"

namespace holdfast::vtd {

/// The buses below a PCI bridge, as its configuration space says.
struct BusRange {
  u8 secondary = 0;
  u8 subordinate = 0;
};

/// Reads bus numbers of bridges while scopes are resolved. Implemented over ECAM by whoever composes the kernel.
class BridgeReader {
 public:
  /// Errors: NoDevice (no such function, or not a bridge).
  virtual Result<BusRange> buses_below(u16 segment, SourceId bridge) = 0;

 protected:
  ~BridgeReader() = default;
};

/// One device scope, resolved: a function, and for a sub-hierarchy every bus below it.
struct Scope {
  hw::acpi::ScopeType type{};
  u8 enumeration_id = 0;
  bool has_buses = false;
  SourceId device;
  BusRange buses;  // with has_buses

  [[nodiscard]] bool covers(SourceId id) const;
};

/// DRHD: one remapping unit.
struct DmarUnit {
  PhysAddr register_base;
  u64 register_bytes = 0;
  u16 segment = 0;
  bool includes_all = false;  // every device of the segment that no other unit lists
  std::span<const Scope> scopes;

  [[nodiscard]] bool lists(SourceId device) const;
};

class Dmar {
 public:
  /// @p table starts at the ACPI header; bytes beyond the header's length are ignored.
  /// A scope whose path leads to a bridge that does not exist is left out (firmware lists absent devices).
  /// Errors: Corrupt (signature, checksum, length, overlapping units), NoMemory.
  static Result<const Dmar*> open(std::span<const std::byte> table, BridgeReader& bridges, const DirectMap& map,
                                  EarlyAllocator& early);

  [[nodiscard]] std::span<const DmarUnit> units() const { return x_units; }
  /// The unit that translates @p device: one that lists it, else the segment's include-all unit, else nullptr.
  [[nodiscard]] const DmarUnit* find_unit(u16 segment, SourceId device) const;
  [[nodiscard]] u8 host_address_bits() const { return x_host_address_bits; }

 private:
  Dmar() = default;

  std::span<const DmarUnit> x_units;
  u8 x_host_address_bits = 0;
};

}  // namespace holdfast::vtd

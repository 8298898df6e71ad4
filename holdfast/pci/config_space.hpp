// ConfigSpace: configuration space of every function, through ECAM as MCFG reports it (PCIe 6.0 7.2.2, PCI
// Firmware 3.3).
//
// Contract: a plain table of windows; allocates nothing, usable from the first moment of any boot. An access beyond the
// windows reads all ones and writes nothing, as on the bus. Threads: as World's register access.
// Failure: open() only.
#pragma once

#include <array>

#include "holdfast/base/hw_access.hpp"
#include "holdfast/base/result.hpp"
#include "holdfast/hw/pci/config.hpp"
#include "holdfast/memory/direct_map.hpp"

namespace holdfast::pci {

/// Buses below a bridge, as its configuration space says.
struct BridgeBuses {
  u8 secondary = 0;
  u8 subordinate = 0;

  constexpr bool operator==(const BridgeBuses&) const = default;
};

class ConfigSpace {
 public:
  struct Window {
    u16 segment = 0;
    u8 start_bus = 0;
    u8 end_bus = 0;
    PhysAddr base;  // of bus 0, even when start_bus is not 0
  };
  static constexpr std::size_t max_windows = 16;

  explicit ConfigSpace(World& world) : x_world(&world) {}

  /// Reads MCFG. Errors: NotFound, Corrupt (length, overlapping windows), NoSpace (too many windows).
  Status open(const DirectMap& map, PhysAddr rsdp);
  [[nodiscard]] std::span<const Window> windows() const { return {x_windows.data(), x_count}; }

  template <class T>
  [[nodiscard]] T read(u16 segment, SourceId id, u64 offset) const {
    const PhysAddr address = address_of(segment, id, offset);
    return address.value == 0 ? static_cast<T>(~T{0}) : reg_read<T>(*x_world, address);
  }
  template <class T>
  void write(u16 segment, SourceId id, u64 offset, T value) const {
    const PhysAddr address = address_of(segment, id, offset);
    if (address.value != 0) reg_write<T>(*x_world, address, value);
  }

  [[nodiscard]] bool is_present(u16 segment, SourceId id) const {
    return read<u16>(segment, id, hw::pci::vendor_id_offset) != hw::pci::no_vendor;
  }
  /// Errors: NoDevice (no such function, not a bridge, or its bus numbers make no sense).
  [[nodiscard]] Result<BridgeBuses> buses_below(u16 segment, SourceId bridge) const;
  /// Offset of a capability. Bounded. Error: NotFound.
  [[nodiscard]] Result<u64> find_capability(u16 segment, SourceId id, hw::pci::CapabilityId capability) const;

 private:
  [[nodiscard]] PhysAddr address_of(u16 segment, SourceId id, u64 offset) const;

  World* x_world;
  std::array<Window, max_windows> x_windows{};
  std::size_t x_count = 0;
};

}  // namespace holdfast::pci

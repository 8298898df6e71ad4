// What a modelled machine consists of, and where everything stands in its physical address space.
//
//   RAM            0 .. min(ram, 3 GiB), the rest from 4 GiB; page 0 and [0xe0000, 0x100000) are reserved
//   ACPI tables    from 0xe0000 (RSDP first)
//   ECAM           0xe0000000, buses 0 to 3
//   BAR 0          0xf0000000 + bus MiB + 4 KiB per device, assigned by "firmware"
//   control page   0xfed80000 (sim/control.hpp)
//   unit n         0xfed90000 + n * 0x1000
//
// Everything but RAM is register memory: one backing of mmio_backing_bytes(), cut into regions by mmio_layout().
#pragma once

#include <vector>

#include "holdfast/base/boot_info.hpp"
#include "holdfast/base/types.hpp"
#include "holdfast/hw/dma_engine/registers.hpp"

namespace sim {

using namespace holdfast;  // NOLINT

inline constexpr u64 low_ram_limit = u64{3} << 30;
inline constexpr u64 high_ram_start = u64{4} << 30;
inline constexpr PhysRange firmware_area{PhysAddr(0xe0000), 0x20000};
inline constexpr PhysAddr rsdp_address{0xe0000};
inline constexpr PhysAddr ecam_start{0xe0000000};
inline constexpr unsigned bus_count = 4;
inline constexpr PhysAddr bar_start{0xf0000000};
inline constexpr PhysAddr control_start{0xfed80000};
inline constexpr PhysAddr units_start{0xfed90000};
inline constexpr unsigned max_units = 16;
inline constexpr unsigned host_address_bits = 48;

/// Devices of bus 1 to 3 stand behind a root port of bus 0, at this device number and up.
inline constexpr u8 first_root_port_device = 0x1c;

struct DeviceConfig {
  u8 bus = 0;
  u8 device = 0;
  u8 function = 0;
  unsigned unit = 0;
  u16 vendor_id = hw::dma_engine::vendor_id;
  u16 device_id = hw::dma_engine::device_id;

  [[nodiscard]] SourceId source_id() const { return SourceId(bus, device, function); }
};

enum class CacheModel : u8 {
  Hoarding,  // keeps everything it may until an invalidation must remove it
  Absent,    // keeps nothing
};

/// Largest second-stage page (CAP.SLLPS). The first stage always has 2 MiB, and 1 GiB where this says so (CAP.FL1GP).
enum class LargePages : u8 { None = 0, TwoMiB = 1, OneGiB = 3 };

/// What a PASID entry may say in scalable mode (ECAP.FSTS, ECAP.SSTS). Legacy mode always has the second stage.
enum class Stages : u8 { Second = 1, First = 2, Both = 3 };

struct MachineConfig {
  u64 ram_bytes = u64{64} << 20;  // whole pages, at least 4 MiB
  unsigned units = 1;
  std::vector<DeviceConfig> devices;
  bool last_unit_includes_all = true;  // DRHD INCLUDE_PCI_ALL instead of a list of devices

  bool scalable_mode = true;  // ECAP.SMTS; legacy mode always works
  u8 domain_count_code = 6;   // CAP.ND: 2^(4 + 2 ND) domain ids
  Stages stages = Stages::Second;
  u8 deepest_levels = 4;      // 3, 4 or 5: CAP.MGAW, the second stage (CAP.SAGAW) and the first (4 at least; CAP.FL5LP)
  bool three_levels = false;  // CAP.SAGAW bit 1 beside that of deepest_levels
  LargePages large_pages = LargePages::TwoMiB;
  unsigned fault_records = 8;     // 1 .. 224
  bool coherent = true;           // ECAP.C and ECAP.SMPWCS
  bool reports_rid_pasid = true;  // ECAP.RPS; RID_PASID is looked at in any case
  bool srtp_invalidates = false;  // CAP.ESRTPS
  CacheModel caches = CacheModel::Hoarding;
  bool count_stale_uses = false;  // walk afresh at every cache hit and count differences (slow)
  unsigned queue_lag = 0;         // steps of the machine until a rung invalidation queue starts to work
  u64 seed = 1;
};

/// @throws std::invalid_argument naming what is wrong.
void check(const MachineConfig& config);

[[nodiscard]] std::vector<MemoryRange> memory_map(const MachineConfig& config);
/// Size of a mapping that holds RAM at offset = physical address, the hole below 4 GiB included.
[[nodiscard]] u64 ram_span_bytes(const MachineConfig& config);

struct MmioRegion {
  PhysAddr start;
  u64 size_bytes = 0;
  u64 backing_offset = 0;
};
/// Sorted by address, whole pages. A kernel maps region r at backing_offset of the backing and reads it with plain
/// loads.
[[nodiscard]] std::vector<MmioRegion> mmio_layout(const MachineConfig& config);
[[nodiscard]] u64 mmio_backing_bytes(const MachineConfig& config);

[[nodiscard]] inline PhysAddr unit_address(unsigned unit) { return units_start + u64{unit} * 0x1000; }
[[nodiscard]] PhysAddr bar_address(const MachineConfig& config, unsigned device);
/// Buses behind root ports, rising; root port k leads to the k-th of them.
[[nodiscard]] std::vector<u8> secondary_buses(const MachineConfig& config);

}  // namespace sim

#include "metal/clock.hpp"

#include <cstring>

#include "holdfast/pci/acpi.hpp"
#include "metal/cpu.hpp"

namespace metal {
namespace {

// ACPI 6.5, 5.2.9 (FADT) and 4.8.3.3 (Power Management Timer).
constexpr hw::acpi::Signature fadt_signature{'F', 'A', 'C', 'P'};
constexpr u64 timer_block_offset = 76;
constexpr u64 timer_hz = 3'579'545;
constexpr u32 timer_mask = 0xffffff;  // 24 bits are there everywhere
constexpr u64 nanoseconds_per_second = 1'000'000'000;

}  // namespace

Result<u64> measure_tsc_hz(const DirectMap& map, PhysAddr rsdp) {
  TRY_ASSIGN(const auto fadt, pci::find_acpi_table(map, rsdp, fadt_signature));
  u32 block = 0;
  if (fadt.size() < timer_block_offset + sizeof block) return Code::Corrupt;
  std::memcpy(&block, fadt.data() + timer_block_offset, sizeof block);
  if (block == 0 || block > 0xffff) return Code::NotFound;
  const auto port = static_cast<u16>(block);

  constexpr u32 ticks_wanted = timer_hz / 200;
  constexpr u64 most_reads = 100'000'000;
  const u32 timer_start = in32(port);
  const u64 tsc_start = read_tsc();
  for (u64 i = 0; i < most_reads; ++i) {
    const u32 elapsed = (in32(port) - timer_start) & timer_mask;
    if (elapsed >= ticks_wanted) return (read_tsc() - tsc_start) * timer_hz / elapsed;
  }
  return Code::TimedOut;
}

void Clock::set_rate(u64 tsc_hz) { x_ns_per_tick = (nanoseconds_per_second << 32) / tsc_hz; }

u64 Clock::nanoseconds(u64 ticks) const {
  __extension__ using Wide = unsigned __int128;
  return static_cast<u64>(static_cast<Wide>(ticks) * x_ns_per_tick >> 32);
}

u64 Clock::now_ns() const { return nanoseconds(read_tsc()); }

}  // namespace metal

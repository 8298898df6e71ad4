// The modelled device: makes the transfers that holdfast/hw/dma_engine/registers.hpp describes.
//
// Its registers are memory of the machine's owner. step() makes one transfer at most and goes back to the access that
// was refused when there was one, so that a fault never makes a slot look lost or repeated.
#pragma once

#include "holdfast/hw/dma_engine/registers.hpp"
#include "sim/grants.hpp"
#include "sim/register_file.hpp"
#include "sim/vtd_unit.hpp"

namespace sim {

/// How a device reaches memory: through its unit, into RAM, watched by the grants.
class DmaPath {
 public:
  DmaPath(VtdUnit& unit, const GuestRam& ram, Grants& grants, SourceId sid)
      : x_unit(&unit), x_ram(&ram), x_grants(&grants), x_sid(sid) {}

  /// Sixteen bytes, aligned. False: the unit refused, or nothing answers at that address.
  bool read(Iova iova, hw::dma_engine::Slot& slot);
  bool write(Iova iova, const hw::dma_engine::Slot& slot);
  /// What a walk without caches finds; false when it is refused.
  [[nodiscard]] bool read_afresh(Iova iova, hw::dma_engine::Slot& slot) const;
  [[nodiscard]] SourceId source_id() const { return x_sid; }

 private:
  VtdUnit* x_unit;
  const GuestRam* x_ram;
  Grants* x_grants;
  SourceId x_sid;
};

struct EngineCounters {
  u64 transfers = 0;
  u64 faulted = 0;
  u64 lost = 0;
  u64 repeated = 0;
  u64 wrong = 0;

  bool operator==(const EngineCounters&) const = default;
};

/// What the machine finds in memory, whatever the engine counted.
struct AuditResult {
  u64 slots = 0;  // looked at
  u64 lost = 0;
  u64 repeated = 0;
  u64 wrong = 0;    // stamps included
  u64 refused = 0;  // slots that the tables do not translate

  [[nodiscard]] bool clean() const { return lost == 0 && repeated == 0 && wrong == 0 && refused == 0; }
};

class DmaEngine {
 public:
  DmaEngine(RegisterFile registers, DmaPath path);

  void register_write(u64 offset, Width width, u64 value);
  void set_bus_master(bool on) { x_bus_master = on; }
  /// Function-level reset.
  void reset();

  [[nodiscard]] bool running() const { return x_runnable && x_bus_master; }
  /// True when a transfer was completed.
  bool step();

  [[nodiscard]] EngineCounters counters() const { return x_counters; }
  [[nodiscard]] const hw::dma_engine::Parameters& parameters() const { return x_parameters; }
  [[nodiscard]] AuditResult audit() const;

 private:
  enum class Stage : u8 { ReadOld, Write, ReadBack, ReadStamp };
  void reload();
  void count(u64& counter, u64 offset);
  void count(hw::dma_engine::Verdict verdict);

  RegisterFile x_registers;
  DmaPath x_path;
  bool x_bus_master = false;
  bool x_runnable = false;
  hw::dma_engine::Parameters x_parameters;
  EngineCounters x_counters;
  Stage x_stage = Stage::ReadOld;
};

}  // namespace sim

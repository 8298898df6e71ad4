// The tables of a VT-d unit, read from outside: from its root pointer to every page that a device may reach.
//
// Root, context and PASID entries are read here word by word from the manual (VT-d specification 4.1, chapter 9), the
// pages below them by the naive walkers of sim/walk; nothing is shared with holdfast/vtd. Second-stage tables, and
// first-stage ones that are not nested. The first thing that is not as the manual has it ends the reading with a
// sentence. Pure; memory may be written by the machine meanwhile unless that is stopped.
#pragma once

#include <string>
#include <vector>

#include "sim/walk/vtd_second_stage.hpp"

namespace metal_test {

using namespace holdfast;  // NOLINT: a test of the library

/// One device that the unit lets through.
struct DeviceTables {
  u16 source = 0;  // bus, device and function
  u16 domain = 0;
  u32 rid_pasid = 0;  // scalable mode: the PASID of its requests without one
  bool first_stage = false;
  PhysAddr top;
  unsigned levels = 0;
  std::vector<sim::walk::Leaf> leaves;

  bool operator==(const DeviceTables&) const = default;
};

struct UnitTables {
  std::string error;  // empty: everything was read
  bool scalable = false;
  std::vector<PhysAddr> pages;  // of tables, from root to lowest level, without repetition
  std::vector<DeviceTables> devices;

  [[nodiscard]] bool ok() const { return error.empty(); }
};

/// @p root_register: as RTADDR_REG reads.
[[nodiscard]] UnitTables read_unit_tables(const sim::PhysicalMemory& memory, u64 root_register);

/// "00:04.0"
[[nodiscard]] std::string source_text(u16 source);

}  // namespace metal_test

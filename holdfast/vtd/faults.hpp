// Fault records of one unit: read, logged, cleared (VT-d 5.0, 7.3 and 11.4.7).
#pragma once

#include <string_view>

#include "holdfast/hw/vtd/faults.hpp"
#include "holdfast/vtd/unit_registers.hpp"

namespace holdfast::vtd {

/// "page not writable", from table 7-3.
[[nodiscard]] std::string_view describe(hw::vtd::FaultReason reason);

/// Reads and clears the pending records; returns their number (at most as many as the unit has). Records of one device
/// (and PASID, where hardware reports one) with one reason share a log line, which names the first of them and says how
/// many there were. Faults that found no free record were lost by hardware, which a line says.
u32 drain_faults(World& world, UnitRegisters& registers, hw::vtd::Cap cap);

}  // namespace holdfast::vtd

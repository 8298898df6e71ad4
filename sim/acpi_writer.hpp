// The modelled machine's firmware: writes RSDP, XSDT, MCFG and DMAR into the reserved area of RAM.
#pragma once

#include "sim/guest_ram.hpp"
#include "sim/machine_config.hpp"

namespace sim {

void write_acpi_tables(const MachineConfig& config, const GuestRam& ram);

}  // namespace sim

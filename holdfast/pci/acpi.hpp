// ACPI tables: found from the root pointer, checked before they are believed (ACPI 6.5, 5.2.5 to 5.2.8).
//
// Every address must be RAM of the memory map, every length fit it, every checksum hold; the walk is bounded by the
// length of the XSDT (or, from firmware of ACPI 1.0, the RSDT). Usable from the first moment of any boot: reads only,
// allocates nothing. Threads: any. Failure: Result.
#pragma once

#include <span>

#include "holdfast/base/result.hpp"
#include "holdfast/hw/acpi/tables.hpp"
#include "holdfast/memory/direct_map.hpp"

namespace holdfast::pci {

/// The whole table, header included. The first one with @p signature counts.
/// Errors: NotFound (no root pointer, or no such table), Corrupt.
[[nodiscard]] Result<std::span<const std::byte>> find_acpi_table(const DirectMap& map, PhysAddr rsdp,
                                                                 const hw::acpi::Signature& signature);

}  // namespace holdfast::pci

// The register that metal.watch names: its device, found on the bus, and its address, out of a BAR that is not
// believed.
#pragma once

#include "holdfast/pci/config_space.hpp"

namespace metal {

using namespace holdfast;  // NOLINT: a world of the library

/// The first function with that vendor and device id. Errors: NotFound.
Result<SourceId> find_function(const pci::ConfigSpace& config, u16 vendor, u16 device);

/// Address of the 32-bit register @p offset bytes into the memory BAR whose two halves these are; @p high counts for a
/// 64-bit BAR only. Errors: NoAddress (an I/O BAR, or none was assigned), OutOfRange (not all of it below @p limit).
Result<PhysAddr> register_in_bar(u32 low, u32 high, u32 offset, u64 limit);

}  // namespace metal

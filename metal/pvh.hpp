// What the machine's loader says at a cold boot: hvm_start_info of the x86 PVH boot ABI (Xen,
// public/arch-x86/hvm/start_info.h).
//
// Read once, before anything else uses low memory; every number in it is checked. Failure: Result.
#pragma once

#include "holdfast/base/result.hpp"
#include "metal/boot_page.hpp"

namespace metal {

/// The memory that addresses of the loader point into: address 0 stands at `base`, and nothing beyond `size_bytes` is
/// read.
struct LoaderMemory {
  u64 base = 0;
  u64 size_bytes = 0;
};

/// Fills memory map, command line, RSDP and module of @p page. The memory map is sorted and disjoint, and calls
/// reserved: everything below 1 MiB, this image, the module, and firmware tables at the end of a piece of RAM. Errors:
/// Invalid, TooBig (more ranges or a longer command line than there is room for); @p bad then says what is wrong.
Status read_start_info(const LoaderMemory& memory, u64 start_info, PhysRange own_image, BootPage& page,
                       std::string_view& bad);

}  // namespace metal

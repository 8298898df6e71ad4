// The device beside the guest that is not preserved: an ordinary assignment with memory, iommufd and address space of
// its own, left running when the kernel is replaced. After the cut-off it must do nothing but fault.
#pragma once

#include "vmm/call.hpp"

namespace vmm {

bool start_bystander(Calls& calls, const Options& options);

}  // namespace vmm

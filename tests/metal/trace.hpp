// What QEMU's own trace of its IOMMU says about a run, counted.
//
// Registers keep one fault and collapse what follows; only the trace counts. Pure, but for reading the file. Failure:
// RunError when the file cannot be read.
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "holdfast/base/types.hpp"

namespace metal_test {

using namespace holdfast;  // NOLINT: a test of the library

/// What the unit did under one kernel, from the moment when that gave it its queue to the next kernel's.
struct TraceOfKernel {
  u64 global_invalidations = 0;   // vtd_inv_desc_iotlb_global
  std::map<u16, u64> walks;       // vtd_iotlb_page_update, by source id: translations that the unit walked for
  std::map<u16, u64> walks_anew;  // those behind the first global invalidation
};

struct TraceCounts {
  u64 enables = 0;               // vtd_dmar_enable: writes that switch translation on or off
  u64 roots = 0;                 // vtd_reg_dmar_root: root pointers that were set
  u64 faults = 0;                // vtd_dmar_fault: refused requests
  std::map<u16, u64> faults_of;  // by source id
  std::vector<std::string> first_faults;
  std::vector<TraceOfKernel> kernels;  // one for each time that the queue was switched on: a kernel does that once
};

/// Names of the events that are counted, for -trace.
inline constexpr const char* traced_events[] = {
    "vtd_dmar_enable",   "vtd_reg_dmar_root",         "vtd_dmar_fault",
    "vtd_inv_qi_enable", "vtd_inv_desc_iotlb_global", "vtd_iotlb_page_update",
};

[[nodiscard]] TraceCounts count_trace(std::string_view text);
[[nodiscard]] TraceCounts read_trace(const std::string& path);

/// Each kernel that took the unit over must have made it forget everything, and each device that was served before and
/// does not stand in @p exempt must have been walked for again after that: through tables that the kernel before left.
[[nodiscard]] std::vector<std::string> check_walked_anew(const TraceCounts& counts, u64 updates,
                                                         const std::set<u16>& exempt = {});

}  // namespace metal_test

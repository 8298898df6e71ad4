// What QEMU's own trace of its IOMMU says about a run, counted.
//
// Registers keep one fault and collapse what follows; only the trace counts. Pure, but for reading the file. Failure:
// RunError when the file cannot be read.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "holdfast/base/types.hpp"

namespace metal_test {

using namespace holdfast;  // NOLINT: a test of the library

struct TraceCounts {
  u64 enables = 0;               // vtd_dmar_enable: writes that switch translation on or off
  u64 roots = 0;                 // vtd_reg_dmar_root: root pointers that were set
  u64 faults = 0;                // vtd_dmar_fault: refused requests
  std::map<u16, u64> faults_of;  // by source id
  std::vector<std::string> first_faults;
  u64 adoptions = 0;     // queues that were started after the first: each by a kernel that took a running unit over
  u64 forgotten = 0;     // adoptions that were followed by a global invalidation ...
  u64 walked_again = 0;  // ... and that by a walk of QEMU's, through tables that the kernel before had left
};

/// Names of the events that are counted, for -trace.
namespace event {
inline constexpr const char* enable = "vtd_dmar_enable";
inline constexpr const char* root = "vtd_reg_dmar_root";
inline constexpr const char* fault = "vtd_dmar_fault";
inline constexpr const char* queue = "vtd_inv_qi_enable";
inline constexpr const char* forget = "vtd_inv_desc_iotlb_global";
inline constexpr const char* walk = "vtd_iotlb_page_update";
inline constexpr const char* all[] = {enable, root, fault, queue, forget, walk};
}  // namespace event

[[nodiscard]] TraceCounts count_trace(std::string_view text);
[[nodiscard]] TraceCounts read_trace(const std::string& path);

}  // namespace metal_test

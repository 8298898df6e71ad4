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
};

/// Names of the events that are counted, for -trace.
inline constexpr const char* traced_events[] = {"vtd_dmar_enable", "vtd_reg_dmar_root", "vtd_dmar_fault"};

[[nodiscard]] TraceCounts count_trace(std::string_view text);
[[nodiscard]] TraceCounts read_trace(const std::string& path);

}  // namespace metal_test

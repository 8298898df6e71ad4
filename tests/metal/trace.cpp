// See trace.hpp.
#include "tests/metal/trace.hpp"

#include <fmt/format.h>

#include <charconv>
#include <fstream>
#include <sstream>

#include "host/run_error.hpp"

namespace metal_test {
namespace {

constexpr std::size_t most_faults_told = 3;

/// "pid@time:event arguments", with or without what stands before the event.
std::string_view event_of(std::string_view line) {
  const std::string_view head = line.substr(0, line.find(' '));
  const auto colon = head.rfind(':');
  return colon == std::string_view::npos ? head : head.substr(colon + 1);
}

/// "... sid 0x20 ..."; 0, which is the host bridge and never asks, when there is none.
u16 source_of(std::string_view line) {
  constexpr std::string_view before = "sid 0x";
  const auto at = line.find(before);
  u16 source = 0;
  if (at != std::string_view::npos)
    std::from_chars(line.data() + at + before.size(), line.data() + line.size(), source, 16);
  return source;
}

}  // namespace

TraceCounts count_trace(std::string_view text) {
  TraceCounts counts;
  TraceOfKernel nobody;  // before any kernel has a queue
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(line.size() < text.size() ? line.size() + 1 : line.size());
    const std::string_view event = event_of(line);
    TraceOfKernel& kernel = counts.kernels.empty() ? nobody : counts.kernels.back();
    if (event == "vtd_dmar_enable") ++counts.enables;
    if (event == "vtd_reg_dmar_root") ++counts.roots;
    if (event == "vtd_inv_qi_enable" && line.ends_with("enabled 1")) counts.kernels.emplace_back();
    if (event == "vtd_inv_desc_iotlb_global") ++kernel.global_invalidations;
    if (event == "vtd_iotlb_page_update") {
      ++kernel.walks[source_of(line)];
      if (kernel.global_invalidations != 0) ++kernel.walks_anew[source_of(line)];
    }
    if (event != "vtd_dmar_fault") continue;
    ++counts.faults;
    ++counts.faults_of[source_of(line)];
    if (counts.first_faults.size() < most_faults_told) counts.first_faults.emplace_back(line);
  }
  return counts;
}

TraceCounts read_trace(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  if (!file) throw host::RunError(host::ExitCode::InputMissing, "cannot read the trace " + path);
  return count_trace(text.str());
}

std::vector<std::string> check_walked_anew(const TraceCounts& counts, u64 updates, const std::set<u16>& exempt) {
  if (counts.kernels.size() != updates + 1)
    return {fmt::format("{} kernels gave the unit a queue, expected {}", counts.kernels.size(), updates + 1)};
  std::vector<std::string> wrong;
  for (u64 update = 1; update <= updates; ++update) {
    const TraceOfKernel& before = counts.kernels[update - 1];
    const TraceOfKernel& after = counts.kernels[update];
    if (after.global_invalidations == 0)
      wrong.push_back(fmt::format("update {}: the unit was not made to forget", update));
    if (before.walks.empty()) wrong.push_back(fmt::format("update {}: nobody was walked for before it", update));
    for (const auto& [source, count] : before.walks)
      if (!exempt.contains(source) && !after.walks_anew.contains(source))
        wrong.push_back(fmt::format("update {}: source {:#x} was not walked for again", update, source));
  }
  return wrong;
}

}  // namespace metal_test

// See trace.hpp.
#include "tests/metal/trace.hpp"

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

/// What has to follow a queue that was started.
enum class Awaited : u8 { Nothing, Invalidation, Walk };

void follow_adoption(std::string_view name, std::string_view line, Awaited& awaited, TraceCounts& counts, u64& queues) {
  if (name == event::queue && line.find("enabled 1") != std::string_view::npos && ++queues > 1) {
    ++counts.adoptions;
    awaited = Awaited::Invalidation;
  }
  if (name == event::forget && awaited == Awaited::Invalidation) {
    ++counts.forgotten;
    awaited = Awaited::Walk;
  }
  if (name == event::walk && awaited == Awaited::Walk) {
    ++counts.walked_again;
    awaited = Awaited::Nothing;
  }
}

}  // namespace

TraceCounts count_trace(std::string_view text) {
  TraceCounts counts;
  Awaited awaited = Awaited::Nothing;
  u64 queues = 0;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(line.size() < text.size() ? line.size() + 1 : line.size());
    const std::string_view name = event_of(line);
    if (name == event::enable) ++counts.enables;
    if (name == event::root) ++counts.roots;
    follow_adoption(name, line, awaited, counts, queues);
    if (name != event::fault) continue;
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

}  // namespace metal_test

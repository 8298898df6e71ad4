#include "vmm/workload_options.hpp"

#include <array>

#include "holdfast/base/words.hpp"

namespace vmm {
namespace {

constexpr std::array<std::string_view, workload_kinds> names{"net", "nvme", "hda", "edu"};

/// A decimal number, with a unit of bytes behind it when @p units allows.
enum class Units : u8 { None, Bytes };
std::optional<u64> read_number(std::string_view text, Units units) {
  u64 shift = 0;
  if (units == Units::Bytes && !text.empty()) {
    const char last = text.back();
    shift = last == 'K' ? 10 : last == 'M' ? 20 : last == 'G' ? 30 : 0;
    if (shift != 0) text.remove_suffix(1);
  }
  if (text.empty() || text.size() > 18) return std::nullopt;  // 18 digits always fit
  u64 value = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return std::nullopt;
    value = value * 10 + static_cast<u64>(c - '0');
  }
  if (value > ~u64{0} >> shift) return std::nullopt;
  return value << shift;
}

template <class T>
const char* read_option(std::string_view text, u64 max, T& to, Units units = Units::None) {
  const auto value = read_number(text, units);
  if (!value) return "is not followed by a number";
  if (*value > max) return "is larger than is possible";
  to = static_cast<T>(*value);
  return "";
}

std::optional<WorkloadKind> find_kind(std::string_view name) {
  for (u32 kind = 0; kind < workload_kinds; ++kind)
    if (name == names[kind]) return static_cast<WorkloadKind>(kind);
  return std::nullopt;
}

const char* add_kind(std::optional<WorkloadKind> kind, u32& kinds) {
  if (!kind) return "is followed by no workload";
  if ((kinds & bit_of(*kind)) != 0) return "is named twice";
  kinds |= bit_of(*kind);
  return "";
}

const char* read_word(std::string_view word, WorkloadOptions& options) {
  if (const auto kind = find_kind(word)) return add_kind(kind, options.kinds);
  std::string_view value = word;
  const std::string_view key = take_until(value, '=');
  if (key.size() == word.size()) return "is no workload";
  if (key == "updates") return read_option(value, max_updates, options.updates);
  if (key == "frames") return read_option(value, max_frames, options.frames);
  if (key == "replace") return read_option(value, max_replacements, options.replace);
  if (key == "mapped") return read_option(value, max_mapped_bytes, options.mapped_bytes, Units::Bytes);
  if (key == "leave") return add_kind(find_kind(value), options.left);
  if (key == "settle_ms") {
    u64 settle_ms = 0;
    const char* why = read_option(value, max_settle_ms, settle_ms);
    options.settle_ns = settle_ms * 1'000'000;
    return why;
  }
  return "is no option";
}

}  // namespace

std::string_view name_of(WorkloadKind kind) { return names[static_cast<u32>(kind)]; }

ParsedOptions parse_workload_options(std::string_view words, u32 generation) {
  ParsedOptions parsed;
  parsed.options.generation = generation;
  while (!words.empty()) {
    const std::string_view word = take_until(words, ' ');
    if (word.empty()) continue;
    parsed.why = read_word(word, parsed.options);
    if (parsed.ok()) continue;
    parsed.bad_word = word;
    return parsed;
  }
  if (parsed.options.kinds == 0)
    parsed.why = "no workload is named";
  else if ((parsed.options.left & ~parsed.options.kinds) != 0)
    parsed.why = "a workload that does not run is to be left";
  return parsed;
}

}  // namespace vmm

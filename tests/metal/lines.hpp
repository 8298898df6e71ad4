// Lines that a bare-metal kernel prints for programs: "hf: update generation=1 blackout_ns=12345".
//
// Pure. A line that does not begin with "hf: " is text for people and has no fields. A word without '=' behind the
// first has an empty value. Nothing is an error: what is missing is missing to whoever asks for it.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "holdfast/base/types.hpp"

namespace metal_test {

using namespace holdfast;  // NOLINT: a test of the library

struct Line {
  std::string text;  // without its end
  std::string what;  // first word behind "hf: "; empty for lines for people
  std::map<std::string, std::string, std::less<>> fields;
  double seconds = 0;  // since the machine was started

  /// The value of @p field; empty when the line has no such field.
  [[nodiscard]] std::string_view field(std::string_view name) const;
  /// It as a number, decimal or 0x...; nothing when it is none.
  [[nodiscard]] std::optional<u64> number(std::string_view name) const;
  /// Whether it is the line @p name of this workload.
  [[nodiscard]] bool is(std::string_view name, std::string_view workload = {}) const;
};

[[nodiscard]] Line parse_line(std::string_view text);

/// @p text with every number replaced by "N" and every hexadecimal number by "0xN": what is left when addresses and
/// counts may differ. Digits that belong to a name ("e1000e", "nvme0") stay.
[[nodiscard]] std::string without_numbers(std::string_view text);

}  // namespace metal_test

// The report of a run as text: a table for people, JSON for programs.
#pragma once

#include <string>

#include "host/report.hpp"

namespace cli {

enum class Color { No, Yes };

/// One column per update, a few columns to a block.
[[nodiscard]] std::string render_table(const host::RunReport& report, Color color);

/// Schema "holdfast.run/1", one line.
[[nodiscard]] std::string render_json(const host::RunReport& report);

}  // namespace cli

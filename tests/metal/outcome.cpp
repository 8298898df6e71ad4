// See outcome.hpp.
#include "tests/metal/outcome.hpp"

#include <algorithm>

namespace metal_test {

std::string Outcome::figures() const { return fmt::format("{}", fmt::join(x_figures, ", ")); }

bool Outcome::passed() const { return !x_checks.empty() && std::ranges::all_of(x_checks, &Check::ok); }

std::string Outcome::failures() const {
  if (passed()) return {};
  std::string text;
  for (const Check& check : x_checks)
    if (!check.ok) text += fmt::format("  {}: {}\n", check.what, check.seen);
  if (x_checks.empty()) text += "  nothing was checked\n";
  return text + fmt::format("  log and trace: {}\n", x_folder.string());
}

std::string table_of(const std::vector<Outcome>& outcomes) {
  std::size_t width = 8;
  for (const Outcome& outcome : outcomes) width = std::max(width, outcome.name().size());
  std::string text = fmt::format("{:<{}}  result  checks  seconds  seen\n", "scenario", width);
  for (const Outcome& outcome : outcomes) {
    text +=
        fmt::format("{:<{}}  {:<6}  {:>6}  {:>7.1f}  {}\n", outcome.name(), width, outcome.passed() ? "ok" : "FAILED",
                    outcome.checks().size(), outcome.seconds(), outcome.figures());
    text += outcome.failures();
  }
  std::vector<std::string> told;
  for (const Outcome& outcome : outcomes) {
    for (const std::string& lines : outcome.at_end()) {
      if (std::ranges::find(told, lines) != told.end()) continue;
      told.push_back(lines);
      text += lines;
    }
  }
  return text;
}

}  // namespace metal_test

// What became of one run: checks, each with what was seen, and figures for the table.
//
// Plain data. Thread: one.
#pragma once

#include <fmt/format.h>

#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

#include "holdfast/base/types.hpp"

namespace metal_test {

using namespace holdfast;  // NOLINT: a test of the library

struct Check {
  std::string what;
  std::string seen;
  bool ok = false;
};

class Outcome {
 public:
  /// @p folder: where the run's log and trace are.
  Outcome(std::string name, std::filesystem::path folder) : x_name(std::move(name)), x_folder(std::move(folder)) {}

  void expect(std::string what, bool ok, std::string seen) {
    x_checks.push_back({std::move(what), std::move(seen), ok});
  }
  template <class Seen, class Expected>
  void expect_equal(const std::string& what, const Seen& seen, const Expected& expected) {
    expect(what, seen == expected, fmt::format("{}, expected {}", seen, expected));
  }
  void expect_more(const std::string& what, u64 seen, u64 than) {
    expect(what, seen > than, fmt::format("{}, expected more than {}", seen, than));
  }
  /// One check that fails once for each complaint.
  void expect_none(const std::string& what, const std::vector<std::string>& complaints) {
    for (const std::string& complaint : complaints) expect(what, false, complaint);
    if (complaints.empty()) expect(what, true, "nothing is wrong");
  }
  /// A figure for the last column of the table.
  void tell(std::string figure) { x_figures.push_back(std::move(figure)); }
  /// Lines for the end of the report, such as a table of phases. The same lines are printed once.
  void tell_at_end(std::string lines) { x_at_end.push_back(std::move(lines)); }
  /// Takes the time since it was made.
  Outcome& ended() {
    x_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - x_start).count();
    return *this;
  }

  [[nodiscard]] const std::string& name() const { return x_name; }
  [[nodiscard]] const std::filesystem::path& folder() const { return x_folder; }
  [[nodiscard]] const std::vector<Check>& checks() const { return x_checks; }
  [[nodiscard]] double seconds() const { return x_seconds; }
  [[nodiscard]] const std::vector<std::string>& at_end() const { return x_at_end; }
  [[nodiscard]] std::string figures() const;
  /// A run without a single check proves nothing.
  [[nodiscard]] bool passed() const;
  /// The checks that failed, one line each, and where to read on; empty when it passed.
  [[nodiscard]] std::string failures() const;

 private:
  std::string x_name;
  std::filesystem::path x_folder;
  std::vector<Check> x_checks;
  std::vector<std::string> x_figures;
  std::vector<std::string> x_at_end;
  std::chrono::steady_clock::time_point x_start = std::chrono::steady_clock::now();
  double x_seconds = 0;
};

/// The table of all runs, with failures below each that failed.
[[nodiscard]] std::string table_of(const std::vector<Outcome>& outcomes);

}  // namespace metal_test

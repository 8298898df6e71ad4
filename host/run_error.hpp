// Why a run ended before its report: what, where, likely why, what next; and the exit code the command answers with.
#pragma once

#include <exception>
#include <string>
#include <utility>

namespace host {

/// Exit codes of the holdfast command.
enum class ExitCode : int {
  Ok = 0,
  NotClean = 1,  // the run ended, and something it checks is not as it must be
  Usage = 2,
  InputMissing = 3,  // what the run needs is not there: memory, a file
  InputCorrupt = 4,
  Internal = 70,
  Interrupted = 130,
};

class RunError final : public std::exception {
 public:
  RunError(ExitCode code, std::string what_happened, std::string likely_why = {}, std::string what_next = {})
      : x_code(code), x_what(std::move(what_happened)), x_why(std::move(likely_why)), x_next(std::move(what_next)) {}

  [[nodiscard]] ExitCode code() const { return x_code; }
  [[nodiscard]] const char* what() const noexcept override { return x_what.c_str(); }
  [[nodiscard]] const std::string& likely_why() const { return x_why; }
  [[nodiscard]] const std::string& what_next() const { return x_next; }

 private:
  ExitCode x_code;
  std::string x_what;
  std::string x_why;
  std::string x_next;
};

/// A call of the operating system failed that has no reason to: @p call, errno and its text.
[[noreturn]] void throw_system_error(const std::string& call);

}  // namespace host

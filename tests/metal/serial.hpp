// What a machine says on its serial line: kept line by line with the time of its arrival, and in a file.
//
// Threads: one of its own reads the pipe; every method may be called from any thread. The log only grows. Failure:
// RunError at creation; a pipe that ends is the end of the log.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "host/unique_fd.hpp"
#include "tests/metal/lines.hpp"

namespace metal_test {

using Clock = std::chrono::steady_clock;

class SerialLog {
 public:
  /// Reads @p pipe from now on and writes what comes to @p file as it is.
  SerialLog(host::UniqueFd pipe, host::UniqueFd file);
  /// Whoever holds the other end of the pipe must have closed it, or this waits for them.
  ~SerialLog();
  SerialLog(const SerialLog&) = delete;
  SerialLog& operator=(const SerialLog&) = delete;

  using Wanted = std::function<bool(const Line&)>;
  /// The first line that is wanted, now or until @p deadline. Nothing when the log ends or time runs out before.
  [[nodiscard]] std::optional<Line> wait_for(const Wanted& wanted, Clock::time_point deadline);
  [[nodiscard]] std::vector<Line> lines() const;
  /// Everything, byte for byte.
  [[nodiscard]] std::string text() const;
  /// Waits until the pipe ended, so that nothing is missing.
  void wait_for_end();

 private:
  void read_all();
  void take(std::string_view some);
  void add_line(std::string_view text);

  host::UniqueFd x_pipe;
  host::UniqueFd x_file;
  Clock::time_point x_start = Clock::now();
  mutable std::mutex x_lock;  // of what follows
  std::condition_variable x_changed;
  std::string x_text;
  std::string x_unfinished;
  std::vector<Line> x_lines;
  bool x_ended = false;
  std::thread x_reader;
};

}  // namespace metal_test

// See serial.hpp.
#include "tests/metal/serial.hpp"

#include <unistd.h>

#include <cerrno>

namespace metal_test {

SerialLog::SerialLog(host::UniqueFd pipe, host::UniqueFd file)
    : x_pipe(std::move(pipe)), x_file(std::move(file)), x_reader([this] { read_all(); }) {}

SerialLog::~SerialLog() { x_reader.join(); }

std::optional<Line> SerialLog::wait_for(const Wanted& wanted, Clock::time_point deadline) {
  std::unique_lock lock(x_lock);
  for (std::size_t seen = 0;;) {
    for (; seen < x_lines.size(); ++seen)
      if (wanted(x_lines[seen])) return x_lines[seen];
    if (x_ended) return std::nullopt;
    if (x_changed.wait_until(lock, deadline) == std::cv_status::timeout && seen == x_lines.size()) return std::nullopt;
  }
}

std::vector<Line> SerialLog::lines() const {
  const std::lock_guard lock(x_lock);
  return x_lines;
}

std::string SerialLog::text() const {
  const std::lock_guard lock(x_lock);
  return x_text;
}

void SerialLog::wait_for_end() {
  std::unique_lock lock(x_lock);
  x_changed.wait(lock, [this] { return x_ended; });
}

void SerialLog::read_all() {
  char some[4096];
  for (;;) {
    const ssize_t got = ::read(x_pipe.get(), some, sizeof some);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    // A full disk must not stop the machine; the log in memory is what is judged.
    [[maybe_unused]] const ssize_t ignored = ::write(x_file.get(), some, static_cast<std::size_t>(got));
    take({some, static_cast<std::size_t>(got)});
  }
  const std::lock_guard lock(x_lock);
  if (!x_unfinished.empty()) add_line(x_unfinished);
  x_ended = true;
  x_changed.notify_all();
}

void SerialLog::take(std::string_view some) {
  const std::lock_guard lock(x_lock);
  x_text += some;
  x_unfinished += some;
  std::size_t from = 0;
  for (std::size_t end; (end = x_unfinished.find('\n', from)) != std::string::npos; from = end + 1)
    add_line(std::string_view(x_unfinished).substr(from, end - from));
  x_unfinished.erase(0, from);
  x_changed.notify_all();
}

void SerialLog::add_line(std::string_view text) {
  x_lines.push_back(parse_line(text));
  x_lines.back().seconds = std::chrono::duration<double>(Clock::now() - x_start).count();
}

}  // namespace metal_test

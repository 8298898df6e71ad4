// The client of QEMU's qtest server: reads and writes of physical addresses and ports, one text line each.
//
// Writes are kept back and sent together with the next read, in order; flush() sends them now. Who changes RAM that the
// device is to see afterwards flushes first.
// Threads: one. Failure: RunError when QEMU ends, refuses a command, or does not answer within time_limit.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "holdfast/base/types.hpp"
#include "host/unique_fd.hpp"

namespace referee {

using namespace holdfast;  // NOLINT: a test of the library

class Qtest {
 public:
  static constexpr std::chrono::seconds time_limit{20};

  explicit Qtest(host::UniqueFd socket) : x_socket(std::move(socket)) {}

  u32 in_l(u32 port);
  u32 read_l(u64 address);
  u64 read_q(u64 address);
  void out_l(u32 port, u32 value);
  void write_l(u64 address, u32 value);
  void write_q(u64 address, u64 value);
  void flush();

 private:
  void queue(std::string_view command, u64 first, u64 second);
  /// Sends what is queued and answers the last line's value.
  u64 exchange();
  std::string next_line(std::chrono::steady_clock::time_point end);
  void send_all(std::chrono::steady_clock::time_point end);

  host::UniqueFd x_socket;
  std::string x_queued;
  std::string x_received;
  unsigned x_unanswered = 0;
};

}  // namespace referee

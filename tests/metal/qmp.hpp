// The client of QEMU's machine protocol (QMP): stop, go on, read a register, through one connected socket.
//
// Threads: one. Failure: RunError when QEMU refuses a command or does not answer within time_limit; nothing (false, or
// no value) when the machine has ended, which it may do at any moment.
#pragma once

#include <chrono>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "holdfast/base/types.hpp"
#include "host/unique_fd.hpp"

namespace metal_test {

using namespace holdfast;  // NOLINT: a test of the library

class Qmp {
 public:
  static constexpr std::chrono::seconds time_limit{20};

  explicit Qmp(host::UniqueFd socket) : x_socket(std::move(socket)) {}

  /// Returns when the machine stands still. False: it has ended.
  bool stop() { return command("stop").has_value(); }
  bool go_on() { return command("cont").has_value(); }
  /// The 32-bit words of a register, memory-mapped ones included.
  [[nodiscard]] std::optional<u64> read_register(PhysAddr address, unsigned words);

 private:
  /// What QEMU returned; nothing when the connection ended.
  std::optional<nlohmann::json> command(const std::string& name, const nlohmann::json& arguments = nullptr);
  std::optional<nlohmann::json> exchange(const nlohmann::json& request);
  std::optional<std::string> next_line(std::chrono::steady_clock::time_point end);

  host::UniqueFd x_socket;
  std::string x_received;
  bool x_greeted = false;
};

/// The value of "00000000fed90020: 0x08000400 0x00000000", words of 32 bits, the lowest first.
[[nodiscard]] std::optional<u64> parse_examined(const std::string& answer, unsigned words);

}  // namespace metal_test

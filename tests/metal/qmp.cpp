// See qmp.hpp. Events that QEMU sends in between are skipped.
#include "tests/metal/qmp.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <charconv>

#include "host/run_error.hpp"

namespace metal_test {
namespace {

using nlohmann::json;
using Clock = std::chrono::steady_clock;

[[noreturn]] void fail(const std::string& what) {
  throw host::RunError(host::ExitCode::Internal, "QMP: " + what, "QEMU hangs, or does not know the command");
}

}  // namespace

std::optional<u64> parse_examined(const std::string& answer, unsigned words) {
  u64 value = 0;
  std::size_t at = answer.find(':');
  for (unsigned word = 0; word < words; ++word) {
    at = at == std::string::npos ? at : answer.find("0x", at);
    if (at == std::string::npos) return std::nullopt;
    at += 2;
    u32 bits = 0;
    const char* digits = answer.data() + at;
    if (std::from_chars(digits, answer.data() + answer.size(), bits, 16).ptr == digits) return std::nullopt;
    value |= u64{bits} << 32 * word;
  }
  return value;
}

std::optional<u64> Qmp::read_register(PhysAddr address, unsigned words) {
  char digits[16];
  const std::string hex(digits, std::to_chars(digits, digits + sizeof digits, address.value, 16).ptr);
  const auto answer =
      command("human-monitor-command", {{"command-line", "xp /" + std::to_string(words) + "wx 0x" + hex}});
  if (!answer) return std::nullopt;
  const auto value = parse_examined(answer->get<std::string>(), words);
  if (!value) fail("cannot read \"" + answer->get<std::string>() + "\"");
  return value;
}

std::optional<json> Qmp::command(const std::string& name, const json& arguments) {
  if (!x_greeted) {  // it speaks first, and then wants to know what we can
    x_greeted = true;
    if (!next_line(Clock::now() + time_limit) || !exchange({{"execute", "qmp_capabilities"}})) return std::nullopt;
  }
  json request{{"execute", name}};
  if (!arguments.is_null()) request["arguments"] = arguments;
  return exchange(request);
}

std::optional<json> Qmp::exchange(const json& request) {
  const auto end = Clock::now() + time_limit;
  const std::string line = request.dump() + "\n";
  if (::send(x_socket.get(), line.data(), line.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(line.size()))
    return std::nullopt;
  while (const auto answer = next_line(end)) {
    const json message = json::parse(*answer, nullptr, false);
    if (message.is_discarded()) fail("answered \"" + *answer + "\"");
    if (message.contains("error")) fail(request["execute"].get<std::string>() + ": " + message["error"].dump());
    if (message.contains("return")) return message["return"];
  }
  return std::nullopt;
}

std::optional<std::string> Qmp::next_line(Clock::time_point end) {
  for (;;) {
    if (const auto at = x_received.find('\n'); at != std::string::npos) {
      std::string line = x_received.substr(0, at);
      x_received.erase(0, at + 1);
      return line;
    }
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now()).count();
    pollfd one{.fd = x_socket.get(), .events = POLLIN, .revents = 0};
    if (left <= 0 || ::poll(&one, 1, static_cast<int>(left)) <= 0) fail("no answer in time");
    char some[4096];
    const ssize_t got = ::recv(x_socket.get(), some, sizeof some, 0);
    if (got <= 0) return std::nullopt;
    x_received.append(some, static_cast<std::size_t>(got));
  }
}

}  // namespace metal_test

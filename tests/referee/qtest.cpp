// Lines out, lines in. See qtest.hpp.
#include "tests/referee/qtest.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <charconv>

#include "host/run_error.hpp"

namespace referee {
namespace {

using Clock = std::chrono::steady_clock;

[[noreturn]] void fail(const std::string& what) {
  throw host::RunError(host::ExitCode::Internal, "qtest: " + what, "QEMU ended, hangs, or does not know the command");
}

void wait_for(int socket, short what, Clock::time_point end) {
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now()).count();
  pollfd one{.fd = socket, .events = what, .revents = 0};
  if (left <= 0 || ::poll(&one, 1, static_cast<int>(left)) <= 0) fail("no answer in time");
}

void append_hex(std::string& to, u64 value) {
  char digits[16];
  const auto end = std::to_chars(digits, digits + sizeof digits, value, 16).ptr;
  to.append(" 0x").append(digits, end);
}

}  // namespace

u32 Qtest::in_l(u32 port) {
  queue("inl", port, 0);
  return static_cast<u32>(exchange());
}
u32 Qtest::read_l(u64 address) {
  queue("readl", address, 0);
  return static_cast<u32>(exchange());
}
u64 Qtest::read_q(u64 address) {
  queue("readq", address, 0);
  return exchange();
}
void Qtest::out_l(u32 port, u32 value) { queue("outl", port, value); }
void Qtest::write_l(u64 address, u32 value) { queue("writel", address, value); }
void Qtest::write_q(u64 address, u64 value) { queue("writeq", address, value); }
void Qtest::flush() {
  if (x_unanswered != 0) exchange();
}

void Qtest::queue(std::string_view command, u64 first, u64 second) {
  x_queued += command;
  append_hex(x_queued, first);
  if (command.front() == 'w' || command.front() == 'o') append_hex(x_queued, second);
  x_queued += '\n';
  ++x_unanswered;
}

u64 Qtest::exchange() {
  const auto end = Clock::now() + time_limit;
  send_all(end);
  u64 value = 0;
  for (; x_unanswered != 0; --x_unanswered) {
    const std::string line = next_line(end);
    if (!line.starts_with("OK")) fail("answered \"" + line + "\"");
    const char* digits = line.data() + std::min<std::size_t>(line.size(), sizeof "OK 0x" - 1);
    value = 0;
    std::from_chars(digits, line.data() + line.size(), value, 16);
  }
  return value;
}

void Qtest::send_all(Clock::time_point end) {
  std::string_view left = x_queued;
  while (!left.empty()) {
    wait_for(x_socket.get(), POLLOUT, end);
    const ssize_t sent = ::send(x_socket.get(), left.data(), left.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent <= 0) fail("QEMU closed the connection");
    left.remove_prefix(static_cast<std::size_t>(sent));
  }
  x_queued.clear();
}

std::string Qtest::next_line(Clock::time_point end) {
  for (;;) {
    if (const auto at = x_received.find('\n'); at != std::string::npos) {
      std::string line = x_received.substr(0, at);
      x_received.erase(0, at + 1);
      return line;
    }
    wait_for(x_socket.get(), POLLIN, end);
    char some[4096];
    const ssize_t got = ::recv(x_socket.get(), some, sizeof some, 0);
    if (got <= 0) fail("QEMU closed the connection");
    x_received.append(some, static_cast<std::size_t>(got));
  }
}

}  // namespace referee

// See feeder.hpp.
#include "tests/metal/feeder.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "host/run_error.hpp"
#include "vmm/frame.hpp"

namespace metal_test {
namespace {

constexpr std::chrono::milliseconds longest_lag{5};  // more than that behind is a stall, not jitter

}  // namespace

Feeder::Feeder(u64 frames, u64 frames_per_second) : x_frames(frames), x_rate(frames_per_second) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, ends) != 0) host::throw_system_error("socketpair");
  x_wire.reset(ends[0]);
  x_card.reset(ends[1]);
}

void Feeder::start() {
  x_thread = std::thread([this] { feed(); });
}

FeedCounts Feeder::stop() {
  x_ending = true;
  if (x_thread.joinable()) x_thread.join();
  read_answers();
  return x_counts;
}

void Feeder::feed() {
  const auto period = std::chrono::nanoseconds(1'000'000'000 / x_rate);
  auto due = Clock::now();
  while (!x_ending) {
    read_answers();
    const bool all_sent = x_counts.sent == x_frames;
    const auto wait = all_sent ? Clock::duration(longest_lag) : due - Clock::now();
    if (wait.count() > 0) {
      const auto nanoseconds =
          std::chrono::duration_cast<std::chrono::nanoseconds>(std::min<Clock::duration>(wait, longest_lag));
      const timespec time{.tv_sec = 0, .tv_nsec = nanoseconds.count()};
      pollfd one{.fd = x_wire.get(), .events = POLLIN, .revents = 0};
      ::ppoll(&one, 1, &time, nullptr);
      if ((one.revents & (POLLHUP | POLLERR)) != 0) return;
      continue;
    }
    pollfd one{.fd = x_wire.get(), .events = POLLIN | POLLOUT, .revents = 0};
    ::poll(&one, 1, static_cast<int>(longest_lag.count()));
    if ((one.revents & (POLLHUP | POLLERR)) != 0) return;
    if ((one.revents & POLLOUT) != 0 && !send_next()) return;
    if ((one.revents & POLLOUT) != 0) due += period;
    const auto now = Clock::now();
    if (now - due > longest_lag) {
      ++x_counts.stalls;
      x_counts.stalled_seconds += std::chrono::duration<double>(now - due).count();
      due = now;
    }
  }
}

bool Feeder::send_next() {
  const vmm::Frame frame = vmm::make_frame(vmm::FrameKind::Data, x_counts.sent);
  const ssize_t sent = ::send(x_wire.get(), frame.data(), frame.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  if (sent == static_cast<ssize_t>(frame.size())) {
    const auto now = Clock::now();
    if (x_counts.sent++ == 0) x_first_sent = now;
    x_counts.seconds = std::chrono::duration<double>(now - x_first_sent).count();
    return true;
  }
  return sent < 0 && (errno == EAGAIN || errno == ENOBUFS || errno == EINTR);
}

void Feeder::read_answers() {
  std::array<u8, 2048> bytes;
  for (;;) {
    const ssize_t got = ::recv(x_wire.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
    if (got <= 0) return;
    const std::span<const u8> frame(bytes.data(), static_cast<std::size_t>(got));
    if (!vmm::is_frame(vmm::FrameKind::Answer, frame)) continue;
    const auto number = vmm::check_frame(vmm::FrameKind::Answer, frame);
    const bool rises = number && (x_counts.answers == 0 || *number > x_counts.reached);
    ++(rises ? x_counts.answers : x_counts.wrong_answers);
    if (rises) x_counts.reached = *number;
  }
}

}  // namespace metal_test

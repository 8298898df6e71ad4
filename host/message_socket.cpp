// Socket pairs of SOCK_SEQPACKET.
#include "host/message_socket.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "host/run_error.hpp"

namespace host {

std::pair<MessageSocket, MessageSocket> MessageSocket::create_pair() {
  std::array<int, 2> fds{};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds.data()) != 0) throw_system_error("socketpair");
  return {MessageSocket(UniqueFd(fds[0])), MessageSocket(UniqueFd(fds[1]))};
}

bool MessageSocket::send(std::span<const std::byte> message) {
  ssize_t sent;
  do sent = ::send(x_fd.get(), message.data(), message.size(), MSG_NOSIGNAL);
  while (sent < 0 && errno == EINTR);
  return sent == static_cast<ssize_t>(message.size());
}

Received MessageSocket::receive(std::span<std::byte> to, int timeout_ms) {
  if (timeout_ms != 0) {
    pollfd waiting{.fd = x_fd.get(), .events = POLLIN, .revents = 0};
    int ready = ::poll(&waiting, 1, timeout_ms);
    if (ready <= 0) return Received::Nothing;
  }
  ssize_t got = ::recv(x_fd.get(), to.data(), to.size(), MSG_DONTWAIT);
  if (got < 0) return errno == EAGAIN || errno == EINTR ? Received::Nothing : Received::PeerGone;
  if (got == 0) return Received::PeerGone;
  std::fill(to.begin() + got, to.end(), std::byte{0});
  return Received::Message;
}

}  // namespace host

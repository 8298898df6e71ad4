// Messages between the processes of one run: a socket pair that keeps message boundaries. One message is one plain
// struct that begins with its kind.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>

#include "host/unique_fd.hpp"

namespace host {

enum class Received { Message, Nothing, PeerGone };

class MessageSocket {
 public:
  MessageSocket() = default;
  explicit MessageSocket(UniqueFd fd) : x_fd(std::move(fd)) {}
  static std::pair<MessageSocket, MessageSocket> create_pair();

  [[nodiscard]] int fd() const { return x_fd.get(); }
  [[nodiscard]] bool valid() const { return x_fd.valid(); }
  void close() { x_fd.reset(); }

  /// False when the peer is gone.
  bool send(std::span<const std::byte> message);
  /// Waits at most @p timeout_ms (-1: for ever, 0: not at all). A message that is larger than @p to is cut; the rest of
  /// @p to is zero.
  Received receive(std::span<std::byte> to, int timeout_ms);

  template <class T>
    requires std::is_trivially_copyable_v<T>
  bool send_value(const T& value) {
    return send(std::as_bytes(std::span<const T, 1>(&value, 1)));
  }
  template <class T>
    requires std::is_trivially_copyable_v<T>
  Received receive_value(T& value, int timeout_ms) {
    return receive(std::as_writable_bytes(std::span<T, 1>(&value, 1)), timeout_ms);
  }

 private:
  UniqueFd x_fd;
};

}  // namespace host

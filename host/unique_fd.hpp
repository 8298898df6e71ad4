// A file descriptor with one owner.
#pragma once

#include <unistd.h>

#include <utility>

namespace host {

class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : x_fd(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : x_fd(std::exchange(other.x_fd, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) reset(std::exchange(other.x_fd, -1));
    return *this;
  }
  ~UniqueFd() { reset(); }

  [[nodiscard]] int get() const { return x_fd; }
  [[nodiscard]] bool valid() const { return x_fd >= 0; }
  [[nodiscard]] int release() { return std::exchange(x_fd, -1); }
  void reset(int fd = -1) {
    if (x_fd >= 0) ::close(x_fd);
    x_fd = fd;
  }

 private:
  int x_fd = -1;
};

}  // namespace host

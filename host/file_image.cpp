#include "host/file_image.hpp"

#include <unistd.h>

#include <cerrno>
#include <limits>

namespace host {

bool FileImage::read(u64 offset, std::span<std::byte> to) {
  if (offset > static_cast<u64>(std::numeric_limits<off_t>::max()) - to.size()) return false;
  while (!to.empty()) {
    ssize_t got = ::pread(x_fd, to.data(), to.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    to = to.subspan(static_cast<std::size_t>(got));
    offset += static_cast<u64>(got);
  }
  return true;
}

}  // namespace host

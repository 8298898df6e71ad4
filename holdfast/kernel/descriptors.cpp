#include "holdfast/kernel/descriptors.hpp"

namespace holdfast::kernel {

bool Descriptors::is_open(i32 fd) const {
  return fd >= 0 && static_cast<u64>(fd) < x_files.size() && x_files[static_cast<u64>(fd)];
}

Result<luo::FileRef> Descriptors::get(i32 fd) {
  if (!is_open(fd)) return Code::BadFd;
  return x_files[static_cast<u64>(fd)];
}

Result<i32> Descriptors::install(luo::FileRef file) {
  u64 fd = 0;
  while (fd < x_files.size() && x_files[fd]) ++fd;
  if (fd == max_descriptors) return Code::TooManyFiles;
  if (fd == x_files.size()) {
    TRY(x_files.push_back(std::move(file)));
  } else {
    x_files[fd] = std::move(file);
  }
  return static_cast<i32>(fd);
}

Status Descriptors::close(i32 fd) {
  if (!is_open(fd)) return Code::BadFd;
  const luo::FileRef last = std::move(x_files[static_cast<u64>(fd)]);
  // The table shrinks with its last entry, so that what was opened and closed again leaves no memory behind.
  while (x_files.size() != 0 && !x_files[x_files.size() - 1]) x_files.erase(x_files.size() - 1);
  return {};
}

void Descriptors::close_all() {
  for (i32 fd = 0; static_cast<u64>(fd) < x_files.size(); ++fd)
    if (is_open(fd)) MUST(close(fd), "is_open() said so");
}

}  // namespace holdfast::kernel

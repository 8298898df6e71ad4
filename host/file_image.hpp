// An open file as an image whose notes can be read.
#pragma once

#include "host/elf_note.hpp"

namespace host {

/// Does not own @p fd.
class FileImage final : public ImageReader {
 public:
  explicit FileImage(int fd) : x_fd(fd) {}
  bool read(u64 offset, std::span<std::byte> to) override;

 private:
  int x_fd;
};

}  // namespace host

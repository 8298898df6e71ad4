// Descriptors: the open files of one process by number, lowest free number first.
#pragma once

#include "holdfast/luo/file.hpp"
#include "holdfast/memory/vec.hpp"

namespace holdfast::kernel {

inline constexpr i32 max_descriptors = 1024;

class Descriptors final : public luo::FdTable {
 public:
  explicit Descriptors(Heap& heap) : x_files(heap) {}

  Result<luo::FileRef> get(i32 fd) override;
  Result<i32> install(luo::FileRef file) override;
  Status close(i32 fd) override;
  /// Rising numbers, as when a process exits.
  void close_all();
  /// Open files by number; a closed number is an empty reference.
  [[nodiscard]] std::span<const luo::FileRef> files() const { return x_files.span(); }

 private:
  [[nodiscard]] bool is_open(i32 fd) const;

  Vec<luo::FileRef> x_files;
};

}  // namespace holdfast::kernel

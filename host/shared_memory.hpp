// Memory that processes share: an anonymous file (memfd) and its mappings.
//
// Pages appear when they are touched, so a file may be much larger than the memory in use. Failure: RunError.
#pragma once

#include <cstddef>
#include <span>

#include "holdfast/base/types.hpp"
#include "host/unique_fd.hpp"

namespace host {

using namespace holdfast;

/// A new memfd of @p size_bytes zeroes, close-on-exec, its size sealed.
[[nodiscard]] UniqueFd create_shared_file(const char* name, u64 size_bytes);

/// From now on nobody can map the file writable; existing mappings stay as they are.
void forbid_new_writers(int fd);

enum class Access { ReadOnly, ReadWrite };

/// One shared mapping of a whole file, removed with the object.
class SharedMapping {
 public:
  SharedMapping() = default;
  SharedMapping(int fd, u64 size_bytes, Access access);
  SharedMapping(SharedMapping&& other) noexcept;
  SharedMapping& operator=(SharedMapping&& other) noexcept;
  ~SharedMapping();

  [[nodiscard]] std::span<std::byte> bytes() const { return {x_start, x_size}; }

 private:
  void remove();

  std::byte* x_start = nullptr;
  u64 x_size = 0;
};

}  // namespace host

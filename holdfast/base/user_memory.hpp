// User memory: the only way the library touches memory that belongs to a caller's process.
//
// Addresses come from ioctl arguments and are untrusted; every method answers Fault (EFAULT) when any byte of the range
// is not the caller's. Implemented by the world (direct pointers, another process, guest page tables).
#pragma once

#include <span>

#include "holdfast/base/result.hpp"

namespace holdfast {

class UserMemory {
 public:
  virtual Status read(u64 user_address, std::span<std::byte> to) = 0;
  virtual Status write(u64 user_address, std::span<const std::byte> from) = 0;

  template <class T>
  Result<T> read_value(u64 user_address) {
    T value{};
    TRY(read(user_address, std::as_writable_bytes(std::span<T, 1>(&value, 1))));
    return value;
  }
  template <class T>
  Status write_value(u64 user_address, const T& value) {
    return write(user_address, std::as_bytes(std::span<const T, 1>(&value, 1)));
  }

 protected:
  ~UserMemory() = default;
};

}  // namespace holdfast

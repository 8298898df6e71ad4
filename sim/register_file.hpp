// A page or more of registers in memory that the machine's owner supplied.
//
// Kernels read registers with plain loads of this memory, perhaps from another process, so every store is an atomic
// store of the register's own width. Only the machine stores; it may be called by one thread at a time.
#pragma once

#include <span>
#include <stdexcept>

#include "holdfast/base/types.hpp"
#include "holdfast/base/world.hpp"

namespace sim {

using namespace holdfast;  // NOLINT

class RegisterFile {
 public:
  RegisterFile() = default;
  explicit RegisterFile(std::span<std::byte> bytes) : x_bytes(bytes) {}

  template <class T>
  [[nodiscard]] T load(u64 offset) const {
    return __atomic_load_n(reinterpret_cast<const T*>(at<T>(offset)), __ATOMIC_ACQUIRE);
  }
  template <class T>
  void store(u64 offset, T value) {
    __atomic_store_n(reinterpret_cast<T*>(at<T>(offset)), value, __ATOMIC_RELEASE);
  }

  [[nodiscard]] u64 load(u64 offset, Width width) const {
    switch (width) {
      case Width::Byte: return load<u8>(offset);
      case Width::Word: return load<u16>(offset);
      case Width::Dword: return load<u32>(offset);
      case Width::Qword: return load<u64>(offset);
    }
    return 0;
  }

  [[nodiscard]] u64 size_bytes() const { return x_bytes.size(); }
  void fill(u8 value) {
    for (std::byte& byte : x_bytes) byte = std::byte{value};
  }

 private:
  template <class T>
  std::byte* at(u64 offset) const {
    if (offset % sizeof(T) != 0 || offset > x_bytes.size() || x_bytes.size() - offset < sizeof(T))
      throw std::out_of_range("register access outside its page or not aligned");
    return x_bytes.data() + offset;
  }
  std::span<std::byte> x_bytes;
};

}  // namespace sim

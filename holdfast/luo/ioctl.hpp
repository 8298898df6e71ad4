// Size-first ioctl arguments, the rule that /dev/liveupdate, iommufd and VFIO share.
//
// The structure's first u32 is its size as the caller knows it. Shorter than the minimum: Invalid. Longer than ours:
// the rest must be zero, else TooBig. An address that is not the caller's: Fault.
#pragma once

#include <algorithm>
#include <cstring>
#include <span>
#include <type_traits>

#include "holdfast/luo/file.hpp"

namespace holdfast::luo {

/// The caller's size field, and nothing else: known before the command is.
[[nodiscard]] inline Result<u32> read_size(CallContext& call, u64 address) {
  return call.user.read_value<u32>(address);
}

/// Copies min(size, capacity) bytes of a structure of @p size bytes; bytes beyond @p to must be zero. The rest of @p to
/// is left alone.
Status read_sized(CallContext& call, u64 address, u32 size, std::span<std::byte> to);

/// Reads a T whose first member is the u32 size; members that the caller does not know are zero.
/// @p minimum: bytes up to the end of the last member that the oldest caller knows.
/// Errors: Fault, Invalid, TooBig.
template <class T>
  requires std::is_trivially_copyable_v<T>
[[nodiscard]] Result<T> read_argument(CallContext& call, u64 address, u64 minimum = sizeof(T)) {
  TRY_ASSIGN(const u32 size, read_size(call, address));
  if (size < minimum) return Code::Invalid;
  T argument{};
  TRY(read_sized(call, address, size, std::as_writable_bytes(std::span<T, 1>(&argument, 1))));
  std::memcpy(&argument, &size, sizeof size);
  return argument;
}

/// Writes back as much of the structure as the caller knows (its size field). Errors: Fault.
template <class T>
  requires std::is_trivially_copyable_v<T>
[[nodiscard]] Status write_back(CallContext& call, u64 address, const T& argument) {
  u32 size = 0;
  std::memcpy(&size, &argument, sizeof size);
  const auto bytes = std::as_bytes(std::span<const T, 1>(&argument, 1));
  return call.user.write(address, bytes.first(std::min<size_t>(size, sizeof(T))));
}

}  // namespace holdfast::luo

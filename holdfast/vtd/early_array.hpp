// Arrays from the early allocator, for what must exist before the frame table does.
#pragma once

#include <new>
#include <span>
#include <type_traits>

#include "holdfast/base/checked.hpp"
#include "holdfast/memory/direct_map.hpp"
#include "holdfast/memory/early.hpp"

namespace holdfast::vtd {

/// @p count value-initialised elements; an empty span for 0. Never freed. Errors: NoMemory.
template <class T>
[[nodiscard]] Result<std::span<T>> early_array(const DirectMap& map, EarlyAllocator& early, u64 count) {
  static_assert(std::is_trivially_destructible_v<T>);
  if (count == 0) return std::span<T>();
  const auto bytes = checked_mul(count, u64{sizeof(T)});
  if (!bytes) return Code::NoMemory;
  TRY_ASSIGN(const PhysAddr at, early.allocate(*bytes, alignof(T) < 16 ? 16 : alignof(T)));
  T* first = reinterpret_cast<T*>(map.bytes(at));
  for (u64 i = 0; i < count; ++i) new (static_cast<void*>(first + i)) T{};
  return std::span<T>(first, count);
}

}  // namespace holdfast::vtd

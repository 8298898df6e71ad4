// Heap: objects. Power-of-two slots from 16 bytes to 2 KiB in slabs; what is larger is a block of the buddy allocator.
// A slab whose last object goes is given back at once, so that undone is undone.
//
// Threads: any. Its own SpinLock has rank Allocator and is never held while the buddy is called.
// Failure: NoMemory. Releasing what is not live panics. In the traced build every allocation first asks
// World::may_allocate(), and a released object is overwritten with poison.
#pragma once

#include <array>
#include <bit>
#include <new>
#include <utility>

#include "holdfast/memory/buddy.hpp"

namespace holdfast {

class Heap {
 public:
  Heap(World& world, const DirectMap& map, Buddy& buddy);
  Heap(const Heap&) = delete;
  Heap& operator=(const Heap&) = delete;

  /// Contents undefined. @p align is a power of two up to a page. Errors: Invalid (size 0), TooBig (above 4 MiB),
  /// NoMemory.
  Result<void*> allocate(std::size_t size, std::size_t align = 16);
  /// @p size and @p align as they were allocated.
  void release(void* pointer, std::size_t size, std::size_t align = 16);

  template <class T, class... Args>
  Result<T*> create(Args&&... args) {
    TRY_ASSIGN(void* memory, allocate(sizeof(T), alignof(T)));
    return ::new (memory) T(std::forward<Args>(args)...);
  }
  /// @p object must have exactly the type it was created with. Null is fine.
  template <class T>
  void destroy(T* object) {
    if (object == nullptr) return;
    object->~T();
    release(object, sizeof(T), alignof(T));
  }

  [[nodiscard]] u64 live_objects() const;
  /// Sum of the sizes as asked for.
  [[nodiscard]] u64 live_bytes() const;

 private:
  struct Slab;
  static constexpr unsigned min_slot_lg2 = 4;
  static constexpr unsigned max_slot_lg2 = 11;

  Result<void*> allocate_slot(unsigned slot_lg2);
  void release_slot(void* pointer, unsigned slot_lg2);
  void account(u64 size) HOLDFAST_REQUIRES(x_lock);
  void push(Slab* slab, unsigned slot_lg2) HOLDFAST_REQUIRES(x_lock);
  void unlink(Slab* slab, unsigned slot_lg2) HOLDFAST_REQUIRES(x_lock);
  static void* take_slot(Slab* slab, unsigned slot_lg2);

  World& x_world;
  const DirectMap& x_map;
  Buddy& x_buddy;
  mutable SpinLock x_lock;
  std::array<Slab*, max_slot_lg2 + 1> x_partial HOLDFAST_GUARDED_BY(x_lock){};  // slabs with a free slot, by slot size
  u64 x_live_objects HOLDFAST_GUARDED_BY(x_lock) = 0;
  u64 x_live_bytes HOLDFAST_GUARDED_BY(x_lock) = 0;
};

}  // namespace holdfast

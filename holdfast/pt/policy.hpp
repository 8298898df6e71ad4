// The two concurrency policies of the engine (see the head of engine.hpp) as types: what each costs is written here.
//
// Failure: none.
#pragma once

#include "holdfast/base/hw_access.hpp"
#include "holdfast/base/locks.hpp"
#include "holdfast/pt/types.hpp"

namespace holdfast::pt {

/// One thread changes the table at a time: no locked operations, and every table knows how many of its items are not
/// empty.
struct Exclusive {
  static constexpr Sharing sharing = Sharing::Exclusive;
  static constexpr bool counts_items = true;

  class Lock {
   public:
    Lock(World&, LockRank) {}
    void lock() {}
    void unlock() {}
  };
  class Guard {
   public:
    explicit Guard(Lock&) {}
  };

  // Readers beside the one who writes follow the top while it grows.
  template <class T>
  [[nodiscard]] static T read(const T& value) {
    return __atomic_load_n(&value, __ATOMIC_ACQUIRE);  // pairs with write()
  }
  template <class T>
  static void write(T& value, T next) {
    __atomic_store_n(&value, next, __ATOMIC_RELEASE);  // pairs with read()
  }
  static void add(u64& counter, u64 n) { counter += n; }

  /// Puts @p item into an empty slot. Nobody else can have done so.
  [[nodiscard]] static bool link(World& world, u64* slot, u64 item) { return hw_store(world, slot, item), true; }
};

/// Threads with disjoint ranges.
struct Shared {
  static constexpr Sharing sharing = Sharing::Shared;
  static constexpr bool counts_items = false;

  using Lock = SpinLock;
  using Guard = holdfast::Guard<SpinLock>;

  template <class T>
  [[nodiscard]] static T read(const T& value) {
    return __atomic_load_n(&value, __ATOMIC_ACQUIRE);  // pairs with write()
  }
  template <class T>
  static void write(T& value, T next) {
    __atomic_store_n(&value, next, __ATOMIC_RELEASE);  // pairs with read()
  }
  static void add(u64& counter, u64 n) { __atomic_fetch_add(&counter, n, __ATOMIC_RELAXED); }

  /// Puts @p item into an empty slot; false when another thread was first.
  [[nodiscard]] static bool link(World& world, u64* slot, u64 item) { return hw_exchange(world, slot, 0, item); }
};

}  // namespace holdfast::pt

// Mutex and SpinLock, with the lock order of the whole library written down once.
//
// A thread takes locks in rising rank. A Mutex may sleep, so it is never taken, and nothing that might sleep is called,
// under a SpinLock. Debug builds check both at run time; clang checks the annotations at compile time.
#pragma once

#include <array>
#include <atomic>

#include "holdfast/base/panic.hpp"
#include "holdfast/base/world.hpp"

#if defined(__clang__)
#define HOLDFAST_TSA(x) __attribute__((x))
#else
#define HOLDFAST_TSA(x)
#endif
#define HOLDFAST_GUARDED_BY(x) HOLDFAST_TSA(guarded_by(x))
#define HOLDFAST_REQUIRES(...) HOLDFAST_TSA(requires_capability(__VA_ARGS__))

namespace holdfast {

/// The lock order, outermost first.
enum class LockRank : u8 {
  Kernel = 1,    // Mutex: the user boundary, one call at a time
  Orchestrator,  // Mutex: sessions, files, FLBs
  Iommufd,       // Mutex: objects of one iommufd
  Iommu,         // Mutex: units, groups, domains, records
  Handover,      // Mutex: the preserved-memory map
  first_spin,
  UnitQueue = first_spin,  // SpinLock: invalidation queue of one unit
  PageTable,               // SpinLock: top and table memory of one shared page table
  Allocator,               // SpinLock: buddy lists, heap
};

/// What the calling thread holds. One per thread, supplied by World::thread_locks().
struct ThreadLocks {
  std::array<LockRank, 8> held{};
  u8 count = 0;
  u8 spinning = 0;

  void acquired(LockRank rank, bool spin) {
    if (count != 0 && held[count - 1] >= rank) panic("lock order: taken against the order of LockRank");
    if (!spin && spinning != 0) panic("a sleeping lock was taken under a spinlock");
    if (count == held.size()) panic("too many locks held by one thread");
    held[count++] = rank;
    if (spin) ++spinning;
  }
  void released(LockRank rank, bool spin) {
    if (count == 0 || held[count - 1] != rank) panic("locks are released in reverse order");
    --count;
    if (spin) --spinning;
  }
};

// A program must decide as the library did that it links: an installed package says how (cmake/install.cmake).
#if defined(HOLDFAST_CHECK_LOCKS)
inline constexpr bool check_locks = HOLDFAST_CHECK_LOCKS != 0;
#elif defined(NDEBUG)
inline constexpr bool check_locks = false;
#else
inline constexpr bool check_locks = true;
#endif

/// Documents, and in debug builds checks, that the caller may sleep here.
inline void might_sleep(World& world) {
  if constexpr (check_locks)
    if (world.thread_locks().spinning != 0) panic("might sleep, under a spinlock");
}

template <bool Spin>
class HOLDFAST_TSA(capability("lock")) BasicLock {
 public:
  constexpr BasicLock(World& world, LockRank rank) : x_world(&world), x_rank(rank) {}
  BasicLock(const BasicLock&) = delete;
  BasicLock& operator=(const BasicLock&) = delete;

  void lock() HOLDFAST_TSA(acquire_capability()) {
    if constexpr (check_locks) x_world->thread_locks().acquired(x_rank, Spin);
    while (x_taken.exchange(true, std::memory_order_acquire)) x_world->relax();  // pairs with unlock()
  }
  void unlock() HOLDFAST_TSA(release_capability()) {
    x_taken.store(false, std::memory_order_release);  // pairs with lock()
    if constexpr (check_locks) x_world->thread_locks().released(x_rank, Spin);
  }

 private:
  World* x_world;
  LockRank x_rank;
  std::atomic<bool> x_taken{false};
};

using Mutex = BasicLock<false>;
using SpinLock = BasicLock<true>;

template <class Lock>
class HOLDFAST_TSA(scoped_lockable) Guard {
 public:
  explicit Guard(Lock& lock) HOLDFAST_TSA(acquire_capability(lock)) : x_lock(lock) { x_lock.lock(); }
  ~Guard() HOLDFAST_TSA(release_capability()) { x_lock.unlock(); }
  Guard(const Guard&) = delete;
  Guard& operator=(const Guard&) = delete;

 private:
  Lock& x_lock;
};

}  // namespace holdfast

// The write ring: how register writes of a kernel process reach the machine process.
//
// Reads are plain loads from the register file. A write is one entry here; before a read returns, the kernel waits
// until the machine has taken every entry that it pushed earlier. The machine takes orders from one kernel at a time: a
// kernel begins with take_over(), and entries that carry another number than the owner's are refused and counted.
//
// Threads: one producer process (it serializes its threads itself), one consumer process. Lies in zeroed shared memory.
// Waiting: a short spin, then sched_yield, because there may be only two processors; the consumer sleeps on a futex
// when it has nothing else to do.
#pragma once

#include <array>
#include <atomic>

#include "holdfast/base/types.hpp"

namespace host {

using namespace holdfast;

struct RegisterWrite {
  u64 address = 0;
  u64 value = 0;
  u32 owner = 0;
  u32 width_bytes = 0;
};

class WriteRing {
 public:
  static constexpr u32 capacity = 256;

  // Producer.

  /// Makes this kernel the one whose writes count, and returns its number (never 0).
  u32 take_over() { return x_owner.fetch_add(1, std::memory_order_acq_rel) + 1; }
  /// Waits while the ring is full.
  void push(const RegisterWrite& write);
  /// Waits until everything pushed so far is in effect.
  void wait_until_taken() const;
  [[nodiscard]] bool all_taken() const {
    return x_tail.load(std::memory_order_acquire) == x_head.load(std::memory_order_relaxed);
  }

  // Consumer.

  /// Hands every waiting write of the owner to @p apply(const RegisterWrite&), oldest first; returns how many were
  /// taken.
  template <class Apply>
  u32 drain(Apply&& apply);
  /// Sleeps until a write comes, at most @p timeout_ns.
  void sleep_until_written(u64 timeout_ns);
  [[nodiscard]] u64 refused() const { return x_refused.load(std::memory_order_relaxed); }

 private:
  // Each counter pairs with itself in the other process: release where it is written, acquire where it is read.
  alignas(64) std::atomic<u32> x_head{0};  // written by the producer
  alignas(64) std::atomic<u32> x_tail{0};  // written by the consumer: everything before it is in effect
  alignas(64) std::atomic<u32> x_owner{0};
  std::atomic<u32> x_consumer_sleeps{0};
  std::atomic<u64> x_refused{0};
  std::array<RegisterWrite, capacity> x_entries{};

  static_assert(std::atomic<u32>::is_always_lock_free && std::atomic<u64>::is_always_lock_free);
};

template <class Apply>
u32 WriteRing::drain(Apply&& apply) {
  u32 tail = x_tail.load(std::memory_order_relaxed);
  u32 head = x_head.load(std::memory_order_acquire);
  if (head - tail > capacity) return 0;  // the producer is not one of ours
  u32 taken = head - tail;
  for (; tail != head; ++tail) {
    const RegisterWrite write = x_entries[tail % capacity];
    if (write.owner == x_owner.load(std::memory_order_acquire))
      apply(write);
    else
      x_refused.fetch_add(1, std::memory_order_relaxed);
    x_tail.store(tail + 1, std::memory_order_release);
  }
  return taken;
}

/// One turn of a wait for another process: spins a little, then lets others run.
class Waiter {
 public:
  void turn();

 private:
  u32 x_turns = 0;
};

}  // namespace host

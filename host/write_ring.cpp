// Waiting on both ends of the write ring.
#include "host/write_ring.hpp"

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

namespace host {
namespace {

constexpr u32 spins_before_yield = 64;

u32* futex_word(std::atomic<u32>& word) { return reinterpret_cast<u32*>(&word); }

}  // namespace

void Waiter::turn() {
  if (x_turns < spins_before_yield) {
    ++x_turns;
    __builtin_ia32_pause();
  } else {
    ::sched_yield();
  }
}

void WriteRing::push(const RegisterWrite& write) {
  u32 head = x_head.load(std::memory_order_relaxed);
  for (Waiter waiter; head - x_tail.load(std::memory_order_acquire) >= capacity;) waiter.turn();
  x_entries[head % capacity] = write;
  // Sequentially consistent against sleep_until_written: either it sees the new head or we see that it sleeps.
  x_head.store(head + 1, std::memory_order_seq_cst);
  if (x_consumer_sleeps.load(std::memory_order_seq_cst) != 0)
    ::syscall(SYS_futex, futex_word(x_head), FUTEX_WAKE, 1, nullptr, nullptr, 0);
}

void WriteRing::wait_until_taken() const {
  u32 head = x_head.load(std::memory_order_acquire);
  for (Waiter waiter; static_cast<i32>(x_tail.load(std::memory_order_acquire) - head) < 0;) waiter.turn();
}

void WriteRing::sleep_until_written(u64 timeout_ns) {
  x_consumer_sleeps.store(1, std::memory_order_seq_cst);
  u32 head = x_head.load(std::memory_order_seq_cst);
  if (head == x_tail.load(std::memory_order_relaxed)) {
    timespec timeout{.tv_sec = static_cast<time_t>(timeout_ns / 1'000'000'000),
                     .tv_nsec = static_cast<long>(timeout_ns % 1'000'000'000)};
    ::syscall(SYS_futex, futex_word(x_head), FUTEX_WAIT, head, &timeout, nullptr, 0);
  }
  x_consumer_sleeps.store(0, std::memory_order_relaxed);
}

}  // namespace host

#include "sim/fiber.hpp"

#include <sys/mman.h>
#include <ucontext.h>

#include <cstdlib>
#include <exception>
#include <new>
#include <utility>

#if defined(__SANITIZE_ADDRESS__)
#define SIM_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SIM_ASAN 1
#endif
#endif

#if defined(SIM_ASAN)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace sim {

struct Fiber::State {
  ucontext_t outside{};
  ucontext_t inner{};
  std::function<void()> body;
  Outcome outcome;
  std::exception_ptr exception;
  const void* outside_stack = nullptr;
  std::size_t outside_stack_bytes = 0;
  void* outside_fake_stack = nullptr;
};

namespace {

constexpr std::size_t guard_bytes = page_size_bytes;
thread_local void* running = nullptr;

}  // namespace

Fiber::Fiber(std::size_t stack_bytes)
    : x_stack_bytes((stack_bytes + page_size_bytes - 1) / page_size_bytes * page_size_bytes) {
  void* memory = mmap(nullptr, x_stack_bytes + guard_bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  mprotect(memory, guard_bytes, PROT_NONE);  // an overflow faults instead of writing into a neighbour
  x_stack = static_cast<std::byte*>(memory);
}

Fiber::~Fiber() { munmap(x_stack, x_stack_bytes + guard_bytes); }

bool Fiber::inside() { return running != nullptr; }

void Fiber::entry() {
  State* state = static_cast<State*>(running);
#if defined(SIM_ASAN)
  __sanitizer_finish_switch_fiber(nullptr, &state->outside_stack, &state->outside_stack_bytes);
#endif
  try {
    state->body();
  } catch (...) {
    state->exception = std::current_exception();
  }
  leave({});
}

void Fiber::leave(Outcome outcome) {
  State* state = static_cast<State*>(running);
  if (state == nullptr) std::abort();
  state->outcome = std::move(outcome);
#if defined(SIM_ASAN)
  // No place to save the fake stack: this stack is never entered again.
  __sanitizer_start_switch_fiber(nullptr, state->outside_stack, state->outside_stack_bytes);
#endif
  setcontext(&state->outside);
  std::abort();
}

Outcome Fiber::run(std::function<void()> body) {
  if (inside()) std::abort();
  State state;
  state.body = std::move(body);
  getcontext(&state.inner);
  state.inner.uc_stack.ss_sp = x_stack + guard_bytes;
  state.inner.uc_stack.ss_size = x_stack_bytes;
  state.inner.uc_link = nullptr;
  makecontext(&state.inner, &Fiber::entry, 0);
  running = &state;
#if defined(SIM_ASAN)
  __sanitizer_start_switch_fiber(&state.outside_fake_stack, x_stack + guard_bytes, x_stack_bytes);
#endif
  swapcontext(&state.outside, &state.inner);
#if defined(SIM_ASAN)
  __sanitizer_finish_switch_fiber(state.outside_fake_stack, nullptr, nullptr);
  // The frames that were left behind keep their red zones in the shadow; the stack is used again.
  __asan_unpoison_memory_region(x_stack + guard_bytes, x_stack_bytes);
#endif
  running = nullptr;
  if (state.exception) std::rethrow_exception(state.exception);
  return std::move(state.outcome);
}

}  // namespace sim

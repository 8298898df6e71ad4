// Intel SDM volume 3, 3.4 (descriptors), 6.14 (64-bit IDT and IST), 7.7 (TSS).
#include "metal/exceptions.hpp"

#include <array>

#include "holdfast/base/text_line.hpp"
#include "metal/console.hpp"
#include "metal/cpu.hpp"
#include "metal/exit.hpp"
#include "metal/kept_log.hpp"
#include "metal/stack_guard.hpp"

namespace metal {
namespace {

constexpr unsigned vectors = 32;
constexpr u64 stub_bytes = 16;
constexpr u16 code_selector = 8;
constexpr u16 task_selector = 24;

struct [[gnu::packed]] TableRegister {
  u16 limit = 0;
  u64 base = 0;
};
struct [[gnu::packed]] TaskState {
  u32 reserved0 = 0;
  u64 stacks[3]{};
  u64 reserved1 = 0;
  u64 interrupt_stacks[7]{};
  u64 reserved2 = 0;
  u16 reserved3 = 0;
  u16 permission_map = sizeof(TaskState);
};
static_assert(sizeof(TaskState) == 104);
struct Gate {
  u64 low = 0;
  u64 high = 0;
};
struct State {
  std::array<u64, 8> thread{};  // what libfdt's stack protector reads at %fs:0x28
  TaskState task;
  std::array<u64, 5> segments{};
  std::array<Gate, vectors> gates{};
};
State state;

/// What the stubs of entry.S leave on the fault stack.
struct Frame {
  u64 vector;
  u64 error_code;
  u64 instruction;
  u64 code_segment;
  u64 flags;
  u64 stack;
};

}  // namespace

extern "C" {
extern const char metal_exceptions[] __attribute__((visibility("hidden")));
extern const char metal_fault_stack_end[] __attribute__((visibility("hidden")));
extern const char metal_image_start[] __attribute__((visibility("hidden")));
void metal_load_segments(const void* gdtr, const void* idtr, u16 task) __attribute__((visibility("hidden")));

[[noreturn, gnu::visibility("hidden")]] void metal_exception(const Frame* frame) {
  print_kept_log();
  const u64 address = read_cr2();
  constexpr u64 page_fault = 14;
  if (frame->vector == page_fault && stack_guard().contains(PhysAddr(address), 1)) print("stack overflow: ");
  TextLine line;
  line.text("exception ").number(frame->vector).text(" code 0x").hex(frame->error_code);
  line.text(" at image+0x").hex(frame->instruction - reinterpret_cast<u64>(metal_image_start));
  line.text(" cr2 0x").hex(address).text(" stack 0x").hex(frame->stack);
  print_line(line.view());
  exit_machine(ExitCode::Panic);
}
}

void install_exceptions() {
  const u64 task = reinterpret_cast<u64>(&state.task);
  state.task.interrupt_stacks[0] = reinterpret_cast<u64>(metal_fault_stack_end);
  constexpr u64 available_task = 0x89;
  constexpr u64 limit = sizeof(TaskState) - 1;
  state.segments = {0, 0x00af9b000000ffff, 0x00cf93000000ffff,
                    limit | (task & 0xffffff) << 16 | available_task << 40 | (task >> 24 & 0xff) << 56, task >> 32};
  for (unsigned i = 0; i < vectors; ++i) {
    const u64 stub = reinterpret_cast<u64>(metal_exceptions) + i * stub_bytes;
    constexpr u64 interrupt_gate = 0x8e;
    constexpr u64 fault_stack = 1;
    state.gates[i].low = (stub & 0xffff) | u64{code_selector} << 16 | fault_stack << 32 | interrupt_gate << 40 |
                         (stub >> 16 & 0xffff) << 48;
    state.gates[i].high = stub >> 32;
  }
  const TableRegister gdtr{sizeof state.segments - 1, reinterpret_cast<u64>(state.segments.data())};
  const TableRegister idtr{sizeof state.gates - 1, reinterpret_cast<u64>(state.gates.data())};
  metal_load_segments(&gdtr, &idtr, task_selector);
  constexpr u32 fs_base = 0xc0000100;
  write_msr(fs_base, reinterpret_cast<u64>(state.thread.data()));
}

}  // namespace metal

// The model world: a modelled machine in the same process, deterministic and stepped, and a World for each kernel on
// it.
//
// ModelMachine owns RAM (a memfd), the register backing, the virtual clock and the Machine; it lives as long as the
// machine. ModelWorld is what one kernel generation sees: RAM at a virtual address that no earlier generation used,
// with the earlier ones unmapped. A generation runs inside a Fiber, because jump() and a stop never return.
//
// Time is virtual and moves only with the kernel's own acts: a fixed amount per step, register access and relax().
// Threads: one.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "holdfast/base/locks.hpp"
#include "sim/fiber.hpp"
#include "sim/machine.hpp"
#include "sim/scorch.hpp"

namespace sim {

struct ModelPace {
  u64 transfers_per_step = 1;  // turns for each engine at a step, register access or relax
  u64 step_ns = 100;
  u64 relax_ns = 1'000'000;
};

class ModelMachine {
 public:
  explicit ModelMachine(MachineConfig config, ModelPace pace = {});
  ~ModelMachine();
  ModelMachine(const ModelMachine&) = delete;
  ModelMachine& operator=(const ModelMachine&) = delete;

  [[nodiscard]] Machine& machine() { return *x_machine; }
  [[nodiscard]] const Machine& machine() const { return *x_machine; }
  [[nodiscard]] const std::vector<MemoryRange>& memory_map() const { return x_machine->ram().memory_map(); }
  [[nodiscard]] u64 now_ns() const { return x_now_ns; }
  /// Lets the engines run while time passes.
  void advance(u64 elapsed_ns);
  void set_pace(const ModelPace& pace) { x_pace = pace; }
  [[nodiscard]] const ModelPace& pace() const { return x_pace; }
  [[nodiscard]] int ram_descriptor() const { return x_ram_fd; }

  /// Maps RAM where no kernel of this machine had it before and takes every earlier view away.
  [[nodiscard]] std::byte* map_for_new_kernel();
  [[nodiscard]] u64 span_bytes() const { return x_span_bytes; }

 private:
  int x_ram_fd = -1;
  u64 x_span_bytes = 0;
  std::byte* x_base = nullptr;  // the machine's own view
  std::vector<u64> x_backing;
  std::vector<std::byte*> x_kernel_views;  // all but the last are reservations without access
  u64 x_now_ns = 0;
  ModelPace x_pace;
  std::unique_ptr<Machine> x_machine;
};

/// What the runner wants to happen to one generation.
struct GenerationPlan {
  u64 stop_at_step = 0;     // the k-th step hook, counting from 1, does not return; 0: never
  u64 fail_allocation = 0;  // the k-th may_allocate() says no; 0: never
  Code fail_jump_with = Code::Ok;
  std::vector<std::byte> next_image_note;  // empty: no image is staged
  // Of the boot info. The model's kernels run outside the machine's RAM, so the image is a claim.
  PhysRange own_image = {};
  u64 image_area_bytes = 0;
};

struct LogLine {
  LogLevel level{};
  std::string text;
};

class ModelWorld final : public World {
 public:
  explicit ModelWorld(ModelMachine& machine, GenerationPlan plan = {});

  /// BootInfo of a kernel that is entered here; @p handover is zero when cold. The command line must outlive it.
  [[nodiscard]] BootInfo boot_info(const Handover& handover, std::string_view command_line) const;

  [[nodiscard]] GenerationPlan& plan() { return x_plan; }
  [[nodiscard]] u64 steps() const { return x_steps; }
  [[nodiscard]] u64 allocations() const { return x_allocations; }
  /// Milestones of this generation and the step hooks before them.
  struct PhaseStep {
    Phase phase{};
    u64 steps = 0;
  };
  [[nodiscard]] const std::vector<PhaseStep>& phase_steps() const { return x_phase_steps; }
  void restart_counting() { x_steps = x_allocations = 0; }
  [[nodiscard]] const std::vector<LogLine>& log_lines() const { return x_log; }
  /// All lines, one per row, for a test's failure message.
  [[nodiscard]] std::string log_text() const;

  // World
  [[nodiscard]] std::byte* direct_map() const override { return x_base; }
  u64 mmio_read(PhysAddr address, Width width) override;
  void mmio_write(PhysAddr address, Width width, u64 value) override;
  [[nodiscard]] u64 now_ns() override { return x_machine->now_ns(); }
  void relax() override;
  void log(LogLevel level, std::string_view message) override;
  [[nodiscard]] ThreadLocks& thread_locks() override { return x_locks; }
  void phase(Phase phase, const TouchCounts& touched) override;
  void guest_memory(PhysRange range, GuestMemory what) override;
  Result<u64> read_next_image_note(std::span<std::byte> buffer) override;
  Status prepare_jump(std::span<const PhysRange> ranges) override;
  void cancel_jump() override;
  Code jump(const Handover& handover) override;
  void step() override;
  bool may_allocate() override;

 private:
  ModelMachine* x_machine;
  GenerationPlan x_plan;
  std::byte* x_base;
  ThreadLocks x_locks;
  std::vector<LogLine> x_log;
  std::vector<PhaseStep> x_phase_steps;
  u64 x_steps = 0;
  u64 x_allocations = 0;
};

}  // namespace sim

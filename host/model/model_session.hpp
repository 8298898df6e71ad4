// ModelSession: one modelled machine and the kernels that run on it, one after the other, in this process.
//
// The kernel is the very one of the other worlds, in its traced build. Each generation runs in a fiber of its own and
// is left without any destructor when it jumps, stops or panics; a program must own nothing on the fiber's stack then.
// Threads: one.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "holdfast/kernel/kernel.hpp"
#include "sim/model_world.hpp"

namespace host {

/// Whether a jump overwrites everything that was not promised to the next kernel.
enum class Jump : holdfast::u8 { Scorched, Plain };

/// How one generation ended.
struct Generation {
  sim::Outcome outcome;
  holdfast::Code boot = holdfast::Code::Ok;  // of Kernel::boot(); the program did not run if it failed
  std::string log;                           // what the kernel said
  holdfast::u64 steps = 0;  // step hooks since it was entered, or since the program restarted the count
  holdfast::u64 allocations = 0;
  /// What the kernel would have passed to the next one: where a stopped kernel's state is found.
  holdfast::Handover numbers;

  std::vector<sim::ModelWorld::PhaseStep> phase_steps;

  /// Step hooks before the first @p phase; 0 if it was not reached.
  [[nodiscard]] holdfast::u64 steps_at(holdfast::Phase phase) const;
  [[nodiscard]] bool jumped() const { return outcome.kind == sim::Outcome::Kind::Jumped; }
  [[nodiscard]] bool returned() const { return outcome.kind == sim::Outcome::Kind::Returned; }
  /// For a test's failure message.
  [[nodiscard]] std::string text() const;
};

class ModelSession {
 public:
  /// What runs on a booted kernel.
  struct Context {
    sim::ModelMachine& machine;
    sim::ModelWorld& world;
    holdfast::kernel::Kernel& kernel;
    holdfast::kernel::Process& process;
  };
  using Program = std::function<void(Context&)>;

  ModelSession(const sim::MachineConfig& config, std::string command_line, sim::ModelPace pace = {},
               Jump jump = Jump::Scorched);

  [[nodiscard]] sim::ModelMachine& model() { return x_machine; }
  [[nodiscard]] sim::Machine& machine() { return x_machine.machine(); }

  /// Boots a kernel with the handover of the last jump (cold if there was none) and runs @p program on it. A generation
  /// that stopped or panicked leaves the handover as it was: the next call boots the same state again. @p plan counts
  /// from the kernel's first act.
  Generation run(const Program& program, sim::GenerationPlan plan = {});

  [[nodiscard]] const holdfast::Handover& handover() const { return x_handover; }
  /// Of the next kernels.
  void set_command_line(std::string line) { x_command_line = std::move(line); }
  void set_handover(const holdfast::Handover& handover) { x_handover = handover; }

 private:
  sim::ModelMachine x_machine;
  std::string x_command_line;
  Jump x_jump;
  holdfast::Handover x_handover;
};

}  // namespace host

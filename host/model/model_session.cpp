#include "host/model/model_session.hpp"

#include <new>
#include <stdexcept>

#include "holdfast/kernel/image_note.hpp"
#include "host/direct_user_memory.hpp"

namespace host {

using namespace holdfast;

namespace {

std::vector<std::byte> own_image_note() {
  const std::string_view note = kernel::own_note();
  const auto bytes = std::as_bytes(std::span(note));
  return {bytes.begin(), bytes.end()};
}

/// Storage of an object that is never destroyed, only left.
template <class T>
class Place {
 public:
  template <class... Arguments>
  T& create(Arguments&&... arguments) {
    return *new (x_bytes) T(std::forward<Arguments>(arguments)...);
  }

 private:
  alignas(T) std::byte x_bytes[sizeof(T)];
};

}  // namespace

u64 Generation::steps_at(Phase phase) const {
  for (const auto& mark : phase_steps)
    if (mark.phase == phase) return mark.steps;
  return 0;
}

std::string Generation::text() const {
  std::string text = "boot " + std::string(errno_name(boot)) + ", ";
  switch (outcome.kind) {
    case sim::Outcome::Kind::Returned: text += "returned"; break;
    case sim::Outcome::Kind::Jumped: text += "jumped"; break;
    case sim::Outcome::Kind::Stopped: text += "stopped"; break;
    case sim::Outcome::Kind::Panicked:
      text +=
          "panic: " + outcome.panic_what + " (" + outcome.panic_file + ":" + std::to_string(outcome.panic_line) + ")";
      break;
  }
  return text + "\n" + log;
}

ModelSession::ModelSession(const sim::MachineConfig& config, std::string command_line, sim::ModelPace pace, Jump jump)
    : x_machine(config, pace), x_command_line(std::move(command_line)), x_jump(jump) {}

Generation ModelSession::run(const Program& program, sim::GenerationPlan plan) {
  if (plan.next_image_note.empty()) plan.next_image_note = own_image_note();
  sim::ModelWorld world(x_machine, std::move(plan));
  const BootInfo boot = world.boot_info(x_handover, x_command_line);
  const auto place = std::make_unique<Place<kernel::Kernel>>();
  DirectUserMemory user;
  Generation generation;
  sim::Fiber fiber(std::size_t{1} << 20);
  kernel::Kernel* booted_kernel = nullptr;
  generation.outcome = fiber.run([&] {
    kernel::Kernel& kernel = place->create(world, boot);
    if (const Status booted = kernel.boot(); !booted.ok()) {
      generation.boot = booted.code();
      return;
    }
    const Result<kernel::Process*> process = kernel.spawn(user);
    if (!process.ok()) {
      generation.boot = process.code();
      return;
    }
    booted_kernel = &kernel;
    Context context{x_machine, world, kernel, **process};
    program(context);
  });
  generation.log = world.log_text();
  generation.steps = world.steps();
  generation.phase_steps = world.phase_steps();
  generation.allocations = world.allocations();
  if (booted_kernel != nullptr) generation.numbers = booted_kernel->handover().numbers();
  if (!generation.jumped()) return generation;
  x_handover = generation.outcome.handover;
  if (x_jump == Jump::Scorched) {
    const sim::ScorchResult result = sim::scorch(machine().ram(), x_handover);
    if (!result.error.empty()) throw std::runtime_error("the independent reader refuses the handover: " + result.error);
  }
  return generation;
}

}  // namespace host

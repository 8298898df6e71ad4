// One generation: world, kernel, VMM.
#include "host/kernel_process.hpp"

#include <sys/prctl.h>
#include <unistd.h>

#include <string>

#include "holdfast/base/place.hpp"
#include "holdfast/kernel/kernel.hpp"
#include "host/direct_user_memory.hpp"
#include "host/host_world.hpp"
#include "host/local_syscalls.hpp"
#include "host/run_error.hpp"
#include "vmm/vmm.hpp"

extern "C" [[noreturn]] void holdfast_panic(const char* what, const char* file, unsigned line) {
  const std::string text = std::string("kernel panic: ") + what + " (" + file + ":" + std::to_string(line) + ")\n";
  [[maybe_unused]] const ssize_t ignored = ::write(STDERR_FILENO, text.data(), text.size());
  std::abort();
}

namespace host {
namespace {

Place<HostWorld> world_place;
Place<kernel::Kernel> kernel_place;

class SupervisorReporter final : public vmm::Reporter {
 public:
  SupervisorReporter(HostWorld& world, u32 generation) : x_world(world), x_generation(generation) {}
  void report(const vmm::Report& report) override {
    KernelMessage message;
    message.event = KernelEvent::VmmReport;
    message.generation = x_generation;
    message.report = report;
    x_world.send(message);
  }

 private:
  HostWorld& x_world;
  u32 x_generation;
};

int give_up(HostWorld& world, const KernelArguments& arguments, Code code) {
  KernelMessage message;
  message.event = KernelEvent::BootFailed;
  message.generation = arguments.vmm.generation;
  message.error = to_errno(code);
  world.send(message);
  return static_cast<int>(ExitCode::Internal);
}

int run(const KernelArguments& arguments) {
  HostWorld& world = world_place.create(arguments, "/proc/self/exe");
  static const std::string line = kernel_command_line(arguments.mode, arguments.policy);
  const BootInfo boot{.memory_map = world.memory_map(),
                      .own_image = {},
                      .rsdp = PhysAddr(world.shape().rsdp),
                      .command_line = line,
                      .handover = arguments.handover};
  kernel::Kernel& kernel = kernel_place.create(world, boot);
  if (const Status booted = kernel.boot(); !booted.ok()) return give_up(world, arguments, booted.code());
  static DirectUserMemory user;
  const Result<kernel::Process*> process = kernel.spawn(user);
  if (!process.ok()) return give_up(world, arguments, process.code());
  LocalSyscalls system(world, **process);
  SupervisorReporter reporter(world, arguments.vmm.generation);
  // The VMM's process is not reaped: the machine still has to read guest memory through its translations.
  const vmm::Report last = vmm::run_generation(system, arguments.vmm, reporter);
  return last.outcome == vmm::Outcome::Running ? static_cast<int>(ExitCode::Internal) : static_cast<int>(ExitCode::Ok);
}

}  // namespace

int run_kernel_process(std::span<char* const> words) {
  ::prctl(PR_SET_NAME, "holdfast-kernel");
  try {
    return run(parse_kernel_arguments(words));
  } catch (const RunError& error) {
    const std::string text = std::string("holdfast kernel: ") + error.what() + "\n";
    [[maybe_unused]] const ssize_t ignored = ::write(STDERR_FILENO, text.data(), text.size());
    return static_cast<int>(error.code());
  }
}

}  // namespace host

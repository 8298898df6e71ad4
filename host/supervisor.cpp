// Starting, listening, ending.
#include "host/supervisor.hpp"

#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace host {
namespace {

constexpr u64 base_timeout_ms = 180'000;
constexpr u64 pages_per_timeout_ms = 500;  // a very slow machine maps, checks and frees so many pages in a millisecond
constexpr int poll_period_ms = 1000;

u64 monotonic_ms() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<u64>(now.tv_sec) * 1000 + static_cast<u64>(now.tv_nsec) / 1'000'000;
}

u64 timeout_for(const RunOptions& options) {
  const u64 domains = options.domains == vmm::DomainLayout::Shared ? 1 : options.devices;
  const u64 pages = options.mapped_bytes / page_size_bytes * domains * (options.updates + 1);
  return base_timeout_ms + pages / pages_per_timeout_ms;
}

/// Interrupts arrive as readable bytes while this exists.
class SignalGuard {
 public:
  SignalGuard() {
    sigset_t set;
    ::sigemptyset(&set);
    for (int signal : {SIGINT, SIGTERM, SIGHUP}) ::sigaddset(&set, signal);
    ::pthread_sigmask(SIG_BLOCK, &set, &x_before);
    x_fd.reset(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
    if (!x_fd.valid()) throw_system_error("signalfd");
  }
  ~SignalGuard() { ::pthread_sigmask(SIG_SETMASK, &x_before, nullptr); }
  SignalGuard(const SignalGuard&) = delete;
  SignalGuard& operator=(const SignalGuard&) = delete;

  [[nodiscard]] int fd() const { return x_fd.get(); }
  void throw_if_interrupted() {
    signalfd_siginfo info;
    if (::read(x_fd.get(), &info, sizeof info) != sizeof info) return;
    throw RunError(ExitCode::Interrupted,
                   std::string("interrupted by ") + ::strsignal(static_cast<int>(info.ssi_signo)));
  }

 private:
  sigset_t x_before{};
  UniqueFd x_fd;
};

}  // namespace

Supervisor::Supervisor(SupervisorSettings settings, MachineBuilder& builder)
    : x_settings(std::move(settings)), x_machine(std::make_unique<MachineProcess>(builder, x_settings.pace)) {
  if (x_settings.timeout_ms == 0) x_settings.timeout_ms = timeout_for(x_settings.options);
  if (!x_settings.options.dump_directory.empty()) x_dump.emplace(x_settings.options.dump_directory, x_machine->shape());
}

void Supervisor::start_kernel() {
  auto [ours, theirs] = MessageSocket::create_pair();
  x_reports = std::move(ours);
  const RunOptions& options = x_settings.options;
  KernelArguments arguments;
  arguments.machine = x_machine->fds();
  arguments.report_fd = theirs.fd();
  arguments.vmm = vmm_options(options);
  arguments.mode = options.mode;
  arguments.policy = options.policy;
  arguments.log_level = x_settings.log_level;
  arguments.dump = x_dump ? JumpDump::Yes : JumpDump::No;
  const KernelImage& image = x_settings.image;
  const std::vector<std::string_view> first(image.first_words.begin(), image.first_words.end());
  ArgumentWords words(first, arguments);
  const std::array keep{arguments.machine.ram, arguments.machine.registers, arguments.machine.link, theirs.fd()};
  x_kernel = Child::start_image(image.path, words.strings(), keep);
}

RunEvidence Supervisor::run() {
  try {
    x_machine->run();
    start_kernel();
    listen();
    x_kernel.wait(5000);  // it has closed its socket: only the rest of its exit is left
    const Ending ending = x_kernel.end();
    if (!ending.is_success()) throw_kernel_error(ending);
    return collect();
  } catch (...) {
    x_kernel.end();
    x_machine->child().end();
    throw;
  }
}

/// Returns when the kernel process has closed its end, that is when it has ended.
void Supervisor::listen() {
  SignalGuard signals;
  const u64 deadline = monotonic_ms() + x_settings.timeout_ms;
  while (x_kernel_listens) {
    std::array<pollfd, 3> waiting{{{.fd = x_reports.fd(), .events = POLLIN, .revents = 0},
                                   {.fd = x_machine->control_fd(), .events = 0, .revents = 0},
                                   {.fd = signals.fd(), .events = POLLIN, .revents = 0}}};
    ::poll(waiting.data(), waiting.size(), poll_period_ms);
    signals.throw_if_interrupted();
    if (waiting[1].revents != 0) static_cast<void>(x_machine->audit());  // throws: it is gone
    if (waiting[0].revents != 0) receive();
    if (monotonic_ms() > deadline)
      throw RunError(ExitCode::Internal,
                     "the run did not end within " + std::to_string(x_settings.timeout_ms / 1000) +
                         " s; the last milestone was " + last_milestone(),
                     "the kernel or the VMM waits for something that does not come, or this computer is very slow",
                     "run again with a smaller --mapped; if it hangs again this is a bug");
  }
}

void Supervisor::receive() {
  KernelMessage message;
  switch (x_reports.receive_value(message, 0)) {
    case Received::Nothing: return;
    case Received::PeerGone: x_kernel_listens = false; return;
    case Received::Message: handle(message); return;
  }
}

void Supervisor::handle(const KernelMessage& message) {
  switch (message.event) {
    case KernelEvent::BootFailed: throw_boot_error(message);
    case KernelEvent::VmmReport:
      x_vmm_reports.push_back(message.report);
      if (message.report.outcome == vmm::Outcome::Running)
        x_settings.progress("update " + std::to_string(message.report.generation + 1) + " of " +
                            std::to_string(x_settings.options.updates) + ": preserved, jumping");
      return;
    case KernelEvent::Dump:
      if (!x_dump) return;
      x_settings.progress("writing RAM to " + x_settings.options.dump_directory);
      x_dump->add(message.generation + 1, message.handover, x_machine->fds().ram);
      x_reports.send_value(u32{1});
      return;
  }
}

RunEvidence Supervisor::collect() {
  x_machine->stop();
  RunEvidence evidence{.marks = x_machine->marks(),
                       .vmm_reports = std::move(x_vmm_reports),
                       .audit = x_machine->audit(),
                       .refused_writes = x_machine->refused_writes()};
  x_machine->quit();
  return evidence;
}

std::string Supervisor::last_milestone() {
  const std::vector<Mark> marks = x_machine->marks();
  return marks.empty() ? "none" : std::string(name_of(marks.back().phase));
}

void Supervisor::throw_kernel_error(const Ending& ending) {
  const std::size_t boots = x_vmm_reports.size();
  throw RunError(ExitCode::Internal,
                 "a kernel process " + ending.text() + " after " + std::to_string(boots) +
                     " reports of the VMM; the last milestone was " + last_milestone(),
                 ending.how == Ending::How::Signalled && ending.number == SIGKILL
                     ? "it was killed from outside, or memory ran out"
                     : "this is a bug in the kernel or the VMM; its own message is above",
                 "run again with the same --seed to see whether it repeats");
}

void Supervisor::throw_boot_error(const KernelMessage& message) {
  const bool memory = message.error == ENOMEM;
  throw RunError(memory ? ExitCode::InputMissing : ExitCode::Internal,
                 "kernel " + std::to_string(message.generation) + " did not come up: " + std::strerror(message.error) +
                     "; the last milestone was " + last_milestone(),
                 memory ? "the machine has too little RAM" : "see the kernel's own message above",
                 memory ? "give a larger --ram" : "");
}

}  // namespace host

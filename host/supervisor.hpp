// The supervisor of a run in the processes world: starts the machine process and the first kernel process, listens to
// both, and ends both whatever happens.
//
// Threads: one. While it runs SIGINT, SIGTERM and SIGHUP are taken from the process; they end the run.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "host/host_world.hpp"
#include "host/machine_process.hpp"
#include "host/ram_dump.hpp"
#include "host/report_builder.hpp"
#include "host/run_error.hpp"

namespace host {

/// How the first kernel process is started.
struct KernelImage {
  std::string path = "/proc/self/exe";
  std::vector<std::string> first_words{"holdfast", "kernel"};
};

struct SupervisorSettings {
  RunOptions options;
  KernelImage image;
  MachinePace pace;
  LogLevel log_level = LogLevel::Warning;
  u64 timeout_ms = 0;  // 0: from the options
  std::function<void(const std::string&)> progress = [](const std::string&) {};
};

class Supervisor {
 public:
  Supervisor(SupervisorSettings settings, MachineBuilder& builder);

  /// Runs to the end of the last kernel. @throws RunError when there is no end to report on: a process died, hung, or
  /// the run was interrupted. In every case nothing is left running.
  RunEvidence run();

  /// For tests: the processes while they run.
  [[nodiscard]] MachineProcess& machine() { return *x_machine; }
  [[nodiscard]] pid_t kernel_pid() const { return x_kernel.pid(); }

 private:
  void start_kernel();
  void listen();
  void receive();
  void handle(const KernelMessage& message);
  [[nodiscard]] RunEvidence collect();
  [[nodiscard]] std::string last_milestone();
  [[noreturn]] void throw_kernel_error(const Ending& ending);
  [[noreturn]] void throw_boot_error(const KernelMessage& message);

  SupervisorSettings x_settings;
  std::unique_ptr<MachineProcess> x_machine;
  std::optional<RamDump> x_dump;
  MessageSocket x_reports;
  Child x_kernel;
  bool x_kernel_listens = true;
  std::vector<vmm::Report> x_vmm_reports;
};

}  // namespace host

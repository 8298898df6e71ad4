// One run of a bare-metal kernel under QEMU: what it is given, what it says, how it ends.
//
// RAM, serial line and QMP are inherited descriptors; log and trace are files in the run's own folder, where they stay.
// The machine is killed with its object and when its time is up, and leaves no process behind.
// Threads: one, besides the reader of the serial line. Failure: RunError; a kernel that fails is no failure here.
#pragma once

#include <filesystem>
#include <memory>

#include "metal/exit.hpp"
#include "tests/metal/outside_view.hpp"
#include "tests/metal/qmp.hpp"
#include "tests/metal/serial.hpp"
#include "tests/metal/trace.hpp"
#include "tests/qemu/binary.hpp"

namespace metal_test {

/// Where the next image is found.
enum class NextImage : u8 { FwCfg, Module, None };
/// Whether time is counted in instructions, the same in every run.
enum class Time : u8 { Real, Instructions };

inline constexpr unsigned icount_shift = 3;  // one instruction is 2^3 ns of virtual time

struct MachineSetup {
  std::filesystem::path image;
  std::filesystem::path next_image;                                 // empty: image
  std::filesystem::path folder;                                     // of log and trace; made empty
  std::string kernel_words;                                         // "mode=scalable metal.hold_us=1000"
  std::string vmm_words;                                            // "net updates=3"
  std::vector<std::string> devices;                                 // arguments of QEMU
  std::vector<int> inherited;                                       // descriptors that those name
  std::string iommu = "intel-iommu,aw-bits=48,x-scalable-mode=on";  // empty: the machine has none
  NextImage next = NextImage::FwCfg;
  Time time = Time::Real;
  u64 memory_mib = 512;
  std::chrono::seconds time_limit{60};
};

/// The statuses that QEMU exits with when the kernel ends it.
enum class Status : int {
  Panic = metal::qemu_status(metal::ExitCode::Panic),
  BootFailed = metal::qemu_status(metal::ExitCode::BootFailed),
  ScenarioFailed = metal::qemu_status(metal::ExitCode::ScenarioFailed),
  UpdateRefused = metal::qemu_status(metal::ExitCode::UpdateRefused),
  JumpFailed = metal::qemu_status(metal::ExitCode::JumpFailed),
  Done = metal::qemu_status(metal::ExitCode::Done),
};

class Machine {
 public:
  Machine(const qemu::Binary& binary, const MachineSetup& setup);
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;
  ~Machine();

  [[nodiscard]] SerialLog& serial() { return *x_serial; }
  [[nodiscard]] const GuestMemory& memory() const { return x_memory; }
  /// Where the first kernel was loaded.
  [[nodiscard]] const PhysRange& first_image() const { return x_first_image; }
  [[nodiscard]] const std::filesystem::path& folder() const { return x_setup.folder; }
  [[nodiscard]] Clock::time_point deadline() const { return x_deadline; }
  [[nodiscard]] pid_t pid() const { return x_child.pid(); }
  [[nodiscard]] bool has_ended() { return x_child.try_ending().has_value(); }

  /// The first wanted line, while the machine runs and has time.
  [[nodiscard]] std::optional<Line> wait_for(const SerialLog::Wanted& wanted) {
    return x_serial->wait_for(wanted, x_deadline);
  }
  /// True when a kernel waits in the @p jump-th update (from 1) at the place @p hold (metal/boot_page.hpp); false when
  /// the machine ended before, or the wait was missed.
  [[nodiscard]] bool wait_for_hold(u64 jump, u32 hold = metal::holds_before_branch);
  bool stop() { return x_qmp->stop(); }
  bool go_on() { return x_qmp->go_on(); }
  /// Tables and registers as they are; the machine must stand still. Nothing when it has ended.
  [[nodiscard]] std::optional<Look> look();

  /// Waits for the end, at most until the deadline; a machine that is late is killed.
  host::Ending wait_for_end();
  [[nodiscard]] bool was_late() const { return x_was_late; }
  [[nodiscard]] TraceCounts trace() const;
  /// What QEMU itself complained about.
  [[nodiscard]] std::string complaints() const { return qemu::last_text(x_errors.get()); }
  void save_memory() const { x_memory.save(x_setup.folder / "ram.img"); }

 private:
  [[nodiscard]] std::vector<std::string> arguments(int qmp) const;

  MachineSetup x_setup;
  Clock::time_point x_deadline;
  GuestMemory x_memory;
  PhysRange x_first_image;
  host::UniqueFd x_errors;
  std::unique_ptr<Qmp> x_qmp;
  host::Child x_child;
  std::unique_ptr<SerialLog> x_serial;  // behind the child: it ends when that has closed its pipe
  bool x_was_late = false;
};

/// "exit status 33 (all done)", "killed after 60 s".
[[nodiscard]] std::string ending_text(const host::Ending& ending, bool was_late);

}  // namespace metal_test

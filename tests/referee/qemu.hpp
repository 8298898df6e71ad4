// One QEMU process without guest code: its processor is halted, the test speaks to its devices through qtest and shares
// its RAM.
//
// It has no file of its own anywhere: RAM, firmware, log and socket are inherited descriptors. It is killed with its
// object, by the kernel of this computer when the test dies, and by a limit on its processor time if all else fails.
// Threads: one. Failure: RunError, from the first question that QEMU does not answer; log() says more.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "host/child.hpp"
#include "tests/referee/qtest.hpp"
#include "tests/referee/shared_ram.hpp"

namespace referee {

/// What machines are written for: 7, as in Debian 12; 10, as in its backports.
enum class Release : u8 { Qemu7 = 7, Qemu10 = 10 };
enum class Target : u8 { X86, Arm, Riscv };

struct QemuBinary {
  std::string path;
  std::vector<std::string> arguments;    // where it finds its data
  std::vector<std::string> environment;  // and its modules
};

/// The installed one if it is of that release, otherwise the one that tools/fetch_qemu10.py unpacked.
[[nodiscard]] std::optional<QemuBinary> find_qemu(Release release, Target target);

class Qemu {
 public:
  /// @p arguments: machine and devices; the machine's memory backend is called "ram". Firmware given as bytes reaches
  /// QEMU as -bios.
  Qemu(const QemuBinary& binary, const SharedRam& ram, const std::vector<std::string>& arguments,
       const std::vector<std::byte>& firmware = {});
  Qemu(const Qemu&) = delete;
  Qemu& operator=(const Qemu&) = delete;

  [[nodiscard]] Qtest& qtest() { return *x_qtest; }
  /// What it has written to stdout and stderr.
  [[nodiscard]] std::string log() const;
  [[nodiscard]] pid_t pid() const { return x_child.pid(); }

 private:
  host::UniqueFd x_log;
  std::unique_ptr<Qtest> x_qtest;
  host::Child x_child;
};

}  // namespace referee

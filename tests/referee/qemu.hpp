// One QEMU process without guest code: its processor is halted, the test speaks to its devices through qtest and shares
// its RAM.
//
// It has no file of its own anywhere: RAM, firmware, log and socket are inherited descriptors. It is killed with its
// object; tests/qemu/binary.hpp says what else ends it.
// Threads: one. Failure: RunError, from the first question that QEMU does not answer; log() says more.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tests/qemu/binary.hpp"
#include "tests/referee/qtest.hpp"
#include "tests/referee/shared_ram.hpp"

namespace referee {

using qemu::Release;
using qemu::Target;

class Qemu {
 public:
  /// @p arguments: machine and devices; the machine's memory backend is called "ram". Firmware given as bytes reaches
  /// QEMU as -bios.
  Qemu(const qemu::Binary& binary, const SharedRam& ram, const std::vector<std::string>& arguments,
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

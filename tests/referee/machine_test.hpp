// Fixture: one machine of the list, skipped where its QEMU is not there. Its log is shown when a test fails.
#pragma once

#include <gtest/gtest.h>

#include "tests/referee/machine.hpp"

namespace referee {

class OnMachine : public testing::TestWithParam<MachineKind> {
 protected:
  void SetUp() override {
    const auto binary = qemu::find_binary(GetParam().release, GetParam().target);
    if (!binary) GTEST_SKIP() << "QEMU " << static_cast<unsigned>(GetParam().release) << " is not there";
    machine = GetParam().start(*binary);
  }
  void TearDown() override {
    if (machine && HasFailure()) std::cerr << machine->log();
  }
  std::unique_ptr<Machine> machine;
};

[[nodiscard]] inline std::string name_of(const testing::TestParamInfo<MachineKind>& one) { return one.param.name; }

}  // namespace referee

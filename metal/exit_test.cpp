#include "metal/exit.hpp"

#include <gtest/gtest.h>

namespace metal {
namespace {

TEST(MetalExit, EveryCodeIsTheStatusThatTheManualOfARunNames) {
  EXPECT_EQ(qemu_status(ExitCode::Panic), 3);
  EXPECT_EQ(qemu_status(ExitCode::BootFailed), 5);
  EXPECT_EQ(qemu_status(ExitCode::ScenarioFailed), 7);
  EXPECT_EQ(qemu_status(ExitCode::UpdateRefused), 9);
  EXPECT_EQ(qemu_status(ExitCode::JumpFailed), 11);
  EXPECT_EQ(qemu_status(ExitCode::Done), 33);
}

}  // namespace
}  // namespace metal

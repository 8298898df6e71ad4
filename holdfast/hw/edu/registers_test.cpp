#include "holdfast/hw/edu/registers.hpp"

#include <gtest/gtest.h>

namespace holdfast::hw::edu {
namespace {

// Typed from the manual.
TEST(EduManual, Commands) {
  EXPECT_EQ(DmaCommand().with<dma_command::Start>(1).raw(), 1u);
  EXPECT_EQ(DmaCommand().with<dma_command::Start>(1).with<dma_command::ToRam>(1).raw(), 3u);
  EXPECT_EQ(DmaCommand().with<dma_command::Interrupt>(1).raw(), 4u);
  EXPECT_EQ(0x010000edu & identification_mask, identification_value);
}

}  // namespace
}  // namespace holdfast::hw::edu

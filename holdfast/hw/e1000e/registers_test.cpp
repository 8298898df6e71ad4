#include "holdfast/hw/e1000e/registers.hpp"

#include <gtest/gtest.h>

namespace holdfast::hw::e1000e {
namespace {

// Typed from the manual.
TEST(E1000eManual, ControlBits) {
  EXPECT_EQ(Ctrl().with<ctrl::Slu>(1).raw(), 0x40u);
  EXPECT_EQ(Ctrl().with<ctrl::Rst>(1).raw(), 0x04000000u);
  EXPECT_EQ(Status(0x2).get<status::Lu>(), 1u);
  EXPECT_EQ(
      Rctl().with<rctl::En>(1).with<rctl::Upe>(1).with<rctl::Mpe>(1).with<rctl::Bam>(1).with<rctl::Secrc>(1).raw(),
      0x0400801au);
  EXPECT_EQ(Tctl().with<tctl::En>(1).with<tctl::Psp>(1).with<tctl::Ct>(0x0f).with<tctl::Cold>(0x3f).raw(), 0x0003f0fau);
}

TEST(E1000eManual, DescriptorsLieAsTheManualSays) {
  static_assert(offsetof(ReceiveDescriptor, length) == 8 && offsetof(ReceiveDescriptor, errors) == 13);
  static_assert(offsetof(TransmitDescriptor, length) == 8 && offsetof(TransmitDescriptor, command) == 11);
  static_assert(rdt_offset == 0x2818 && tdt_offset == 0x3818 && tpr_offset == 0x40d0);
}

}  // namespace
}  // namespace holdfast::hw::e1000e

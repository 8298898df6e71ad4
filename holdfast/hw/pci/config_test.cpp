#include "holdfast/hw/pci/config.hpp"

#include <gtest/gtest.h>

#include "holdfast/hw/acpi/tables.hpp"

namespace holdfast::hw {
namespace {

TEST(PciConfig, EcamPutsBusDeviceAndFunctionWhereTheManualDoes) {
  EXPECT_EQ(pci::ecam_offset(0, 0, 0), 0u);
  EXPECT_EQ(pci::ecam_offset(1, 2, 3), 0x113000u);
  EXPECT_EQ(pci::ecam_offset(255, 31, 7), 0xffff000u);
  EXPECT_EQ(pci::ecam_offset(SourceId(1, 2, 3)), 0x113000u);
}

TEST(PciConfig, CommandAndControlBits) {
  EXPECT_EQ(pci::Command().with<pci::command::BusMaster>(1).with<pci::command::MemorySpace>(1).raw(), 6u);
  EXPECT_EQ(pci::HeaderType(0x81).get<pci::header_type::Layout>(), 1u);
  EXPECT_EQ(pci::HeaderType(0x81).get<pci::header_type::MultiFunction>(), 1u);
  static_assert(pci::device_control_initiate_flr == 0x8000 && pci::device_capabilities_flr == 0x10000000);
  static_assert(static_cast<u8>(pci::CapabilityId::Express) == 0x10);
  static_assert(pci::secondary_bus_offset == 0x19 && pci::subordinate_bus_offset == 0x1a);
}

TEST(AcpiTables, ChecksumMakesTheSumZero) {
  const std::array<std::byte, 3> bytes{std::byte{0xf0}, std::byte{0x0f}, std::byte{0x01}};
  EXPECT_EQ(acpi::byte_sum(bytes), 0u);
  static_assert(sizeof(acpi::Rsdp) == 36 && sizeof(acpi::Dmar) == 48 && sizeof(acpi::Drhd) == 16);
}

}  // namespace
}  // namespace holdfast::hw

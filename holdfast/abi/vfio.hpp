// "holdfast-vfio-pci-v1": one device file that crossed.
//
// Contract: ours, plain data, native endian, every offset asserted, in a page of preserved memory of its own.
#pragma once

#include <array>
#include <cstddef>
#include <string_view>

#include "holdfast/base/types.hpp"

namespace holdfast::abi::vfio {

inline constexpr std::string_view compatible = "holdfast-vfio-pci-v1";

struct Device {
  u16 bdf;
  u16 segment;
  u8 has_iommufd;  // 1: bound to the iommufd below; 0: the rest is 0
  u8 is_attached;  // 1: to the hardware page table below
  std::array<u8, 2> padding;
  u64 iommufd_token;  // under which the iommufd is preserved in the same session
  u64 hwpt_token;     // from the mark
  u64 domain_phys;    // the iommu::Domain record
  u64 checksum;
};
static_assert(sizeof(Device) == 40);
static_assert(offsetof(Device, bdf) == 0 && offsetof(Device, segment) == 2);
static_assert(offsetof(Device, has_iommufd) == 4 && offsetof(Device, is_attached) == 5);
static_assert(offsetof(Device, padding) == 6 && offsetof(Device, iommufd_token) == 8);
static_assert(offsetof(Device, hwpt_token) == 16 && offsetof(Device, domain_phys) == 24);
static_assert(offsetof(Device, checksum) == 32);

}  // namespace holdfast::abi::vfio

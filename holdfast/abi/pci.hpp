// "holdfast-pci-v1": the functions whose bus mastering stays on through the jump: preserved endpoints and the bridges
// above them.
//
// Contract: ours, plain data, native endian, every offset asserted: one block of preserved memory, this header and room
// for max_nr_devices entries, the first nr_devices of them in use. The checksum is over header and used entries.
#pragma once

#include <array>
#include <cstddef>
#include <string_view>

#include "holdfast/base/types.hpp"

namespace holdfast::abi::pci {

inline constexpr std::string_view compatible = "holdfast-pci-v1";

struct Header {
  u64 max_nr_devices;
  u64 nr_devices;
  u64 checksum;
};
static_assert(sizeof(Header) == 24);
static_assert(offsetof(Header, max_nr_devices) == 0 && offsetof(Header, nr_devices) == 8);
static_assert(offsetof(Header, checksum) == 16);

struct Device {
  u32 segment;
  u16 bdf;
  u16 reserved;
  u32 ref_count;  // endpoint: 1; bridge: preserved endpoints below it
  u16 vendor;
  u16 device;
  u32 class_revision;  // configuration space offset 8
  u32 reserved2;
  std::array<u64, 6> bar_bytes;  // 0: not there. They cannot be sized again while the function runs
};
static_assert(sizeof(Device) == 72);
static_assert(offsetof(Device, segment) == 0 && offsetof(Device, bdf) == 4 && offsetof(Device, reserved) == 6);
static_assert(offsetof(Device, ref_count) == 8 && offsetof(Device, vendor) == 12 && offsetof(Device, device) == 14);
static_assert(offsetof(Device, class_revision) == 16 && offsetof(Device, reserved2) == 20);
static_assert(offsetof(Device, bar_bytes) == 24);

}  // namespace holdfast::abi::pci

// PCI configuration space as data: PCI Express Base Specification 6.0 chapter 7.5, PCI-to-PCI Bridge Architecture 1.2.
//
// Offsets, bits and identifiers, and the one address function of ECAM (7.2.2). No behaviour.
#pragma once

#include "holdfast/base/bits.hpp"

namespace holdfast::hw::pci {

// Common header (type 0 and 1).
inline constexpr u64 vendor_id_offset = 0x00;             // 16
inline constexpr u64 device_id_offset = 0x02;             // 16
inline constexpr u64 command_offset = 0x04;               // 16
inline constexpr u64 status_offset = 0x06;                // 16
inline constexpr u64 revision_id_offset = 0x08;           // 8
inline constexpr u64 class_code_offset = 0x09;            // 24: programming interface, subclass, class
inline constexpr u64 cache_line_size_offset = 0x0c;       // 8
inline constexpr u64 header_type_offset = 0x0e;           // 8
inline constexpr u64 bar0_offset = 0x10;                  // 32 each; 6 in type 0, 2 in type 1
inline constexpr u64 capabilities_pointer_offset = 0x34;  // 8
inline constexpr u64 interrupt_line_offset = 0x3c;        // 8
inline constexpr u64 interrupt_pin_offset = 0x3d;         // 8

// Type 0.
inline constexpr u64 subsystem_vendor_id_offset = 0x2c;  // 16
inline constexpr u64 subsystem_id_offset = 0x2e;         // 16
inline constexpr unsigned bar_count = 6;

// Type 1 (bridge).
inline constexpr u64 primary_bus_offset = 0x18;      // 8
inline constexpr u64 secondary_bus_offset = 0x19;    // 8
inline constexpr u64 subordinate_bus_offset = 0x1a;  // 8
inline constexpr u64 memory_base_offset = 0x20;      // 16: bits 15:4 are address bits 31:20
inline constexpr u64 memory_limit_offset = 0x22;     // 16
inline constexpr u64 bridge_control_offset = 0x3e;   // 16

/// What a read of a function that is not there returns.
inline constexpr u16 no_vendor = 0xffff;

/// 7.5.1.1.3 Command.
namespace command {
using InterruptDisable = Bit<10>;
using SerrEnable = Bit<8>;
using ParityResponse = Bit<6>;
using BusMaster = Bit<2>;
using MemorySpace = Bit<1>;
using IoSpace = Bit<0>;
}  // namespace command
using Command =
    Bits<16, Reserved<15, 11>, command::InterruptDisable, Reserved<9>, command::SerrEnable, Reserved<7>,
         command::ParityResponse, Reserved<5, 3>, command::BusMaster, command::MemorySpace, command::IoSpace>;

/// 7.5.1.1.4 Status.
namespace status {
using CapabilitiesList = Bit<4>;
using InterruptStatus = Bit<3>;
}  // namespace status
using ConfigStatus = Bits<16, Field<15, 5>, status::CapabilitiesList, status::InterruptStatus, Reserved<2, 0>>;

/// 7.5.1.1.9 Header Type.
namespace header_type {
using MultiFunction = Bit<7>;
using Layout = Field<6, 0>;
}  // namespace header_type
using HeaderType = Bits<8, header_type::MultiFunction, header_type::Layout>;
enum class HeaderLayout : u8 { Endpoint = 0, Bridge = 1 };

/// 7.5.1.2.1 Memory BAR.
namespace bar {
using Address = Field<31, 4>;  // bits 31:4 of the address
using Prefetchable = Bit<3>;
using Type = Field<2, 1>;  // 0 32-bit, 2 64-bit
using IoSpace = Bit<0>;
}  // namespace bar
using Bar = Bits<32, bar::Address, bar::Prefetchable, bar::Type, bar::IoSpace>;

// Capability list: each capability starts with {id u8, next u8}.
inline constexpr u64 first_capability_offset = 0x40;  // lowest legal address
enum class CapabilityId : u8 { PowerManagement = 0x01, Msi = 0x05, VendorSpecific = 0x09, Express = 0x10, MsiX = 0x11 };

// 7.5.3 PCI Express Capability, offsets from its start.
inline constexpr u64 express_capabilities_offset = 0x02;         // 16
inline constexpr u64 express_device_capabilities_offset = 0x04;  // 32
inline constexpr u64 express_device_control_offset = 0x08;       // 16
inline constexpr u64 express_device_status_offset = 0x0a;        // 16
inline constexpr u64 express_capability_bytes = 0x3c;

/// 7.5.3.2 PCI Express Capabilities.
namespace express_capabilities {
using InterruptMessage = Field<13, 9>;
using SlotImplemented = Bit<8>;
using PortType = Field<7, 4>;
using Version = Field<3, 0>;
}  // namespace express_capabilities
using ExpressCapabilities =
    Bits<16, Reserved<15, 14>, express_capabilities::InterruptMessage, express_capabilities::SlotImplemented,
         express_capabilities::PortType, express_capabilities::Version>;
enum class PortType : u8 { Endpoint = 0, RootPort = 4, UpstreamPort = 5, DownstreamPort = 6, IntegratedEndpoint = 9 };

/// 7.5.3.3 Device Capabilities: function-level reset.
inline constexpr u32 device_capabilities_flr = u32{1} << 28;
/// 7.5.3.4 Device Control: writing 1 resets the function; reads as 0.
inline constexpr u16 device_control_initiate_flr = u16{1} << 15;
/// 7.5.3.5 Device Status.
inline constexpr u16 device_status_transactions_pending = u16{1} << 5;

/// A function has this much configuration space.
inline constexpr u64 function_config_bytes = 0x1000;
inline constexpr unsigned devices_per_bus = 32;
inline constexpr unsigned functions_per_device = 8;
inline constexpr u64 bus_config_bytes = u64{1} << 20;

/// 7.2.2 ECAM: byte offset of a function's configuration space from the base of bus 0.
[[nodiscard]] constexpr u64 ecam_offset(u8 bus, u8 device, u8 function) {
  return u64{bus} << 20 | u64{device & 0x1fu} << 15 | u64{function & 7u} << 12;
}
[[nodiscard]] constexpr u64 ecam_offset(SourceId id) { return u64{id.value} << 12; }

}  // namespace holdfast::hw::pci

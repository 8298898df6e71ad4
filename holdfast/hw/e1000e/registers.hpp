// Intel 82574L Gigabit Ethernet Controller ("e1000e") as data: 82574 GbE Controller Family Datasheet, chapter 10
// (registers) and chapter 7 (legacy receive and transmit descriptors). Offsets are into BAR 0; registers are 32 bits
// wide.
//
// Only what a polling driver of one receive and one transmit queue needs. A Field without a name is the manual's own
// and stays as it is read. No behaviour.
#pragma once

#include "holdfast/base/bits.hpp"

namespace holdfast::hw::e1000e {

inline constexpr u16 vendor_id = 0x8086;
inline constexpr u16 device_id = 0x10d3;

inline constexpr u64 ctrl_offset = 0x0000;
inline constexpr u64 status_offset = 0x0008;
inline constexpr u64 icr_offset = 0x00c0;  // read clears
inline constexpr u64 imc_offset = 0x00d8;  // a 1 masks that interrupt
inline constexpr u64 rctl_offset = 0x0100;
inline constexpr u64 tctl_offset = 0x0400;

// Receive ring of queue 0. RDLEN is in bytes, a multiple of 128; RDH is the device's, RDT the driver's.
inline constexpr u64 rdbal_offset = 0x2800;
inline constexpr u64 rdbah_offset = 0x2804;
inline constexpr u64 rdlen_offset = 0x2808;
inline constexpr u64 rdh_offset = 0x2810;
inline constexpr u64 rdt_offset = 0x2818;

// Transmit ring of queue 0.
inline constexpr u64 tdbal_offset = 0x3800;
inline constexpr u64 tdbah_offset = 0x3804;
inline constexpr u64 tdlen_offset = 0x3808;
inline constexpr u64 tdh_offset = 0x3810;
inline constexpr u64 tdt_offset = 0x3818;

// Statistics: a read clears them.
inline constexpr u64 mpc_offset = 0x4010;   // frames missed for want of room in the device
inline constexpr u64 gprc_offset = 0x4074;  // good frames received
inline constexpr u64 rnbc_offset = 0x40a0;  // frames that found no buffer in the ring
inline constexpr u64 tpr_offset = 0x40d0;   // all frames received

/// Device Control.
namespace ctrl {
using Rst = Bit<26>;  // resets the device, clears itself
using Slu = Bit<6>;   // set link up
}  // namespace ctrl
using Ctrl = Bits<32, Field<31, 27>, ctrl::Rst, Field<25, 7>, ctrl::Slu, Field<5, 0>>;

/// Device Status.
namespace status {
using Lu = Bit<1>;  // link up
}  // namespace status
using Status = Bits<32, Field<31, 2>, status::Lu, Field<0, 0>>;

/// Receive Control. Buffers are 2048 bytes when BSEX (25) and BSIZE (17:16) are 0.
namespace rctl {
using Secrc = Bit<26>;  // strip the frame check sequence
using Bam = Bit<15>;    // accept broadcasts
using Mpe = Bit<4>;     // accept all multicasts
using Upe = Bit<3>;     // accept all unicasts
using En = Bit<1>;
}  // namespace rctl
using Rctl = Bits<32, Field<31, 27>, rctl::Secrc, Field<25, 16>, rctl::Bam, Field<14, 5>, rctl::Mpe, rctl::Upe,
                  Field<2, 2>, rctl::En, Field<0, 0>>;
inline constexpr u64 receive_buffer_bytes = 2048;

/// Transmit Control.
namespace tctl {
using Cold = Field<21, 12>;  // collision distance: 0x3f in full duplex
using Ct = Field<11, 4>;     // collision threshold: 0x0f
using Psp = Bit<3>;          // pad short packets
using En = Bit<1>;
}  // namespace tctl
using Tctl = Bits<32, Field<31, 22>, tctl::Cold, tctl::Ct, tctl::Psp, Field<2, 2>, tctl::En, Field<0, 0>>;

/// Legacy receive descriptor. The driver writes the address; the device writes the rest.
struct ReceiveDescriptor {
  u64 buffer = 0;
  u16 length = 0;
  u16 checksum = 0;
  u8 status = 0;  // receive_done, receive_end_of_packet
  u8 errors = 0;
  u16 special = 0;
};
static_assert(sizeof(ReceiveDescriptor) == 16 && offsetof(ReceiveDescriptor, status) == 12);
inline constexpr u8 receive_done = 0x01;           // DD
inline constexpr u8 receive_end_of_packet = 0x02;  // EOP

/// Legacy transmit descriptor. The device writes `status`.
struct TransmitDescriptor {
  u64 buffer = 0;
  u16 length = 0;
  u8 checksum_offset = 0;
  u8 command = 0;
  u8 status = 0;  // transmit_done
  u8 checksum_start = 0;
  u16 special = 0;
};
static_assert(sizeof(TransmitDescriptor) == 16 && offsetof(TransmitDescriptor, status) == 12);
inline constexpr u8 transmit_end_of_packet = 0x01;  // EOP
inline constexpr u8 transmit_insert_fcs = 0x02;     // IFCS
inline constexpr u8 transmit_report_status = 0x08;  // RS
inline constexpr u8 transmit_done = 0x01;           // DD

}  // namespace holdfast::hw::e1000e

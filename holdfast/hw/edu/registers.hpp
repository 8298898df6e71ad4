// QEMU's educational device as data: QEMU documentation, specs/edu. Offsets are into BAR 0.
//
// One DMA channel between RAM and 4096 bytes of its own. A transfer begins when it is commanded and is made as a whole
// 100 ms later. No behaviour.
#pragma once

#include "holdfast/base/bits.hpp"

namespace holdfast::hw::edu {

inline constexpr u16 vendor_id = 0x1234;
inline constexpr u16 device_id = 0x11e8;

inline constexpr u64 identification_offset = 0x00;  // 32 ro: 0xRRrr00ed
inline constexpr u32 identification_mask = 0xff;
inline constexpr u32 identification_value = 0xed;

inline constexpr u64 dma_source_offset = 0x80;       // 64
inline constexpr u64 dma_destination_offset = 0x88;  // 64
inline constexpr u64 dma_count_offset = 0x90;        // 64: bytes
inline constexpr u64 dma_command_offset = 0x98;      // 64

/// Where source or destination lies when it is the device's own memory.
inline constexpr u64 buffer_address = 0x40000;
inline constexpr u64 buffer_bytes = 4096;
inline constexpr u64 dma_latency_ns = 100'000'000;

/// DMA command.
namespace dma_command {
using Interrupt = Bit<2>;  // raise one when done
using ToRam = Bit<1>;      // 0: RAM to device
using Start = Bit<0>;      // reads 1 until it is done
}  // namespace dma_command
using DmaCommand = Bits<64, Reserved<63, 3>, dma_command::Interrupt, dma_command::ToRam, dma_command::Start>;

}  // namespace holdfast::hw::edu

// Intel High Definition Audio controller as data: High Definition Audio Specification 1.0a, chapter 3.3 (controller
// registers), 3.6 (buffer descriptor list, position buffer), 3.7 (stream format) and 7.3 (codec verbs). Offsets are
// into BAR 0.
//
// What a driver of two endless streams without interrupts needs. A Field without a name is the manual's own. No
// behaviour, but the address function of the stream descriptors and the packing of a verb.
#pragma once

#include "holdfast/base/bits.hpp"

namespace holdfast::hw::hda {

/// Multimedia, High Definition Audio; the programming interface is 0.
inline constexpr u32 class_code = 0x040300;

inline constexpr u64 gcap_offset = 0x00;      // 16
inline constexpr u64 gctl_offset = 0x08;      // 32
inline constexpr u64 statests_offset = 0x0e;  // 16: one bit for each codec that is there
inline constexpr u64 intctl_offset = 0x20;    // 32
inline constexpr u64 ico_offset = 0x60;       // 32: the verb to send (3.4.3)
inline constexpr u64 iri_offset = 0x64;       // 32: the answer
inline constexpr u64 ics_offset = 0x68;       // 16
inline constexpr u64 dplbase_offset = 0x70;   // 32: position buffer, 128-byte aligned; bit 0 turns it on
inline constexpr u64 dpubase_offset = 0x74;   // 32

/// 3.3.2 Global Capabilities.
namespace gcap {
using Oss = Field<15, 12>;  // output streams
using Iss = Field<11, 8>;   // input streams
using Bss = Field<7, 3>;    // bidirectional streams
}  // namespace gcap
using Gcap = Bits<16, gcap::Oss, gcap::Iss, gcap::Bss, Field<2, 0>>;

/// 3.3.7 Global Control.
namespace gctl {
using Crst = Bit<0>;  // 0: in reset
}  // namespace gctl
using Gctl = Bits<32, Field<31, 1>, gctl::Crst>;

/// 3.4.3 Immediate Command Status.
namespace ics {
using Irv = Bit<1>;  // an answer is there; a written 1 clears it
using Icb = Bit<0>;  // written 1: send; reads 1 while under way
}  // namespace ics
using Ics = Bits<16, Field<15, 2>, ics::Irv, ics::Icb>;

/// 3.3.18 DMA Position Lower Base.
inline constexpr u32 dplbase_enable = 1;
/// 3.6.1: position of stream i is the u32 at 8 * i.
inline constexpr u64 position_stride_bytes = 8;

// 3.3.35 .. 3.3.43 Stream descriptors: input streams first, then output streams. Offsets from the descriptor's start.
inline constexpr u64 stream_ctl_offset = 0x00;   // 24, and status in the byte above
inline constexpr u64 stream_lpib_offset = 0x04;  // 32
inline constexpr u64 stream_cbl_offset = 0x08;   // 32: bytes of the cyclic buffer
inline constexpr u64 stream_lvi_offset = 0x0c;   // 16: index of the last buffer descriptor
inline constexpr u64 stream_fmt_offset = 0x12;   // 16
inline constexpr u64 stream_bdpl_offset = 0x18;  // 32: buffer descriptor list, 128-byte aligned
inline constexpr u64 stream_bdpu_offset = 0x1c;  // 32
[[nodiscard]] constexpr u64 stream_offset(u64 index) { return 0x80 + 0x20 * index; }

/// 3.3.35 Stream Control, with the status byte that stands above it.
namespace stream_ctl {
using Strm = Field<23, 20>;  // the tag that codecs know the stream by
using Run = Bit<1>;
using Srst = Bit<0>;
}  // namespace stream_ctl
using StreamCtl = Bits<32, Field<31, 24>, stream_ctl::Strm, Field<19, 2>, stream_ctl::Run, stream_ctl::Srst>;

/// 3.7.1 Stream format.
namespace format {
using Base = Bit<14>;            // 0: 48 kHz
using SampleBits = Field<6, 4>;  // 1: 16 bits a sample
using Chan = Field<3, 0>;        // channels, 0's based
}  // namespace format
using Format = Bits<16, Field<15, 15>, format::Base, Field<13, 7>, format::SampleBits, format::Chan>;

/// 3.6.3 Buffer descriptor.
struct BufferDescriptor {
  u64 address = 0;  // 128-byte aligned
  u32 length = 0;
  u32 flags = 0;  // bit 0: interrupt on completion
};
static_assert(sizeof(BufferDescriptor) == 16);

// 7.3.3 Verbs: 4 bits with 16 bits of payload, or 12 bits with 8.
inline constexpr u32 verb_set_format = 0x2;
inline constexpr u32 verb_set_stream = 0x706;  // payload: tag << 4 | channel
[[nodiscard]] constexpr u32 long_verb(u32 codec, u32 node, u32 verb, u16 payload) {
  return codec << 28 | node << 20 | verb << 16 | payload;
}
[[nodiscard]] constexpr u32 short_verb(u32 codec, u32 node, u32 verb, u8 payload) {
  return codec << 28 | node << 20 | verb << 8 | payload;
}

}  // namespace holdfast::hw::hda

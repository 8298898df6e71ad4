// The numbered Ethernet frame: what the host-side feeder sends, the guest checks, and the guest answers with.
//
//   0   destination, 6 bytes      12  EtherType, big endian: says which way the frame goes
//   6   source, 6 bytes           14  number, u64 little endian
//   22  filler to frame_bytes, a function of kind and number: contents are checked, not only order
//
// Both sides include this file: freestanding, pure. The frame check sequence is the wire's and no part of it.
#pragma once

#include <array>
#include <optional>
#include <span>

#include "holdfast/hw/dma_engine/registers.hpp"

namespace vmm {

using namespace holdfast;

inline constexpr u64 frame_bytes = 128;

/// EtherTypes of IEEE 802 for local experiments, 1 and 2.
enum class FrameKind : u16 {
  Data = 0x88b5,    // feeder to guest: `number` counts from 0
  Answer = 0x88b6,  // guest to feeder: `number` frames were received without a gap when it was sent
};

using Frame = std::array<u8, frame_bytes>;

inline constexpr u64 frame_type_offset = 12;
inline constexpr u64 frame_number_offset = 14;
inline constexpr u64 frame_filler_offset = 22;

/// Locally administered addresses (bit 1 of the first byte).
inline constexpr std::array<u8, 6> guest_address{0x02, 'g', 'u', 'e', 's', 't'};
inline constexpr std::array<u8, 6> feeder_address{0x02, 'f', 'e', 'e', 'd', 0x01};

[[nodiscard]] constexpr Frame make_frame(FrameKind kind, u64 number) {
  Frame frame{};
  const bool to_guest = kind == FrameKind::Data;
  for (u64 i = 0; i < 6; ++i) {
    frame[i] = to_guest ? guest_address[i] : feeder_address[i];
    frame[6 + i] = to_guest ? feeder_address[i] : guest_address[i];
  }
  const auto type = static_cast<u16>(kind);
  frame[frame_type_offset] = static_cast<u8>(type >> 8);
  frame[frame_type_offset + 1] = static_cast<u8>(type & 0xff);
  for (u64 i = 0; i < 8; ++i) frame[frame_number_offset + i] = static_cast<u8>(number >> 8 * i);
  u64 word = 0;
  for (u64 at = frame_filler_offset; at < frame_bytes; ++at) {
    const u64 of_filler = at - frame_filler_offset;
    if (of_filler % 8 == 0) word = hw::dma_engine::mix(u64{type} << 32 | of_filler, number);
    frame[at] = static_cast<u8>(word >> 8 * (of_filler % 8));
  }
  return frame;
}

/// Frames of others may be on the wire: they are no error, and have no number.
[[nodiscard]] constexpr bool is_frame(FrameKind kind, std::span<const u8> bytes) {
  const auto type = static_cast<u16>(kind);
  return bytes.size() >= frame_filler_offset && bytes[frame_type_offset] == type >> 8 &&
         bytes[frame_type_offset + 1] == (type & 0xff);
}

/// The number of a frame of @p kind that is as make_frame made it, in length and in every byte.
[[nodiscard]] constexpr std::optional<u64> check_frame(FrameKind kind, std::span<const u8> bytes) {
  if (bytes.size() != frame_bytes) return std::nullopt;
  u64 number = 0;
  for (u64 i = 0; i < 8; ++i) number |= u64{bytes[frame_number_offset + i]} << 8 * i;
  const Frame expected = make_frame(kind, number);
  for (u64 i = 0; i < frame_bytes; ++i)
    if (bytes[i] != expected[i]) return std::nullopt;
  return number;
}

}  // namespace vmm

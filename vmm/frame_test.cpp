#include "vmm/frame.hpp"

#include <gtest/gtest.h>

namespace vmm {
namespace {

TEST(NumberedFrame, ComesBackWithItsNumber) {
  for (const u64 number : {u64{0}, u64{1}, u64{0x0123456789abcdef}, ~u64{0}})
    for (const FrameKind kind : {FrameKind::Data, FrameKind::Answer})
      EXPECT_EQ(check_frame(kind, make_frame(kind, number)), number);
}

TEST(NumberedFrame, IsOfOneKind) {
  const Frame data = make_frame(FrameKind::Data, 7);
  EXPECT_TRUE(is_frame(FrameKind::Data, data));
  EXPECT_FALSE(is_frame(FrameKind::Answer, data));
  EXPECT_EQ(check_frame(FrameKind::Answer, data), std::nullopt);
}

TEST(NumberedFrame, IsWrongWhenAnyBitIs) {
  const Frame frame = make_frame(FrameKind::Data, 0x1234);
  for (u64 bit = 0; bit < 8 * frame_bytes; ++bit) {
    Frame changed = frame;
    changed[bit / 8] = static_cast<u8>(changed[bit / 8] ^ 1u << bit % 8);
    EXPECT_EQ(check_frame(FrameKind::Data, changed), std::nullopt) << "bit " << bit;
  }
}

TEST(NumberedFrame, IsWrongWhenItsLengthIs) {
  const Frame frame = make_frame(FrameKind::Data, 5);
  EXPECT_EQ(check_frame(FrameKind::Data, std::span(frame).first(frame_bytes - 1)), std::nullopt);
  std::array<u8, frame_bytes + 4> longer{};
  for (u64 i = 0; i < frame_bytes; ++i) longer[i] = frame[i];
  EXPECT_EQ(check_frame(FrameKind::Data, longer), std::nullopt);
  EXPECT_FALSE(is_frame(FrameKind::Data, std::span(frame).first(frame_filler_offset - 1)));
}

// Where feeders not built from this file look.
TEST(NumberedFrame, KeepsItsPlaces) {
  const Frame frame = make_frame(FrameKind::Data, 0x0807060504030201);
  EXPECT_EQ(frame[12], 0x88);
  EXPECT_EQ(frame[13], 0xb5);
  for (u64 i = 0; i < 8; ++i) EXPECT_EQ(frame[14 + i], i + 1);
}

}  // namespace
}  // namespace vmm

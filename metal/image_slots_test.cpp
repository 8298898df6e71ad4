#include "metal/image_slots.hpp"

#include <gtest/gtest.h>

namespace metal {
namespace {

constexpr PhysRange area{PhysAddr(0x4000000), image_slots* image_slot_bytes};
constexpr PhysRange first{PhysAddr(0x4000000), image_slot_bytes};
constexpr PhysRange second{PhysAddr(0x4200000), image_slot_bytes};

TEST(ImageSlots, TheNextImageGoesWhereTheRunningOneIsNot) {
  EXPECT_EQ(*free_slot(area, {PhysAddr(0x4000000), 0x193000}), second);
  EXPECT_EQ(*free_slot(area, {PhysAddr(0x4200000), 0x193000}), first);
  EXPECT_EQ(*free_slot(area, first), second);
  EXPECT_EQ(*free_slot(area, second), first);
  EXPECT_EQ(*free_slot(area, {PhysAddr(0x100000), 0x193000}), second) << "the first image runs elsewhere";
}

TEST(ImageSlots, AnImageAcrossSlotsOrHalfInTheAreaLeavesNone) {
  EXPECT_EQ(free_slot(area, {PhysAddr(0x41ff000), 0x2000}).code(), Code::Corrupt);
  EXPECT_EQ(free_slot(area, area).code(), Code::Corrupt);
  EXPECT_EQ(free_slot(area, {PhysAddr(0x3fff000), 0x2000}).code(), Code::Corrupt);
  EXPECT_EQ(free_slot(area, {PhysAddr(0x43ff000), 0x2000}).code(), Code::Corrupt);
  EXPECT_EQ(free_slot(area, {PhysAddr(0x3fff000), 0x500000}).code(), Code::Corrupt);
}

}  // namespace
}  // namespace metal

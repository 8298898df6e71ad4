#include "metal/watched_register.hpp"

#include <gtest/gtest.h>

namespace metal {
namespace {

constexpr u64 limit = u64{4} << 30;

TEST(WatchedRegister, LiesInABarOfEitherWidth) {
  EXPECT_EQ(register_in_bar(0xfebc0000, 0x12345678, 0x2810, limit)->value, 0xfebc2810u) << "32-bit: one half";
  EXPECT_EQ(register_in_bar(0xfebc0008, 1, 0, limit)->value, 0xfebc0000u) << "prefetchable is no part of the address";
  EXPECT_EQ(register_in_bar(0xfebc0004, 0, 4, limit)->value, 0xfebc0004u) << "64-bit, and below 4 GiB";
  EXPECT_EQ(register_in_bar(0x0000000c, 2, 0x10, 3 * limit)->value, 0x200000010u) << "64-bit, both halves";
}

TEST(WatchedRegister, WhatCannotBeReadIsRefused) {
  EXPECT_EQ(register_in_bar(0xc001, 0, 0, limit).code(), Code::NoAddress) << "I/O ports";
  EXPECT_EQ(register_in_bar(0, 0, 0, limit).code(), Code::NoAddress) << "no address was assigned";
  EXPECT_EQ(register_in_bar(0xc, 1, 0, limit).code(), Code::OutOfRange) << "the upper half counts";
  EXPECT_EQ(register_in_bar(0xfebf0000, 0, 0xfffffffc, 4 * limit)->value, 0x1febefffcu);
  EXPECT_EQ(register_in_bar(0xfebf0000, 0, 0xfffffffc, limit).code(), Code::OutOfRange) << "an offset beyond the limit";
  EXPECT_EQ(register_in_bar(0xfffff000, 0, 0xffc, limit)->value, 0xfffffffcu) << "the last register below the limit";
  EXPECT_EQ(register_in_bar(0xfffff000, 0, 0x1000, limit).code(), Code::OutOfRange);
  EXPECT_EQ(register_in_bar(0xfffff00c, ~u32{0}, 0xffc, ~u64{0}).code(), Code::OutOfRange) << "it wraps";
}

}  // namespace
}  // namespace metal

#include "holdfast/hw/dma_engine/registers.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace holdfast::hw::dma_engine {
namespace {

constexpr Parameters parameters{.window_iova = 0x100000,
                                .window_bytes = 3 * 16 * page_size_bytes,
                                .file_bytes = 16 * page_size_bytes,
                                .slot_offset = 64,
                                .seed = 0x1234};

TEST(DmaEngineManual, VisitsEverySlotOncePerRound) {
  for (u64 round = 0; round < 3; ++round) {
    std::vector<int> seen(parameters.slots());
    for (u64 i = 0; i < parameters.slots(); ++i) ++seen[slot_of(parameters, round * parameters.slots() + i)];
    EXPECT_EQ(seen, std::vector<int>(parameters.slots(), 1));
  }
}

TEST(DmaEngineManual, FindsTheFirstTransferOfASlot) {
  for (u64 i = 0; i < parameters.slots(); ++i) EXPECT_EQ(first_transfer_of(parameters, slot_of(parameters, i)), i);
}

TEST(DmaEngineManual, StaysInsideItsWindow) {
  for (u64 i = 0; i < 1000; ++i) {
    const u64 at = slot_iova(parameters, i).value;
    EXPECT_GE(at, parameters.window_iova);
    EXPECT_LE(at + slot_bytes, parameters.window_iova + parameters.window_bytes);
    EXPECT_LT(stamp_page_of(parameters, i), 48u);
  }
}

TEST(DmaEngineManual, TellsLostRepeatedAndWrongApart) {
  const u64 completed = 40;  // slot_of(30) was written by 14 and 30 and is due at 46
  const u64 slot = slot_of(parameters, 30);
  EXPECT_EQ(judge(parameters, slot, completed, slot_content(parameters, 30)), Verdict::Right);
  EXPECT_EQ(judge(parameters, slot, completed, slot_content(parameters, 14)), Verdict::Lost);
  EXPECT_EQ(judge(parameters, slot, completed, Slot{}), Verdict::Lost);
  EXPECT_EQ(judge(parameters, slot, completed, slot_content(parameters, 46)), Verdict::Repeated);
  EXPECT_EQ(judge(parameters, slot, completed, slot_content(parameters, 29)), Verdict::Wrong);
  EXPECT_EQ(judge(parameters, slot, completed, Slot{31, 0}), Verdict::Wrong);
  EXPECT_EQ(judge(parameters, slot_of(parameters, 5), 5, Slot{}), Verdict::Right);
  EXPECT_EQ(judge(parameters, slot_of(parameters, 5), 5, slot_content(parameters, 5)), Verdict::Repeated);
  EXPECT_EQ(judge_live(parameters, slot_of(parameters, 5), 5, slot_content(parameters, 5)), Verdict::Right);
}

TEST(DmaEngineManual, RefusesParametersItCannotRunWith) {
  EXPECT_TRUE(valid(parameters));
  auto with = [](auto change) {
    Parameters p = parameters;
    change(p);
    return valid(p);
  };
  EXPECT_FALSE(with([](Parameters& p) { p.file_bytes = 3 * page_size_bytes; }));
  EXPECT_FALSE(with([](Parameters& p) { p.file_bytes = 0; }));
  EXPECT_FALSE(with([](Parameters& p) { p.window_bytes += page_size_bytes; }));
  EXPECT_FALSE(with([](Parameters& p) { p.window_iova = ~u64{0xfff}; }));
  EXPECT_FALSE(with([](Parameters& p) { p.slot_offset = 8; }));
  EXPECT_FALSE(with([](Parameters& p) { p.slot_offset = stamp_offset; }));
}

// Typed from the manual above; they pin the arithmetic that memory of older runs was written with.
TEST(DmaEngineManual, GoldenValues) {
  static_assert(mix(0, 0) == 0xe220a8397b1dcdafu);
  static_assert(id_value == 0x48464431u && class_code == 0x088000u);
  EXPECT_EQ(slot_content(parameters, 7).number, 8u);
}

}  // namespace
}  // namespace holdfast::hw::dma_engine

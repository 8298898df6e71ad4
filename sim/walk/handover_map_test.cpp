#include "sim/walk/handover_map.hpp"

#include <gtest/gtest.h>
#include <libfdt.h>

#include "sim/scorch.hpp"
#include "sim/walk/vtd_second_stage.hpp"

namespace sim::walk {
namespace {

// One MiB of RAM in which a handover is written by hand. Radix keys: order 0 of page 5 and order 4 of page 0x20.
class HandWritten {
 public:
  HandWritten() : ram({reinterpret_cast<std::byte*>(x_words.data()), {{{PhysAddr(0), bytes}, MemoryKind::Ram}}}) {
    void* fdt = ram.at(fdt_at, 0x1000);
    fdt_create_empty_tree(fdt, 0x1000);
    fdt_setprop_string(fdt, 0, "compatible", "kho-v2");
    const u64 root = 0x11000;
    fdt_setprop(fdt, 0, "preserved-memory-map", &root, sizeof root);
    const int node = fdt_add_subnode(fdt, 0, "LUO");
    const u64 luo = 0x77000;
    fdt_setprop(fdt, node, "preserved-data", &luo, sizeof luo);
    // Key of order 0 is 1 << 52 | page: index 1 << 52 >> 51 = 2 in the top node, zeros below, bit 5 of the bitmap.
    chain(0x11000, 2, 0x12000);
    chain(0x12000, 0, 0x13000);
    chain(0x13000, 0, 0x14000);
    chain(0x14000, 0, 0x15000);
    chain(0x15000, 0, 0x16000);
    store(0x16000, u64{1} << 5);
    // Key of order 4 is 1 << 48 | page >> 4 = 1 << 48 | 2: 1 << 48 >> 42 = 64 in the second node.
    chain(0x11000, 0, 0x17000);
    chain(0x17000, 64, 0x18000);
    chain(0x18000, 0, 0x19000);
    chain(0x19000, 0, 0x1a000);
    chain(0x1a000, 0, 0x1b000);
    store(0x1b000, u64{1} << 2);
    store(scratch_at.value, 0x80000);
    store(scratch_at.value + 8, 0x10000);
  }
  void store(u64 at, u64 value) { x_words[at / 8] = value; }
  void chain(u64 node, u64 index, u64 child) { store(node + index * 8, child); }
  u64 load(u64 at) { return x_words[at / 8]; }
  [[nodiscard]] Handover handover() const { return {fdt_at.value, 0x1000, scratch_at.value, 16}; }

  static constexpr u64 bytes = u64{1} << 20;
  static constexpr PhysAddr fdt_at{0x10000};
  static constexpr PhysAddr scratch_at{0x1f000};

 private:
  std::vector<u64> x_words = std::vector<u64>(bytes / 8);

 public:
  GuestRam ram;
};

TEST(HandoverMapReader, ReadsWhatTheFormatDescribes) {
  HandWritten h;
  const HandoverMap map = read_handover(h.ram, h.handover());
  ASSERT_EQ(map.error, "");
  const std::vector<Block> expected{{PhysAddr(0x20000), 4}, {PhysAddr(0x5000), 0}};
  EXPECT_TRUE(map.preserved == expected);
  EXPECT_EQ(map.scratch, (std::vector<PhysRange>{{PhysAddr(0x80000), 0x10000}}));
  EXPECT_EQ(map.subtrees.at(0).data, PhysAddr(0x77000));
  EXPECT_EQ(map.bookkeeping.size(), 13u);
}

TEST(HandoverMapReader, SaysWhatDoesNotFit) {
  const auto error_after = [](auto change) {
    HandWritten h;
    Handover handover = h.handover();
    change(h, handover);
    return read_handover(h.ram, handover).error;
  };
  EXPECT_NE(error_after([](HandWritten&, Handover& o) { o.fdt = u64{1} << 40; }), "");
  EXPECT_NE(error_after([](HandWritten&, Handover& o) { o.fdt_size_bytes = 8; }), "");
  EXPECT_NE(error_after([](HandWritten&, Handover& o) { o.scratch_size_bytes = 24; }), "");
  EXPECT_NE(error_after([](HandWritten&, Handover& o) { o.scratch = HandWritten::bytes; }), "");
  EXPECT_NE(error_after([](HandWritten& h, Handover&) { h.store(0x10000, 0); }), "");
  EXPECT_NE(error_after([](HandWritten& h, Handover&) { h.chain(0x13000, 0, 0x14008); }), "");
  EXPECT_NE(error_after([](HandWritten& h, Handover&) { h.chain(0x13000, 0, u64{1} << 45); }), "");
  EXPECT_NE(error_after([](HandWritten& h, Handover&) { h.chain(0x11000, 511, 0x12000); }), "");
  EXPECT_NE(error_after([](HandWritten& h, Handover&) {
              fdt_setprop_string(h.ram.at(HandWritten::fdt_at, 0x1000), 0, "compatible", "kho-v3");
            }),
            "");
}

TEST(HandoverMapReader, EndsWhenANodeContainsItself) {
  HandWritten h;
  for (u64 index = 0; index < 512; ++index) h.chain(0x13000, index, 0x13000);
  EXPECT_NE(read_handover(h.ram, h.handover()).error, "");
}

TEST(Scorch, KeepsWhatWasPromisedAndNothingElse) {
  HandWritten h;
  for (u64 at : {0x5000u, 0x2f000u, 0x4000u, 0x30000u, 0x80000u, 0x90000u}) h.store(at, 0x1234);
  const ScorchResult result = scorch(h.ram, h.handover());
  EXPECT_EQ(result.error, "");
  EXPECT_EQ(h.load(0x5000), 0x1234u);
  EXPECT_EQ(h.load(0x2f000), 0x1234u);
  EXPECT_EQ(h.load(0x80000), 0x1234u);
  EXPECT_EQ(h.load(0x4000), scorch_pattern);
  EXPECT_EQ(h.load(0x30000), scorch_pattern);
  EXPECT_EQ(h.load(0x90000), scorch_pattern);
  EXPECT_EQ(result.kept_pages, 1u + 16 + 16 + 13);
  EXPECT_EQ(read_handover(h.ram, h.handover()).error, "");
}

TEST(Scorch, APageThatWasLostReadsAsPresentEntriesThatLeadIntoMemory) {
  EXPECT_EQ(scorch_pattern & 1, 1u) << "P of a root, context, PASID directory or PASID entry";
  const SecondStage stage{.top_table = {}, .levels = 4, .host_address_bits = 48, .pages_2m = true, .pages_1g = true};
  for (unsigned level = 4; level >= 1; --level) {
    const EntryKind kind = classify(stage, scorch_pattern, level);
    EXPECT_EQ(kind, level == 1 ? EntryKind::Leaf : EntryKind::Table) << level;
    EXPECT_LT(entry_address(scorch_pattern, level, kind).value, u64{4} << 20) << "in RAM of the smallest machine";
  }
  EXPECT_EQ(scorch_pattern & (ss_read | ss_write), ss_read | ss_write);
}

TEST(Scorch, TouchesNothingWhenTheHandoverCannotBeRead) {
  HandWritten h;
  h.store(0x4000, 7);
  EXPECT_NE(scorch(h.ram, {1, 2, 3, 4}).error, "");
  EXPECT_EQ(h.load(0x4000), 7u);
}

}  // namespace
}  // namespace sim::walk

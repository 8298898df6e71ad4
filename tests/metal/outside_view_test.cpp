// The view from outside, of guest RAM written by hand: what is well is found well, and each way of being wrong is
// found.
#include "tests/metal/outside_view.hpp"

#include <gtest/gtest.h>
#include <libfdt.h>

#include "host/run_error.hpp"

namespace metal_test {
namespace {

constexpr u64 mib = u64{1} << 20;
constexpr u64 top = 0x10'0000;
constexpr u64 buffer = 0x30'0000;
constexpr u64 iova = 0x7123'4000'0000;
constexpr u16 card = 4 << 3;

/// 16 MiB: root, context (and PASID) tables and one page table, all handed over; one buffer page that the card may
/// write, one that it may read.
class HandMade {
 public:
  explicit HandMade(bool scalable = true) : memory(16 * mib), x_scalable(scalable) {
    build_tables();
    build_handover();
    look = read();
  }

  void store(u64 at, u64 value) const { std::memcpy(memory.bytes().data() + at, &value, sizeof value); }
  [[nodiscard]] u64 load(u64 at) const { return memory.load64(PhysAddr(at)).value(); }
  [[nodiscard]] Look read() const {
    Look now;
    now.boot.magic = metal::boot_page_magic;
    now.boot.version = metal::boot_page_version;
    now.boot.handover = {0x20'0000, 0x1000, 0x20'f000, 16};
    now.boot.image_area_start = 0xc0'0000;
    now.boot.image_area_bytes = mib;
    now.root_register = root | (x_scalable ? 0x400 : 0);
    now.tables = read_unit_tables(memory, now.root_register);
    return now;
  }
  [[nodiscard]] u64 entry_of_card() const { return context + (x_scalable ? 32u : 16u) * card; }
  void forget(u64 page) const {
    const u64 at = 0x20'6000 + (page >> 12) / 64 * 8;
    store(at, load(at) & ~(u64{1} << (page >> 12) % 64));
  }

  static constexpr u64 root = top;
  static constexpr u64 context = top + 0x1000;
  static constexpr u64 directory = top + 0x2000;
  static constexpr u64 pasids = top + 0x3000;
  static constexpr u64 tables = top + 0x4000;  // four levels
  static constexpr u64 lowest = tables + 0x3000;

  GuestMemory memory;
  Look look;

 private:
  void build_tables() const {
    store(root, context | 1);
    if (x_scalable) {
      constexpr u64 pasid = 0x41;
      store(entry_of_card(), directory | 1);
      store(entry_of_card() + 8, pasid);
      store(directory + (pasid >> 6) * 8, pasids | 1);
      store(pasids + (pasid & 63) * 64, tables | 2 << 6 | 2 << 2 | 1);
      store(pasids + (pasid & 63) * 64 + 8, 7);
    } else {
      store(entry_of_card(), tables | 1);
      store(entry_of_card() + 8, 7 << 8 | 2);
    }
    for (u64 level = 3; level > 0; --level)
      store(tables + (3 - level) * 0x1000 + (iova >> (12 + 9 * level) & 511) * 8, (tables + (4 - level) * 0x1000) | 3);
    store(lowest, buffer | 2);
    store(lowest + 8, (buffer + 0x1000) | 1);
  }

  // The map of pages of order 0: key 1 << 52 | page number, five nodes above the bitmap.
  void build_handover() const {
    store(0x20'1000 + 2 * 8, 0x20'2000);
    store(0x20'2000, 0x20'3000);
    store(0x20'3000, 0x20'4000);
    store(0x20'4000, 0x20'5000);
    store(0x20'5000, 0x20'6000);
    for (u64 page = root; page < tables + 0x4000; page += 0x1000) hand_over(page);
    hand_over(buffer);
    hand_over(buffer + 0x1000);
    std::byte* fdt = memory.bytes().data() + 0x20'0000;
    fdt_create_empty_tree(fdt, 0x1000);
    fdt_setprop_string(fdt, 0, "compatible", "kho-v2");
    const u64 nodes = 0x20'1000;
    fdt_setprop(fdt, 0, "preserved-memory-map", &nodes, sizeof nodes);
    store(0x20'f000, 0x80'0000);
    store(0x20'f008, 8 * mib);
  }
  void hand_over(u64 page) const {
    const u64 at = 0x20'6000 + (page >> 12) / 64 * 8;
    store(at, load(at) | u64{1} << (page >> 12) % 64);
  }

  bool x_scalable;
};

class OutsideView : public testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(Mode, OutsideView, testing::Bool(),
                         [](const auto& parameter) { return parameter.param ? "Scalable" : "Legacy"; });

TEST_P(OutsideView, FindsWellWhatIsWell) {
  const HandMade made(GetParam());
  ASSERT_EQ(made.look.tables.error, "");
  ASSERT_EQ(made.look.tables.devices.size(), 1u);
  const DeviceTables& device = made.look.tables.devices[0];
  EXPECT_EQ(source_text(device.source), "00:04.0");
  EXPECT_EQ(device.domain, 7);
  EXPECT_EQ(device.levels, 4u);
  const std::vector<sim::walk::Leaf> leaves{{iova, PhysAddr(buffer), 0x1000, false, true},
                                            {iova + 0x1000, PhysAddr(buffer + 0x1000), 0x1000, true, false}};
  EXPECT_EQ(device.leaves, leaves);
  EXPECT_EQ(made.look.tables.pages.size(), GetParam() ? 8u : 6u);
  EXPECT_EQ(check_handed_over(made.memory, made.look), Complaints());
  EXPECT_EQ(compare_tables(made.look, made.read(), Tables::Stay), Complaints());
}

TEST_P(OutsideView, MissesATablePageThatIsNotHandedOver) {
  const HandMade made(GetParam());
  made.forget(HandMade::lowest);
  EXPECT_EQ(check_handed_over(made.memory, made.look).size(), 1u);
}

TEST_P(OutsideView, MissesABufferThatIsNotHandedOver) {
  const HandMade made(GetParam());
  made.forget(buffer);
  EXPECT_EQ(check_handed_over(made.memory, made.look).size(), 1u);
}

TEST_P(OutsideView, SeesALeafThatLeadsElsewhere) {
  const HandMade made(GetParam());
  made.store(HandMade::lowest, (buffer + 0x2000) | 2);
  const Look after = made.read();
  EXPECT_EQ(compare_tables(made.look, after, Tables::MayBeReplaced).size(), 1u);
  EXPECT_EQ(check_handed_over(made.memory, after).size(), 1u);
}

TEST_P(OutsideView, SeesADeviceThatIsGone) {
  const HandMade made(GetParam());
  made.store(made.entry_of_card(), 0);
  const Look after = made.read();
  EXPECT_EQ(compare_tables(made.look, after, Tables::Stay), Complaints{"00:04.0 is not translated any more"});
  EXPECT_EQ(check_handed_over(made.memory, after).size(), 1u) << "nobody is translated";
}

TEST_P(OutsideView, SeesAnotherTableOfTheSamePages) {
  const HandMade made(GetParam());
  Look after = made.look;
  after.tables.devices[0].top = PhysAddr(0x50'0000);
  EXPECT_EQ(compare_tables(made.look, after, Tables::Stay).size(), 1u);
  EXPECT_EQ(compare_tables(made.look, after, Tables::MayBeReplaced), Complaints());
}

TEST_P(OutsideView, SeesReservedBits) {
  const HandMade made(GetParam());
  made.store(HandMade::lowest, buffer | 2 | u64{1} << 62);
  EXPECT_NE(made.read().tables.error, "");
  made.store(HandMade::lowest, buffer | 2);
  made.store(HandMade::root, HandMade::context | 1 | 0x20);
  EXPECT_NE(made.read().tables.error, "");
}

TEST_P(OutsideView, SeesATableOutsideMemory) {
  const HandMade made(GetParam());
  made.store(HandMade::tables + (iova >> 39 & 511) * 8, 64 * mib | 3);
  EXPECT_EQ(made.read().tables.error, "a page table is not in memory");
}

TEST_P(OutsideView, SeesAMapThatCannotBeRead) {
  const HandMade made(GetParam());
  Look held = made.look;
  held.boot.handover.fdt = 0x28'0000;
  EXPECT_EQ(check_handed_over(made.memory, held).size(), 1u);
}

TEST_P(OutsideView, SeesPassThrough) {
  const HandMade made(GetParam());
  if (GetParam())
    made.store(HandMade::pasids + 64, HandMade::tables | 4 << 6 | 2 << 2 | 1);
  else
    made.store(made.entry_of_card(), HandMade::tables | 2 << 2 | 1);
  EXPECT_NE(made.read().tables.error, "");
}

constexpr PhysRange first_image{PhysAddr(0xe0'0000), mib};

TEST_P(OutsideView, AllowsTheWaitingKernelToChangeItsOwnImage) {
  const HandMade made(GetParam());
  Look held = made.look;
  const std::vector<PhysAddr> of_first{PhysAddr(0xe0'3000)};
  const std::vector<PhysAddr> of_later{PhysAddr(0xc0'5000)};
  held.boot.jumps = 1;
  EXPECT_EQ(check_changes(made.memory, held, first_image, of_first), Complaints());
  EXPECT_EQ(check_changes(made.memory, held, first_image, of_later).size(), 1u);
  held.boot.jumps = 2;
  EXPECT_EQ(check_changes(made.memory, held, first_image, of_first).size(), 1u);
  EXPECT_EQ(check_changes(made.memory, held, first_image, of_later), Complaints());
}

TEST_P(OutsideView, AllowsOnlyWhatADeviceMayWriteToChange) {
  const HandMade made(GetParam());
  const PageDigests before = made.memory.digest_pages();
  made.store(buffer + 8, 1);
  made.store(metal::boot_page_address.value + 8, 1);
  made.store(0xe0'5000, 1);
  std::vector<PhysAddr> changed = changed_pages(before, made.memory.digest_pages());
  EXPECT_EQ(changed.size(), 3u);
  EXPECT_EQ(check_changes(made.memory, made.look, first_image, changed), Complaints());

  made.store(buffer + 0x1000, 1);  // the device may only read it
  made.store(HandMade::lowest + 0x800, 4);
  made.store(0x70'0000, 1);  // was a hole
  changed = changed_pages(before, made.memory.digest_pages());
  EXPECT_EQ(changed.size(), 6u);
  EXPECT_EQ(check_changes(made.memory, made.look, first_image, changed).size(), 3u);
}

class OverTheJump : public testing::Test {
 protected:
  [[nodiscard]] Complaints after_storing_at(std::initializer_list<u64> pages) const {
    const PageDigests before = made.memory.digest_pages();
    for (const u64 page : pages) made.store(page + 8, 0x55);
    return check_changes_over_jump(made.memory, made.look, changed_pages(before, made.memory.digest_pages()));
  }

  HandMade made;
};

TEST_F(OverTheJump, AllowsDevicesScratchAndTheBootPageToChange) {
  constexpr u64 scratch = 0x80'0000;
  EXPECT_EQ(after_storing_at({buffer, scratch, scratch + 7 * mib, metal::boot_page_address.value,
                              metal::boot_page_address.value + metal::log_pages * 0x1000}),
            Complaints());
}

TEST_F(OverTheJump, SeesAChangedPageOfTables) {
  EXPECT_EQ(after_storing_at({HandMade::lowest + 0x800}),
            Complaints{"page 0x107000 was handed over and changed, and no device may write it"});
}

TEST_F(OverTheJump, SeesAChangedPageThatADeviceMayOnlyRead) {
  EXPECT_EQ(after_storing_at({buffer + 0x1000}).size(), 1u);
}

TEST_F(OverTheJump, SeesAChangeOfMemoryThatIsNobodys) {
  EXPECT_EQ(after_storing_at({0x70'0000}),
            Complaints{"page 0x700000 changed outside scratch, and no device may write it"});
  EXPECT_EQ(after_storing_at({0x15000}).size(), 1u) << "behind the log pages";
}

TEST_F(OverTheJump, NeedsTheMapOfWhatWasHandedOver) {
  made.look.boot.handover.fdt = 0x28'0000;
  EXPECT_EQ(after_storing_at({buffer}).size(), 1u);
}

TEST(OutsideViewOfFirstStage, FindsTheSameLeaves) {
  HandMade made;
  constexpr u64 pasid_at = HandMade::pasids + 64;
  constexpr u64 present_write_user = 7;
  made.store(pasid_at, 1 | 1 << 6);
  made.store(pasid_at + 16, HandMade::tables);
  for (u64 level = 3; level > 0; --level)
    made.store(HandMade::tables + (3 - level) * 0x1000 + (iova >> (12 + 9 * level) & 511) * 8,
               (HandMade::tables + (4 - level) * 0x1000) | present_write_user);
  made.store(HandMade::lowest, buffer | present_write_user);
  made.store(HandMade::lowest + 8, (buffer + 0x1000) | 5);
  const Look look = made.read();
  ASSERT_EQ(look.tables.error, "");
  ASSERT_EQ(look.tables.devices.size(), 1u);
  const DeviceTables& device = look.tables.devices[0];
  EXPECT_TRUE(device.first_stage);
  EXPECT_EQ(device.rid_pasid, 0x41u);
  EXPECT_EQ(device.levels, 4u);
  const std::vector<sim::walk::Leaf> leaves{{iova, PhysAddr(buffer), 0x1000, true, true},
                                            {iova + 0x1000, PhysAddr(buffer + 0x1000), 0x1000, true, false}};
  EXPECT_EQ(device.leaves, leaves);
  EXPECT_EQ(look.tables.pages.size(), 8u);
  EXPECT_EQ(check_handed_over(made.memory, look), Complaints());

  made.store(pasid_at + 16, HandMade::tables | 2 << 2);
  EXPECT_NE(made.read().tables.error, "") << "a reserved mode";
  made.store(pasid_at + 16, 64 * mib);
  EXPECT_NE(made.read().tables.error, "") << "not in memory";
}

TEST(OutsideViewOfRidPasid, SeesThatItIsAnother) {
  const HandMade made;
  Look after = made.look;
  EXPECT_EQ(after.tables.devices[0].rid_pasid, 0x41u);
  after.tables.devices[0].rid_pasid = 0;
  EXPECT_EQ(compare_tables(made.look, after, Tables::MayBeReplaced),
            Complaints{"00:04.0 has another RID_PASID or stage"});
}

TEST(PageDigests, TellAHoleFromNothingElseThanOtherContents) {
  const GuestMemory memory(mib);
  const PageDigests before = memory.digest_pages();
  memory.bytes()[0x5000] = std::byte{1};
  EXPECT_EQ(changed_pages(before, memory.digest_pages()), std::vector{PhysAddr(0x5000)});
  memory.bytes()[0x5000] = std::byte{0};  // no hole any more, and the same as one
  EXPECT_TRUE(changed_pages(before, memory.digest_pages()).empty());
}

TEST(BootPageReader, RefusesMemoryWithoutOne) {
  const GuestMemory memory(mib);
  EXPECT_THROW((void)read_boot_page(memory), host::RunError);
}

}  // namespace
}  // namespace metal_test

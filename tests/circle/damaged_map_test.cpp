// The map of preserved memory is damaged: what is preserved is not known any more, so nothing may translate when memory
// is given out.
#include <algorithm>
#include <cstring>
#include <optional>

#include "sim/walk/handover_map.hpp"
#include "tests/circle/circle.hpp"

namespace circle {
namespace {

constexpr u64 outside_ram = u64{1} << 45;

/// Every word of the map's own pages that leads to another one of them.
std::vector<PhysAddr> links_of_the_map(host::ModelSession& session) {
  const sim::GuestRam& ram = session.machine().ram();
  const sim::walk::HandoverMap map = sim::walk::read_handover(ram, session.handover());
  EXPECT_TRUE(map.ok()) << map.error;
  const auto is_page_of_the_map = [&](u64 address) {
    return std::any_of(map.bookkeeping.begin(), map.bookkeeping.end(),
                       [&](const PhysRange& range) { return range.start.value == address; });
  };
  std::vector<PhysAddr> links;
  for (const PhysRange& page : map.bookkeeping) {
    if (page.start.value == session.handover().fdt || page.start.value == session.handover().scratch) continue;
    for (u64 at = 0; at < page_size_bytes; at += sizeof(u64))
      if (is_page_of_the_map(*ram.load64(page.start + at))) links.push_back(page.start + at);
  }
  return links;
}

Scene small_scene() {
  Scene scene;
  scene.ram_bytes = u64{16} << 20;
  scene.file_bytes = u64{64} << 10;
  scene.mapped_bytes = u64{64} << 10;
  scene.updates = 1;
  scene.stale = StaleUses::Ignored;
  return scene;
}

/// The next kernel comes up, and nothing translates from then on.
void expect_every_device_blocked(Circle& circle) {
  sim::Machine& machine = circle.session.machine();
  const host::Generation next = circle.session.run([](host::ModelSession::Context& context) {
    for (int turn = 0; turn < 100; ++turn) context.world.relax();
  });
  ASSERT_TRUE(next.returned()) << next.text();
  ASSERT_EQ(next.boot, Code::Ok) << next.text();
  EXPECT_FALSE(next.log.empty());
  const sim::Mark& booted = machine.marks().back();
  ASSERT_EQ(booted.phase, Phase::LiveBootDone);
  for (u32 i = 0; i <= bystander; ++i) {
    const sim::EngineCounters counters = machine.counters(i);
    EXPECT_EQ(counters.transfers, booted.devices[i].transfers) << "device " << i << " still translates\n" << next.log;
    EXPECT_GT(counters.faulted, 0u);
  }
  EXPECT_EQ(machine.wild(), 0u);
}

TEST(DamagedMap, BlocksEveryDeviceBeforeMemoryIsGivenOut) {
  RecordProperty("acceptance", "C26");
  u64 tried = 0;
  for (u64 which = 0;; ++which) {
    Circle circle(small_scene());
    ASSERT_TRUE(circle.generation().jumped());
    const std::vector<PhysAddr> links = links_of_the_map(circle.session);
    if (which == links.size()) break;
    SCOPED_TRACE("link " + std::to_string(which) + " of " + std::to_string(links.size()));
    std::memcpy(circle.session.machine().ram().at(links[which], sizeof(u64)), &outside_ram, sizeof(u64));
    ASSERT_NO_FATAL_FAILURE(expect_every_device_blocked(circle));
    ++tried;
  }
  EXPECT_GT(tried, 5u);
}

/// A bitmap of single pages: bit n of it is page n, for memory that is small enough.
std::optional<PhysAddr> bitmap_of_pages(host::ModelSession& session) {
  const sim::GuestRam& ram = session.machine().ram();
  const sim::walk::HandoverMap map = sim::walk::read_handover(ram, session.handover());
  const auto page = std::ranges::find(map.preserved, 0u, &Block::order);
  if (!map.ok() || page == map.preserved.end()) return std::nullopt;
  const u64 number = page->start.value / page_size_bytes;
  const u64 bit = u64{1} << number % 64;
  for (const PhysRange& candidate : map.bookkeeping) {
    auto* word = reinterpret_cast<u64*>(ram.at(candidate.start + number / 64 * sizeof(u64), sizeof(u64)));
    const u64 before = *word;
    if ((before & bit) == 0) continue;
    *word = before & ~bit;
    const sim::walk::HandoverMap without = sim::walk::read_handover(ram, session.handover());
    *word = before;
    if (without.ok() && without.preserved.size() + 1 == map.preserved.size()) return candidate.start;
  }
  return std::nullopt;
}

// Every table is sound, and all that it leads to is preserved; but who wrote such a map may have left out anything.
TEST(DamagedMap, ThatNamesAPageOfItsOwnBlocksEveryDevice) {
  RecordProperty("acceptance", "C26");
  Circle circle(small_scene());
  ASSERT_TRUE(circle.generation().jumped());
  const auto bitmap = bitmap_of_pages(circle.session);
  ASSERT_TRUE(bitmap);
  const u64 number = bitmap->value / page_size_bytes;
  auto* word =
      reinterpret_cast<u64*>(circle.session.machine().ram().at(*bitmap + number / 64 * sizeof(u64), sizeof(u64)));
  *word |= u64{1} << number % 64;
  expect_every_device_blocked(circle);
}

}  // namespace
}  // namespace circle

// Preserving tables, jumping, verifying, reading, passing on and freeing them; and what becomes of damaged ones.
#include "holdfast/pt/restored_table.hpp"

#include <gtest/gtest.h>

#include <random>

#include "holdfast/pt/digest.hpp"
#include "holdfast/pt/test_support.hpp"
#include "holdfast/pt/vtd_second_stage.hpp"

namespace holdfast::pt {
namespace {

constexpr u64 mib = u64{1} << 20;
constexpr u64 gib = u64{1} << 30;
constexpr u64 sizes_4k_2m = u64{1} << 12 | u64{1} << 21;

template <class T>
concept CanBeChanged = requires(T& table, Iova iova, Gather& gather) {
  table.map(iova, std::span<const PhysRange>(), Prot::Read, gather);
} || requires(T& table, Iova iova, Gather& gather) { table.unmap(iova, u64{1}, gather); };
static_assert(CanBeChanged<Table>);
static_assert(!CanBeChanged<RestoredTable>, "a restored table is free-only");
static_assert(!CanBeChanged<TreeReader>);

enum class Filling : u8 { Empty, Mixed, OnePagePerLevel };

struct Shape {
  u8 levels;
  TableMode mode;
  Filling filling;
};

/// A kernel with guest memory, one table that maps it, and everything preserved; then the next kernel.
class Update {
 public:
  explicit Update(const Shape& shape)
      : x_shape(shape),
        config{.levels = shape.levels,
               .iova_bits = static_cast<u8>(12 + 9 * shape.levels),
               .page_sizes = sizes_4k_2m,
               .mode = shape.mode} {
    for (const unsigned order : {10u, 9u, 3u, 0u, 0u}) {
      const Block block{host.memory.buddy.allocate(order).value(), order};
      guest.push_back({block.start, block.size_bytes()});
      must(sink.preserve(block));
    }
    live = Table::create(host.memory, config).value();
    if (shape.filling == Filling::Mixed) fill_mixed();
    if (shape.filling == Filling::OnePagePerLevel) fill_sparse();
    model = model_of(*live);
    saved = live->preserve(sink).value();
    for (const Block& block : live->arena().blocks()) blocks.push_back(block);
    live->collect([&](PhysAddr page, unsigned level) { tables.emplace_back(page, level); });
  }

  void jump() { next = std::make_unique<NextKernel>(world, sink); }
  RestoredTable& restore() {
    return *RestoredTable::create(next->memory, Format::VtdSecondStage, saved, x_shape.mode, blocks).value();
  }
  [[nodiscard]] u64 last_iova() const { return (u64{1} << config.iova_bits) - 1; }

  static void must(const Status& status) {
    if (!status.ok()) throw std::runtime_error("test set-up failed");
  }

 private:
  void fill_mixed() {
    // 2M leaves, 4K leaves over several tables, one page at the very end, all of them guest memory; with leftovers.
    must(map_now(*live, 0, guest[0].start.value, 4 * mib));
    must(map_now(*live, 8 * mib + 0x5000, guest[1].start.value, 2 * mib));
    must(map_now(*live, gib - 0x4000, guest[2].start.value, 0x8000, Prot::Read));
    must(map_now(*live, last_iova() - 0xfff, guest[3].start.value, 0x1000));
    must(map_now(*live, 16 * mib, guest[0].start.value + 0x1000, mib, Prot::Write));
    must(Status(unmap_now(*live, 16 * mib, mib).code()));
  }
  void fill_sparse() { must(map_now(*live, gib + 0x3000, guest[4].start.value, 0x1000)); }

  Shape x_shape;

 public:
  TestWorld world{32 * mib};
  TestMemory host{world};
  SetSink sink;
  std::vector<PhysRange> guest;
  TableConfig config;
  Table* live = nullptr;
  SavedTable saved;
  std::vector<Block> blocks;
  std::vector<std::pair<PhysAddr, unsigned>> tables;
  PageModel model;
  std::unique_ptr<NextKernel> next;
};

class RestoredTableTest : public testing::TestWithParam<Shape> {};

TEST_P(RestoredTableTest, MarksExactlyTheTablesAndUnmarksThemAgain) {
  RecordProperty("acceptance", "P1 P5 P16 G1 G2");
  Update update(GetParam());
  Table& table = *update.live;
  table.unpreserve(update.sink);
  const auto guest_only = update.sink.blocks;
  for (const auto& [start, order] : guest_only)
    for (const auto& [page, level] : update.tables)
      EXPECT_FALSE((PhysRange{PhysAddr(start), page_size_bytes << order}).contains(page, 1)) << "no data page";

  SetSink marked;
  ASSERT_TRUE(table.preserve(marked).ok());
  std::set<std::pair<u64, u32>> expected;
  if (GetParam().mode == TableMode::Page)
    for (const auto& [page, level] : update.tables) expected.insert({page.value, 0});
  else
    for (const Block& block : table.arena().blocks()) expected.insert({block.start.value, block.order});
  EXPECT_EQ(marked.blocks, expected);
  for (const auto& [page, level] : update.tables) {
    const bool covered = std::ranges::any_of(marked.blocks, [&](const auto& block) {
      return PhysRange{PhysAddr(block.first), page_size_bytes << block.second}.contains(page, page_size_bytes);
    });
    EXPECT_TRUE(covered);
  }
  table.unpreserve(marked);
  EXPECT_TRUE(marked.blocks.empty());

  for (std::size_t k = 0; k < expected.size(); ++k) {
    SetSink full;
    full.fail_at = k;
    EXPECT_EQ(table.preserve(full).code(), Code::NoMemory);
    EXPECT_TRUE(full.blocks.empty()) << "k=" << k;
    EXPECT_FALSE(table.preserved());
  }
}

TEST_P(RestoredTableTest, ATableDoesNotChangeWhileItIsPreserved) {
  RecordProperty("acceptance", "P15");
  Update update(GetParam());
  Table& table = *update.live;
  const auto marked = update.sink.blocks;
  for (u64 iova = 0; iova < 32 * mib; iova += mib) {
    EXPECT_EQ(map_now(table, iova, update.guest[0].start.value, 0x1000).code(), Code::Busy);
    EXPECT_EQ(unmap_now(table, iova, 0x1000).code(), Code::Busy);
  }
  EXPECT_EQ(table.preserve(update.sink).code(), Code::Busy);
  EXPECT_EQ(model_of(table), update.model);
  EXPECT_EQ(update.sink.blocks, marked);
  table.unpreserve(update.sink);
  EXPECT_TRUE(map_now(table, 512 * gib / 2, update.guest[0].start.value, 0x1000).ok());
  EXPECT_EQ(unmap_now(table, 512 * gib / 2, 0x1000).value(), 0x1000u);
  EXPECT_TRUE(table.preserve(update.sink).ok());
}

TEST_P(RestoredTableTest, SavesTopLevelAndWidthAndTranslatesAfterTheJumpAsBefore) {
  RecordProperty("acceptance", "P2 P7 P16");
  Update update(GetParam());
  EXPECT_EQ(update.saved.top, update.live->top());
  EXPECT_EQ(update.saved.top_level, GetParam().levels - 1);
  EXPECT_EQ(update.saved.iova_bits, 12 + 9 * GetParam().levels);
  EXPECT_EQ(update.saved.sign_extend, 0);
  EXPECT_EQ(update.saved.table_count, update.tables.size());

  std::mt19937_64 random(11);
  std::vector<u64> probes;
  for (const auto& [page, to] : update.model)
    probes.insert(probes.end(), {page << 12, (page << 12) + 0xfff, (page + 1) << 12, (page << 12) - 1});
  while (probes.size() < 1'000'000)
    probes.push_back(random() % 2 == 0 ? random() & update.last_iova() : random() % (32 * mib));
  std::vector<std::optional<u64>> before;
  for (const u64 probe : probes)
    before.push_back(naive_walk(update.world, update.saved.top, GetParam().levels, probe & update.last_iova()));

  update.jump();
  RestoredTable& restored = update.restore();
  VerifyReport report;
  ASSERT_TRUE(restored.verify(report).ok()) << to_string(report.reason);
  EXPECT_EQ(report.tables_met, update.saved.table_count);
  const TreeReader reader = restored.reader().value();
  for (std::size_t i = 0; i < probes.size(); ++i) {
    const u64 probe = probes[i] & update.last_iova();
    ASSERT_EQ(naive_walk(update.next->world, update.saved.top, GetParam().levels, probe), before[i]);
    const auto found = reader.lookup(Iova(probe));
    ASSERT_EQ(found.ok(), before[i].has_value());
    if (!found.ok()) continue;
    ASSERT_EQ(found->address.value & ~u64{0xfff}, *before[i] & ~u64{0xfff});
    ASSERT_EQ(static_cast<u64>(found->prot), *before[i] & 3);
  }
  EXPECT_EQ(model_of(reader), update.model);
  EXPECT_EQ(reader.lookup(Iova(update.last_iova() + 1)).code(), Code::OutOfRange);
}

TEST_P(RestoredTableTest, IsFreedWithoutALeakAndWithoutAnAllocation) {
  RecordProperty("acceptance", "P6 P8 P9 P14 P16");
  TestWorld untouched(32 * mib);
  const auto nothing_came_in = TestMemory(untouched).memory.buddy.free_blocks();
  for (const u64 fail_at : {0u, 1u}) {
    Update update(GetParam());
    update.jump();
    TestWorld& world = update.next->world;
    Memory& memory = update.next->memory;
    RestoredTable* restored = &update.restore();
    VerifyReport report;
    world.allocations = 0;
    world.fail_allocation_at = fail_at;
    ASSERT_TRUE(restored->verify(report).ok());
    ASSERT_TRUE(RestoredTable::destroy(restored, update.next->restorer).ok());
    EXPECT_EQ(world.allocations, 0u) << "restoring has nothing that could fail";
    EXPECT_EQ(memory.heap.live_objects(), 0u);
    for (const auto& [start, order] : update.sink.blocks) {
      const bool is_guest =
          std::ranges::any_of(update.guest, [&](const PhysRange& range) { return range.start.value == start; });
      EXPECT_EQ(memory.release_incoming(PhysAddr(start)).ok(), is_guest) << "every table page was restored";
    }
    EXPECT_EQ(memory.buddy.free_blocks(), nothing_came_in);
  }
}

TEST_P(RestoredTableTest, PassesOnTheSameBlocksAndTheSameDescription) {
  Update update(GetParam());
  for (int generation = 0; generation < 3; ++generation) {
    update.jump();
    RestoredTable& restored = update.restore();
    VerifyReport report;
    SetSink onward;
    const Code unverified = restored.pass_on(onward).code();
    EXPECT_EQ(unverified, GetParam().mode == TableMode::Page ? Code::NotSupported : Code::Ok);
    ASSERT_TRUE(restored.verify(report).ok());
    EXPECT_EQ(restored.pass_on(onward).value(), update.saved);
    const auto marked = onward.blocks;
    restored.cancel_pass_on(onward);
    EXPECT_TRUE(onward.blocks.empty());
    for (std::size_t k = 0; k < marked.size(); ++k) {
      SetSink full;
      full.fail_at = k;
      EXPECT_EQ(restored.pass_on(full).code(), Code::NoMemory);
      EXPECT_TRUE(full.blocks.empty());
    }
    ASSERT_TRUE(restored.pass_on(update.sink).ok()) << "already in the set: it is a set";
    for (const auto& block : marked) EXPECT_TRUE(update.sink.blocks.contains(block));
    RestoredTable::forget(&restored);
    EXPECT_EQ(update.next->memory.heap.live_objects(), 0u);
  }
}

TEST_P(RestoredTableTest, ReportsAPageThatSomebodyElseRestored) {
  Update update(GetParam());
  update.jump();
  RestoredTable* restored = &update.restore();
  VerifyReport report;
  ASSERT_TRUE(restored->verify(report).ok());
  const PhysAddr stolen = GetParam().mode == TableMode::Page ? update.saved.top : update.blocks[0].start;
  ASSERT_TRUE(update.next->restorer.restore(stolen).ok());
  EXPECT_EQ(RestoredTable::destroy(restored, update.next->restorer).code(), Code::Corrupt);
  EXPECT_EQ(update.next->memory.heap.live_objects(), 0u);
}

/// A table page in the next kernel that can be damaged and mended, with the recorded checksum following if wanted.
class Damage {
 public:
  Damage(Update& update, PhysAddr page, unsigned level)
      : x_update(update), x_page(page), x_level(level), words(update.next->memory.map.at<u64>(page)) {
    std::copy_n(words, 512, x_before.begin());
    x_saved = update.saved;
  }
  ~Damage() {
    std::copy_n(x_before.begin(), 512, words);
    x_update.saved = x_saved;
  }
  Damage(const Damage&) = delete;
  Damage& operator=(const Damage&) = delete;
  void make_the_checksum_right() {
    constexpr u64 ignored = VtdSecondStage::hardware_bits;
    x_update.saved.checksum +=
        table_digest(x_page, x_level, words, ignored) - table_digest(x_page, x_level, x_before.data(), ignored);
  }

 private:
  Update& x_update;
  PhysAddr x_page;
  unsigned x_level;
  std::array<u64, 512> x_before{};
  SavedTable x_saved;

 public:
  u64* words;
};

TEST_P(RestoredTableTest, ADamagedEntryIsRefusedOrHarmless) {
  RecordProperty("acceptance", "P17 K23");
  Update update(GetParam());
  update.jump();
  Memory& memory = update.next->memory;
  const PhysAddr free_page = memory.buddy.allocate(0).value();
  memory.buddy.release(free_page, 0);
  u64 refused = 0;
  u64 accepted = 0;
  const auto try_it = [&](bool checksum_right) {
    RestoredTable& restored = update.restore();
    VerifyReport report;
    const Status status = restored.verify(report);
    if (!status.ok()) {
      ++refused;
      EXPECT_EQ(status.code(), Code::Corrupt);
      EXPECT_NE(report.reason, VerifyReason::None);
      EXPECT_FALSE(restored.reader().ok());
      RestoredTable::forget(&restored);
      return;
    }
    ++accepted;
    const PageModel now = model_of(restored.reader().value());
    EXPECT_TRUE(checksum_right || now == update.model) << "what is accepted translates as before";
    for (const auto& [iova, to] : now) {
      const PhysAddr page(to & ~u64{0xfff});
      const bool guest = std::ranges::any_of(
          update.guest, [&](const PhysRange& range) { return range.contains(page, page_size_bytes); });
      ASSERT_TRUE(guest) << "a device would reach foreign memory";
    }
    // Undo the stamps of this verification, as a new boot would.
    for (const auto& [page, level] : update.tables) memory.frames.at(page).mark = 0;
    RestoredTable::forget(&restored);
  };
  for (const auto& [page, level] : update.tables) {
    const u64* original = memory.map.at<u64>(page);
    std::vector<u64> slots{0, 1, 511};
    for (u64 i = 0; i < 512; ++i)
      if (original[i] != 0 && (slots.size() < 12 || i % 64 == 0)) slots.push_back(i);
    for (const u64 slot : slots) {
      const u64 entry = original[slot];
      std::vector<u64> values{0,
                              ~u64{0},
                              entry + 0x1000,
                              entry - 0x1000,
                              (32 * mib) | 3,
                              0x000f'ffff'ffff'f003,
                              free_page.value | 3,
                              page.value | 3,
                              page.value | 0x83,
                              update.saved.top.value | 3,
                              entry | 0x80,
                              entry & ~u64{3},
                              entry ^ 1,
                              entry | 4,
                              entry | u64{1} << 62,
                              (update.guest[0].start.value) | 0x83,
                              entry ^ 0x300};
      for (const auto& [other, other_level] : update.tables) values.push_back(other.value | 3);
      for (const u64 value : values) {
        for (const bool checksum_right : {false, true}) {
          Damage damage(update, page, level);
          damage.words[slot] = value;
          if (checksum_right) damage.make_the_checksum_right();
          try_it(checksum_right);
          ASSERT_FALSE(HasFatalFailure());
        }
      }
    }
  }
  EXPECT_GT(refused, 50u);
  EXPECT_GT(accepted, 0u) << "at least the accessed and dirty bits do not matter";
  RestoredTable& restored = update.restore();
  VerifyReport report;
  EXPECT_TRUE(restored.verify(report).ok()) << "no stamp was left behind: " << to_string(report.reason);
  RestoredTable::forget(&restored);
}

TEST_P(RestoredTableTest, ADamagedDescriptionIsRefused) {
  Update update(GetParam());
  update.jump();
  const SavedTable good = update.saved;
  const auto reason = [&](auto&& change) {
    update.saved = good;
    change(update.saved);
    RestoredTable& restored = update.restore();
    VerifyReport report;
    EXPECT_EQ(restored.verify(report).code(), Code::Corrupt);
    RestoredTable::forget(&restored);
    return report.reason;
  };
  for (const u64 top : {u64{0}, ~u64{0}, good.top.value + 0x800, 32 * mib, update.guest[0].start.value + 0x1000,
                        update.host.scratch().start.value})
    EXPECT_EQ(reason([&](SavedTable& s) { s.top = PhysAddr(top); }), VerifyReason::NotOwned) << std::hex << top;
  for (const unsigned level : {0u, 1u, 5u, 7u, 255u})
    EXPECT_EQ(reason([&](SavedTable& s) { s.top_level = static_cast<u8>(level); }), VerifyReason::Shape);
  EXPECT_EQ(reason([](SavedTable& s) { s.iova_bits = 0; }), VerifyReason::Shape);
  EXPECT_EQ(reason([](SavedTable& s) { s.iova_bits = 255; }), VerifyReason::Shape);
  EXPECT_EQ(reason([](SavedTable& s) { s.sign_extend = 1; }), VerifyReason::Shape);
  EXPECT_EQ(reason([](SavedTable& s) { s.table_count = 0; }), VerifyReason::Shape);
  EXPECT_EQ(reason([](SavedTable& s) { ++s.table_count; }), VerifyReason::TooFewTables);
  EXPECT_EQ(reason([](SavedTable& s) { s.table_count = ~u64{0}; }), VerifyReason::TooFewTables);
  EXPECT_EQ(reason([](SavedTable& s) { s.checksum ^= u64{1} << 40; }), VerifyReason::Checksum);
  if (GetParam().filling == Filling::Empty) return;
  EXPECT_EQ(reason([](SavedTable& s) { --s.table_count; }), VerifyReason::TooManyTables);
  EXPECT_EQ(reason([](SavedTable& s) { s.iova_bits = 30; }), VerifyReason::BeyondWidth);
}

TEST_P(RestoredTableTest, AnyFlippedBitOfAnyTableIsFound) {
  RecordProperty("acceptance", "K23");
  Update update(GetParam());
  update.jump();
  std::mt19937_64 random(5);
  for (int round = 0; round < 3000; ++round) {
    const auto& [page, level] = update.tables[random() % update.tables.size()];
    Damage damage(update, page, level);
    const u64 bit = random() % 64;
    damage.words[random() % 512] ^= u64{1} << bit;
    RestoredTable& restored = update.restore();
    VerifyReport report;
    const bool meaningless = bit == 8 || bit == 9;
    ASSERT_TRUE(!restored.verify(report).ok() || meaningless) << "bit " << bit;
    RestoredTable::forget(&restored);
    for (const auto& [table, at_level] : update.tables) update.next->memory.frames.at(table).mark = 0;
  }
}

std::string name_of(const testing::TestParamInfo<Shape>& shape) {
  constexpr const char* fillings[] = {"Empty", "Mixed", "Sparse"};
  return "Levels" + std::to_string(shape.param.levels) + (shape.param.mode == TableMode::Arena ? "Arena" : "Page") +
         fillings[static_cast<unsigned>(shape.param.filling)];
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, RestoredTableTest,
    testing::Values(Shape{3, TableMode::Arena, Filling::Mixed}, Shape{4, TableMode::Arena, Filling::Mixed},
                    Shape{4, TableMode::Page, Filling::Mixed}, Shape{5, TableMode::Page, Filling::Mixed},
                    Shape{4, TableMode::Arena, Filling::Empty}, Shape{4, TableMode::Page, Filling::Empty},
                    Shape{4, TableMode::Arena, Filling::OnePagePerLevel},
                    Shape{3, TableMode::Page, Filling::OnePagePerLevel}),
    name_of);

TEST(RestoredTable, RefusesBlockListsThatWereNotPreserved) {
  Update update({4, TableMode::Arena, Filling::Mixed});
  update.jump();
  Memory& memory = update.next->memory;
  const auto code = [&](std::vector<Block> blocks) {
    auto table = RestoredTable::create(memory, Format::VtdSecondStage, update.saved, TableMode::Arena, blocks);
    if (table.ok()) RestoredTable::forget(*table);
    return table.code();
  };
  const Block good = update.blocks[0];
  EXPECT_EQ(code({good}), Code::Ok);
  EXPECT_EQ(code({}), Code::Invalid);
  EXPECT_EQ(code({good, good}), Code::Corrupt) << "twice";
  EXPECT_EQ(code({{good.start, 5}}), Code::Corrupt);
  EXPECT_EQ(code({{good.start, 200}}), Code::Corrupt);
  EXPECT_EQ(code({{good.start + 0x1000, 0}}), Code::Corrupt) << "inside";
  EXPECT_EQ(code({good, {PhysAddr(~u64{0xfff}), 6}}), Code::Corrupt);
  EXPECT_EQ(code({{update.host.scratch().start, 6}}), Code::Corrupt);
  EXPECT_EQ(RestoredTable::create(memory, Format::VtdSecondStage, update.saved, TableMode::Page, update.blocks).code(),
            Code::Invalid);
  for (u64 k = 1;; ++k) {
    Code answer = Code::Ok;
    if (!update.next->world.failing(k, [&] { answer = code({good}); })) break;
    EXPECT_EQ(answer, Code::NoMemory);
    EXPECT_EQ(memory.heap.live_objects(), 0u);
  }
}

TEST(RestoredTable, UnverifiedItIsFreedByBlockOrNotAtAll) {
  RecordProperty("acceptance", "P9");
  for (const TableMode mode : {TableMode::Arena, TableMode::Page}) {
    Update update({4, mode, Filling::Mixed});
    update.jump();
    std::fill_n(update.next->memory.map.at<u64>(update.saved.top), 512, ~u64{0});
    RestoredTable* restored = &update.restore();
    VerifyReport report;
    ASSERT_FALSE(restored->verify(report).ok());
    EXPECT_EQ(restored->reader().code(), Code::NotSupported);
    const bool by_block = mode == TableMode::Arena;
    EXPECT_EQ(RestoredTable::destroy(restored, update.next->restorer).code(), by_block ? Code::Ok : Code::NotSupported);
    if (!by_block) RestoredTable::forget(restored);
    EXPECT_EQ(update.next->memory.heap.live_objects(), 0u);
    for (const Block& block : update.blocks)
      EXPECT_EQ(update.next->restorer.restore(block.start).code(), Code::NotFound);
  }
}

TEST(RestoredTable, ADamagedEntryIsNamedWithItsPlaceAndTheReason) {
  RecordProperty("acceptance", "P17");
  for (const TableMode mode : {TableMode::Arena, TableMode::Page}) {
    Update update({4, mode, Filling::OnePagePerLevel});
    update.jump();
    // One page at 1 GiB + 0x3000: entry 0 of the top, 1 of level 2, 0 of level 1, 3 of level 0.
    ASSERT_EQ(update.tables.size(), 4u);
    const auto reason = [&](unsigned level, u32 slot, u64 value) {
      const PhysAddr page = update.tables[3 - level].first;
      Damage damage(update, page, level);
      damage.words[slot] = value;
      damage.make_the_checksum_right();
      RestoredTable& restored = update.restore();
      VerifyReport report;
      EXPECT_EQ(restored.verify(report).code(), Code::Corrupt);
      RestoredTable::forget(&restored);
      EXPECT_EQ(report.table, page);
      EXPECT_EQ(report.level, level);
      EXPECT_EQ(report.index, slot);
      EXPECT_EQ(report.entry, value);
      EXPECT_FALSE(to_string(report.reason).empty());
      return report.reason;
    };
    const u64 top = update.tables[0].first.value;
    const u64 leaf_table = update.tables[3].first.value;
    const u64 guest = update.guest[4].start.value;
    EXPECT_EQ(reason(3, 5, top | 3), VerifyReason::MetTwice) << "itself";
    EXPECT_EQ(reason(1, 7, top | 3), VerifyReason::MetTwice) << "a loop";
    EXPECT_EQ(reason(1, 7, leaf_table | 3), VerifyReason::MetTwice) << "met by another entry";
    EXPECT_EQ(reason(1, 7, update.host.scratch().start.value | 3), VerifyReason::NotOwned);
    EXPECT_EQ(reason(1, 7, 0x000f'ffff'ffff'f003), VerifyReason::NotOwned);
    EXPECT_EQ(reason(1, 0, leaf_table | 1), VerifyReason::Permission);
    EXPECT_EQ(reason(1, 0, leaf_table | 3 | u64{1} << 60), VerifyReason::ReservedBits);
    EXPECT_EQ(reason(0, 3, guest), VerifyReason::Permission);
    EXPECT_EQ(reason(0, 3, guest | 0x83), VerifyReason::ReservedBits);
    EXPECT_EQ(reason(1, 7, (update.guest[0].start.value + 0x1000) | 0x83), VerifyReason::ReservedBits) << "misaligned";
    EXPECT_EQ(reason(3, 5, 0x83), VerifyReason::ReservedBits) << "no leaf is that large";
    EXPECT_EQ(reason(0, 3, (32 * mib) | 3), VerifyReason::LeafTarget) << "not RAM";
    EXPECT_EQ(reason(0, 3, update.host.scratch().start.value | 3), VerifyReason::LeafTarget) << "not preserved";
    EXPECT_EQ(reason(0, 3, leaf_table | 3), VerifyReason::LeafTarget) << "a device that writes its own tables";
    EXPECT_EQ(reason(0, 3, top | 3), VerifyReason::LeafTarget);
  }
}

TEST(RestoredTable, ATableOfAnotherVerifiedDomainIsRefused) {
  Update update({4, TableMode::Page, Filling::Mixed});
  update.jump();
  RestoredTable& one = update.restore();
  RestoredTable& other = update.restore();
  VerifyReport report;
  ASSERT_TRUE(one.verify(report).ok());
  EXPECT_EQ(one.verify(report).code(), Code::Busy);
  EXPECT_EQ(other.verify(report).code(), Code::Corrupt);
  EXPECT_EQ(report.reason, VerifyReason::OtherDomain);
  EXPECT_EQ(model_of(one.reader().value()), update.model) << "and costs the first nothing";
}

TEST(RestoredTable, UnknownFormatsAreNotInterpreted) {
  Update update({4, TableMode::Arena, Filling::Mixed});
  update.jump();
  RestoredTable& restored =
      *RestoredTable::create(update.next->memory, Format{9}, update.saved, TableMode::Arena, update.blocks).value();
  VerifyReport report;
  EXPECT_EQ(restored.verify(report).code(), Code::NotSupported);
  EXPECT_TRUE(RestoredTable::destroy(&restored, update.next->restorer).ok());
}

TEST(RestoredTable, CountsTheTablesItTouches) {
  Update update({4, TableMode::Arena, Filling::Mixed});
  update.jump();
  RestoredTable& restored = update.restore();
  Memory& memory = update.next->memory;
  memory.touches.running = true;
  VerifyReport report;
  ASSERT_TRUE(restored.verify(report).ok());
  EXPECT_GE(memory.touches.counts.tables, update.saved.table_count);
  const u64 verified = memory.touches.counts.tables;
  ASSERT_TRUE(RestoredTable::destroy(&restored, update.next->restorer).ok());
  EXPECT_EQ(memory.touches.counts.tables, verified) << "freed by block";
}

TEST(Compare, FindsTheFirstAddressThatIsNotMappedIdentically) {
  RecordProperty("acceptance", "R16");
  Update update({4, TableMode::Arena, Filling::Mixed});
  update.jump();
  RestoredTable& restored = update.restore();
  VerifyReport report;
  ASSERT_TRUE(restored.verify(report).ok());
  const TreeReader old_mapping = restored.reader().value();
  const auto build = [&](u64 page_sizes) {
    TableConfig config = update.config;
    config.page_sizes = page_sizes;
    Table& table = *Table::create(update.next->memory, config).value();
    for (const auto& [page, to] : update.model) {
      const PhysRange run{PhysAddr(to & ~u64{0xfff}), page_size_bytes};
      Update::must(map_now(table, Iova(page << 12), {&run, 1}, static_cast<Prot>(to & 3)));
    }
    return &table;
  };
  Table& small = *build(u64{1} << 12);
  EXPECT_EQ(compare(old_mapping, small), std::nullopt) << "other leaf sizes are the same mapping";
  EXPECT_EQ(compare(small, old_mapping), std::nullopt);
  EXPECT_EQ(map_now(small, 64 * mib, update.guest[0].start.value, 0x1000).code(), Code::Ok);
  EXPECT_EQ(compare(old_mapping, small), std::nullopt) << "more is fine";
  EXPECT_EQ(compare(small, old_mapping), Iova(64 * mib));

  const auto remap = [&](u64 iova, u64 address, Prot prot) {
    EXPECT_EQ(unmap_now(small, iova, 0x1000).value(), 0x1000u);
    EXPECT_TRUE(map_now(small, iova, address, 0x1000, prot).ok());
  };
  const u64 read_only = gib - 0x4000;
  remap(read_only, update.guest[2].start.value, Prot::ReadWrite);
  EXPECT_EQ(compare(old_mapping, small), std::nullopt) << "more permissions are fine";
  remap(read_only, update.guest[2].start.value, Prot::Write);
  EXPECT_EQ(compare(old_mapping, small), Iova(read_only));
  remap(3 * mib, update.guest[0].start.value, Prot::ReadWrite);
  EXPECT_EQ(compare(old_mapping, small), Iova(3 * mib)) << "another address, inside a large leaf of the old";
  EXPECT_EQ(unmap_now(small, mib, 0x1000).value(), 0x1000u);
  EXPECT_EQ(compare(old_mapping, small), Iova(mib)) << "missing";
}

}  // namespace
}  // namespace holdfast::pt

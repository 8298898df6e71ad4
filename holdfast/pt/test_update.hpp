// Test support for pt/ (hosted; never part of the library): one table, preserved by one kernel and found by the next,
// in the shapes that the tests of restoring and of verification run over; and damage to its pages.
#pragma once

#include <gtest/gtest.h>

#include "holdfast/pt/digest.hpp"
#include "holdfast/pt/test_support.hpp"
#include "holdfast/pt/vtd_second_stage.hpp"

namespace holdfast::pt {

inline constexpr u64 mib = u64{1} << 20;
inline constexpr u64 gib = u64{1} << 30;
inline constexpr u64 sizes_4k_2m = u64{1} << 12 | u64{1} << 21;

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
    must(live->preserve(sink));
    saved = live->saved();
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
    x_update.saved.checksum += table_digest<VtdSecondStage>(x_page, x_level, {words, 512}) -
                               table_digest<VtdSecondStage>(x_page, x_level, x_before);
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

inline constexpr Shape update_shapes[] = {Shape{3, TableMode::Arena, Filling::Mixed},
                                          Shape{4, TableMode::Arena, Filling::Mixed},
                                          Shape{4, TableMode::Page, Filling::Mixed},
                                          Shape{5, TableMode::Page, Filling::Mixed},
                                          Shape{4, TableMode::Arena, Filling::Empty},
                                          Shape{4, TableMode::Page, Filling::Empty},
                                          Shape{4, TableMode::Arena, Filling::OnePagePerLevel},
                                          Shape{3, TableMode::Page, Filling::OnePagePerLevel}};

inline std::string name_of(const testing::TestParamInfo<Shape>& shape) {
  constexpr const char* fillings[] = {"Empty", "Mixed", "Sparse"};
  return "Levels" + std::to_string(shape.param.levels) + (shape.param.mode == TableMode::Arena ? "Arena" : "Page") +
         fillings[static_cast<unsigned>(shape.param.filling)];
}

}  // namespace holdfast::pt

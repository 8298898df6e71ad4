// The tables that the benchmarks make: every format, and what they are filled with.
//
// Threads: one. Failure: std::runtime_error.
#pragma once

#include <functional>
#include <string>

#include "holdfast/pt/formats.hpp"
#include "holdfast/pt/table.hpp"
#include "tests/bench/row.hpp"
#include "tests/bench/yardsticks.hpp"

namespace holdfast::bench {

/// A format, set up as the benchmarks use it.
struct Subject {
  std::string name;
  pt::TableConfig config;  // smallest pages only
  unsigned granule_lg2 = 0;
  unsigned index_bits = 0;
  unsigned table_order = 0;
  pt::DirtyBits dirty = {};
  u64 sizes[3] = {};  // leaves at the lowest levels, bit n: 2^n bytes

  [[nodiscard]] u64 page() const { return u64{1} << granule_lg2; }
  [[nodiscard]] u64 pages_per_table() const { return u64{1} << index_bits; }
  /// What one table of smallest pages maps.
  [[nodiscard]] u64 table_span() const { return page() << index_bits; }
  /// One item at @p level.
  [[nodiscard]] u64 item(unsigned level) const { return page() << (index_bits * level); }
  [[nodiscard]] bool has_leaf(unsigned level) const { return (sizes[level] & item(level)) != 0; }
};

inline const std::vector<Subject>& subjects() {
  using enum pt::Format;
  struct Shape {
    const char* name;
    pt::Format format;
    u8 levels;
    u8 iova_bits;
    u8 phys_bits;
    pt::Sharing sharing = pt::Sharing::Exclusive;
    bool coherent = true;
    pt::Features features = pt::Features::None;
  };
  static const std::vector<Subject> all = [] {
    std::vector<Subject> made;
    for (const Shape& shape : {
             Shape{"vtd", VtdSecondStage, 4, 48, 46},
             Shape{.name = "vtd_shared",
                   .format = VtdSecondStage,
                   .levels = 4,
                   .iova_bits = 48,
                   .phys_bits = 46,
                   .sharing = pt::Sharing::Shared},
             Shape{.name = "vtd_incoherent",
                   .format = VtdSecondStage,
                   .levels = 4,
                   .iova_bits = 48,
                   .phys_bits = 46,
                   .coherent = false},
             Shape{"x86", X86FirstStage, 4, 47, 46},
             Shape{"amdv1", AmdV1, 4, 48, 46},
             Shape{"riscv1", RiscvFirstStage, 4, 47, 46},
             Shape{"riscv2", RiscvSecondStage, 4, 50, 46},
             Shape{.name = "arm1_4k",
                   .format = ArmStage1Granule4K,
                   .levels = 4,
                   .iova_bits = 48,
                   .phys_bits = 48,
                   .features = pt::Features::DirtyTracking},
             Shape{.name = "arm1_16k",
                   .format = ArmStage1Granule16K,
                   .levels = 3,
                   .iova_bits = 47,
                   .phys_bits = 48,
                   .features = pt::Features::DirtyTracking},
             Shape{.name = "arm1_64k",
                   .format = ArmStage1Granule64K,
                   .levels = 3,
                   .iova_bits = 48,
                   .phys_bits = 48,
                   .features = pt::Features::DirtyTracking},
             Shape{.name = "arm2_4k",
                   .format = ArmStage2Granule4K,
                   .levels = 4,
                   .iova_bits = 48,
                   .phys_bits = 48,
                   .features = pt::Features::DirtyTracking},
             Shape{.name = "arm2_16k",
                   .format = ArmStage2Granule16K,
                   .levels = 3,
                   .iova_bits = 47,
                   .phys_bits = 48,
                   .features = pt::Features::DirtyTracking},
             Shape{.name = "arm2_64k",
                   .format = ArmStage2Granule64K,
                   .levels = 3,
                   .iova_bits = 48,
                   .phys_bits = 48,
                   .features = pt::Features::DirtyTracking},
         }) {
      Subject subject{.name = shape.name,
                      .config = {.format = shape.format,
                                 .levels = shape.levels,
                                 .iova_bits = shape.iova_bits,
                                 .phys_bits = shape.phys_bits,
                                 .coherent = shape.coherent,
                                 .sharing = shape.sharing,
                                 .features = shape.features}};
      MUST(pt::with_format(shape.format,
                           [&]<class F>() {
                             subject.granule_lg2 = F::granule_lg2;
                             subject.index_bits = F::index_bits;
                             subject.table_order = pt::table_order<F>;
                             subject.dirty = F::dirty_bits(shape.features);
                             for (unsigned level = 0; level < 3; ++level) subject.sizes[level] = F::leaf_sizes(level);
                             return Status();
                           }),
           "the formats of the benchmark are known");
      subject.config.page_sizes = subject.page();
      made.push_back(subject);
    }
    return made;
  }();
  return all;
}

/// A live table.
class BenchTable {
 public:
  BenchTable(Memory& memory, const pt::TableConfig& config) {
    const auto made = pt::Table::create(memory, config);
    if (!made.ok()) throw std::runtime_error("the table of a benchmark cannot be made");
    x_table = *made;
  }
  ~BenchTable() { destroy(); }
  BenchTable(const BenchTable&) = delete;
  BenchTable& operator=(const BenchTable&) = delete;

  void destroy() { pt::Table::destroy(std::exchange(x_table, nullptr)); }
  [[nodiscard]] pt::Table& operator*() { return *x_table; }
  [[nodiscard]] pt::Table* operator->() { return x_table; }

  /// As every caller does it: whatever changes has a gather, and completes it.
  [[nodiscard]] Code try_map(u64 iova, u64 address, u64 bytes) {
    const PhysRange run{PhysAddr(address), bytes};
    pt::Gather gather;
    const Status status = x_table->map(Iova(iova), {&run, 1}, pt::Prot::ReadWrite, gather);
    gather.complete(*x_table);
    return status.code();
  }
  void map(u64 iova, u64 address, u64 bytes) {
    if (try_map(iova, address, bytes) != Code::Ok) throw std::runtime_error("a benchmark cannot map");
  }
  void unmap(u64 iova, u64 bytes) {
    pt::Gather gather;
    const auto done = x_table->unmap(Iova(iova), bytes, gather);
    gather.complete(*x_table);
    if (!done.ok() || *done != bytes) throw std::runtime_error("a benchmark cannot unmap");
  }
  /// The tables of the smallest pages, by rising IOVA.
  [[nodiscard]] Pieces leaf_tables(Memory& memory, const Subject& subject) {
    Pieces pieces;
    x_table->collect([&](PhysAddr page, unsigned level) {
      if (level == 0) pieces.emplace_back(memory.map.at<u64>(page), subject.pages_per_table());
    });
    return pieces;
  }
  [[nodiscard]] std::vector<PhysAddr> all_tables() {
    std::vector<PhysAddr> pages;
    x_table->collect([&](PhysAddr page, unsigned) { pages.push_back(page); });
    return pages;
  }

 private:
  pt::Table* x_table = nullptr;
};

inline constexpr u64 first_iova = u64{1} << 40;
inline constexpr u64 first_address = u64{1} << 32;

using Operation = std::function<void(benchmark::State&, const Subject&)>;

/// One row for each format: NAME/FORMAT. @p applies: (const Subject&) -> whether it makes sense.
template <class Applies>
int add_rows(const char* name, int rounds, const Operation& operation, Applies&& applies) {
  for (const Subject& subject : subjects()) {
    if (!applies(subject)) continue;
    benchmark::RegisterBenchmark((std::string(name) + "/" + subject.name).c_str(),
                                 [&subject, operation](benchmark::State& state) { operation(state, subject); })
        ->Iterations(rounds)
        ->UseManualTime();
  }
  return 0;
}
inline int add_rows(const char* name, int rounds, const Operation& operation) {
  return add_rows(name, rounds, operation, [](const Subject&) { return true; });
}

}  // namespace holdfast::bench

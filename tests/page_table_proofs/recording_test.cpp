// Proof 3: what hardware finds while an operation is going on, of every format and configuration, for each size of
// leaf; and that no write of a device is forgotten. random_test.cpp looks as closely at random sequences.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>

#include "tests/page_table_proofs/proved_table.hpp"

namespace page_table_proofs {
namespace {

class Recorded : public testing::TestWithParam<Variant> {
 protected:
  [[nodiscard]] const Configuration& of() const { return *GetParam().of; }
  /// Of each level the smallest leaf, the next and the largest, where a place with pages on both sides can be had.
  [[nodiscard]] std::vector<unsigned> sizes() const {
    const Span span = of().spans().back();
    std::vector<unsigned> all;
    for (const auto& level : of().sizes)
      for (std::size_t i = 0; i < level.size(); ++i)
        if ((i < 2 || i + 1 == level.size()) &&
            level[i] + 1 < static_cast<unsigned>(std::bit_width(span.last - span.first)))
          all.push_back(level[i]);
    return all;
  }
  /// The second place of that size in the last span, so that a page before it exists.
  [[nodiscard]] u64 place(unsigned size_lg2) const { return of().spans().back().first + (u64{1} << size_lg2); }
  /// Aligned to @p size_lg2 and not beyond it, pages before and behind included.
  [[nodiscard]] PhysAddr target(unsigned size_lg2) const {
    const unsigned top = of().config.phys_bits - 1u;
    return PhysAddr(size_lg2 < top ? u64{1} << top : u64{1} << size_lg2);
  }
  /// One leaf of 2^size_lg2 bytes with @p pages pages on both sides, that it could share tables with.
  void map_one(ProvedTable& table, unsigned size_lg2, u64 pages) const {
    const u64 beside = pages * of().granule();
    const u64 size = u64{1} << size_lg2;
    const u64 iova = place(size_lg2);
    table.map(iova - beside, {{target(size_lg2) - beside, beside + size}}, Prot::ReadWrite);
    if (iova + size <= of().spans().back().last - beside)
      table.map(iova + size, {{target(size_lg2), beside}}, Prot::ReadWrite);
  }
  /// Boundaries inside the leaf: beside its ends, in the middle, off the middle.
  [[nodiscard]] std::vector<u64> boundaries(unsigned size_lg2) const {
    const u64 iova = place(size_lg2);
    const u64 size = u64{1} << size_lg2;
    std::vector<u64> all{iova + of().granule(), iova + size / 2, iova + size - of().granule(),
                         iova + size / 4 + (size / 8 & ~(of().granule() - 1))};
    std::erase_if(all, [&](u64 one) { return one % of().granule() != 0 || one == iova; });
    std::ranges::sort(all);
    all.erase(std::ranges::unique(all).begin(), all.end());
    return all;
  }

  ProofMachine machine;
};

TEST_P(Recorded, MappingAndUnmappingShowOldOrNewAtEveryStep) {
  for (const unsigned size_lg2 : sizes()) {
    ProvedTable table(machine, GetParam(), Watch::EveryStep);
    map_one(table, size_lg2, 2);
    EXPECT_NE(table.steps(), 0u) << "nothing was looked at";
    table.unmap(place(size_lg2), u64{1} << size_lg2);
    // Over what is left of emptied tables, once page by page and once as a leaf in place of the tables.
    if (size_lg2 != of().granule_lg2()) {
      const u64 granule = of().granule();
      table.map(place(size_lg2), {{target(size_lg2) + granule, 3 * granule}}, Prot::ReadWrite);
      for (u64 page = 0; page < 3; ++page) table.unmap(place(size_lg2) + page * granule, granule);
    }
    table.map(place(size_lg2), {{target(size_lg2), u64{1} << size_lg2}}, of().permitted(Prot::Read), Policy::NoGaps);
    table.unmap(place(size_lg2) - of().granule() * 2, (u64{1} << size_lg2) + of().granule() * 4, Policy::NoGaps);
    table.finish();
  }
}

TEST_P(Recorded, CuttingNeverFaultsAndNeverLeadsElsewhere) {
  for (const unsigned size_lg2 : sizes())
    for (const u64 boundary : boundaries(size_lg2)) {
      ProvedTable table(machine, GetParam(), Watch::EveryStep);
      map_one(table, size_lg2, 1);
      const auto before = table.model().leaves();
      table.cut(boundary);
      EXPECT_EQ(table.model().leaves() != before, of().exchange && size_lg2 != of().granule_lg2());
      table.unmap(boundary, of().granule());
      table.finish();
    }
}

/// Devices that write during an operation: once, at each step there is, to one of a few pages; and at every step, to
/// page after page, so that each is written just before and just after its item changes.
class RecordedWrites : public Recorded {
 protected:
  RecordedWrites() : x_coherent(of()) {
    // Walkers that are not coherent do not track: the lines that they write and that the CPU flushes would overwrite
    // each other. So this is about the same tables, coherent.
    x_coherent.config.coherent = true;
  }
  [[nodiscard]] Variant coherent() const { return {&x_coherent, GetParam().sharing, GetParam().mode}; }
  [[nodiscard]] bool is_small(unsigned size_lg2) const { return size_lg2 <= of().granule_lg2() + of().index_bits + 2; }

  /// @p run(writes) answers how often was written.
  template <class F>
  void write_everywhere(u64 first, u64 size, F&& run) const {
    const u64 pages = size >> of().granule_lg2();
    const u64 last_step = of().index_bits <= 3 ? ~u64{0} : 6;  // all there are, where there are few
    for (const u64 page : {u64{0}, pages - 1})
      for (u64 step = 1; step <= last_step; ++step)
        if (run([&](u64 look) { return look == step ? std::optional(at(first, page)) : std::nullopt; }) == 0) break;
    for (u64 shift = 0; shift < 4; ++shift) {
      const u64 writes = run([&](u64 look) { return std::optional(at(first, (look + shift) / 2 % pages)); });
      EXPECT_GE(writes, 2u) << "there was no moment to write in";
    }
  }
  [[nodiscard]] u64 at(u64 first, u64 page) const { return first + (page << of().granule_lg2()); }

 private:
  Configuration x_coherent;
};

class RecordedWritesAndCuts : public RecordedWrites {};

TEST_P(RecordedWritesAndCuts, LoseNone) {
  for (const unsigned size_lg2 : sizes()) {
    if (size_lg2 == of().granule_lg2() || !is_small(size_lg2)) continue;
    const u64 iova = place(size_lg2);
    const u64 size = u64{1} << size_lg2;
    const u64 boundary = iova + size / 2 + (size / 8 & ~(of().granule() - 1));
    for (const bool dirty_before : {false, true})
      write_everywhere(iova, size, [&](const ProvedTable::Writes& writes) {
        ProvedTable table(machine, coherent(), Watch::Results);
        map_one(table, size_lg2, 1);
        if (dirty_before) table.access(iova + size / 4, walk::Access::Write);
        const u64 written = table.cut_while_written(boundary, writes);
        table.finish();
        return written;
      });
  }
}

TEST_P(RecordedWrites, ReadingAndClearingAtomicallyLosesNone) {
  for (const unsigned size_lg2 : sizes()) {
    if (!is_small(size_lg2)) continue;
    const u64 granule = of().granule();
    const u64 first = place(size_lg2) - granule;
    const u64 size = (u64{1} << size_lg2) + granule;
    write_everywhere(first, size, [&](const ProvedTable::Writes& writes) {
      ProvedTable table(machine, coherent(), Watch::Results);
      map_one(table, size_lg2, 1);
      table.access(first, walk::Access::Write);
      table.access(first + granule, walk::Access::Write);
      const u64 written = table.read_dirty_while_written(first, size, writes);
      table.finish();
      return written;
    });
  }
}

class RecordedGrowth : public Recorded {};

TEST_P(RecordedGrowth, TheTopGrowsUnseenBelowAndIsToldBeforeAnythingIsMappedThere) {
  RecordProperty("acceptance", "P2 P3");
  const u64 granule = of().granule();
  for (unsigned level = of().config.levels; level < of().max_levels; ++level) {
    ProvedTable table(machine, GetParam(), Watch::EveryStep);
    table.map(granule, {{PhysAddr(granule * 5), granule * 2}}, Prot::ReadWrite);
    table.map(u64{1} << of().item_lg2(level), {{PhysAddr(granule * 9), granule}}, Prot::ReadWrite);
    EXPECT_EQ(table.growths(), 1u);
    table.map((u64{1} << of().item_lg2(level)) - granule, {{PhysAddr(granule * 7), granule}}, Prot::ReadWrite);
    EXPECT_EQ(table.growths(), 1u);
    // The saved width is that of the top as it is, however high it was once allowed to become.
    table.unmap(u64{1} << of().item_lg2(level), granule);
    table.preserve();
    EXPECT_EQ(table.table().saved().iova_bits, std::min<unsigned>(of().item_lg2(level + 1), of().config.iova_bits));
    table.finish();
  }
}

std::string name_of(const testing::TestParamInfo<Variant>& variant) { return to_string(variant.param); }
bool tells_dirty(const Variant& variant) { return variant.of->dirty; }
bool tells_dirty_and_cuts(const Variant& variant) { return variant.of->dirty && variant.of->exchange; }
bool grows(const Variant& variant) { return variant.of->config.dynamic_top; }

INSTANTIATE_TEST_SUITE_P(All, Recorded, testing::ValuesIn(all_variants()), name_of);
INSTANTIATE_TEST_SUITE_P(All, RecordedWrites, testing::ValuesIn(variants_that(&tells_dirty)), name_of);
INSTANTIATE_TEST_SUITE_P(All, RecordedWritesAndCuts, testing::ValuesIn(variants_that(&tells_dirty_and_cuts)), name_of);
INSTANTIATE_TEST_SUITE_P(All, RecordedGrowth, testing::ValuesIn(variants_that(&grows)), name_of);

}  // namespace
}  // namespace page_table_proofs

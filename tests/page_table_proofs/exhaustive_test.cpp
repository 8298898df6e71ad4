// Proof 2, the other half: on geometries of a few items a table, all there is. Every map, unmap and cut of a window,
// and every sequence of up to three of them; looked at before and after every store.
#include <gtest/gtest.h>

#include "tests/page_table_proofs/proved_table.hpp"

namespace page_table_proofs {
namespace {

/// A few neighbouring pieces of address space, all of one size.
struct Window {
  u64 base;
  u64 unit;
  u64 count;

  [[nodiscard]] u64 at(u64 index) const { return base + index * unit; }
};

/// Where @p distance is 0, a target is aligned as its address is; else only as far as @p distance says.
PhysAddr target_of(const Configuration& of, u64 iova, u64 distance) {
  return PhysAddr((iova + distance + (u64{1} << 30)) & low_bits(of.config.phys_bits));
}

using Step = std::function<void(ProvedTable&)>;

/// Every map (to a target that is aligned alike, and to one that is not), unmap and cut of @p window.
std::vector<Step> all_steps(const Configuration& of, const Window& window) {
  std::vector<Step> steps;
  for (u64 from = 0; from < window.count; ++from) {
    for (u64 count = 1; from + count <= window.count; ++count) {
      const u64 iova = window.at(from);
      const u64 length = count * window.unit;
      for (const u64 distance : {u64{0}, of.granule()})
        steps.emplace_back([=, &of](ProvedTable& table) {
          table.map(iova, {{target_of(of, iova, distance), length}}, Prot::ReadWrite);
        });
      steps.emplace_back([=](ProvedTable& table) { table.unmap(iova, length); });
    }
    if (from != 0) steps.emplace_back([=](ProvedTable& table) { table.cut(window.at(from)); });
  }
  return steps;
}

class Exhaustive : public testing::TestWithParam<Variant> {
 protected:
  [[nodiscard]] const Configuration& of() const { return *GetParam().of; }
  /// A place where tables of every level meet; so high that a top that can grow has to.
  [[nodiscard]] u64 middle() const {
    const Span span = of().spans()[0];
    return span.first + (u64{1} << of().item_lg2(std::min(of().max_levels, 4u) - 1));
  }
  /// All sequences of @p depth steps; @p first_steps begin.
  void run_sequences(const Window& window, unsigned depth) {
    const std::vector<Step> steps = all_steps(of(), window);
    std::vector<std::size_t> at(depth, 0);
    for (;;) {
      ProvedTable table(machine, GetParam(), Watch::EveryStep);
      for (const std::size_t step : at) steps[step](table);
      table.finish();
      ++sequences;
      std::size_t digit = depth;
      while (digit != 0 && ++at[digit - 1] == steps.size()) at[--digit] = 0;
      if (digit == 0) return;
    }
  }

  ProofMachine machine;
  u64 sequences = 0;
};

TEST_P(Exhaustive, EveryMapUnmapAndCutOfAWindow) {
  const u64 granule = of().granule();
  const Window window{middle() - granule * 20, granule, 40};
  for (u64 from = 0; from < window.count; ++from)
    for (u64 count = 1; from + count <= window.count; ++count)
      for (u64 distance = 0; distance <= 32; distance = distance == 0 ? 1 : distance * 2) {
        const u64 iova = window.at(from);
        ProvedTable table(machine, GetParam(), Watch::Results);
        table.map(iova, {{target_of(of(), iova, distance * granule), count * granule}}, Prot::ReadWrite);
        if (distance <= 4) table.cut(window.at(from + count / 2));
        table.unmap(iova, count * granule);
        table.finish();
      }
}

TEST_P(Exhaustive, EveryUnmapOfEveryMixtureOfLeaves) {
  const u64 granule = of().granule();
  const Window window{middle() - granule * 32, granule, 64};
  for (u64 from = 0; from < window.count; ++from)
    for (u64 count = 1; from + count <= window.count; count += 1 + count / 8) {
      ProvedTable table(machine, GetParam(), Watch::Results);
      table.map(window.at(0), {{target_of(of(), window.at(0), 0), 32 * granule}}, Prot::ReadWrite);
      table.map(window.at(32), {{target_of(of(), window.at(32), granule), 8 * granule}}, Prot::ReadWrite);
      table.map(window.at(40), {{target_of(of(), window.at(40), 0), 23 * granule}}, Prot::ReadWrite);
      table.unmap(window.at(from), count * granule);
      table.map(window.at(from), {{target_of(of(), window.at(from), 0), count * granule}}, Prot::ReadWrite);
      table.finish();
    }
}

TEST_P(Exhaustive, EverySequenceOfTwoStepsInAWindowOfFive) {
  const u64 granule = of().granule();
  run_sequences({middle() - granule * 2, granule, 5}, 2);
  run_sequences({middle() - 4 * granule * 2, 4 * granule, 5}, 2);
  EXPECT_EQ(sequences, 2u * 49 * 49);
}

TEST_P(Exhaustive, EverySequenceOfThreeStepsInAWindowOfThree) {
  const u64 granule = of().granule();
  run_sequences({middle() - granule * 2, granule * 2, 3}, 3);
  run_sequences({middle() - granule * 4, granule * 4, 3}, 3);
  EXPECT_EQ(sequences, 2u * 20 * 20 * 20);
}

bool is_tiny(const Variant& variant) {
  const bool usual = (variant.sharing == Sharing::Exclusive) == (variant.mode == TableMode::Arena);
  return usual && variant.of->name.starts_with("tiny");
}

INSTANTIATE_TEST_SUITE_P(Tiny, Exhaustive, testing::ValuesIn(variants_that(&is_tiny)),
                         [](const auto& variant) { return to_string(variant.param); });

}  // namespace
}  // namespace page_table_proofs

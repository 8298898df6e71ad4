// What every page-table format must keep, for its test to instantiate beside golden values of its own:
//
//   INSTANTIATE_TYPED_TEST_SUITE_P(AmdV1, FormatConformance, AmdV1);
//
// Tests only. Encoding and reading must be inverse to each other, and no 64 bits whatever may lead a reader astray.
#pragma once

#include <gtest/gtest.h>

#include <random>
#include <set>
#include <vector>

#include "holdfast/pt/format.hpp"

namespace holdfast::pt {

template <class F>
class FormatConformance : public ::testing::Test {
 protected:
  /// Every set of features that the format knows.
  static std::vector<Features> feature_sets() {
    std::vector<Features> sets;
    const u32 all = static_cast<u32>(F::features);
    for (u32 set = all;; set = (set - 1) & all) {
      sets.push_back(static_cast<Features>(set));
      if (set == 0) return sets;
    }
  }
  /// Attributes of every mapping that the format makes.
  static std::set<u64> all_attributes() {
    std::set<u64> found;
    for (const Features features : feature_sets())
      for (unsigned prot = 0; prot < 64; ++prot)
        if (const auto attributes = F::attributes_of(static_cast<Prot>(prot), features); attributes.ok())
          found.insert(*attributes);
    return found;
  }
  static u64 some_attributes() { return *F::attributes_of(Prot::ReadWrite, Features::None); }

  /// Addresses of pages of 2^size_lg2 bytes: the lowest, the highest, each single bit, and one without a pattern.
  static std::vector<PhysAddr> addresses(unsigned size_lg2) {
    const u64 page = ~low_bits(size_lg2) & low_bits(F::max_phys_bits);
    std::vector<PhysAddr> found = {PhysAddr(0), PhysAddr(page), PhysAddr(0x74a7'1445'dead'beef & page)};
    for (unsigned bit = size_lg2; bit < F::max_phys_bits; ++bit) found.emplace_back(u64{1} << bit);
    return found;
  }
  /// @p f(level, size_lg2) for every leaf there is.
  template <class Function>
  static void for_each_size(const Function& f) {
    for (unsigned level = 0; level < F::max_levels; ++level)
      for (unsigned size_lg2 = 0; size_lg2 < 64; ++size_lg2)
        if ((F::leaf_sizes(level) >> size_lg2 & 1) != 0) f(level, size_lg2);
  }
  /// Items of one leaf that are worth a look: all of a few, or the ends and the middle.
  static std::set<u64> parts(unsigned level, unsigned size_lg2) {
    const u64 count = items_of_leaf<F>(level, size_lg2);
    return {0, count > 1 ? u64{1} : 0, count / 2, count - 1};
  }

  /// What readers may rely on for any item whatever.
  static void check_reading(u64 item, unsigned level) {
    const EntryKind kind = F::kind(item, level);
    const u64 unknown = F::unknown_bits(item, level);
    ASSERT_EQ(unknown & ~item, 0u);
    if (kind == EntryKind::Empty) {
      ASSERT_EQ(unknown, item);
    }
    if (kind == EntryKind::Table) {
      ASSERT_NE(level, 0u);
      ASSERT_TRUE(F::table_address(item).is_aligned(page_size_bytes << table_order<F>));
      ASSERT_EQ(F::table_address(item).value & ~low_bits(F::max_phys_bits), 0u);
    }
    if (kind == EntryKind::Leaf) {
      const unsigned size_lg2 = F::leaf_size_lg2(item, level);
      ASSERT_GE(size_lg2, item_lg2<F>(level));
      ASSERT_LT(size_lg2, item_lg2<F>(level) + F::index_bits);
      ASSERT_EQ(F::leaf_address(item, level).value & low_bits(size_lg2), 0u);
      ASSERT_EQ(F::leaf_address(item, level).value & ~low_bits(F::max_phys_bits), 0u);
    }
    if (unknown == 0) check_known(item, level, kind);
  }

  /// An item without unknown bits is one that could have been written here, but for what hardware and marks may change.
  static void check_known(u64 item, unsigned level, EntryKind kind) {
    if (kind == EntryKind::Empty) {
      ASSERT_EQ(item, 0u);
    }
    if (kind == EntryKind::Table && F::passes_all(item)) {
      const u64 written = F::table(F::table_address(item), level);
      ASSERT_EQ((item ^ written) & ~(F::hardware_bits | F::flushed_bit), 0u);
    }
    if (kind == EntryKind::Leaf) {
      const unsigned size_lg2 = F::leaf_size_lg2(item, level);
      ASSERT_NE(F::leaf_sizes(level) >> size_lg2 & 1, 0u);
      const u64 first = F::leaf(F::leaf_address(item, level), level, size_lg2, F::attributes(item, level));
      bool is_item_of_it = false;
      for (u64 i = 0; i < items_of_leaf<F>(level, size_lg2); ++i)
        is_item_of_it |= item == first + i * F::next_in_leaf(level);
      ASSERT_TRUE(is_item_of_it);
    }
  }
};

TYPED_TEST_SUITE_P(FormatConformance);

TYPED_TEST_P(FormatConformance, HasShapesThatItsTablesReach) {
  using F = TypeParam;
  unsigned valid = 0;
  for (unsigned levels = 0; levels < 10; ++levels) {
    for (unsigned iova_bits = 0; iova_bits < 80; ++iova_bits) {
      if (!F::is_valid_shape(levels, iova_bits)) continue;
      ++valid;
      EXPECT_LE(levels, F::max_levels);
      EXPECT_LE(iova_bits, 64u);
      EXPECT_GT(iova_bits, F::granule_lg2);
      // Second stages have tops of up to 16 tables side by side.
      EXPECT_LE(iova_bits, F::granule_lg2 + F::index_bits * levels + 4);
    }
  }
  EXPECT_NE(valid, 0u);
  EXPECT_LE(F::max_levels, 6u);
}

TYPED_TEST_P(FormatConformance, HasLeavesFromOneItemToHalfATable) {
  using F = TypeParam;
  for (unsigned level = 0; level < F::max_levels; ++level) {
    const u64 sizes = F::leaf_sizes(level);
    const u64 possible = low_bits(item_lg2<F>(level) + F::index_bits) & ~low_bits(item_lg2<F>(level));
    EXPECT_EQ(sizes & ~possible, 0u) << level;
    EXPECT_EQ(sizes & ~low_bits(F::max_phys_bits), 0u) << "no page is as large as all memory";
  }
  EXPECT_NE(F::leaf_sizes(0) & u64{1} << F::granule_lg2, 0u);
}

TYPED_TEST_P(FormatConformance, ReadsFromEveryItemOfALeafWhatWasWritten) {
  using F = TypeParam;
  this->for_each_size([&](unsigned level, unsigned size_lg2) {
    for (const PhysAddr address : this->addresses(size_lg2)) {
      const u64 first = F::leaf(address, level, size_lg2, this->some_attributes());
      for (const u64 i : this->parts(level, size_lg2)) {
        const u64 item = first + i * F::next_in_leaf(level);
        ASSERT_EQ(F::kind(item, level), EntryKind::Leaf) << level << " " << size_lg2;
        ASSERT_EQ(F::leaf_size_lg2(item, level), size_lg2) << level;
        ASSERT_EQ(F::leaf_address(item, level), address) << level << " " << size_lg2;
        ASSERT_EQ(F::attributes(item, level), this->some_attributes());
        ASSERT_EQ(F::unknown_bits(item, level), 0u) << level << " " << size_lg2;
      }
    }
  });
}

TYPED_TEST_P(FormatConformance, WritesAgainWhatItRead) {
  using F = TypeParam;
  const PhysAddr pattern(0x74a7'1445'dead'beef);
  this->for_each_size([&](unsigned level, unsigned size_lg2) {
    const PhysAddr address(pattern.value & ~low_bits(size_lg2) & low_bits(F::max_phys_bits));
    for (const u64 attributes : this->all_attributes()) {
      const u64 item = F::leaf(address, level, size_lg2, attributes);
      ASSERT_EQ(F::attributes(item, level), attributes);
      ASSERT_EQ(F::leaf(F::leaf_address(item, level), level, F::leaf_size_lg2(item, level), F::attributes(item, level)),
                item);
      ASSERT_EQ(F::unknown_bits(item, level), 0u);
    }
  });
}

TYPED_TEST_P(FormatConformance, GrantsWhatIsAskedAndRefusesNothingElse) {
  using F = TypeParam;
  for (const Features features : this->feature_sets()) {
    for (unsigned bits = 0; bits < 64; ++bits) {
      const Prot prot = static_cast<Prot>(bits);
      const auto attributes = F::attributes_of(prot, features);
      const bool reads_only = (prot & Prot::ReadWrite) == Prot::Read;
      const bool refused =
          (prot & Prot::ReadWrite) == Prot::None || (has(features, Features::NoReadOnly) && reads_only);
      ASSERT_EQ(attributes.ok(), !refused) << bits;
      if (refused) continue;
      const Prot granted = F::prot(F::leaf(PhysAddr(0), 0, F::granule_lg2, *attributes));
      EXPECT_TRUE(allows(granted, prot & Prot::ReadWrite)) << bits;
      EXPECT_EQ(allows(granted, Prot::Write), allows(prot, Prot::Write)) << "writing is never granted unasked";
    }
  }
}

TYPED_TEST_P(FormatConformance, AdvancesALeafAsIfItWereWrittenThere) {
  using F = TypeParam;
  this->for_each_size([&](unsigned level, unsigned size_lg2) {
    const u64 here = F::leaf(PhysAddr(0), level, size_lg2, this->some_attributes());
    const unsigned linear_lg2 = F::linear_lg2 < F::max_phys_bits ? F::linear_lg2 : F::max_phys_bits;
    for (unsigned step_lg2 = size_lg2; step_lg2 < linear_lg2; ++step_lg2) {
      const PhysAddr there(u64{1} << step_lg2);
      ASSERT_EQ(here + F::advance(step_lg2), F::leaf(there, level, size_lg2, this->some_attributes()))
          << level << " " << size_lg2 << " " << step_lg2;
    }
    const u64 count = linear_lg2 > size_lg2 ? low_bits(linear_lg2 - size_lg2) : 0;
    ASSERT_EQ(here + count * F::advance(size_lg2),
              F::leaf(PhysAddr(count << size_lg2), level, size_lg2, this->some_attributes()));
  });
}

TYPED_TEST_P(FormatConformance, FollowsTheTablesThatItLinks) {
  using F = TypeParam;
  for (unsigned level = 1; level < F::max_levels; ++level) {
    for (const PhysAddr address : this->addresses(page_lg2 + table_order<F>)) {
      const u64 linked = F::table(address, level);
      for (const u64 item : {linked, linked | F::flushed_bit}) {
        ASSERT_EQ(F::kind(item, level), EntryKind::Table) << level;
        ASSERT_EQ(F::table_address(item), address) << level;
        ASSERT_EQ(F::unknown_bits(item, level), 0u) << level;
        ASSERT_TRUE(F::passes_all(item));
      }
      ASSERT_EQ(linked & F::flushed_bit, 0u) << "flushed is what the engine says later";
    }
  }
}

TYPED_TEST_P(FormatConformance, TellsDirtyFromCleanByTheBitsThatItNames) {
  using F = TypeParam;
  for (const Features features : this->feature_sets()) {
    const DirtyBits bits = F::dirty_bits(features);
    if (!bits.known()) continue;
    EXPECT_EQ(bits.flip & ~F::hardware_bits, 0u);
    this->for_each_size([&](unsigned level, unsigned size_lg2) {
      const u64 attributes = *F::attributes_of(Prot::ReadWrite, features);
      const u64 clean = F::leaf(PhysAddr(0), level, size_lg2, attributes);
      const u64 dirty = clean ^ bits.flip;
      ASSERT_FALSE(bits.is_dirty(clean)) << "a new leaf is clean";
      ASSERT_TRUE(bits.is_dirty(dirty));
      ASSERT_FALSE(bits.is_dirty(0));
      ASSERT_EQ(F::prot(dirty), F::prot(clean));
      ASSERT_EQ(F::leaf_size_lg2(dirty, level), size_lg2);
      ASSERT_EQ(F::leaf_address(dirty, level), PhysAddr(0));
      ASSERT_EQ(F::unknown_bits(dirty, level), 0u);
    });
  }
}

TYPED_TEST_P(FormatConformance, ReadsAnyBitsWithoutHarm) {
  using F = TypeParam;
  std::mt19937_64 random(20261120);
  for (unsigned level = 0; level < F::max_levels; ++level) {
    ASSERT_EQ(F::kind(0, level), EntryKind::Empty);
    ASSERT_EQ(F::unknown_bits(0, level), 0u);
    this->check_reading(~u64{0}, level);
    for (unsigned i = 0; i < 20'000; ++i) {
      this->check_reading(random(), level);
      this->check_reading(random() & random(), level);
      this->check_reading(random() | random(), level);
      if (this->HasFatalFailure()) FAIL() << "level " << level;
    }
  }
}

/// Two wrong bits in what a kernel writes: what is not seen as unknown must be something that a kernel may write.
TYPED_TEST_P(FormatConformance, KnowsNoItemThatItCouldNotWrite) {
  using F = TypeParam;
  const auto flip_two = [&](u64 item, unsigned level) {
    for (unsigned one = 0; one < 64; ++one)
      for (unsigned other = 0; other <= one; ++other)
        this->check_reading(item ^ u64{1} << one ^ (one == other ? 0 : u64{1} << other), level);
    ASSERT_FALSE(this->HasFatalFailure()) << std::hex << item << " at level " << level;
  };
  this->for_each_size([&](unsigned level, unsigned size_lg2) {
    const u64 highest = ~low_bits(size_lg2) & low_bits(F::max_phys_bits);
    for (const u64 address : {u64{0}, highest, highest & 0x74a7'1445'dead'beef})
      flip_two(F::leaf(PhysAddr(address), level, size_lg2, this->some_attributes()), level);
  });
  for (unsigned level = 1; level < F::max_levels; ++level) flip_two(F::table(PhysAddr(0x7000), level), level);
}

REGISTER_TYPED_TEST_SUITE_P(FormatConformance, HasShapesThatItsTablesReach, HasLeavesFromOneItemToHalfATable,
                            ReadsFromEveryItemOfALeafWhatWasWritten, WritesAgainWhatItRead,
                            GrantsWhatIsAskedAndRefusesNothingElse, AdvancesALeafAsIfItWereWrittenThere,
                            FollowsTheTablesThatItLinks, TellsDirtyFromCleanByTheBitsThatItNames,
                            ReadsAnyBitsWithoutHarm, KnowsNoItemThatItCouldNotWrite);

}  // namespace holdfast::pt

// One live table beside a model of it. Every operation of a Scene is made on the table and on the model, its answer and
// its gather are compared with what the model says, and afterwards everything is compared: leaves, the naive walker's
// leaves, lookups, counts.
//
// Failure: GoogleTest's; a test asks HasFailure() where going on makes no sense. Threads: one.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <memory>

#include "holdfast/memory/test_world.hpp"
#include "tests/page_tables/configuration.hpp"

namespace page_tables {

struct Leaf {
  u64 address = 0;
  unsigned size_lg2 = 0;
  Prot prot = Prot::None;  // as the leaf says

  bool operator==(const Leaf&) const = default;
};
void PrintTo(const Leaf& leaf, std::ostream* out);

/// Leaves by their first IOVA.
using Model = std::map<u64, Leaf>;

/// Last IOVA of the leaf at @p at.
[[nodiscard]] inline u64 last_of(const Model::value_type& at) { return at.first + low_bits(at.second.size_lg2); }
/// The leaf that covers @p iova.
[[nodiscard]] Model::const_iterator find_covering(const Model& model, u64 iova);
/// First mapped address in [first, last].
[[nodiscard]] std::optional<u64> first_mapped(const Model& model, u64 first, u64 last);
/// The leaves that mapping @p runs from @p iova on must make: always the largest that fits.
[[nodiscard]] Model expected_leaves(const Configuration& of, u64 page_sizes, u64 iova, std::span<const PhysRange> runs,
                                    Prot prot);

/// All that a failed operation may not change.
struct Snapshot {
  std::map<u64, std::vector<u64>> words;  // of every page of every table
  Tree tree;
  u64 table_count = 0;
  u64 arena_tables = 0;
  std::vector<Block> blocks;
  std::array<u64, max_order + 1> free_blocks{};
  u64 heap_objects = 0;
  u64 heap_bytes = 0;

  bool operator==(const Snapshot& other) const;
};
/// For messages: the numbers.
void PrintTo(const Snapshot& snapshot, std::ostream* out);

/// What the walker finds, and the pages that it read for it.
struct Walked {
  Model leaves;
  std::map<u64, unsigned> levels;   // of each leaf
  std::map<u64, PhysAddr> entries;  // the first item of each
  std::set<u64> pages;
  u64 tables = 0;
};

/// Which tops hardware was told of.
class Tops final : public TopObserver {
 public:
  void top_changed(PhysAddr top, unsigned levels) override { told.emplace_back(top, levels); }
  std::vector<std::pair<PhysAddr, unsigned>> told;
};

enum class GatherPolicy : u8 { Merging, NoGaps };

/// What the gather of the last operation held, flushes in its middle included.
struct Gathered {
  std::vector<IovaRange> ranges;
  u8 leaf_levels = 0;
  u8 table_levels = 0;
  u64 tables = 0;
  u64 flushes = 0;  // in the middle
};

class Scene {
 public:
  static constexpr u64 default_ram = u64{64} << 20;

  explicit Scene(const Variant& variant, u64 ram_bytes = default_ram);
  /// The same with other page sizes.
  Scene(const Variant& variant, u64 ram_bytes, u64 page_sizes);
  /// Destroys the table: everything that it took must be free again.
  ~Scene();
  Scene(const Scene&) = delete;
  Scene& operator=(const Scene&) = delete;

  /// Maps; expects AddressInUse with the first address in use when the model says so, and then no change at all.
  Status map(u64 iova, std::span<const PhysRange> runs, Prot prot = Prot::ReadWrite);
  Status map(u64 iova, u64 address, u64 bytes, Prot prot = Prot::ReadWrite);
  /// Unmaps; expects whole leaves up to the first hole. Answers the bytes.
  u64 unmap(u64 iova, u64 bytes);
  /// Cuts; expects the largest leaves that do not cross the boundary.
  Status cut(u64 boundary);
  /// The same without comparing what is there afterwards.
  Status try_to_cut(u64 boundary);
  void unmap_everything();

  /// The machine has left this kernel: its memory is somebody else's, so nothing of the table may be touched any more.
  void leave() { table = nullptr; }

  /// Compares everything with everything.
  void check();
  [[nodiscard]] Snapshot snapshot() const;
  [[nodiscard]] Walked walk_naively() const;
  /// Every table page, with its level.
  [[nodiscard]] std::map<u64, unsigned> tables() const;
  [[nodiscard]] u64* words(PhysAddr page) { return memory.map.at<u64>(page); }
  [[nodiscard]] unsigned order_of(unsigned level) const;

  const Variant variant;
  const Configuration& of;
  TestWorld world;
  TestMemory host;
  Memory& memory;
  Tops tops;
  TableConfig config;
  Model model;
  GatherPolicy policy = GatherPolicy::NoGaps;
  Gathered gathered;
  Table* table = nullptr;

 private:
  struct Flushes;
  void finish(Gather& gather, const Flushes& flushes);
  void expect_gather(const std::map<u64, unsigned>& tables_before, u8 leaf_levels, IovaRange changed);
  void check_lookups() const;
  void check_live_counts() const;

  std::array<u64, max_order + 1> x_free_before{};
};

/// The suites run over variants.
class OverVariants : public testing::TestWithParam<Variant> {
 protected:
  [[nodiscard]] const Configuration& of() const { return *GetParam().of; }
};
inline std::string name_of(const testing::TestParamInfo<Variant>& info) { return to_string(info.param); }

}  // namespace page_tables

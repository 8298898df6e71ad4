// The model: what a table maps, leaf by leaf, and what each operation makes of it. It knows nothing of tables, items or
// bits; only that leaves are chosen as large as sizes and alignment allow, from the left.
//
// Addresses are those that devices send. Threads: the owner's. Failure: none.
#pragma once

#include <map>
#include <optional>
#include <span>
#include <vector>

#include "tests/page_tables/configuration.hpp"

namespace page_table_proofs {

using namespace page_tables;  // NOLINT

struct ModelLeaf {
  unsigned size_lg2 = 0;
  PhysAddr address;
  Prot prot = Prot::None;  // as granted
  bool dirty = false;

  constexpr bool operator==(const ModelLeaf&) const = default;
  [[nodiscard]] constexpr u64 size() const { return u64{1} << size_lg2; }
  [[nodiscard]] constexpr u64 last_from(u64 start) const { return start + (size() - 1); }
};

/// The permissions that the walkers' requester finds in such a leaf.
[[nodiscard]] bool agrees(const Configuration& of, Prot prot, walk::Permissions found);

class LeafModel {
 public:
  using Leaves = std::map<u64, ModelLeaf>;  // by first address

  [[nodiscard]] const Leaves& leaves() const { return x_leaves; }
  /// The leaf that maps @p iova, or end().
  [[nodiscard]] Leaves::const_iterator find(u64 iova) const;
  /// The first leaf that maps anything of [first, last], or end().
  [[nodiscard]] Leaves::const_iterator find_in(u64 first, u64 last) const;
  [[nodiscard]] std::optional<u64> first_used(u64 first, u64 last) const;
  /// All of [first, last] leads to @p address and on, with what the walker found.
  [[nodiscard]] bool says(const Configuration& of, u64 first, u64 last, PhysAddr address,
                          walk::Permissions found) const;

  void insert(u64 iova, const ModelLeaf& leaf) { x_leaves[iova] = leaf; }
  void write(u64 iova);
  /// Whole leaves from @p iova on until @p length is covered or a hole is met; answers the bytes.
  u64 unmap(u64 iova, u64 length);
  void clean(u64 first, u64 last);

 private:
  Leaves x_leaves;
};

/// True when some address in [first, last] is mapped by both.
[[nodiscard]] bool both_map(const LeafModel& a, const LeafModel& b, u64 first, u64 last);

/// The leaves that map @p runs from @p iova on in a tree of @p levels, at most @p most of them.
[[nodiscard]] std::vector<std::pair<u64, ModelLeaf>> largest_leaves(const Configuration& of, unsigned levels, u64 iova,
                                                                    std::span<const PhysRange> runs, Prot granted,
                                                                    std::size_t most = ~std::size_t{0});

}  // namespace page_table_proofs

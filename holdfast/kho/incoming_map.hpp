// IncomingMap: reads what the previous kernel handed over, before there is a frame table or an allocator.
//
// Contract: nothing it reads is believed. The root FDT, the scratch array and every node of the radix map must lie in
// RAM outside scratch where their address says so; a path through the map is followed only where its key can name a
// block of RAM, so every walk is bounded by the size of RAM. It writes nothing and allocates nothing, so the same
// kernel, restarted, finds it unchanged. It is a plain value that refers to the DirectMap; valid until
// Handover::release_incoming_map().
// Threads: read-only, any. Failure: Result; the map of another version is UnknownVersion, a contradiction is Corrupt.
#pragma once

#include <array>
#include <optional>
#include <span>
#include <string_view>

#include "holdfast/abi/kho.hpp"
#include "holdfast/base/boot_info.hpp"
#include "holdfast/base/result.hpp"
#include "holdfast/kho/visitor.hpp"
#include "holdfast/memory/direct_map.hpp"

namespace holdfast::kho {

/// Linux: one low, one global, one per NUMA node.
inline constexpr u64 max_scratch_regions = 66;

class IncomingMap {
 public:
  /// Errors: NoData (cold boot), UnknownVersion (another generation of KHO), Corrupt.
  static Result<IncomingMap> open(const DirectMap& map, const holdfast::Handover& handover);

  /// True when exactly this block is preserved. Six loads.
  [[nodiscard]] bool contains(Block block) const;
  /// The preserved block, of any order, that the page of @p address belongs to.
  [[nodiscard]] std::optional<Block> find_block(PhysAddr address) const;
  /// True when every page of @p range belongs to a preserved block. False for an empty or wrapping range.
  [[nodiscard]] bool contains_range(PhysRange range) const;

  /// True when some page of @p range seems to be preserved, damaged parts of the map included. The parts of the map
  /// that are about @p range are read, nothing else.
  [[nodiscard]] bool names_page_of(PhysRange range) const;

  /// Visits every preserved block by rising key: large orders first, then by address (Linux's order).
  /// A part that is bad (node or block outside RAM or in scratch, impossible key, loop) is skipped; the walk goes on,
  /// and the answer is Corrupt at the end.
  Status walk(const Visitor<Block>& visit) const;
  /// Visits every page that holds the map itself (root first): not preserved, good only while nobody allocates it.
  Status for_each_node(const Visitor<PhysAddr>& visit) const;

  /// Address of the blob that the previous kernel left under @p name: page-aligned RAM in a preserved block.
  /// Errors: NotFound, Corrupt.
  [[nodiscard]] Result<PhysAddr> find_subtree(std::string_view name) const;
  /// Visits name and blob address of every subtree as written, unchecked.
  struct Subtree {
    std::string_view name;
    u64 blob;
  };
  void for_each_subtree(const Visitor<Subtree>& visit) const;

  /// Regions of scratch memory, without the empty ones.
  [[nodiscard]] std::span<const PhysRange> scratch() const { return {x_scratch.data(), x_scratch_count}; }
  [[nodiscard]] bool is_in_scratch(PhysRange range) const;

  [[nodiscard]] PhysAddr root_fdt() const { return x_root_fdt; }
  [[nodiscard]] PhysAddr scratch_array() const { return x_scratch_array; }
  [[nodiscard]] PhysAddr radix_root() const { return x_radix_root; }
  [[nodiscard]] const DirectMap& direct_map() const { return *x_map; }

 private:
  explicit IncomingMap(const DirectMap& map) : x_map(&map) {}

  Status read_scratch(const holdfast::Handover& handover);
  Status read_root_fdt(const holdfast::Handover& handover);
  [[nodiscard]] const std::byte* fdt() const { return x_map->bytes(x_root_fdt); }
  [[nodiscard]] bool is_usable_page(PhysAddr page) const;
  [[nodiscard]] bool is_usable(Block block) const;
  /// True when a key of [first, last] may be set below @p page, a page of @p level that @p prefix leads to.
  [[nodiscard]] bool names_key(PhysAddr page, unsigned level, u64 prefix, u64 first, u64 last) const;
  struct Walk;

  const DirectMap* x_map;
  PhysAddr x_root_fdt;
  u64 x_root_fdt_bytes = 0;
  PhysAddr x_scratch_array;
  PhysAddr x_radix_root;
  u64 x_scratch_count = 0;
  std::array<PhysRange, max_scratch_regions> x_scratch{};
};

}  // namespace holdfast::kho

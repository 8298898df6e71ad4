// RadixMap: the outgoing set of preserved blocks, held in the very pages that the next kernel reads (abi/kho.hpp).
//
// Contract: every page reachable from the root is a valid node at all times; no node but the root is ever empty.
// reserve() makes the path of a key and is the only call that can fail; it leaves no trace when it does. insert() after
// a successful reserve() cannot fail. All of them are O(levels), erase() plus one scan of the leaf page.
// Threads: none of its own, Handover locks. Failure: NoMemory.
#pragma once

#include <span>

#include "holdfast/abi/kho.hpp"
#include "holdfast/base/result.hpp"
#include "holdfast/kho/visitor.hpp"
#include "holdfast/memory/memory.hpp"

namespace holdfast::kho {

class RadixMap {
 public:
  explicit RadixMap(Memory& memory) : x_memory(memory) {}
  RadixMap(const RadixMap&) = delete;
  RadixMap& operator=(const RadixMap&) = delete;

  /// Makes the root. Errors: NoMemory.
  Status open();
  /// Frees every node.
  void close();

  /// Makes the nodes on the way to @p key. Errors: NoMemory, and then no node was added.
  Status reserve(u64 key);
  /// Frees the empty nodes on the way to @p key.
  void prune(u64 key);
  /// After reserve(key). Setting a key twice is silent.
  void insert(u64 key);
  /// Also frees the nodes that became empty. Harmless for a key that is not in the set.
  void erase(u64 key);
  [[nodiscard]] bool contains(u64 key) const;

  // The same for every block that a page range is cut into (kho/block_cut.hpp).

  /// All or nothing. Errors: NoMemory.
  Status insert_range(PhysRange range);
  void erase_range(PhysRange range);
  [[nodiscard]] bool contains_range(PhysRange range) const;

  // The same for the blocks of 2^order pages that begin at @p starts. Bitmaps that were used stay at hand: pages
  // scattered over a few GiB cost no walk each.

  /// All or nothing. Errors: NoMemory.
  Status insert_each(std::span<const PhysAddr> starts, unsigned order);
  void erase_each(std::span<const PhysAddr> starts, unsigned order);

  /// By rising key.
  void for_each(const Visitor<u64>& visit) const;

  [[nodiscard]] PhysAddr root() const { return x_root; }
  [[nodiscard]] u64 count() const { return x_count; }
  [[nodiscard]] u64 node_count() const { return x_nodes; }

 private:
  using Node = abi::kho::radix::Node;
  using Bitmap = abi::kho::radix::Bitmap;
  [[nodiscard]] Node* node(PhysAddr page) const { return x_memory.map.at<Node>(page); }
  class Bitmaps;
  [[nodiscard]] Bitmap* find_bitmap(u64 key) const;
  void set(Bitmap& bitmap, u64 key);
  void clear(Bitmap& bitmap, u64 key);
  void visit_node(PhysAddr page, unsigned level, u64 prefix, const Visitor<u64>& visit) const;
  void free_node(PhysAddr page, unsigned level);

  Memory& x_memory;
  PhysAddr x_root;
  u64 x_count = 0;
  u64 x_nodes = 0;
};

}  // namespace holdfast::kho

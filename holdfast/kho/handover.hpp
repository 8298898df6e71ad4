// Handover: the outgoing preserved-memory map and root FDT of this kernel, and the restoring of what came in.
//
// Outgoing: a set of blocks, not a count: preserve twice and unpreserve once leaves the block unpreserved; sharers
// count above. The radix map and the root FDT in memory are valid after every call, in the layout the next kernel
// reads: there is no finalise step. A node that becomes empty is freed, so undone is undone; a call that fails leaves
// everything, the free memory included, as it was. The root FDT page and the page of the scratch array are preserved
// themselves; nodes of the map are not (as in Linux): the next kernel reads them before it allocates outside scratch.
//
// Incoming: claim_incoming() takes the frames of preserved blocks out of everyone's reach; each block can be restored
// exactly once; the map itself is kept until release_incoming_map().
//
// Threads: one Mutex (LockRank::Handover); every call that changes the set may sleep. Errors: each method.
#pragma once

#include <array>
#include <optional>
#include <span>
#include <string_view>

#include "holdfast/base/locks.hpp"
#include "holdfast/kho/incoming_map.hpp"
#include "holdfast/kho/radix_map.hpp"
#include "holdfast/memory/block_sink.hpp"
#include "holdfast/memory/memory.hpp"

namespace holdfast::kho {

class Handover final : public BlockSink, public BlockRestorer {
 public:
  explicit Handover(Memory& memory);
  Handover(const Handover&) = delete;
  Handover& operator=(const Handover&) = delete;
  /// Does not free: a kernel that jumps leaves its handover behind. Use close() to give the memory back.
  ~Handover() = default;

  /// Makes the empty map and the root FDT. @p scratch is copied; it becomes the next kernel's scratch.
  /// Errors: NoMemory; Invalid (no region, too many, one outside RAM).
  Status open(std::span<const PhysRange> scratch);
  /// Frees the map, the root FDT and the scratch array; blocks stay with their owners.
  void close();

  // Outgoing set.

  using BlockSink::preserve;
  using BlockSink::unpreserve;
  /// Errors: Invalid (order above 10, not naturally aligned, not RAM, touches scratch), NoMemory (a node of the map).
  Status preserve(Block block) override;
  /// Harmless for a block that is not preserved.
  void unpreserve(Block block) override;
  [[nodiscard]] bool contains(Block block) const override;

  /// Cuts the range into naturally aligned blocks of at most order 10, largest first that fits; all or nothing.
  /// Errors as preserve(); Invalid also when empty, wrapping or not made of whole pages.
  Status preserve_range(PhysRange range);
  /// The exact inverse: the same range.
  void unpreserve_range(PhysRange range);
  [[nodiscard]] bool contains_range(PhysRange range) const;

  /// Zeroed memory that crosses the jump, rounded up to a power of two of pages.
  /// Errors: Invalid (size 0), TooBig (above order 10), NoMemory.
  Result<PhysAddr> alloc_preserve(u64 size_bytes);
  void unpreserve_free(PhysAddr address, u64 size_bytes);

  // Subtrees of the root FDT.

  /// @p blob stays the caller's, who preserves it. Errors: Exists, NoMemory (the page is full), Invalid (name not a
  /// legal node name of 1..31 characters).
  Status add_subtree(std::string_view name, PhysAddr blob);
  void remove_subtree(std::string_view name);
  [[nodiscard]] Result<PhysAddr> find_subtree(std::string_view name) const;

  /// What the jump passes on.
  [[nodiscard]] holdfast::Handover numbers() const;
  [[nodiscard]] u64 count() const;  // preserved blocks
  void for_each(const Visitor<Block>& visit) const;
  [[nodiscard]] u64 node_count() const;
  /// Over the set and the subtrees; equal states, equal hashes.
  [[nodiscard]] u64 state_hash() const;
  [[nodiscard]] std::span<const PhysRange> scratch() const { return {x_scratch.data(), x_scratch_count}; }

  // Incoming blocks.

  /// Live boot, while every frame is still unclaimed: preserved blocks become Incoming, the map's own pages Kept.
  /// What is bad is skipped and logged; Corrupt at the end if anything was (all that was good is claimed).
  Status claim_incoming(const IncomingMap& incoming);
  /// Takes the block that starts at @p head over as an ordinary allocation, exactly once.
  /// Errors: NotFound (never preserved, restored already, or not the head).
  Result<Block> restore(PhysAddr head) override;
  using BlockRestorer::restore;
  /// The same for a range that was preserved with preserve_range(); all or nothing. Errors: NotFound, Invalid.
  Result<PhysAddr> restore_range(PhysRange range);
  /// Restores and gives the memory back; warns when there is nothing to restore.
  void restore_free(PhysAddr head);
  void restore_free_range(PhysRange range);
  /// True while exactly this block is preserved by the previous kernel and not restored yet.
  [[nodiscard]] bool is_incoming(Block block) const;
  /// True while every page of the range belongs to a block that is not restored yet.
  [[nodiscard]] bool is_incoming_range(PhysRange range) const;
  void for_each_unrestored(const Visitor<Block>& visit) const;
  /// Frees everything that was never restored; the number of blocks.
  u64 reclaim_unrestored();
  /// Frees the pages of the incoming map, root FDT and scratch array: the IncomingMap must not be used any more.
  /// No effect the second time.
  void release_incoming_map();
  [[nodiscard]] bool holds_incoming_map() const { return x_holds_incoming_map; }

 private:
  Status preserve_each(std::span<const PhysAddr> starts, unsigned order) override;
  void unpreserve_each(std::span<const PhysAddr> starts, unsigned order) override;
  std::size_t restore_each(std::span<const PhysAddr> starts, unsigned order) override;

  [[nodiscard]] bool is_preservable(PhysRange range) const;
  /// A range around @p block, which is preservable, of which every part is.
  [[nodiscard]] PhysRange preservable_around(Block block) const;
  Status write_empty(std::span<const PhysRange> scratch) HOLDFAST_REQUIRES(x_mutex);
  /// Writes the root FDT anew: as it is, without @p leave_out, with @p add (both may be empty).
  Status write_root(std::string_view add, PhysAddr add_blob, std::string_view leave_out) HOLDFAST_REQUIRES(x_mutex);
  [[nodiscard]] bool is_incoming_block(Block block) const;
  [[nodiscard]] const std::byte* root_fdt() const { return x_memory.map.bytes(x_root); }

  Memory& x_memory;
  mutable Mutex x_mutex;
  RadixMap x_radix HOLDFAST_GUARDED_BY(x_mutex);
  PhysAddr x_root;          // root FDT page
  PhysAddr x_spare;         // where the next version of the root FDT is built; not preserved
  PhysAddr x_scratch_page;  // the scratch array
  u64 x_scratch_count = 0;
  std::array<PhysRange, max_scratch_regions> x_scratch{};
  bool x_holds_incoming_map = false;
};

}  // namespace holdfast::kho

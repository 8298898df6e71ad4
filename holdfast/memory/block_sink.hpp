// BlockSink and BlockRestorer: how the modules below speak of handing memory over, without knowing the handover. kho/
// implements both: what goes out to the next kernel, and what came in from the previous one.
//
// Page-table pages come by the hundred thousand, so both have a call for many blocks of one size; what it does is what
// the single call does for each. An implementer who does not care leaves the *_each() functions alone.
//
// Threads and failure: the implementer's (both may sleep).
#pragma once

#include <span>

#include "holdfast/base/result.hpp"

namespace holdfast {

/// The set of blocks that the next kernel finds untouched. A set: preserving twice is preserving once.
class BlockSink {
 public:
  /// Errors: Invalid (misaligned, order above 10, overlaps scratch), NoMemory; the set is then as it was.
  virtual Status preserve(Block block) = 0;
  /// Of a block that is not in the set: no effect.
  virtual void unpreserve(Block block) = 0;
  [[nodiscard]] virtual bool contains(Block block) const = 0;

  /// The blocks of 2^@p order pages that begin at @p starts, none of them in the set yet: all or none. Errors: as
  /// above.
  Status preserve(std::span<const PhysAddr> starts, unsigned order) { return preserve_each(starts, order); }
  void unpreserve(std::span<const PhysAddr> starts, unsigned order) { unpreserve_each(starts, order); }

 protected:
  ~BlockSink() = default;

  virtual Status preserve_each(std::span<const PhysAddr> starts, unsigned order) {
    for (std::size_t i = 0; i < starts.size(); ++i) {
      const Status status = preserve(Block{starts[i], order});
      if (status.ok()) continue;
      unpreserve_each(starts.first(i), order);
      return status;
    }
    return {};
  }
  virtual void unpreserve_each(std::span<const PhysAddr> starts, unsigned order) {
    for (const PhysAddr start : starts) unpreserve(Block{start, order});
  }
};

/// Hands each incoming block to its new owner, exactly once.
class BlockRestorer {
 public:
  /// From now on the block that starts at @p start is the caller's, as if allocated with Buddy::allocate(order).
  /// Error: NotFound (never preserved, or restored already).
  virtual Result<Block> restore(PhysAddr start) = 0;

  /// The blocks of 2^@p order pages that begin at @p starts, one after the other, up to the first that is not incoming
  /// or has another order: how many were restored.
  [[nodiscard]] std::size_t restore(std::span<const PhysAddr> starts, unsigned order) {
    return restore_each(starts, order);
  }

 protected:
  ~BlockRestorer() = default;

  virtual std::size_t restore_each(std::span<const PhysAddr> starts, unsigned order) {
    for (std::size_t i = 0; i < starts.size(); ++i) {
      const auto block = restore(starts[i]);
      if (!block.ok()) return i;
      verify_invariant(block->order == order, "restored a block of another order");
    }
    return starts.size();
  }
};

}  // namespace holdfast

// BlockSink and BlockRestorer: how the modules below speak of handing memory over, without knowing the handover. kho/
// implements both: what goes out to the next kernel, and what came in from the previous one.
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

  /// Blocks of 2^order pages at each of @p starts, all or none. An implementer that can do better than one by one
  /// does. Errors: as preserve().
  virtual Status preserve(std::span<const PhysAddr> starts, unsigned order) {
    for (std::size_t i = 0; i < starts.size(); ++i) {
      const Status status = preserve(Block{starts[i], order});
      if (status.ok()) continue;
      unpreserve(starts.first(i), order);
      return status;
    }
    return {};
  }
  virtual void unpreserve(std::span<const PhysAddr> starts, unsigned order) {
    for (const PhysAddr start : starts) unpreserve(Block{start, order});
  }

 protected:
  ~BlockSink() = default;
};

/// Hands each incoming block to its new owner, exactly once.
class BlockRestorer {
 public:
  /// From now on the block that starts at @p start is the caller's, as if allocated with Buddy::allocate(order).
  /// Error: NotFound (never preserved, or restored already).
  virtual Result<Block> restore(PhysAddr start) = 0;

 protected:
  ~BlockRestorer() = default;
};

}  // namespace holdfast

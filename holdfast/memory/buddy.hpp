// Buddy: blocks of 2^order pages, order 0..10, naturally aligned.
//
// Blocks coalesce at once and completely, and the lowest one that fits is taken: what an allocation returns depends on
// the set of free frames alone, never on how it came about. Undone is undone.
//
// Threads: any, under a SpinLock of rank Allocator. Failure: NoMemory; releasing what is not an allocated block of
// exactly that order panics. In the traced build every allocation first asks World::may_allocate(), and a released
// block of up to 64 pages is overwritten with poison, so that who still uses it is found out.
#pragma once

#include <array>
#include <span>

#include "holdfast/base/locks.hpp"
#include "holdfast/memory/bit_tree.hpp"
#include "holdfast/memory/frame_table.hpp"

namespace holdfast {

class Buddy {
 public:
  Buddy(World& world, const DirectMap& map, FrameTable& frames);

  /// Words that place() needs.
  [[nodiscard]] static u64 word_count(u64 frame_count);
  void place(std::span<u64> words, u64 frame_count);

  /// Contents undefined. Errors: TooBig (order above 10), NoMemory.
  Result<PhysAddr> allocate(unsigned order);
  Result<PhysAddr> allocate_zeroed(unsigned order);
  /// The largest block there is of order @p largest at most and @p smallest at least. Errors: as allocate().
  Result<Block> allocate_up_to(unsigned largest, unsigned smallest);
  void release(PhysAddr start, unsigned order);
  /// The blocks of 2^@p order pages that begin at @p starts: as one after the other, but faster.
  void release(std::span<const PhysAddr> starts, unsigned order);

  /// Frames [first, first + count) that were nobody's become free.
  void donate(Pfn first, u64 count);

  [[nodiscard]] u64 free_frames() const;
  /// Free blocks of each order.
  [[nodiscard]] std::array<u64, max_order + 1> free_blocks() const;

 private:
  /// The smallest order, @p order at least, of which there is a free block; above max_order when there is none.
  [[nodiscard]] unsigned smallest_from(unsigned order) const HOLDFAST_REQUIRES(x_lock);
  /// The first 2^@p order pages of the lowest free block of order @p from.
  [[nodiscard]] PhysAddr take(unsigned from, unsigned order) HOLDFAST_REQUIRES(x_lock);
  void check_release(PhysAddr start, unsigned order) const;
  static constexpr std::size_t batch = 64;
  /// Up to @ref batch blocks, order by order: the cache misses of one order overlap.
  void release_batch(std::span<const PhysAddr> starts, unsigned order) HOLDFAST_REQUIRES(x_lock);
  /// Of @p blocks, which are nobody's, those that have a free neighbour become one with it; the others become free. How
  /// many grew: they are the first of @p blocks now.
  [[nodiscard]] std::size_t coalesce_each(std::span<u64> blocks, unsigned order) HOLDFAST_REQUIRES(x_lock);
  [[nodiscard]] bool has_free_neighbour(u64 pfn, unsigned order) const HOLDFAST_REQUIRES(x_lock);
  void prefetch_neighbour(u64 pfn, unsigned order) const;
  void insert(u64 pfn, unsigned order) HOLDFAST_REQUIRES(x_lock);
  void insert_coalesced(u64 pfn, unsigned order) HOLDFAST_REQUIRES(x_lock);
  void remove(u64 pfn, unsigned order) HOLDFAST_REQUIRES(x_lock);

  World& x_world;
  const DirectMap& x_map;
  FrameTable& x_frames;
  mutable SpinLock x_lock;
  std::array<BitTree, max_order + 1> x_free HOLDFAST_GUARDED_BY(x_lock);  // one bit per block of that order
  std::array<u64, max_order + 1> x_count HOLDFAST_GUARDED_BY(x_lock){};
};

}  // namespace holdfast

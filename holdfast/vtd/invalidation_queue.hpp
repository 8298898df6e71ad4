// InvalidationQueue: the ring of commands by which hardware is made to forget (VT-d 5.0, 6.5.2).
//
// run() puts a batch and a wait descriptor into the ring and returns when hardware has written the wait's status: every
// earlier invalidation, and every DMA that used what was invalidated, is then over. One batch at a time, under a
// spinlock, so the ring is empty between calls. Descriptors of different types are kept in order by a fence between
// them: a translation must not be refilled from a context or PASID entry that is still cached. 256 entries; 128-bit
// descriptors, or 256-bit ones on a unit with scalable mode (IQA.DW), whichever mode is in use. Threads: any; SpinLock
// LockRank::UnitQueue. Failure: TimedOut (no answer), Io (hardware refused a descriptor; the refused one is replaced so
// that the queue runs on). Allocates nothing after create().
#pragma once

#include <array>
#include <span>

#include "holdfast/base/locks.hpp"
#include "holdfast/hw/vtd/descriptors.hpp"
#include "holdfast/memory/direct_map.hpp"
#include "holdfast/memory/early.hpp"
#include "holdfast/vtd/unit_registers.hpp"

namespace holdfast::vtd {

inline constexpr u64 queue_timeout_ns = 5'000'000'000;

/// The two words that a descriptor fills; the second half of the 256-bit form is always zero.
using Descriptor = Quad;

template <class Bits>
[[nodiscard]] constexpr Descriptor descriptor(const Bits& bits) {
  return {bits.words()[0], bits.words()[1]};
}

class InvalidationQueue {
 public:
  enum class Width : u8 { Bits128, Bits256 };
  static constexpr u32 entry_count = 256;
  static constexpr u32 max_batch = 16;

  /// Memory of the ring and of the status word, from the early allocator: adoption needs the queue before anything
  /// else.
  struct Storage {
    PhysAddr ring;
    PhysAddr status;
  };
  static Result<Storage> allocate(EarlyAllocator& early, Width width);

  InvalidationQueue(World& world, const DirectMap& map, UnitRegisters& registers, Storage storage, Width width);

  /// Takes the queue over from whoever ran it: waits until it is idle, disables it, points it at our ring, enables it.
  /// Translation is not touched.
  Status start();
  /// Runs @p batch (at most max_batch) and returns when hardware has completed it.
  Status run(std::span<const Descriptor> batch);
  /// True when hardware has fetched everything.
  [[nodiscard]] bool is_idle() const;

 private:
  [[nodiscard]] u64 slot_bytes() const { return x_width == Width::Bits256 ? 32 : 16; }
  void put(u32 index, Descriptor value) HOLDFAST_REQUIRES(x_lock);
  void append(Descriptor value) HOLDFAST_REQUIRES(x_lock);
  void ring_doorbell() HOLDFAST_REQUIRES(x_lock);
  [[nodiscard]] u32 head() const;
  [[nodiscard]] u32 free_slots() const HOLDFAST_REQUIRES(x_lock);
  [[nodiscard]] PhysAddr scrap() const;
  Status wait_for(u32 sequence) HOLDFAST_REQUIRES(x_lock);
  void repair() HOLDFAST_REQUIRES(x_lock);

  World* x_world;
  UnitRegisters* x_registers;
  Storage x_storage;
  Width x_width;
  Quad* x_ring;
  u32* x_status;  // [0] is what run() waits for; a word further on takes what nobody waits for
  SpinLock x_lock;
  u32 x_tail HOLDFAST_GUARDED_BY(x_lock) = 0;
  u32 x_sequence HOLDFAST_GUARDED_BY(x_lock) = 0;
};

// The descriptors that a driver needs. What a first stage left in the IOTLB is tagged with id and PASID and goes by
// pasid_iotlb_*, what a second stage left is tagged with the id and goes by iotlb_*; iotlb_global() is for both.

[[nodiscard]] Descriptor context_cache_global();
[[nodiscard]] Descriptor context_cache_device(DomainId did, SourceId device);
[[nodiscard]] Descriptor pasid_cache_global();
[[nodiscard]] Descriptor pasid_cache_pasid(DomainId did, u32 pasid);

/// IOTLB invalidations ask for draining of reads and writes where the unit can do it.
struct Draining {
  bool reads = false;
  bool writes = false;
};
[[nodiscard]] Descriptor iotlb_global(Draining draining);
[[nodiscard]] Descriptor iotlb_domain(Draining draining, DomainId did);

enum class TableChange : u8 { LeavesOnly, Tables };
/// 2^mask pages at @p start, which is aligned to that size.
[[nodiscard]] Descriptor iotlb_pages(Draining draining, DomainId did, Iova start, u8 mask, TableChange change);

/// These drain by themselves.
[[nodiscard]] Descriptor pasid_iotlb_all(DomainId did, u32 pasid);
[[nodiscard]] Descriptor pasid_iotlb_pages(DomainId did, u32 pasid, Iova start, u8 mask, TableChange change);

}  // namespace holdfast::vtd

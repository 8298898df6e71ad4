// Table: the live page table of one domain: made, changed, preserved, destroyed.
//
// Contract: hardware may walk the table at any moment. Every entry it can reach is written by one hw_store, so each
// IOVA translates as before or as afterwards, never to a third place. map() is all or nothing. A table whose memory is
// not coherent gets the software bit 10 in its table entries, as Linux does; the cache itself is not flushed: every
// host we run on is coherent. While preserved, a table does not change: map() and unmap() answer Busy.
//
// Threads: one writer per domain (policy Exclusive); the owner serialises. Reading beside a writer is allowed, freeing
// a gather beside a reader is not. Failure: as each method says; what failed changed nothing.
#pragma once

#include "holdfast/memory/memory.hpp"
#include "holdfast/pt/gather.hpp"
#include "holdfast/pt/types.hpp"

namespace holdfast::pt {

class Table : public Reader {
 public:
  /// Errors: Invalid (the format cannot do what is asked), NotSupported (unknown format), NoMemory.
  static Result<Table*> create(Memory& memory, const TableConfig& config);
  /// Frees the table and all its pages. Hardware no longer walks it and has forgotten it; it is not preserved; its
  /// gathers are completed. Null is fine.
  static void destroy(Table* table);

  /// Maps @p runs one after the other from @p iova, with the largest leaves that page_sizes allows; empty tables left
  /// over from earlier unmaps are replaced by a leaf and go to @p gather. Errors: Invalid (nothing to map, misaligned,
  /// no permission), OutOfRange (beyond the width of IOVA or host address), AddressInUse (@p first_collision, if given,
  /// says where), NoMemory, Busy (preserved).
  virtual Status map(Iova iova, std::span<const PhysRange> runs, Prot prot, Gather& gather,
                     Iova* first_collision = nullptr) = 0;
  /// Unmaps whole leaves from @p iova on until @p length is covered or a hole is met; answers the bytes unmapped, which
  /// is more than @p length when the last leaf reaches beyond it, and 0 when @p iova is inside a leaf. Tables that the
  /// range covers go to @p gather. Errors: Invalid (empty, misaligned), OutOfRange, Busy (preserved).
  virtual Result<u64> unmap(Iova iova, u64 length, Gather& gather) = 0;

  [[nodiscard]] virtual PhysAddr top() const = 0;
  [[nodiscard]] virtual const TableConfig& config() const = 0;
  [[nodiscard]] u8 levels() const { return config().levels; }
  /// Table pages in the tree, the top included.
  [[nodiscard]] virtual u64 table_count() const = 0;
  [[nodiscard]] virtual const TableArena& arena() const = 0;

  /// Every table page, parents first. Level 0 tables are not read.
  virtual Visit visit_tables(TableVisitor& visitor) const = 0;
  /// @p f(PhysAddr page, unsigned level).
  template <class F>
  void collect(F&& f) const {
    struct Call final : TableVisitor {
      explicit Call(F& function) : x_f(function) {}
      Visit table(PhysAddr page, unsigned level) override { return x_f(page, level), Visit::Continue; }
      F& x_f;
    } call(f);
    visit_tables(call);
  }

  /// Marks every block (page mode: every table page) in @p sink, all or none, and computes the checksum. Errors: Busy
  /// (preserved already, or a gather is not completed), and those of BlockSink.
  virtual Result<SavedTable> preserve(BlockSink& sink) = 0;
  /// The exact inverse. @p sink is the one given to preserve().
  virtual void unpreserve(BlockSink& sink) = 0;
  [[nodiscard]] virtual bool preserved() const = 0;

 protected:
  ~Table() = default;

 private:
  friend class Gather;
  /// A page that left the tree: hardware has forgotten it.
  virtual void free_table(PhysAddr page) = 0;
  virtual void dispose() = 0;
};

}  // namespace holdfast::pt

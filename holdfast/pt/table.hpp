// Table: the live page table of one domain: made, changed, preserved, destroyed.
//
// Contract: hardware may walk the table at any moment. Every item it can reach is written in one piece, so each IOVA
// translates as before or as afterwards, never to a third place. map() is all or nothing. A table whose memory is not
// coherent is flushed (World::flush_cache) before hardware can reach what was written, and says so in the software bit
// of its table items, as Linux does. While preserved, a table does not change: every change answers Busy.
//
// Threads: Sharing::Exclusive, one at a time; Sharing::Shared, see the head of engine.hpp. In both, create, destroy,
// preserve, unpreserve and saved exclude everything else, and so does the owner from preserve to unpreserve.
// Failure: as each method says; what failed changed nothing.
#pragma once

#include "holdfast/memory/memory.hpp"
#include "holdfast/pt/format.hpp"
#include "holdfast/pt/gather.hpp"
#include "holdfast/pt/types.hpp"

namespace holdfast::pt {

/// Who tells hardware where a growing table begins (TableConfig::dynamic_top).
class TopObserver {
 public:
  /// From now on hardware starts at @p top, @p levels levels high; returns when it does. The old top stays part of the
  /// table, so nothing needs to be invalidated. Called under the table's lock: it neither sleeps nor fails.
  virtual void top_changed(PhysAddr top, unsigned levels) = 0;

 protected:
  ~TopObserver() = default;
};

/// One bit a page from @p first on; set bits are added.
struct DirtyBitmap {
  Iova first;
  unsigned page_lg2 = holdfast::page_lg2;
  std::span<u64> words;
};

/// What read_dirty() does with what it found.
enum class DirtyRead : u8 {
  Keep,         // reports
  Clear,        // and makes clean; a write of hardware in the same moment may be lost, as in Linux: stop writers, or
                // count what is written until the invalidation as dirty
  ClearAtomic,  // the same, and loses nothing
};

class Table : public Reader {
 public:
  /// @p observer outlives the table; null where the top does not grow. Errors: Invalid (the format cannot do what is
  /// asked), NotSupported (unknown format), NoMemory.
  static Result<Table*> create(Memory& memory, const TableConfig& config, TopObserver* observer = nullptr);
  /// Frees the table and all its pages. Hardware no longer walks it and has forgotten it; it is not preserved; its
  /// gathers are completed. Null is fine.
  static void destroy(Table* table);

  /// Maps @p runs one after the other from @p iova, with the largest leaves that page_sizes allows; empty tables left
  /// over from earlier unmaps are replaced by a leaf and go to @p gather. Errors: Invalid (nothing to map, misaligned,
  /// no permission or one that a feature forbids), OutOfRange (beyond the width of IOVA or host address), AddressInUse
  /// (@p first_collision, if given, says where), NoMemory, Busy (preserved).
  virtual Status map(Iova iova, std::span<const PhysRange> runs, Prot prot, Gather& gather,
                     Iova* first_collision = nullptr) = 0;
  /// Unmaps whole leaves from @p iova on until @p length is covered or a hole is met; answers the bytes unmapped, which
  /// is more than @p length when the last leaf reaches beyond it, and 0 when @p iova is inside a leaf. Tables that the
  /// range covers go to @p gather. Errors: Invalid (empty, misaligned), OutOfRange, Busy (preserved).
  virtual Result<u64> unmap(Iova iova, u64 length, Gather& gather) = 0;
  /// Afterwards no leaf crosses @p boundary: one that does is replaced by smaller ones of the same translations,
  /// without a moment in which hardware faults. Where none does, nothing happens. Errors: Invalid (misaligned),
  /// OutOfRange, NotSupported (hardware cannot exchange a leaf for a table at once, or page_sizes has no size small
  /// enough), NoMemory, Busy (preserved).
  virtual Status cut(Iova boundary, Gather& gather) = 0;

  /// lookup() of many at once, which overlaps their cache misses: to[i] is where iovas[i] leads, page_size 0 when it is
  /// not mapped. @p to is as long as @p iovas.
  virtual void lookup(std::span<const Iova> iovas, std::span<Translation> to) const = 0;
  using Reader::lookup;

  /// Which pages of @p range hardware has written since they were mapped or last cleared. A leaf is dirty as a whole.
  /// @p bitmap covers the range; null: clear only. What was made clean is added to @p gather: until it is invalidated
  /// hardware may write and not say so again. Errors: Invalid (empty, misaligned, bitmap too short), OutOfRange,
  /// NotSupported (the format cannot tell), Busy (preserved, and asked to clear).
  virtual Status read_dirty(IovaRange range, DirtyRead how, const DirtyBitmap* bitmap, Gather& gather) = 0;

  [[nodiscard]] virtual Tree tree() const = 0;
  [[nodiscard]] PhysAddr top() const { return tree().top; }
  /// Height now.
  [[nodiscard]] u8 levels() const { return static_cast<u8>(tree().top_level + 1); }
  [[nodiscard]] virtual const TableConfig& config() const = 0;
  /// Table pages in the tree, the top included.
  [[nodiscard]] virtual u64 table_count() const = 0;
  [[nodiscard]] virtual const TableArena& arena() const = 0;

  /// Every table page; a table comes after the one that leads to it. Level 0 tables are not read.
  virtual Visit visit_tables(TableVisitor& visitor) const = 0;
  /// @p f(PhysAddr page, unsigned level).
  template <class F>
  void collect(F&& f) const {
    struct Call final : TableVisitor {
      explicit Call(F& function) : x_f(function) {}
      Visit tables(std::span<const PhysAddr> pages, unsigned level) override {
        for (const PhysAddr page : pages) x_f(page, level);
        return Visit::Continue;
      }
      F& x_f;
    } call(f);
    visit_tables(call);
  }

  /// Marks every block (page mode: every table page) in @p sink, all or none; from here the table does not change.
  /// Errors: Busy (preserved already, or a gather is not completed), and those of BlockSink.
  virtual Status preserve(BlockSink& sink) = 0;
  /// The exact inverse. @p sink is the one given to preserve().
  virtual void unpreserve(BlockSink& sink) = 0;
  [[nodiscard]] virtual bool preserved() const = 0;
  /// What the next kernel needs. Reads every table for the checksum.
  [[nodiscard]] virtual SavedTable saved() const = 0;

 protected:
  ~Table() = default;

 private:
  friend class Gather;
  /// A page that left the tree: hardware has forgotten it.
  virtual void free_table(PhysAddr page) = 0;
  virtual void dispose() = 0;
};

}  // namespace holdfast::pt

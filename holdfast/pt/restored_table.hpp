// RestoredTable: a table that came from the previous kernel. It can be read once verified, freed, and passed on; it can
// never be changed: there is no map() to call.
//
// Unverified, in arena mode it can only be freed by block and passed on by block; in page mode its pages are not known,
// so it is neither freed (they stay in the incoming map, to be reclaimed there) nor passed on. Its pages stay Incoming
// until they are freed: a next update, or the same kernel started again, finds them where they were.
//
// Threads: the owner serialises. Failure: as each method says.
#pragma once

#include <optional>

#include "holdfast/memory/vec.hpp"
#include "holdfast/pt/verify.hpp"

namespace holdfast::pt {

/// Reads a verified tree. Follows only tables that its verification stamped.
class TreeReader final : public Reader {
 public:
  TreeReader(Memory& memory, Format format, const SavedTable& saved, u32 generation)
      : x_memory(&memory), x_format(format), x_saved(saved), x_generation(generation) {}
  Visit visit_leaves(LeafVisitor& visitor) const override;

 private:
  [[nodiscard]] Found find(Iova iova) const override;

  Memory* x_memory;
  Format x_format;
  SavedTable x_saved;
  u32 x_generation;
};

class RestoredTable {
 public:
  /// @p blocks: arena mode, the domain's block list as recorded (untrusted, copied; need not be sorted); page mode,
  /// none. Nothing is read or restored yet. Errors: Corrupt (blocks overlap or were not preserved), Invalid, NoMemory.
  static Result<RestoredTable*> create(Memory& memory, Format format, const SavedTable& saved, TableMode mode,
                                       std::span<const Block> blocks);
  /// Frees the object alone; every page stays as it is (incoming, to be passed on or reclaimed).
  static void forget(RestoredTable* table);
  /// Frees pages and object: hardware no longer walks it and has forgotten it. Arena mode: by block, verified or not.
  /// Page mode: by walking, verified only (Error: NotSupported, nothing done). Corrupt: some page was not there to be
  /// restored (somebody else has it); all others and the object are freed.
  static Status destroy(RestoredTable* table, BlockRestorer& restorer);

  /// See pt::verify(). Repeatable after a failure, not after success.
  Status verify(VerifyReport& report);
  [[nodiscard]] bool verified() const { return x_generation != 0; }
  /// Error: NotSupported when not verified.
  [[nodiscard]] Result<TreeReader> reader() const;

  [[nodiscard]] Format format() const { return x_format; }
  [[nodiscard]] TableMode mode() const { return x_mode; }
  [[nodiscard]] const SavedTable& saved() const { return x_saved; }
  [[nodiscard]] std::span<const Block> blocks() const { return x_blocks.span(); }

  /// Preserves the same blocks (pages) again for the next kernel, all or none; answers the same description.
  /// Errors: NotSupported (page mode, not verified), and those of BlockSink.
  Result<SavedTable> pass_on(BlockSink& sink);
  void cancel_pass_on(BlockSink& sink);

 private:
  friend class holdfast::Heap;
  RestoredTable(Memory& memory, Format format, const SavedTable& saved, TableMode mode);
  ~RestoredTable() = default;
  Status free_pages(BlockRestorer& restorer);
  Visit visit_lower_tables(TableVisitor& visitor) const;
  [[nodiscard]] Block top_block() const;
  [[nodiscard]] unsigned lower_order() const;
  Status preserve_pages(BlockSink& sink);

  Memory& x_memory;
  Format x_format;
  TableMode x_mode;
  SavedTable x_saved;
  Vec<Block> x_blocks;
  u32 x_generation = 0;
};

/// First IOVA that @p from maps and @p to does not map to the same address with at least the same permissions.
[[nodiscard]] std::optional<Iova> compare(const Reader& from, const Reader& to);

}  // namespace holdfast::pt

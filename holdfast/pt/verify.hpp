// Verification of a table that came from another kernel, before anything walks, compares, or frees it.
//
// Two passes. The first follows table entries from the top and stamps the frame of each table it meets, so that a loop
// or a table met twice (by this or by another verified table) is found at once, and never more than table_count pages
// are read. The second reads every word of every stamped table: reserved and unknown bits, permissions, alignment, leaf
// targets; and the checksum. A table is verified once per boot; its stamps stay until its pages are restored.
//
// Threads: the owner serialises; the stamps are in the frame table. Failure: Corrupt, with the place in the report;
// no stamp is left behind then.
#pragma once

#include <string_view>

#include "holdfast/memory/memory.hpp"
#include "holdfast/pt/types.hpp"

namespace holdfast::pt {

/// What a domain may consist of and lead to.
class TableOwner {
 public:
  /// True when @p table, 2^order pages, may be a table of this domain.
  [[nodiscard]] virtual bool owns(PhysAddr table, unsigned order) const = 0;
  /// True when devices of this domain may reach @p target (RAM, a leaf's range). Memory that was not preserved belongs
  /// to somebody else by now.
  [[nodiscard]] virtual bool may_reach(PhysRange target) const = 0;

 protected:
  ~TableOwner() = default;
};

/// True when every page of a range was preserved and not restored yet. Remembers the last block, for neighbours.
class IncomingTargets {
 public:
  explicit IncomingTargets(const FrameTable& frames) : x_frames(&frames) {}
  [[nodiscard]] bool cover(PhysRange target) const;
  [[nodiscard]] bool cover(Block block) const { return cover(PhysRange{block.start, block.size_bytes()}); }

 private:
  const FrameTable* x_frames;
  mutable PhysRange x_last;
};

/// Arena mode: tables are in the domain's blocks; targets are incoming memory outside of them.
class ArenaOwner final : public TableOwner {
 public:
  /// @p blocks by rising address, disjoint, each an incoming block (see blocks_are_incoming()).
  ArenaOwner(const FrameTable& frames, std::span<const Block> blocks) : x_targets(frames), x_blocks(blocks) {}
  [[nodiscard]] bool owns(PhysAddr table, unsigned order) const override;
  [[nodiscard]] bool may_reach(PhysRange target) const override;

 private:
  IncomingTargets x_targets;
  std::span<const Block> x_blocks;
};

/// Page mode: a table is an incoming block of exactly its size; targets are incoming memory. (Verification refuses
/// targets that it knows to be tables.)
class PageOwner final : public TableOwner {
 public:
  explicit PageOwner(const FrameTable& frames) : x_frames(frames), x_targets(frames) {}
  [[nodiscard]] bool owns(PhysAddr table, unsigned order) const override;
  [[nodiscard]] bool may_reach(PhysRange target) const override { return x_targets.cover(target); }

 private:
  const FrameTable& x_frames;
  IncomingTargets x_targets;
};

/// Before block lists can be read: tables are any incoming memory, and so are targets.
class IncomingOwner final : public TableOwner {
 public:
  explicit IncomingOwner(const FrameTable& frames) : x_targets(frames) {}
  [[nodiscard]] bool owns(PhysAddr table, unsigned order) const override {
    return x_targets.cover(Block{table, order});
  }
  [[nodiscard]] bool may_reach(PhysRange target) const override { return x_targets.cover(target); }

 private:
  IncomingTargets x_targets;
};

/// A block list that may be believed: rising, disjoint, each exactly one incoming block.
[[nodiscard]] bool blocks_are_incoming(const FrameTable& frames, std::span<const Block> blocks);

enum class VerifyReason : u8 {
  None = 0,
  Shape,        // the saved description is impossible
  NotOwned,     // a table page is not the domain's
  MetTwice,     // a table is reached a second time, or loops
  OtherDomain,  // a table of another verified domain
  TooManyTables,
  TooFewTables,
  ReservedBits,  // of an entry, or bits that nobody writes
  Contiguous,    // the items of one leaf do not belong together
  Permission,    // a table entry without both permissions, a leaf with none
  BeyondWidth,   // an entry for IOVAs that the domain does not have
  LeafTarget,    // a leaf is misaligned, not RAM, not preserved, or is a table
  Checksum,
};

[[nodiscard]] std::string_view to_string(VerifyReason reason);

/// The first thing found wrong. Place is meaningful from MetTwice on as far as the reason has one.
struct VerifyReport {
  VerifyReason reason = VerifyReason::None;
  u8 level = 0;
  PhysAddr table;  // the table that holds the entry; the top for Shape and for a bad top
  u32 index = 0;
  u64 entry = 0;
  u64 tables_met = 0;
  u32 generation = 0;  // of the stamps, when verified
};

/// Errors: Corrupt (see the report), NotSupported (unknown format).
Status verify(Memory& memory, Format format, const SavedTable& saved, const TableOwner& owner, VerifyReport& report);
/// The same, and no stamp is left behind: a look at a table that will be verified later.
Status inspect(Memory& memory, Format format, const SavedTable& saved, const TableOwner& owner, VerifyReport& report);

}  // namespace holdfast::pt

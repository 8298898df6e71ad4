// Verification of incoming tables. See verify.hpp.
#include "holdfast/pt/verify.hpp"

#include <algorithm>

#include "holdfast/base/hw_access.hpp"
#include "holdfast/pt/digest.hpp"
#include "holdfast/pt/formats.hpp"
#include "holdfast/pt/stamp.hpp"

namespace holdfast::pt {

namespace {

/// Where an entry stands, for the report.
struct Place {
  PhysAddr table;
  unsigned level = 0;
  u64 index = 0;
  u64 entry = 0;
};

template <PageTableFormat F>
class Verifier {
 public:
  Verifier(Memory& memory, const SavedTable& saved, const TableOwner& owner, VerifyReport& report)
      : x_memory(memory),
        x_saved(saved),
        x_owner(owner),
        x_report(report),
        x_generation(memory.frames.next_generation()) {}

  enum class Stamps : u8 { StayWhenVerified, Remove };

  Status run(Stamps stamps) {
    const Status status = check();
    x_report.tables_met = x_met;
    if (status.ok() && stamps == Stamps::StayWhenVerified)
      x_report.generation = x_generation;
    else
      remove_stamps();
    return status;
  }

 private:
  Status refuse(VerifyReason reason, const Place& place) {
    x_report.reason = reason;
    x_report.level = static_cast<u8>(place.level);
    x_report.table = place.table;
    x_report.index = static_cast<u32>(place.index);
    x_report.entry = place.entry;
    return Code::Corrupt;
  }

  Status check() {
    const unsigned levels = x_saved.top_level + 1u;
    const Place top{x_saved.top, x_saved.top_level, 0, x_saved.top.value};
    if (levels < F::min_levels || levels > F::max_levels || !is_valid_width(levels, x_saved.iova_bits) ||
        x_saved.sign_extend != 0 || x_saved.table_count == 0)
      return refuse(VerifyReason::Shape, top);
    TRY(survey(x_saved.top, 0, top));
    if (x_met != x_saved.table_count) return refuse(VerifyReason::TooFewTables, top);
    u64 sum = 0;
    for (u64 page = x_newest; page != 0; page = x_memory.frames.at(PhysAddr(page)).link)
      TRY(check_table(PhysAddr(page), sum));
    if (sum != x_saved.checksum) return refuse(VerifyReason::Checksum, top);
    return {};
  }

  /// First pass: stamps the table that @p from leads to, which maps from @p base on, and all below it.
  Status survey(PhysAddr page, u64 base, const Place& from, unsigned level) {
    if (!page.is_aligned(page_size_bytes) || page.value == 0 || !x_memory.map.is_ram(page, page_size_bytes) ||
        x_memory.frames.find(page) == nullptr || !x_owner.owns(page))
      return refuse(VerifyReason::NotOwned, from);
    TRY(stamp(page, from, level));
    if (level == 0) return {};
    x_memory.touches.table();
    const u64* words = x_memory.map.at<u64>(page);
    for (u64 i = 0; i < entries_per_table; ++i) {
      const u64 entry = hw_load(&words[i]);
      const EntryKind kind = F::kind(entry, level);
      if (kind == EntryKind::Empty) continue;
      const Place place{page, level, i, entry};
      const u64 iova = base + (i << item_lg2(level));
      if (iova >> x_saved.iova_bits != 0) return refuse(VerifyReason::BeyondWidth, place);
      if (kind != EntryKind::Table) continue;
      if (F::unknown_bits(entry, level) != 0) return refuse(VerifyReason::ReservedBits, place);
      if (!F::passes_all(entry)) return refuse(VerifyReason::Permission, place);
      TRY(survey(F::table_address(entry), iova, place, level - 1));
    }
    return {};
  }
  Status survey(PhysAddr top, u64 base, const Place& from) { return survey(top, base, from, x_saved.top_level); }

  Status stamp(PhysAddr page, const Place& from, unsigned level) {
    Frame& frame = x_memory.frames.at(page);
    if (generation_of(frame.mark) == x_generation) return refuse(VerifyReason::MetTwice, from);
    if (frame.mark != 0) return refuse(VerifyReason::OtherDomain, from);
    if (x_met == x_saved.table_count) return refuse(VerifyReason::TooManyTables, from);
    ++x_met;
    frame.mark = stamp_of(x_generation, level);
    frame.link = x_newest;
    x_newest = page.value;
    return {};
  }

  /// Second pass: every word of one table.
  Status check_table(PhysAddr page, u64& sum) {
    const unsigned level = level_of(x_memory.frames.at(page).mark);
    x_memory.touches.table();
    const u64* words = x_memory.map.at<u64>(page);
    sum += table_digest(page, level, words, F::hardware_bits);
    for (u64 i = 0; i < entries_per_table; ++i) {
      const u64 entry = hw_load(&words[i]);
      if (F::kind(entry, level) == EntryKind::Leaf) TRY(check_leaf({page, level, i, entry}));
    }
    return {};
  }

  Status check_leaf(const Place& place) {
    if (F::prot(place.entry) == Prot::None) return refuse(VerifyReason::Permission, place);
    if (F::unknown_bits(place.entry, place.level) != 0) return refuse(VerifyReason::ReservedBits, place);
    const PhysRange target{F::leaf_address(place.entry, place.level), item_size(place.level)};
    if (!x_memory.map.is_ram(target.start, target.size_bytes) || !x_owner.may_reach(target) || holds_a_table(target))
      return refuse(VerifyReason::LeafTarget, place);
    return {};
  }

  [[nodiscard]] bool holds_a_table(PhysRange target) const {
    for (u64 offset = 0; offset < target.size_bytes; offset += page_size_bytes)
      if (x_memory.frames.at(target.start + offset).mark != 0) return true;
    return false;
  }

  void remove_stamps() {
    while (x_newest != 0) {
      Frame& frame = x_memory.frames.at(PhysAddr(x_newest));
      x_newest = frame.link;
      frame.mark = 0;
      frame.link = 0;
    }
  }

  Memory& x_memory;
  const SavedTable& x_saved;
  const TableOwner& x_owner;
  VerifyReport& x_report;
  u32 x_generation;
  u64 x_met = 0;
  u64 x_newest = 0;  // chain of stamped tables through Frame::link; page 0 is never a table
};

}  // namespace

Status verify(Memory& memory, Format format, const SavedTable& saved, const TableOwner& owner, VerifyReport& report) {
  report = {};
  return with_format(format, [&]<class F>() {
    return Verifier<F>(memory, saved, owner, report).run(Verifier<F>::Stamps::StayWhenVerified);
  });
}

Status inspect(Memory& memory, Format format, const SavedTable& saved, const TableOwner& owner, VerifyReport& report) {
  report = {};
  return with_format(
      format, [&]<class F>() { return Verifier<F>(memory, saved, owner, report).run(Verifier<F>::Stamps::Remove); });
}

bool IncomingTargets::cover(PhysRange target) const {
  while (target.size_bytes != 0) {
    if (!x_last.contains(target.start, 1)) {
      const auto block = x_frames->find_incoming(target.start);
      if (!block) return false;
      x_last = {block->start, block->size_bytes()};
    }
    const u64 here = std::min(target.size_bytes, x_last.size_bytes - (target.start - x_last.start));
    target = {target.start + here, target.size_bytes - here};
  }
  return true;
}

namespace {

/// Index of the first block that ends after @p address.
std::size_t first_ending_after(std::span<const Block> blocks, PhysAddr address) {
  const auto at = std::upper_bound(blocks.begin(), blocks.end(), address, [](PhysAddr wanted, const Block& block) {
    return wanted < block.start + block.size_bytes();
  });
  return static_cast<std::size_t>(at - blocks.begin());
}

}  // namespace

bool ArenaOwner::owns(PhysAddr page) const {
  const std::size_t index = first_ending_after(x_blocks, page);
  return index < x_blocks.size() && page >= x_blocks[index].start;
}

bool ArenaOwner::may_reach(PhysRange target) const {
  const std::size_t index = first_ending_after(x_blocks, target.start);
  if (index < x_blocks.size() && target.overlaps({x_blocks[index].start, x_blocks[index].size_bytes()})) return false;
  return x_targets.cover(target);
}

bool PageOwner::owns(PhysAddr page) const {
  const Frame* frame = x_frames.find(page);
  return frame != nullptr && frame->state == FrameState::Incoming && frame->order == 0;
}

bool blocks_are_incoming(const FrameTable& frames, std::span<const Block> blocks) {
  PhysAddr past;
  for (const Block& block : blocks) {
    if (block.start < past || !block.start.is_aligned(page_size_bytes)) return false;
    const Frame* frame = frames.find(block.start);
    if (frame == nullptr || frame->state != FrameState::Incoming || frame->order != block.order) return false;
    past = block.start + block.size_bytes();
  }
  return true;
}

std::string_view to_string(VerifyReason reason) {
  switch (reason) {
    case VerifyReason::None: return "in order";
    case VerifyReason::Shape: return "the recorded height, width or count is impossible";
    case VerifyReason::NotOwned: return "a table is not memory of this domain";
    case VerifyReason::MetTwice: return "a table is reached twice";
    case VerifyReason::OtherDomain: return "a table belongs to another domain";
    case VerifyReason::TooManyTables: return "there are more tables than recorded";
    case VerifyReason::TooFewTables: return "there are fewer tables than recorded";
    case VerifyReason::ReservedBits: return "an entry has bits set that nobody writes";
    case VerifyReason::Permission: return "an entry has impossible permissions";
    case VerifyReason::BeyondWidth: return "an entry maps beyond the width of the domain";
    case VerifyReason::LeafTarget: return "an entry leads outside preserved memory";
    case VerifyReason::Checksum: return "the tables are not the ones that were recorded";
  }
  return "unknown";
}

}  // namespace holdfast::pt

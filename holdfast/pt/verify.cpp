// Verification of incoming tables. See verify.hpp.
#include "holdfast/pt/verify.hpp"

#include <algorithm>
#include <utility>

#include "holdfast/base/hw_access.hpp"
#include "holdfast/pt/digest.hpp"
#include "holdfast/pt/formats.hpp"
#include "holdfast/pt/stamp.hpp"
#include "holdfast/pt/walk.hpp"

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
        x_tree(tree_of(saved)),
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
    if (levels > F::max_levels || x_saved.table_count == 0 || x_saved.extent > IovaExtent::Upper ||
        !is_valid_tree<F>(levels, x_saved.iova_bits, x_saved.extent, F::max_phys_bits) ||
        !can_encrypt<F>(x_saved.encryption, min_phys_bits))
      return refuse(VerifyReason::Shape, top);
    TRY(survey(x_saved.top, 0, top, x_saved.top_level));
    if (x_met != x_saved.table_count) return refuse(VerifyReason::TooFewTables, top);
    u64 sum = 0;
    for (u64 page = x_newest; page != 0; page = x_memory.frames.at(PhysAddr(page)).link)
      TRY(check_table(PhysAddr(page), sum));
    if (sum != x_saved.checksum) return refuse(VerifyReason::Checksum, top);
    return {};
  }

  [[nodiscard]] u64 load(const u64* word) const { return hw_load(word) & ~x_saved.encryption; }
  /// @p index of a table that maps from @p base on: an address that the domain does not have.
  [[nodiscard]] bool is_beyond(u64 base, unsigned level, u64 index) const {
    if (level == x_tree.top_level && index >= top_items<F>(x_tree)) return true;
    return ((base + (index << item_lg2<F>(level))) & ~x_tree.mask()) != 0;
  }

  /// First pass: stamps the table that @p from leads to, which maps from @p base on, and all below it.
  Status survey(PhysAddr page, u64 base, const Place& from, unsigned level) {
    const u64 bytes = page_size_bytes << order_at<F>(x_tree, level);
    if (!page.is_aligned(bytes) || page.value == 0 || !x_memory.map.is_ram(page, bytes) ||
        x_memory.frames.find(page + (bytes - 1)) == nullptr || !x_owner.owns(page, order_at<F>(x_tree, level)))
      return refuse(VerifyReason::NotOwned, from);
    TRY(stamp(page, from, level));
    if (level == 0) return {};
    x_memory.touches.table();
    const u64* words = x_memory.map.at<u64>(page);
    for (u64 i = 0; i < table_words<F>(x_tree, level); ++i) {
      const u64 item = load(&words[i]);
      if (item == 0) continue;
      const Place place{page, level, i, item};
      if (is_beyond(base, level, i)) return refuse(VerifyReason::BeyondWidth, place);
      if (F::kind(item, level) != EntryKind::Table) continue;
      if (F::unknown_bits(item, level) != 0) return refuse(VerifyReason::ReservedBits, place);
      if (!F::passes_all(item)) return refuse(VerifyReason::Permission, place);
      TRY(survey(F::table_address(item), base + (i << item_lg2<F>(level)), place, level - 1));
    }
    return {};
  }

  Status stamp(PhysAddr table, const Place& from, unsigned level) {
    const u64 pages = u64{1} << order_at<F>(x_tree, level);
    for (u64 i = 0; i < pages; ++i) {
      const u32 mark = x_memory.frames.at(table + i * page_size_bytes).mark;
      if (generation_of(mark) == x_generation) return refuse(VerifyReason::MetTwice, from);
      if (mark != 0) return refuse(VerifyReason::OtherDomain, from);
    }
    if (x_met == x_saved.table_count) return refuse(VerifyReason::TooManyTables, from);
    ++x_met;
    for (u64 i = 0; i < pages; ++i)
      x_memory.frames.at(table + i * page_size_bytes).mark = stamp_of(x_generation, level);
    x_memory.frames.at(table).link = x_newest;
    x_newest = table.value;
    return {};
  }

  /// Second pass: every word of one table. Where its leaves lead is asked for many at once, and one by one only if
  /// something is wrong, which is then named.
  Status check_table(PhysAddr table, u64& sum) {
    const unsigned level = level_of(x_memory.frames.at(table).mark);
    x_memory.touches.table();
    const std::span<const u64> words(x_memory.map.at<u64>(table), table_words<F>(x_tree, level));
    sum += table_digest<F>(table, level, words);
    x_run = {};
    if (check_leaves<Targets::InRuns>(words, table, level).ok() && is_allowed(x_run)) return {};
    x_report.reason = VerifyReason::None;
    return check_leaves<Targets::OneByOne>(words, table, level);
  }

  enum class Targets : u8 { InRuns, OneByOne };

  template <Targets How>
  Status check_leaves(std::span<const u64> words, PhysAddr table, unsigned level) {
    for (u64 i = 0; i < words.size(); ++i) {
      const u64 item = load(&words[i]);
      if (item == 0 || F::kind(item, level) == EntryKind::Table) continue;
      TRY(check_leaf<How>(words, {table, level, i, item}));
    }
    return {};
  }

  template <Targets How>
  Status check_leaf(std::span<const u64> words, const Place& place) {
    if (F::unknown_bits(place.entry, place.level) != 0) return refuse(VerifyReason::ReservedBits, place);
    if (F::prot(place.entry) == Prot::None) return refuse(VerifyReason::Permission, place);
    const unsigned size_lg2 = F::leaf_size_lg2(place.entry, place.level);
    const u64 items = items_of_leaf<F>(place.level, size_lg2);
    const u64 first = place.index & ~(items - 1);
    // Every item of a leaf is the first one, moved on; so the first answers for where all of them lead.
    if (items != 1) {
      const u64 expected = load(&words[first]) + (place.index - first) * F::next_in_leaf(place.level);
      if (((expected ^ place.entry) & ~changing_bits<F>(expected) & ~changing_bits<F>(place.entry)) != 0)
        return refuse(VerifyReason::Contiguous, place);
      if (place.index != first) return {};
      if (!is_leaf_of(size_lg2, words.subspan(first, items), place.level) || !begins_a_leaf(place, size_lg2))
        return refuse(VerifyReason::Contiguous, place);
    }
    const PhysRange target{F::leaf_address(place.entry, place.level), u64{1} << size_lg2};
    if (How == Targets::InRuns && x_run.start + x_run.size_bytes == target.start) {
      x_run.size_bytes += target.size_bytes;
      return {};
    }
    const PhysRange complete = How == Targets::InRuns ? std::exchange(x_run, target) : target;
    return is_allowed(complete) ? Status() : refuse(VerifyReason::LeafTarget, place);
  }

  /// A range that leaves lead to, or nothing.
  [[nodiscard]] bool is_allowed(PhysRange target) const {
    return target.size_bytes == 0 || (x_memory.map.is_ram(target.start, target.size_bytes) &&
                                      x_owner.may_reach(target) && !x_memory.frames.any_mark(target));
  }

  [[nodiscard]] bool is_leaf_of(unsigned size_lg2, std::span<const u64> items, unsigned level) const {
    return std::all_of(items.begin(), items.end(), [&](const u64& word) {
      const u64 item = load(&word);
      return F::kind(item, level) == EntryKind::Leaf && F::leaf_size_lg2(item, level) == size_lg2;
    });
  }

  /// The first item leads to where a leaf of that size can begin, not into the middle of one.
  [[nodiscard]] static bool begins_a_leaf(const Place& place, unsigned size_lg2) {
    const PhysAddr start = F::leaf_address(place.entry, place.level);
    return F::leaf(start, place.level, size_lg2, F::attributes(place.entry, place.level)) == place.entry;
  }

  void remove_stamps() {
    while (x_newest != 0) {
      const PhysAddr table(x_newest);
      const u64 pages = u64{1} << order_at<F>(x_tree, level_of(x_memory.frames.at(table).mark));
      x_newest = std::exchange(x_memory.frames.at(table).link, 0);
      for (u64 i = 0; i < pages; ++i) x_memory.frames.at(table + i * page_size_bytes).mark = 0;
    }
  }

  Memory& x_memory;
  const SavedTable& x_saved;
  Tree x_tree;
  const TableOwner& x_owner;
  VerifyReport& x_report;
  u32 x_generation;
  u64 x_met = 0;
  PhysRange x_run;   // targets that adjoin, of leaves of one table; not judged yet
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

bool ArenaOwner::owns(PhysAddr table, unsigned order) const {
  const std::size_t index = first_ending_after(x_blocks, table);
  return index < x_blocks.size() &&
         PhysRange{x_blocks[index].start, x_blocks[index].size_bytes()}.contains(table, page_size_bytes << order);
}

bool ArenaOwner::may_reach(PhysRange target) const {
  const std::size_t index = first_ending_after(x_blocks, target.start);
  if (index < x_blocks.size() && target.overlaps({x_blocks[index].start, x_blocks[index].size_bytes()})) return false;
  return x_targets.cover(target);
}

bool PageOwner::owns(PhysAddr table, unsigned order) const {
  const Frame* frame = x_frames.find(table);
  return frame != nullptr && frame->state == FrameState::Incoming && frame->order == order;
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
    case VerifyReason::Contiguous: return "the items of one leaf do not belong together";
    case VerifyReason::Permission: return "an entry has impossible permissions";
    case VerifyReason::BeyondWidth: return "an entry maps beyond the width of the domain";
    case VerifyReason::LeafTarget: return "an entry leads outside preserved memory";
    case VerifyReason::Checksum: return "the tables are not the ones that were recorded";
  }
  return "unknown";
}

}  // namespace holdfast::pt

// Operations: foretold, carried out, compared. See proved_table.hpp.
#include "tests/page_table_proofs/proved_table.hpp"

#include <algorithm>
#include <set>
#include <sstream>

namespace page_table_proofs {

namespace {

template <class... Parts>
std::string text(const Parts&... parts) {
  std::ostringstream out;
  out << std::hex << std::showbase;
  (out << ... << parts);
  return out.str();
}

std::string name(Code code) { return text("code ", static_cast<unsigned>(code)); }

/// A gather that is completed whatever happens: a proof that fails must not drop it.
class OpenGather {
 public:
  OpenGather(Table& table, Policy policy, GatherFlusher& flusher)
      : gather(policy == Policy::NoGaps ? Gather(flusher) : Gather()), x_table(table) {}
  ~OpenGather() { gather.complete(x_table); }
  OpenGather(const OpenGather&) = delete;
  OpenGather& operator=(const OpenGather&) = delete;

  Gather gather;

 private:
  Table& x_table;
};

bool overlap(u64 a_first, u64 a_last, const IovaRange& b) {
  return a_first <= b.last().value && b.start.value <= a_last;
}

}  // namespace

/// Carries out @p operation, of which everything happens in [first, last] and which leads to @p after.
template <class F>
auto ProvedTable::watched(u64 first, u64 last, const LeafModel& after, F&& operation) {
  x_steps = 0;
  if (x_watch == Watch::EveryStep || x_before_look) {
    x_first = first;
    x_last = last;
    widen(x_first, x_last, x_model);
    widen(x_first, x_last, after);
    x_after = &after;
    x_found.clear();
    x_machine.world.on_step = [this] { look(); };
  }
  auto answer = operation();
  x_machine.world.on_step = nullptr;
  x_after = nullptr;
  if (!x_failure.empty()) throw Disproved(x_failure);
  return answer;
}

Code ProvedTable::map_code(u64 iova, std::span<const PhysRange> runs, Prot prot, u64 total) const {
  const u64 granule = x_of.granule();
  if (x_preserved) return Code::Busy;
  if (!x_of.may_map(prot) || total == 0 || iova % granule != 0) return Code::Invalid;
  for (const PhysRange& run : runs) {
    if (!run.start.is_aligned(granule) || run.size_bytes == 0 || run.size_bytes % granule != 0) return Code::Invalid;
    if (run.start.value + (run.size_bytes - 1) > low_bits(x_config.phys_bits)) return Code::OutOfRange;
  }
  if (!may_cover(iova, iova + (total - 1))) return Code::OutOfRange;
  return x_model.first_used(iova, iova + (total - 1)) ? Code::AddressInUse : Code::Ok;
}

bool ProvedTable::may_cover(u64 first, u64 last) const {
  return std::ranges::any_of(
      x_of.spans(), [&](const Span& span) { return first <= last && first >= span.first && last <= span.last; });
}

unsigned ProvedTable::levels_after(u64 iova, u64 last, std::span<const PhysRange> runs) const {
  unsigned levels = x_top.levels;
  if (!x_config.dynamic_top) return levels;
  while (levels < x_of.max_levels && x_of.item_lg2(levels) < 64 && last >> x_of.item_lg2(levels) != 0) ++levels;
  // The first leaf is as large as any tree could hold it.
  const auto first = largest_leaves(x_of, x_of.max_levels, iova, runs, Prot::None, 1);
  return std::max(levels, x_of.level_of(first[0].second.size_lg2) + 1);
}

void ProvedTable::map(u64 iova, const std::vector<PhysRange>& runs, Prot prot, Policy policy, Supply supply) {
  u64 total = 0;
  for (const PhysRange& run : runs) {
    note(" a run of the next map: address, size", run.start.value, run.size_bytes);
    total += run.size_bytes;
  }
  note("map: iova, size, prot, gather, supply", iova, total, prot, policy, supply);
  Code expected = map_code(iova, runs, prot, total);
  LeafModel after = x_model;
  unsigned levels = x_top.levels;
  if (expected == Code::Ok) {
    levels = levels_after(iova, iova + (total - 1), runs);
    for (const auto& [at, leaf] : largest_leaves(x_of, levels, iova, runs, x_of.granted(prot))) after.insert(at, leaf);
  }
  std::optional<u64> collision =
      expected == Code::AddressInUse ? x_model.first_used(iova, iova + (total - 1)) : std::nullopt;

  OpenGather open(*x_table, policy, *this);
  Iova where(1);
  const auto operation = [&] { return x_table->map(Iova(iova), runs, prot, open.gather, &where); };
  const u64 last = total == 0 ? iova : iova + (total - 1);
  Status status;
  if (supply == Supply::Starved)
    (void)x_machine.world.starving(1, [&] { status = watched(iova, last, after, operation); });
  else
    status = watched(iova, last, after, operation);
  if (supply == Supply::Starved && status.code() == Code::NoMemory) {
    require(expected == Code::Ok || expected == Code::AddressInUse, "no memory for what cannot be done anyway");
    after = x_model;
    levels = x_top.levels;
    collision.reset();
    expected = Code::NoMemory;
  }
  if (status.code() != expected) fail(name(status.code()) + " instead of " + name(expected));
  if (where != Iova(collision.value_or(1))) fail(text("names the collision ", where.value));
  settle(open.gather, policy, after);
  if (x_table->levels() != levels) fail(text("is ", unsigned{x_table->levels()}, " levels high, not ", levels));
}

void ProvedTable::unmap(u64 iova, u64 length, Policy policy) {
  note("unmap: iova, size, gather", iova, length, policy);
  Code expected = Code::Ok;
  if (x_preserved)
    expected = Code::Busy;
  else if (length == 0 || (iova | length) % x_of.granule() != 0)
    expected = Code::Invalid;
  else if (!may_cover(iova, iova + (length - 1)))
    expected = Code::OutOfRange;
  LeafModel after = x_model;
  const u64 bytes = expected == Code::Ok ? after.unmap(iova, length) : 0;
  OpenGather open(*x_table, policy, *this);
  const Result<u64> done = watched(iova, iova + (std::max(length, bytes) - 1), after,
                                   [&] { return x_table->unmap(Iova(iova), length, open.gather); });
  if (done.code() != expected) fail(name(done.code()) + " instead of " + name(expected));
  if (done.ok() && *done != bytes) fail(text("unmapped ", *done, " bytes, not ", bytes));
  settle(open.gather, policy, after);
}

LeafModel ProvedTable::after_cut(u64 boundary) const {
  LeafModel after = x_model;
  const auto at = x_model.find(boundary);
  if (at == x_model.leaves().end() || at->first == boundary) return after;
  const auto [start, leaf] = *at;
  (void)after.unmap(start, leaf.size());
  const u64 before = boundary - start;
  for (const auto& [from, bytes] : {std::pair(start, before), std::pair(boundary, leaf.size() - before)}) {
    const PhysRange run{leaf.address + (from - start), bytes};
    for (auto& [part, piece] : largest_leaves(x_of, x_top.levels, from, {&run, 1}, leaf.prot)) {
      piece.dirty = leaf.dirty;
      after.insert(part, piece);
    }
  }
  return after;
}

void ProvedTable::cut(u64 boundary, Policy policy, Supply supply) {
  note("cut: boundary, gather, supply", boundary, policy, supply);
  LeafModel after = after_cut(boundary);
  Code expected = Code::Ok;
  if (x_preserved)
    expected = Code::Busy;
  else if (boundary % x_of.granule() != 0)
    expected = Code::Invalid;
  else if (!may_cover(boundary, boundary))
    expected = Code::OutOfRange;
  else if (after.leaves() != x_model.leaves() && !x_of.exchange)
    expected = Code::NotSupported;
  if (expected != Code::Ok) after = x_model;
  OpenGather open(*x_table, policy, *this);
  const auto operation = [&] { return x_table->cut(Iova(boundary), open.gather); };
  Status status;
  if (supply == Supply::Starved)
    (void)x_machine.world.starving(1, [&] { status = watched(boundary, boundary, after, operation); });
  else
    status = watched(boundary, boundary, after, operation);
  if (supply == Supply::Starved && status.code() == Code::NoMemory && expected == Code::Ok) {
    after = x_model;
    expected = Code::NoMemory;
  }
  if (status.code() != expected) fail(name(status.code()) + " instead of " + name(expected));
  settle(open.gather, policy, after);
}

std::vector<u64> ProvedTable::dirty_words(u64 first, u64 size_bytes, u64 bitmap_first, unsigned page_lg2) const {
  const u64 last = first + (size_bytes - 1);
  std::vector<u64> words(((last - bitmap_first) >> page_lg2) / 64 + 1);
  const auto& leaves = x_model.leaves();
  for (auto at = x_model.find_in(first, last); at != leaves.end() && at->first <= last; ++at) {
    if (!at->second.dirty) continue;
    const u64 begin = (std::max(first, at->first) - bitmap_first) >> page_lg2;
    const u64 end = (std::min(last, at->second.last_from(at->first)) - bitmap_first) >> page_lg2;
    for (u64 bit = begin; bit <= end; ++bit) words[bit / 64] |= u64{1} << bit % 64;
  }
  return words;
}

void ProvedTable::read_dirty(u64 first, u64 size_bytes, DirtyRead how, unsigned page_lg2, Bitmap bitmap,
                             Policy policy) {
  note("read dirty: first, size, how, bit size, bitmap, gather", first, size_bytes, how, page_lg2, bitmap, policy);
  const u64 last = first + (size_bytes - 1);
  Code expected = Code::Ok;
  if (!x_of.dirty)
    expected = Code::NotSupported;
  else if (how != DirtyRead::Keep && x_preserved)
    expected = Code::Busy;
  else if (size_bytes == 0 || (first | size_bytes) % x_of.granule() != 0)
    expected = Code::Invalid;
  else if (last < first)
    expected = Code::OutOfRange;
  else if (bitmap == Bitmap::None && how == DirtyRead::Keep)
    expected = Code::Invalid;
  else if (!may_cover(first, last))
    expected = Code::OutOfRange;

  const u64 bitmap_first = first & ~low_bits(page_lg2);
  const auto wanted = expected == Code::Ok ? dirty_words(first, size_bytes, bitmap_first, page_lg2)
                                           : std::vector<u64>(((last - bitmap_first) >> page_lg2) / 64 + 1);
  LeafModel after = x_model;
  if (expected == Code::Ok && how != DirtyRead::Keep) after.clean(first, last);
  std::vector<u64> words(wanted.size());
  const DirtyBitmap place{Iova(bitmap_first), page_lg2, words};
  OpenGather open(*x_table, policy, *this);
  const Status status = watched(first, last, after, [&] {
    return x_table->read_dirty({Iova(first), size_bytes}, how, bitmap == Bitmap::Wanted ? &place : nullptr,
                               open.gather);
  });
  if (status.code() != expected) fail(name(status.code()) + " instead of " + name(expected));
  if (bitmap == Bitmap::Wanted) require(words == wanted, "the bitmap is not what was written");
  settle(open.gather, policy, after);
}

void ProvedTable::lookup(const std::vector<u64>& iovas) {
  std::vector<Iova> all;
  for (const u64 iova : iovas) all.emplace_back(iova);
  std::vector<Translation> many(all.size(), Translation{PhysAddr(1), 1, Prot::Mmio});
  x_table->lookup(all, many);
  for (std::size_t i = 0; i < all.size(); ++i) {
    const Result<Translation> one = x_table->lookup(all[i]);
    const auto at = x_model.find(iovas[i]);
    if (at == x_model.leaves().end()) {
      const bool covered = x_table->tree().covers(iovas[i], iovas[i]);
      if (one.code() != (covered ? Code::NotFound : Code::OutOfRange)) fail(text("finds ", iovas[i]));
      if (many[i] != Translation{}) fail(text("finds ", iovas[i], " in a batch"));
      continue;
    }
    const Translation wanted{at->second.address + (iovas[i] - at->first), at->second.size(), at->second.prot};
    if (!one.ok() || *one != wanted) fail(text("looks up ", iovas[i], " wrongly"));
    if (many[i] != wanted) fail(text("looks up ", iovas[i], " wrongly in a batch"));
  }
}

void ProvedTable::access(u64 iova, walk::Access access) {
  const walk::WalkResult result = walk_once(x_of, views().back(), x_top, iova, access);
  if (!result.ok()) return;
  note("a device accesses: iova, how", iova, access);
  for (const walk::Update& update : result.updates) x_machine.world.update(update);
  if (access == walk::Access::Write && x_of.dirty) x_model.write(iova);
}

void ProvedTable::preserve() {
  if (x_preserved) return;
  note("preserve");
  require(x_table->preserve(x_sink).ok(), "is not preserved");
  x_preserved = true;
  require(x_table->preserved() && x_table->preserve(x_sink).code() == Code::Busy, "can be preserved twice");
  const std::vector<PhysAddr> pages = pages_read(x_of, x_config, views().front(), x_top);
  std::set<u64> used;
  for (const PhysAddr page : pages) {
    const auto block = std::ranges::find_if(x_sink.blocks, [&](const auto& one) {
      return page.value >= one.first && page.value - one.first < page_size_bytes << one.second;
    });
    if (block == x_sink.blocks.end()) fail(text("the page ", page.value, " of a table is not preserved"));
    used.insert(block->first);
  }
  if (x_config.mode == TableMode::Page) {
    require(x_sink.blocks.size() == x_table->table_count(), "more or fewer blocks than tables are preserved");
    require(used.size() == x_sink.blocks.size(), "preserves what is no table");
  }
  const SavedTable saved = x_table->saved();
  require(saved.top == x_top.top && saved.top_level + 1u == x_top.levels, "saves another top");
  require(saved.iova_bits == x_table->tree().iova_bits && saved.extent == x_config.extent, "saves another width");
  require(saved.table_count == x_table->table_count(), "saves another number of tables");
}

void ProvedTable::unpreserve() {
  if (!x_preserved) return;
  note("unpreserve");
  x_table->unpreserve(x_sink);
  x_preserved = false;
  require(x_sink.blocks.empty(), "leaves something preserved");
}

/// Hardware is told of every leaf that changed; without gaps, of nothing else that is mapped.
void ProvedTable::check_ranges(const Gather& gather, Policy policy, const LeafModel& after) const {
  std::vector<IovaRange> told = x_flushed;
  told.insert(told.end(), gather.ranges().begin(), gather.ranges().end());
  if (policy == Policy::Merging) require(told.size() <= 1, "merges into more than one range");
  for (const auto& [from, leaf] : x_model.leaves()) {
    const u64 to = leaf.last_from(from);
    const auto now = after.leaves().find(from);
    if (now != after.leaves().end() && now->second == leaf) {
      const bool met = std::ranges::any_of(told, [&](const IovaRange& range) { return overlap(from, to, range); });
      if (policy == Policy::NoGaps && met) fail(text("invalidates ", from, ", which has not changed"));
      continue;
    }
    const auto covers = [&](const IovaRange& range) { return range.start.value <= from && to <= range.last().value; };
    if (std::ranges::none_of(told, covers)) fail(text("does not tell hardware of ", from));
    const unsigned level = x_of.level_of(leaf.size_lg2);
    if ((gather.leaf_levels() >> level & 1) == 0) fail(text("does not tell the level of ", from));
  }
}

void ProvedTable::settle(Gather& gather, Policy policy, const LeafModel& after) {
  check_ranges(gather, policy, after);
  require(x_table->arena().tables() == x_table->table_count() + gather.table_count(), "loses count of table pages");
  gather.complete(*x_table);
  x_flushed.clear();
  require(x_table->arena().tables() == x_table->table_count(), "the gather freed more or fewer tables than it had");
  x_model = after;
  check();
}

void ProvedTable::finish() {
  unpreserve();
  Table::destroy(std::exchange(x_table, nullptr));
  require(x_machine.host.memory.buddy.free_blocks() == x_free_before, "leaves memory behind");
}

void ProvedTable::write_before_looks(const Writes& writes) {
  x_written.clear();
  x_before_look = [this, &writes] {
    const std::optional<u64> iova = writes(x_steps);
    if (!iova) return;
    access(*iova, walk::Access::Write);
    x_written.push_back(*iova);
  };
}

u64 ProvedTable::cut_while_written(u64 boundary, const Writes& writes) {
  note("cut while written: boundary", boundary);
  const LeafModel before = x_model;
  const LeafModel after = after_cut(boundary);
  write_before_looks(writes);
  OpenGather open(*x_table, Policy::Merging, *this);
  const Status status = watched(boundary, boundary, after, [&] { return x_table->cut(Iova(boundary), open.gather); });
  x_before_look = nullptr;
  if (!status.ok()) fail(name(status.code()));
  adopt_dirty_bits();
  for (const u64 iova : x_written)
    if (!x_model.find(iova)->second.dirty) fail(text("what was written during the cut is clean at ", iova));
  for (const auto& [from, leaf] : before.leaves()) {
    if (!leaf.dirty) continue;
    for (auto at = x_model.find(from); at != x_model.leaves().end() && at->first <= leaf.last_from(from); ++at)
      if (!at->second.dirty) fail(text("what was dirty before the cut is clean at ", at->first));
  }
  return x_written.size();
}

u64 ProvedTable::read_dirty_while_written(u64 first, u64 size_bytes, const Writes& writes) {
  note("read dirty while written: first, size", first, size_bytes);
  const unsigned page_lg2 = x_of.granule_lg2();
  const std::vector<u64> before = dirty_words(first, size_bytes, first, page_lg2);
  std::vector<u64> words(before.size());
  const DirtyBitmap place{Iova(first), page_lg2, words};
  const LeafModel after = x_model;
  write_before_looks(writes);
  OpenGather open(*x_table, Policy::Merging, *this);
  const Status status = watched(first, first + (size_bytes - 1), after, [&] {
    return x_table->read_dirty({Iova(first), size_bytes}, DirtyRead::ClearAtomic, &place, open.gather);
  });
  x_before_look = nullptr;
  if (!status.ok()) fail(name(status.code()));
  adopt_dirty_bits();
  for (std::size_t i = 0; i < words.size(); ++i) require((before[i] & ~words[i]) == 0, "dirty pages are not reported");
  for (const u64 iova : x_written) {
    const u64 bit = (iova - first) >> page_lg2;
    if ((words[bit / 64] >> bit % 64 & 1) == 0 && !x_model.find(iova)->second.dirty)
      fail(text("what was written meanwhile is neither reported nor dirty: ", iova));
  }
  return x_written.size();
}

}  // namespace page_table_proofs

// What hardware finds, between the stores of an operation and after it. See proved_table.hpp.
#include <algorithm>
#include <set>
#include <sstream>

#include "tests/page_table_proofs/proved_table.hpp"

namespace page_table_proofs {

namespace {

std::string hex(u64 value) {
  std::ostringstream out;
  out << std::hex << std::showbase << value;
  return out.str();
}

walk::Enumeration enumerate(const Configuration& of, const TableConfig& config, const walk::ReadWord& read,
                            const HardwareTop& top, const walk::VisitLeaf& visit) {
  return of.enumerate(read, config, top.top, top.levels, visit);
}

}  // namespace

ProvedTable::ProvedTable(ProofMachine& machine, const Variant& variant, Watch watch)
    : x_machine(machine), x_of(*variant.of), x_config(variant.of->config), x_watch(watch) {
  x_config.sharing = variant.sharing;
  x_config.mode = variant.mode;
  x_free_before = machine.host.memory.buddy.free_blocks();
  const auto table = x_of.create(machine.host.memory, x_config, this);
  if (!table.ok()) throw Disproved("a table cannot be made");
  x_table = *table;
  const Tree tree = x_table->tree();
  x_top = {tree.top, tree.top_level + 1u};
}

ProvedTable::~ProvedTable() {  // NOLINT: only after a failure there is something left to do
  x_machine.world.on_step = nullptr;
  if (x_table == nullptr) return;
  if (x_preserved) x_table->unpreserve(x_sink);
  Table::destroy(x_table);
}

void ProvedTable::fail(const std::string& what) const {
  std::string all = what + " (" + x_of.name + ")";
  for (const Note& done : x_log) {
    all += std::string("\n  ") + done.what;
    for (const u64 number : done.numbers) all += " " + hex(number);
  }
  throw Disproved(all);
}

/// As the caches have it; then, where that may differ, as it was flushed.
std::vector<walk::ReadWord> ProvedTable::views() const {
  std::vector<walk::ReadWord> all{x_machine.world.cached()};
  if (!x_config.coherent) all.push_back(x_machine.world.flushed());
  return all;
}

/// Leaves and their neighbours belong to what is looked at as a whole.
void ProvedTable::widen(u64& first, u64& last, const LeafModel& with) const {
  const auto& leaves = with.leaves();
  auto from = with.find_in(first, last);
  if (from == leaves.end()) from = leaves.upper_bound(last);
  if (from != leaves.end()) first = std::min(first, from->first);
  if (from != leaves.begin()) first = std::min(first, std::prev(from)->first);
  auto behind = leaves.upper_bound(last);
  if (behind != leaves.begin()) last = std::max(last, std::prev(behind)->second.last_from(std::prev(behind)->first));
  if (behind != leaves.end()) last = std::max(last, behind->second.last_from(behind->first));
}

void ProvedTable::look() {
  ++x_steps;
  if (x_before_look) x_before_look();
  if (!x_failure.empty()) return;
  try {
    const auto all = views();
    const bool first_look = x_found.empty();
    x_found.resize(all.size());
    for (std::size_t view = 0; view < all.size(); ++view) {
      std::vector<Finding>& found = x_found[view];
      if (!first_look) {
        found = look_again(all[view], found);
        continue;
      }
      for (const Span& span : x_of.spans()) {
        if (x_first > span.last || x_last < span.first) continue;
        const auto part = look_through(all[view], std::max(x_first, span.first), std::min(x_last, span.last));
        found.insert(found.end(), part.begin(), part.end());
      }
    }
  } catch (const Disproved& found) {
    x_failure = found.what();
  }
}

/// Where a word changed that led to what was found, the addresses that it led to are looked at once more.
auto ProvedTable::look_again(const walk::ReadWord& read, const std::vector<Finding>& before) const
    -> std::vector<Finding> {
  std::vector<Finding> now;
  now.reserve(before.size());
  for (const Finding& one : before) {
    const bool stands = std::all_of(one.words.begin(), one.words.begin() + static_cast<std::ptrdiff_t>(one.count),
                                    [&](const auto& word) { return read(word.first) == word.second; });
    if (stands) {
      now.push_back(one);
      continue;
    }
    const auto part = look_through(read, one.first, one.last);
    now.insert(now.end(), part.begin(), part.end());
  }
  return now;
}

/// Every address of [first, last], from item to item as hardware meets them, so that nothing between is left out.
auto ProvedTable::look_through(const walk::ReadWord& read, u64 first, u64 last) const -> std::vector<Finding> {
  std::vector<Finding> all;
  for (u64 at = first;; at = all.back().last + 1) {
    all.push_back(look_at(read, at, last));
    if (all.back().last >= last) return all;
  }
}

/// The item that maps @p at leads where it led or where it will lead. What it claims beyond itself counts as well:
/// hardware may keep it.
auto ProvedTable::look_at(const walk::ReadWord& read, u64 at, u64 last) const -> Finding {
  Finding finding;
  const walk::ReadWord noted = [&](PhysAddr where) {
    const auto word = read(where);
    if (word && finding.count < Finding::most) finding.words[finding.count++] = {where, *word};
    return word;
  };
  const LeafModel& after = x_after != nullptr ? *x_after : x_model;
  const walk::WalkResult found = walk_once(x_of, noted, x_top, at, walk::Access::Read);
  finding.first = at;
  finding.last = std::min(last, at | low_bits(x_of.item_lg2(found.level)));
  const auto here = [&] { return "at step " + std::to_string(x_steps) + " " + hex(at); };
  if (is_found(found)) {
    const u64 claimed = low_bits(found.page_lg2);
    const u64 begin = at & ~claimed;
    const PhysAddr address = found.address - (at - begin);
    const bool known = x_model.says(x_of, begin, begin | claimed, address, found.permissions) ||
                       after.says(x_of, begin, begin | claimed, address, found.permissions);
    if (!known) fail(here() + " leads to a third place, " + hex(found.address.value));
    return finding;
  }
  if (found.fault == walk::Fault::InputRange)
    finding.last = last;  // the top has not grown so far
  else if (found.fault != walk::Fault::NotPresent)
    fail(here() + ": " + std::string(found.why));
  if (both_map(x_model, after, at, finding.last)) fail(here() + " faults though it is mapped before and after");
  return finding;
}

/// Hardware is told before anything is mapped in the new part: the grown tree says what the old one said, and no more.
void ProvedTable::top_changed(PhysAddr top, unsigned levels) {
  if (levels <= x_top.levels) x_failure = "the top does not grow";
  x_top = {top, levels};
  ++x_growths;
  x_found.clear();
  const LeafModel* coming = std::exchange(x_after, nullptr);
  try {
    for (const auto& read : views())
      (void)look_through(read, 0, low_bits(std::min<unsigned>(x_config.iova_bits, x_of.item_lg2(levels))));
  } catch (const Disproved& found) {
    x_failure = found.what();
  }
  x_after = coming;
}

void ProvedTable::flush(const Gather& gather) {
  x_flushed.insert(x_flushed.end(), gather.ranges().begin(), gather.ranges().end());
}

void ProvedTable::check() const {
  for (const auto& read : views()) check_view(read);
}

void ProvedTable::check_view(const walk::ReadWord& read) const {
  auto wanted = x_model.leaves().begin();
  const auto none = x_model.leaves().end();
  const walk::Enumeration end = enumerate(x_of, x_config, read, x_top, [&](const walk::FoundLeaf& found) {
    const auto where = [&] { return "maps " + hex(found.mapping.iova); };
    if (wanted == none || wanted->first != found.mapping.iova)
      fail(where() + ", not " + (wanted != none ? hex(wanted->first) : "any more"));
    const ModelLeaf& leaf = wanted->second;
    if (leaf.size_lg2 != found.mapping.page_lg2)
      fail(where() + " with 2^" + std::to_string(found.mapping.page_lg2) + " bytes, not 2^" +
           std::to_string(leaf.size_lg2));
    if (leaf.address != found.mapping.address) fail(where() + " to " + hex(found.mapping.address.value));
    if (!agrees(x_of, leaf.prot, found.mapping.permissions)) fail(where() + " with other permissions");
    if (x_of.dirty && leaf.dirty != found.dirty)
      fail(where() + (found.dirty ? " and it is dirty" : " and it is clean"));
    ++wanted;
  });
  if (!end.ok()) fail("a walk ends with: " + std::string(end.why) + " at " + hex(end.iova));
  if (wanted != none) fail("does not map " + hex(wanted->first));
  if (end.tables != x_table->table_count())
    fail("has " + std::to_string(end.tables) + " tables and says " + std::to_string(x_table->table_count()));
}

/// The model learns from the tree which leaves are dirty, and nothing else.
void ProvedTable::adopt_dirty_bits() {
  LeafModel now;
  (void)enumerate(x_of, x_config, views().front(), x_top, [&](const walk::FoundLeaf& found) {
    const u64 iova = found.mapping.iova;
    const auto known = x_model.find(iova);
    if (known == x_model.leaves().end()) fail("maps " + hex(iova) + ", unlike before");
    now.insert(iova, {found.mapping.page_lg2, found.mapping.address, known->second.prot, found.dirty});
  });
  x_model = now;
}

std::vector<PhysAddr> pages_read(const Configuration& of, const TableConfig& config, const walk::ReadWord& read,
                                 const HardwareTop& top) {
  std::set<PhysAddr> pages;
  const walk::ReadWord noted = [&](PhysAddr at) {
    pages.insert(PhysAddr(at.value & ~(page_size_bytes - 1)));
    return read(at);
  };
  (void)enumerate(of, config, noted, top, [](const walk::FoundLeaf&) {});
  return {pages.begin(), pages.end()};
}

}  // namespace page_table_proofs

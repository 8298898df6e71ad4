#include "tests/page_tables/scene.hpp"

#include <ostream>

namespace page_tables {

void PrintTo(const Leaf& leaf, std::ostream* out) {
  *out << std::hex << leaf.address << std::dec << " 2^" << leaf.size_lg2 << " " << static_cast<unsigned>(leaf.prot);
}

Model::const_iterator find_covering(const Model& model, u64 iova) {
  auto at = model.upper_bound(iova);
  if (at == model.begin()) return model.end();
  --at;
  return iova <= last_of(*at) ? at : model.end();
}

std::optional<u64> first_mapped(const Model& model, u64 first, u64 last) {
  if (find_covering(model, first) != model.end()) return first;
  const auto next = model.lower_bound(first);
  if (next == model.end() || next->first > last) return std::nullopt;
  return next->first;
}

Model expected_leaves(const Configuration& of, u64 page_sizes, u64 iova, std::span<const PhysRange> runs, Prot prot) {
  std::vector<PhysRange> joined;
  for (const PhysRange& run : runs) {
    if (!joined.empty() && joined.back().start + joined.back().size_bytes == run.start)
      joined.back().size_bytes += run.size_bytes;
    else
      joined.push_back(run);
  }
  Model leaves;
  for (auto [start, left] : joined) {
    while (left != 0) {
      unsigned best = 0;
      for (const auto& level : of.sizes)
        for (const unsigned size_lg2 : level) {
          const bool fits = ((iova | start.value) & low_bits(size_lg2)) == 0 && left >= u64{1} << size_lg2;
          if (fits && (page_sizes >> size_lg2 & 1) != 0) best = std::max(best, size_lg2);
        }
      leaves[iova] = {start.value, best, of.granted(prot)};
      iova += u64{1} << best;
      start += u64{1} << best;
      left -= u64{1} << best;
    }
  }
  return leaves;
}

bool Snapshot::operator==(const Snapshot& other) const {
  return words == other.words && tree.top == other.tree.top && tree.top_level == other.tree.top_level &&
         tree.iova_bits == other.tree.iova_bits && table_count == other.table_count &&
         arena_tables == other.arena_tables && blocks == other.blocks && free_blocks == other.free_blocks &&
         heap_objects == other.heap_objects && heap_bytes == other.heap_bytes;
}

void PrintTo(const Snapshot& snapshot, std::ostream* out) {
  *out << "top " << std::hex << snapshot.tree.top.value << std::dec << " level " << unsigned{snapshot.tree.top_level}
       << ", " << snapshot.words.size() << " tables, counted " << snapshot.table_count << ", taken "
       << snapshot.arena_tables << "; heap " << snapshot.heap_objects << " objects, " << snapshot.heap_bytes
       << " bytes; blocks";
  for (const Block& block : snapshot.blocks)
    *out << " " << std::hex << block.start.value << std::dec << "/" << block.order;
  *out << "; free";
  for (const u64 count : snapshot.free_blocks) *out << " " << count;
}

/// Keeps what a NoGaps gather flushes in the middle.
struct Scene::Flushes final : GatherFlusher {
  void flush(const Gather& gather) override {
    ++count;
    ranges.insert(ranges.end(), gather.ranges().begin(), gather.ranges().end());
  }
  std::vector<IovaRange> ranges;
  u64 count = 0;
};

Scene::Scene(const Variant& which, u64 ram_bytes) : Scene(which, ram_bytes, which.of->config.page_sizes) {}

Scene::Scene(const Variant& which, u64 ram_bytes, u64 page_sizes)
    : variant(which), of(*which.of), world(ram_bytes), host(world), memory(host.memory), config(of.config) {
  config.sharing = variant.sharing;
  config.mode = variant.mode;
  config.page_sizes = page_sizes;
  x_free_before = memory.buddy.free_blocks();
  const auto made = of.create(memory, config, config.dynamic_top ? &tops : nullptr);
  if (!made.ok()) throw std::runtime_error("the table could not be made: " + to_string(variant));
  table = *made;
  check();
}

Scene::~Scene() {
  if (table == nullptr) return;
  Table::destroy(table);
  EXPECT_EQ(memory.buddy.free_blocks(), x_free_before) << "a leak";
  EXPECT_EQ(memory.heap.live_objects(), 0u);
}

Status Scene::map(u64 iova, u64 address, u64 bytes, Prot prot) {
  const PhysRange run{PhysAddr(address), bytes};
  return map(iova, {&run, 1}, prot);
}

Status Scene::map(u64 iova, std::span<const PhysRange> runs, Prot prot) {
  u64 bytes = 0;
  for (const PhysRange& run : runs) bytes += run.size_bytes;
  const u64 last = iova + (bytes - 1);
  const auto collision = first_mapped(model, iova, last);
  const auto tables_before = tables();
  const std::optional<Snapshot> before = collision ? std::optional(snapshot()) : std::nullopt;

  Flushes flushes;
  Gather gather = policy == GatherPolicy::NoGaps ? Gather(flushes) : Gather();
  Iova named;
  const Status status = table->map(Iova(iova), runs, prot, gather, &named);
  if (collision) {
    EXPECT_EQ(status.code(), Code::AddressInUse);
    EXPECT_EQ(named.value, *collision) << "the first address in use is named";
    EXPECT_TRUE(gather.empty());
    gather.complete(*table);
    EXPECT_EQ(snapshot(), *before) << "all or nothing";
    return status;
  }
  EXPECT_TRUE(status.ok()) << errno_name(status.code()) << std::hex << " at " << iova << " for " << bytes;
  if (status.ok()) model.merge(expected_leaves(of, config.page_sizes, iova, runs, prot));
  finish(gather, flushes);
  expect_gather(tables_before, 0, {Iova(iova), bytes});
  check();
  return status;
}

u64 Scene::unmap(u64 iova, u64 bytes) {
  const u64 last = iova + (bytes - 1);
  u64 removed = 0;
  u8 leaf_levels = 0;
  const auto tables_before = tables();
  for (auto at = model.find(iova); at != model.end() && at->first == iova + removed;) {
    removed += u64{1} << at->second.size_lg2;
    leaf_levels |= static_cast<u8>(1u << of.level_of(at->second.size_lg2));
    const bool was_last = last_of(*at) >= last;
    at = model.erase(at);
    if (was_last) break;
  }
  Flushes flushes;
  Gather gather = policy == GatherPolicy::NoGaps ? Gather(flushes) : Gather();
  const auto answer = table->unmap(Iova(iova), bytes, gather);
  EXPECT_EQ(answer.code(), Code::Ok);
  if (answer.ok()) {
    EXPECT_EQ(*answer, removed) << std::hex << iova << " for " << bytes;
  }
  finish(gather, flushes);
  expect_gather(tables_before, leaf_levels, {Iova(iova), removed});
  EXPECT_EQ(gathered.ranges.size(), removed != 0 ? 1u : 0u);
  if (removed != 0 && !gathered.ranges.empty()) {
    EXPECT_EQ(gathered.ranges[0], (IovaRange{Iova(iova), removed})) << "exactly what is gone";
  }
  check();
  return removed;
}

Status Scene::cut(u64 boundary) {
  const Status status = try_to_cut(boundary);
  check();
  return status;
}

Status Scene::try_to_cut(u64 boundary) {
  Flushes flushes;
  Gather gather = policy == GatherPolicy::NoGaps ? Gather(flushes) : Gather();
  const Status status = table->cut(Iova(boundary), gather);
  const auto at = find_covering(model, boundary);
  if (status.ok() && at != model.end() && at->first != boundary) {
    const auto [begin, leaf] = *at;
    const u64 end = last_of(*at);
    model.erase(begin);
    const PhysRange parts[] = {{PhysAddr(leaf.address), boundary - begin},
                               {PhysAddr(leaf.address + (boundary - begin)), end - boundary + 1}};
    // Each part for itself, and no leaf as large as the one that was there.
    const u64 smaller = config.page_sizes & low_bits(leaf.size_lg2);
    for (const auto& [from, part] : {std::pair(begin, parts[0]), std::pair(boundary, parts[1])}) {
      Model pieces = expected_leaves(of, smaller, from, {&part, 1}, Prot::None);
      for (auto& [iova, piece] : pieces) piece.prot = leaf.prot;
      model.merge(pieces);
    }
    finish(gather, flushes);
    EXPECT_EQ(gathered.ranges, (std::vector<IovaRange>{{Iova(begin), end - begin + 1}}));
    EXPECT_EQ(gathered.leaf_levels, 1u << of.level_of(leaf.size_lg2));
  } else {
    EXPECT_TRUE(gather.empty());
    finish(gather, flushes);
  }
  return status;
}

void Scene::unmap_everything() {
  while (!model.empty() && !testing::Test::HasFailure()) {
    const u64 first = model.begin()->first;
    u64 bytes = 0;
    for (const auto& [iova, leaf] : model) {  // up to the first hole
      if (iova != first + bytes) break;
      bytes += u64{1} << leaf.size_lg2;
    }
    unmap(first, bytes);
  }
}

void Scene::finish(Gather& gather, const Flushes& flushes) {
  gathered = {flushes.ranges, gather.leaf_levels(), gather.table_levels(), gather.table_count(), flushes.count};
  gathered.ranges.insert(gathered.ranges.end(), gather.ranges().begin(), gather.ranges().end());
  EXPECT_EQ(table->arena().tables(), table->table_count() + gathered.tables) << "freed before hardware has forgotten";
  EXPECT_EQ(gather.tables_changed(), gathered.table_levels != 0);
  gather.complete(*table);
  EXPECT_TRUE(gather.empty());
}

/// Tables that are gone must be in the gather, with the level of each item that led to one; nothing outside of
/// @p changed may be invalidated.
void Scene::expect_gather(const std::map<u64, unsigned>& tables_before, u8 leaf_levels, IovaRange changed) {
  u8 table_levels = 0;
  u64 gone = 0;
  unsigned old_top_level = 0;
  for (const auto& [page, level] : tables_before) old_top_level = std::max(old_top_level, level);
  bool old_top_is_gone = false;
  const auto now = tables();
  for (const auto& [page, level] : tables_before) {
    if (now.contains(page)) continue;
    ++gone;
    table_levels |= static_cast<u8>(1u << (level + 1));
    old_top_is_gone = old_top_is_gone || level == old_top_level;
  }
  // A leaf that a grown top has at once also takes the place of the tables between it and the old top.
  for (unsigned level = old_top_level + 1; old_top_is_gone && level + 1 < table->levels(); ++level) {
    ++gone;
    table_levels |= static_cast<u8>(1u << (level + 1));
  }
  EXPECT_EQ(gathered.tables, gone);
  EXPECT_EQ(gathered.table_levels, table_levels);
  EXPECT_EQ(gathered.leaf_levels, leaf_levels);
  EXPECT_EQ(gathered.ranges.empty(), gone == 0 && leaf_levels == 0);
  for (const IovaRange& range : gathered.ranges) {
    EXPECT_GE(range.start, changed.start);
    EXPECT_LE(range.last(), changed.last());
  }
}

std::map<u64, unsigned> Scene::tables() const {
  std::map<u64, unsigned> all;
  table->collect([&](PhysAddr page, unsigned level) {
    EXPECT_TRUE(all.emplace(page.value, level).second) << "a table met twice";
  });
  return all;
}

unsigned Scene::order_of(unsigned level) const {
  const Tree tree = table->tree();
  unsigned bytes_lg2 = of.index_bits + 3;
  if (level == tree.top_level && tree.iova_bits > of.item_lg2(level))
    bytes_lg2 = std::max(bytes_lg2, tree.iova_bits - of.item_lg2(level) + 3);
  return bytes_lg2 > page_lg2 ? bytes_lg2 - page_lg2 : 0;
}

Snapshot Scene::snapshot() const {
  Snapshot now;
  for (const auto& [page, level] : tables()) {
    const u64* words = memory.map.at<u64>(PhysAddr(page));
    now.words[page] = {words, words + (page_size_bytes << order_of(level)) / 8};
  }
  now.tree = table->tree();
  now.table_count = table->table_count();
  now.arena_tables = table->arena().tables();
  now.blocks.assign(table->arena().blocks().begin(), table->arena().blocks().end());
  now.free_blocks = memory.buddy.free_blocks();
  now.heap_objects = memory.heap.live_objects();
  now.heap_bytes = memory.heap.live_bytes();
  return now;
}

Walked Scene::walk_naively() const {
  Walked found;
  const std::byte* ram = world.direct_map();
  u64 last_page = ~u64{0};
  const walk::ReadWord read = [&](PhysAddr at) -> std::optional<u64> {
    if (at.value + 8 > world.ram_bytes()) return std::nullopt;
    if (at.value >> page_lg2 != last_page) {
      last_page = at.value >> page_lg2;
      found.pages.insert(last_page << page_lg2);
    }
    u64 word = 0;
    std::memcpy(&word, ram + at.value, 8);
    return word;
  };
  const bool knows_execution = (of.kept & Prot::NoExecute) != Prot::None;
  const auto visit = [&](const walk::FoundLeaf& leaf) {
    const auto at = model.find(leaf.mapping.iova);
    const Prot prot = at != model.end() ? at->second.prot : Prot::None;
    // The walker asks as an unprivileged requester.
    const bool barred = allows(prot, Prot::Privileged);
    EXPECT_EQ(leaf.mapping.permissions.read, allows(prot, Prot::Read) && !barred) << std::hex << leaf.mapping.iova;
    EXPECT_EQ(leaf.mapping.permissions.write, allows(prot, Prot::Write) && !barred) << std::hex << leaf.mapping.iova;
    EXPECT_TRUE(!knows_execution || leaf.mapping.permissions.execute == !allows(prot, Prot::NoExecute));
    found.leaves[leaf.mapping.iova] = {leaf.mapping.address.value, leaf.mapping.page_lg2, prot};
    found.levels[leaf.mapping.iova] = leaf.level;
    found.entries[leaf.mapping.iova] = leaf.entry;
  };
  const walk::Enumeration end = of.enumerate(read, config, table->top(), table->levels(), visit);
  EXPECT_TRUE(end.ok()) << end.why << std::hex << " iova " << end.iova << " level " << end.level;
  found.tables = end.tables;
  return found;
}

void Scene::check() {
  Model read;
  u64 before = 0;
  table->for_each_leaf([&](Iova from, const Translation& to) {
    EXPECT_TRUE(read.empty() || from.value > before) << "rising";
    before = from.value;
    read[from.value] = {to.address.value, static_cast<unsigned>(std::countr_zero(to.page_size)), to.prot};
  });
  EXPECT_EQ(read, model);
  const Walked walked = walk_naively();
  EXPECT_EQ(walked.leaves, model) << "what hardware finds";
  for (const auto& [iova, level] : walked.levels) EXPECT_EQ(level, of.level_of(model[iova].size_lg2));
  EXPECT_EQ(walked.tables, table->table_count());
  EXPECT_EQ(tables().size(), table->table_count());
  EXPECT_EQ(table->arena().tables(), table->table_count());
  check_lookups();
  if (variant.sharing == Sharing::Exclusive) check_live_counts();
  if (testing::Test::HasFailure())
    throw std::runtime_error("the table is wrong; going on would bury the first message");
}

/// First and last byte of some leaves, and the bytes beside them, one by one and as a batch.
void Scene::check_lookups() const {
  constexpr std::size_t most = 16;
  std::vector<Iova> asked;
  std::vector<Translation> expected;
  const std::size_t stride = model.size() / most + 1;
  std::size_t number = 0;
  for (const auto& at : model) {
    if (number++ % stride != 0) continue;
    for (const u64 iova : {at.first - 1, at.first, last_of(at), last_of(at) + 1}) {
      const auto leaf = find_covering(model, iova);
      asked.emplace_back(iova);
      if (leaf == model.end())
        expected.emplace_back();
      else
        expected.push_back({PhysAddr(leaf->second.address + (iova - leaf->first)), u64{1} << leaf->second.size_lg2,
                            leaf->second.prot});
    }
  }
  std::vector<Translation> found(asked.size());
  table->lookup(asked, found);
  for (std::size_t i = 0; i < asked.size(); ++i) {
    EXPECT_EQ(found[i], expected[i]) << std::hex << asked[i].value;
    const auto one = table->lookup(asked[i]);
    EXPECT_EQ(one.ok(), expected[i].page_size != 0) << std::hex << asked[i].value;
    EXPECT_TRUE(!one.ok() || *one == expected[i]);
  }
}

/// Every table but the top knows how many of its items are not empty.
void Scene::check_live_counts() const {
  const unsigned top_level = table->tree().top_level;
  for (const auto& [page, level] : tables()) {
    if (level == top_level) continue;
    const u64* words = memory.map.at<u64>(PhysAddr(page));
    const auto live = std::count_if(words, words + (u64{1} << of.index_bits), [](u64 item) { return item != 0; });
    EXPECT_EQ(memory.frames.at(PhysAddr(page)).live, live) << std::hex << page << " at level " << level;
  }
}

}  // namespace page_tables

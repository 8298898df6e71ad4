// What reading a table costs: lookups, hot and all over 2^22 pages (16 GiB of 4 KiB), one at a time and in batches; and
// the dirty scan of 2^18 pages (1 GiB).
#include "tests/bench/tables.hpp"
#include "tests/bench/textbook.hpp"

namespace holdfast::bench {
namespace {

constexpr int rounds = 25;
constexpr int cold_rounds = 5;
constexpr u64 lookups = u64{1} << 14;
constexpr u64 bulk_pages = u64{1} << 18;
constexpr u64 many_pages = u64{1} << 22;

void lookup_hot(benchmark::State& state, const Subject& subject) {
  BenchTable table(Machine::get().memory(), subject.config);
  table.map(first_iova, first_address, lookups * subject.page());
  const auto look = [&] {
    u64 sum = 0;
    for (u64 i = 0; i < lookups; ++i) sum += table->lookup(Iova(first_iova + i * subject.page())).value().address.value;
    benchmark::DoNotOptimize(sum);
  };
  look();
  Row row(state, x_name, 0.75);
  for (auto _ : state) row.round(lookups, look, lookups, [] { exchange(lookups); });
}

std::vector<Iova> random_iovas(const Subject& subject) {
  std::mt19937_64 random(7);
  std::vector<Iova> iovas;
  for (u64 i = 0; i < lookups; ++i) iovas.emplace_back(first_iova + random() % many_pages * subject.page());
  return iovas;
}

/// @p look(table, iovas): all of them, once.
template <class Look>
void lookup_cold(benchmark::State& state, const Subject& subject, Row& row, Look&& look) {
  BenchTable table(Machine::get().memory(), subject.config);
  table.map(first_iova, first_address, many_pages * subject.page());
  const std::vector<Iova> iovas = random_iovas(subject);
  for (auto _ : state) {
    Machine::get().sweep_caches();
    Misses::get().prepare(lookups);
    row.round(lookups, [&] { look(*table, iovas); }, lookups, [] { Misses::get().read(lookups); });
  }
}

void lookup_random(benchmark::State& state, const Subject& subject) {
  Row row(state, m_name);
  lookup_cold(state, subject, row, [](pt::Table& table, const std::vector<Iova>& iovas) {
    u64 sum = 0;
    for (const Iova iova : iovas) sum += table.lookup(iova).value().address.value;
    benchmark::DoNotOptimize(sum);
  });
}

void lookup_batch(benchmark::State& state, const Subject& subject) {
  Row row(state, m_name, 3.0);
  std::vector<pt::Translation> to(lookups);
  lookup_cold(state, subject, row, [&](pt::Table& table, const std::vector<Iova>& iovas) {
    constexpr std::size_t at_once = 32;
    for (std::size_t i = 0; i < iovas.size(); i += at_once)
      table.lookup(std::span(iovas).subspan(i, at_once), std::span(to).subspan(i, at_once));
    benchmark::DoNotOptimize(to.data());
  });
}

/// Every @p nth page is dirty; 0: none.
void dirty(benchmark::State& state, const Subject& subject, pt::DirtyRead how, u64 nth, double target) {
  Memory& memory = Machine::get().memory();
  BenchTable table(memory, subject.config);
  const u64 bytes = bulk_pages * subject.page();
  table.map(first_iova, first_address, bytes);
  const Pieces tables = table.leaf_tables(memory, subject);
  std::vector<u64> words(bulk_pages / 64);
  const pt::DirtyBitmap bitmap{Iova(first_iova), subject.granule_lg2, words};
  const auto scan = [&] {
    pt::Gather gather;
    MUST(table->read_dirty({Iova(first_iova), bytes}, how, &bitmap, gather), "the format can tell");
    gather.complete(*table);
  };
  scan();  // a format may begin dirty
  Row row(state, r_name, target);
  for (auto _ : state) {
    u64 page = 0;
    u64 made = 0;
    for (const std::span<u64>& piece : tables)
      for (u64& word : piece)
        if (nth != 0 && page++ % nth == 0) {
          word ^= subject.dirty.flip;
          ++made;
        }
    std::fill(words.begin(), words.end(), u64{0});
    row.round(bulk_pages, scan, bulk_pages, [&] { read(tables); });
    u64 found = 0;
    for (const u64 word : words) found += static_cast<u64>(std::popcount(word));
    if (found != made) throw std::runtime_error("the dirty scan of a benchmark found what is not there");
  }
}

bool knows_dirty(const Subject& subject) { return subject.dirty.known(); }

using pt::DirtyRead;
const int rows[] = {
    add_rows("lookup_hot", rounds, lookup_hot),
    add_rows("lookup_random", cold_rounds, lookup_random),
    add_rows("lookup_batch", cold_rounds, lookup_batch),
    add_rows(
        "dirty_none", rounds, [](auto& state, auto& s) { dirty(state, s, DirtyRead::Clear, 0, 3); }, knows_dirty),
    add_rows(
        "dirty_1_in_100", rounds, [](auto& state, auto& s) { dirty(state, s, DirtyRead::Clear, 100, 3); }, knows_dirty),
    add_rows(
        "dirty_all", rounds, [](auto& state, auto& s) { dirty(state, s, DirtyRead::Clear, 1, 16); }, knows_dirty),
};

void textbook_lookup(benchmark::State& state) {
  Textbook<Entries::Stored> table(Machine::get().memory());
  table.map(first_iova, lookups * 4096, first_address);
  const auto look = [&] {
    u64 sum = 0;
    for (u64 i = 0; i < lookups; ++i) sum += table.lookup(first_iova + i * 4096);
    benchmark::DoNotOptimize(sum);
  };
  Row row(state, x_name);
  for (auto _ : state) row.round(lookups, look, lookups, [] { exchange(lookups); });
}
BENCHMARK(textbook_lookup)->Name("lookup_hot/textbook")->Iterations(rounds)->UseManualTime();

/// What a core reads from memory, beside what the caches of a table's size give: bandwidth, for whom ratios to R do not
/// say enough.
void memory_read(benchmark::State& state) {
  LargePages memory(u64{64} << 20);
  const Pieces piece{{reinterpret_cast<u64*>(memory.base()), memory.bytes() / 8}};
  Pieces small{{reinterpret_cast<u64*>(memory.base()), bulk_pages}};
  Row row(state, "plain read of 2 MiB, again");
  for (auto _ : state) {
    sweep(memory.base(), memory.bytes());
    row.round(words_of(piece), [&] { read(piece); }, [&] { read(small); }, words_of(small), [&] { read(small); });
  }
}
BENCHMARK(memory_read)->Name("memory_read/swept")->Iterations(cold_rounds)->UseManualTime();

}  // namespace
}  // namespace holdfast::bench

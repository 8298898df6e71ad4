// What changing a table costs: map and unmap, by the page, by the table, by the large leaf, and 2^18 pages in one call
// (1 GiB of 4 KiB). Everything goes through Table&; gathers are completed. "Hot": pages in address order, caches warm.
#include "tests/bench/tables.hpp"
#include "tests/bench/textbook.hpp"

namespace holdfast::bench {
namespace {

constexpr int rounds = 25;
constexpr u64 calls = 512;
constexpr u64 bulk_pages = u64{1} << 18;

/// @p operation once for each of `calls` neighbouring items, @p undo the same, untimed. Yardstick: X.
template <class Do, class Undo>
void by_the_call(benchmark::State& state, Row& row, Do&& operation, Undo&& undo) {
  for (auto _ : state) {
    row.round(
        calls,
        [&] {
          for (u64 i = 0; i < calls; ++i) operation(i);
        },
        calls, [] { exchange(calls); });
    for (u64 i = 0; i < calls; ++i) undo(i);
  }
}

void map_page(benchmark::State& state, const Subject& subject) {
  BenchTable table(Machine::get().memory(), subject.config);
  const u64 page = subject.page();
  Row row(state, x_name, 1.4);
  by_the_call(
      state, row, [&](u64 i) { table.map(first_iova + i * page, first_address + i * page, page); },
      [&](u64 i) { table.unmap(first_iova + i * page, page); });
}

void unmap_page(benchmark::State& state, const Subject& subject) {
  BenchTable table(Machine::get().memory(), subject.config);
  const u64 page = subject.page();
  const auto map = [&](u64 i) { table.map(first_iova + i * page, first_address + i * page, page); };
  for (u64 i = 0; i < calls; ++i) map(i);
  Row row(state, x_name, 2.2);
  by_the_call(state, row, [&](u64 i) { table.unmap(first_iova + i * page, page); }, map);
}

/// One item above the smallest pages (2 MiB, 1 GiB): mapped and unmapped.
void pair_at(benchmark::State& state, const Subject& subject, unsigned level) {
  pt::TableConfig config = subject.config;
  const u64 size = subject.item(level);
  config.page_sizes |= size;
  BenchTable table(Machine::get().memory(), config);
  const u64 items = std::min<u64>(subject.pages_per_table(), calls);
  table.map(first_iova + items * size, first_address, size);  // keeps the tables above
  Row row(state, x_name, 5.0);
  for (auto _ : state)
    row.round(
        items,
        [&] {
          for (u64 i = 0; i < items; ++i) {
            table.map(first_iova + i * size, first_address + i % 64 * size, size);
            table.unmap(first_iova + i * size, size);
          }
        },
        items, [&] { exchange(items); });
}

enum class Direction : u8 { Map, Unmap };

/// One of the two is measured, @p count calls, and the other undoes it. Nothing is mapped before. Yardstick: X.
template <class Map, class Unmap>
void one_way(benchmark::State& state, Direction direction, u64 count, Map&& map, Unmap&& unmap) {
  Row row(state, x_name);
  if (direction == Direction::Unmap) map();
  for (auto _ : state) {
    if (direction == Direction::Map) {
      row.round(count, map, count, [&] { exchange(count); });
      unmap();
    } else {
      row.round(count, unmap, count, [&] { exchange(count); });
      map();
    }
  }
}

/// 256 pages in one call, whose table is there.
void pages_256(benchmark::State& state, const Subject& subject, Direction direction) {
  BenchTable table(Machine::get().memory(), subject.config);
  const u64 bytes = 256 * subject.page();
  const u64 count = 64;
  table.map(first_iova + 2 * count * bytes, first_address, subject.page());
  const auto at = [&](u64 i) { return first_iova + i * bytes; };
  const auto map = [&] {
    for (u64 i = 0; i < count; ++i) table.map(at(i), first_address + i * bytes, bytes);
  };
  const auto unmap = [&] {
    for (u64 i = 0; i < count; ++i) table.unmap(at(i), bytes);
  };
  one_way(state, direction, count, map, unmap);
}

/// A whole table of pages in one call: the table is allocated and linked, or taken out and freed.
void whole_table(benchmark::State& state, const Subject& subject, Direction direction) {
  BenchTable table(Machine::get().memory(), subject.config);
  const u64 bytes = subject.table_span();
  const u64 count = 64;
  table.map(first_iova + count * bytes, first_address, subject.page());
  const auto map = [&] {
    for (u64 i = 0; i < count; ++i) table.map(first_iova + i * bytes, first_address + i * bytes, bytes);
  };
  const auto unmap = [&] {
    for (u64 i = 0; i < count; ++i) table.unmap(first_iova + i * bytes, bytes);
  };
  one_way(state, direction, count, map, unmap);
}

void map_bulk_absent(benchmark::State& state, const Subject& subject) {
  BenchTable table(Machine::get().memory(), subject.config);
  const u64 bytes = bulk_pages * subject.page();
  Row row(state, f_name, 5.0);
  Pieces tables;
  for (auto _ : state)
    row.round(
        bulk_pages, [&] { table.map(first_iova, first_address, bytes); },
        [&] {
          tables = table.leaf_tables(Machine::get().memory(), subject);
          table.unmap(first_iova, bytes);
        },
        bulk_pages, [&] { fill(tables); });
}

/// By halves of tables, which leaves them in the tree.
void empty_tables(BenchTable& table, const Subject& subject) {
  const u64 half = subject.table_span() / 2;
  for (u64 at = 0; at < bulk_pages * subject.page(); at += half) table.unmap(first_iova + at, half);
}

void map_bulk_present(benchmark::State& state, const Subject& subject) {
  BenchTable table(Machine::get().memory(), subject.config);
  const u64 bytes = bulk_pages * subject.page();
  table.map(first_iova, first_address, bytes);
  const Pieces tables = table.leaf_tables(Machine::get().memory(), subject);
  empty_tables(table, subject);
  Row row(state, f_name, 3.5);
  for (auto _ : state)
    row.round(
        bulk_pages, [&] { table.map(first_iova, first_address, bytes); }, [&] { empty_tables(table, subject); },
        bulk_pages, [&] { fill(tables); });
}

void unmap_bulk(benchmark::State& state, const Subject& subject) {
  BenchTable table(Machine::get().memory(), subject.config);
  const u64 bytes = bulk_pages * subject.page();
  Row row(state, r_name, 3.0);
  for (auto _ : state) {
    table.map(first_iova, first_address, bytes);
    const Pieces tables = table.leaf_tables(Machine::get().memory(), subject);
    row.round(bulk_pages, [&] { table.unmap(first_iova, bytes); }, bulk_pages, [&] { read(tables); });
  }
}

bool has_contiguous(const Subject& subject) { return (subject.sizes[0] & (subject.sizes[0] - 1)) != 0; }
/// The largest leaf of more than one item: 256 items in AMDv1.
u64 contiguous_size(const Subject& subject) {
  u64 largest = 0;
  for (unsigned lg2 = 0; lg2 < 64; ++lg2)
    if ((subject.sizes[0] >> lg2 & 1) != 0) largest = u64{1} << lg2;
  return largest;
}

void contiguous(benchmark::State& state, const Subject& subject, Direction direction) {
  pt::TableConfig config = subject.config;
  const u64 size = contiguous_size(subject);
  config.page_sizes |= size;
  BenchTable table(Machine::get().memory(), config);
  const u64 count = 256;
  // Each beside a page of its own, so that no call covers a table.
  const u64 distance = subject.table_span();
  for (u64 i = 0; i < count; ++i)
    table.map(first_iova + i * distance + distance - subject.page(), first_address, subject.page());
  const auto map = [&] {
    for (u64 i = 0; i < count; ++i) table.map(first_iova + i * distance, first_address + i * size, size);
  };
  const auto unmap = [&] {
    for (u64 i = 0; i < count; ++i) table.unmap(first_iova + i * distance, size);
  };
  one_way(state, direction, count, map, unmap);
}

const int rows[] = {
    add_rows("map_page", rounds, map_page),
    add_rows("unmap_page", rounds, unmap_page),
    add_rows(
        "pair_level_1", rounds, [](auto& state, auto& subject) { pair_at(state, subject, 1); },
        [](const Subject& subject) { return subject.has_leaf(1); }),
    add_rows(
        "pair_level_2", rounds, [](auto& state, auto& subject) { pair_at(state, subject, 2); },
        [](const Subject& subject) { return subject.has_leaf(2); }),
    add_rows("map_256", rounds, [](auto& state, auto& subject) { pages_256(state, subject, Direction::Map); }),
    add_rows("unmap_256", rounds, [](auto& state, auto& subject) { pages_256(state, subject, Direction::Unmap); }),
    add_rows("map_table", rounds, [](auto& state, auto& subject) { whole_table(state, subject, Direction::Map); }),
    add_rows("unmap_table", rounds, [](auto& state, auto& subject) { whole_table(state, subject, Direction::Unmap); }),
    add_rows("map_bulk_absent", rounds, map_bulk_absent),
    add_rows("map_bulk_present", rounds, map_bulk_present),
    add_rows("unmap_bulk", rounds, unmap_bulk),
    add_rows(
        "map_contiguous", rounds, [](auto& state, auto& subject) { contiguous(state, subject, Direction::Map); },
        has_contiguous),
    add_rows(
        "unmap_contiguous", rounds, [](auto& state, auto& subject) { contiguous(state, subject, Direction::Unmap); },
        has_contiguous),
};

template <Entries how>
void textbook_map(benchmark::State& state) {
  Textbook<how> table(Machine::get().memory());
  Row row(state, x_name);
  by_the_call(
      state, row, [&](u64 i) { table.map(first_iova + i * 4096, 4096, first_address + i * 4096); },
      [&](u64 i) { table.unmap(first_iova + i * 4096, 4096); });
}
template <Entries how>
void textbook_unmap(benchmark::State& state) {
  Textbook<how> table(Machine::get().memory());
  const auto map = [&](u64 i) { table.map(first_iova + i * 4096, 4096, first_address + i * 4096); };
  for (u64 i = 0; i < calls; ++i) map(i);
  Row row(state, x_name);
  by_the_call(state, row, [&](u64 i) { table.unmap(first_iova + i * 4096, 4096); }, map);
}
template <Entries how>
void textbook_map_bulk(benchmark::State& state) {
  Textbook<how> table(Machine::get().memory());
  Row row(state, x_name);
  for (auto _ : state) {
    row.round(
        bulk_pages, [&] { table.map(first_iova, bulk_pages * 4096, first_address); }, bulk_pages,
        [] { exchange(bulk_pages); });
    table.unmap(first_iova, bulk_pages * 4096);
  }
}
BENCHMARK(textbook_map<Entries::Stored>)->Name("map_page/textbook")->Iterations(rounds)->UseManualTime();
BENCHMARK(textbook_map<Entries::Locked>)->Name("map_page/textbook_locked")->Iterations(rounds)->UseManualTime();
BENCHMARK(textbook_unmap<Entries::Stored>)->Name("unmap_page/textbook")->Iterations(rounds)->UseManualTime();
BENCHMARK(textbook_unmap<Entries::Locked>)->Name("unmap_page/textbook_locked")->Iterations(rounds)->UseManualTime();
BENCHMARK(textbook_map_bulk<Entries::Stored>)->Name("map_bulk_present/textbook")->Iterations(5)->UseManualTime();
BENCHMARK(textbook_map_bulk<Entries::Locked>)->Name("map_bulk_present/textbook_locked")->Iterations(5)->UseManualTime();

}  // namespace
}  // namespace holdfast::bench

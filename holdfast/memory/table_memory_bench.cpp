// What page-table memory costs: taking tables of an arena beside one locked exchange, and freeing the pages of a large
// domain in page mode beside one of many independent cache misses. Hot: by address, in caches; cold: shuffled, out of
// caches, as a domain that has lived long is met when it dies.
#include <array>
#include <atomic>

#include "holdfast/memory/table_arena.hpp"
#include "holdfast/memory/test_cold_memory.hpp"
#include "tests/bench/row.hpp"

namespace holdfast {
namespace {

constexpr std::size_t calls = 512;
const char* const exchange_in_l1 = "locked exchange in L1";
const char* const cache_miss = "one of many independent misses";

void exchange() {
  static std::array<std::atomic<u64>, calls> words;
  for (std::atomic<u64>& word : words) word.exchange(1);
}

/// An arena that has room for more tables than these calls take.
struct RoomyArena {
  RoomyArena() : arena(host.memory(), TableMode::Arena), keeps_blocks(arena.take(1).value()) {
    TablePages room = arena.take(2 * calls).value();
    for (std::size_t i = 0; i < calls / 2; ++i) keeps_blocks.push(room.pop());
    arena.give_back(std::move(room));
    verify_invariant(arena.blocks().back().order == TableBlocks::max_block_order, "no large block was made");
  }
  ~RoomyArena() { arena.give_back(std::move(keeps_blocks)); }
  RoomyArena(const RoomyArena&) = delete;
  RoomyArena& operator=(const RoomyArena&) = delete;

  ColdMemory host;
  TableArena arena;
  TablePages keeps_blocks;
};

void arena_take_none(benchmark::State& state) {
  RoomyArena roomy;
  bench::Row row(state, exchange_in_l1);
  for (auto _ : state)
    row.round(
        calls,
        [&] {
          for (std::size_t i = 0; i < calls; ++i) benchmark::DoNotOptimize(roomy.arena.take(0)->empty());
        },
        calls, exchange);
}
BENCHMARK(arena_take_none)->UseManualTime();

void arena_take_one_and_release(benchmark::State& state) {
  RoomyArena roomy;
  bench::Row row(state, exchange_in_l1);
  for (auto _ : state)
    row.round(
        calls,
        [&] {
          for (std::size_t i = 0; i < calls; ++i) {
            TablePages page = roomy.arena.take(1).value();
            roomy.arena.release(page.pop());
          }
        },
        calls, exchange);
}
BENCHMARK(arena_take_one_and_release)->UseManualTime();

void arena_take_many(benchmark::State& state) {
  constexpr u64 many = calls / 4;
  RoomyArena roomy;
  bench::Row row(state, exchange_in_l1);
  for (auto _ : state) {
    TablePages pages;
    row.round(many, [&] { pages = roomy.arena.take(many).value(); }, calls, exchange);
    roomy.arena.give_back(std::move(pages));
  }
}
BENCHMARK(arena_take_many)->UseManualTime();

void arena_give_many_back(benchmark::State& state) {
  constexpr u64 many = calls / 4;
  RoomyArena roomy;
  bench::Row row(state, exchange_in_l1);
  for (auto _ : state) {
    TablePages pages = roomy.arena.take(many).value();
    row.round(many, [&] { roomy.arena.give_back(std::move(pages)); }, calls, exchange);
  }
}
BENCHMARK(arena_give_many_back)->UseManualTime();

/// Frees every page of a large domain; @p order says in which order they come.
template <class Release>
void release_pages(benchmark::State& state, PageOrder order, bench::Row& row, Release&& release) {
  ColdMemory host;
  for (auto _ : state) {
    const auto pages = host.take_pages(order);
    if (order == PageOrder::Shuffled) ColdMemory::sweep();
    row.round(
        pages.size(), [&] { release(host.memory().buddy, pages); }, ColdMemory::misses_per_round, ColdMemory::misses);
  }
}

void release_one_by_one(benchmark::State& state, PageOrder order) {
  bench::Row row(state, cache_miss);
  release_pages(state, order, row, [](Buddy& buddy, std::span<const PhysAddr> pages) {
    for (const PhysAddr page : pages) buddy.release(page, 0);
  });
}
BENCHMARK_CAPTURE(release_one_by_one, hot, PageOrder::Rising)->UseManualTime()->Iterations(5);
BENCHMARK_CAPTURE(release_one_by_one, cold, PageOrder::Shuffled)->UseManualTime()->Iterations(5);

void release_batch(benchmark::State& state, PageOrder order) {
  bench::Row row(state, cache_miss, 5);
  release_pages(state, order, row, [](Buddy& buddy, std::span<const PhysAddr> pages) {
    ColdMemory::in_chunks(pages, [&](std::span<const PhysAddr> some) { buddy.release(some, 0); });
  });
}
BENCHMARK_CAPTURE(release_batch, hot, PageOrder::Rising)->UseManualTime()->Iterations(5);
BENCHMARK_CAPTURE(release_batch, cold, PageOrder::Shuffled)->UseManualTime()->Iterations(5);

}  // namespace
}  // namespace holdfast

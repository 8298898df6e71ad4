// What preserving and restoring the tables of 1 TiB mapped at 4K costs page by page, beside one of many independent
// cache misses. Hot: by address, in caches; cold: shuffled, out of caches.
#include "holdfast/kho/handover.hpp"
#include "holdfast/memory/test_cold_memory.hpp"
#include "tests/bench/row.hpp"

namespace holdfast::kho {
namespace {

const char* const cache_miss = "one of many independent misses";

struct OpenHandover {
  OpenHandover() : handover(host.memory()) {
    const PhysAddr scratch = host.memory().buddy.allocate(max_order).value();
    const PhysRange region{scratch, page_size_bytes << max_order};
    if (!handover.open({&region, 1}).ok()) throw std::runtime_error("no handover for the benchmark");
  }
  ColdMemory host;
  Handover handover;
};

template <class Preserve>
void preserve_pages(benchmark::State& state, PageOrder order, bench::Row& row, Preserve&& preserve) {
  OpenHandover open;
  const auto pages = open.host.take_pages(order);
  for (auto _ : state) {
    if (order == PageOrder::Shuffled) ColdMemory::sweep();
    row.round(pages.size(), [&] { preserve(open.handover, pages); }, ColdMemory::misses_per_round, ColdMemory::misses);
    verify_invariant(open.handover.count() >= pages.size(), "pages were not preserved");
    open.handover.unpreserve(pages, 0);
  }
}

void preserve_one_by_one(benchmark::State& state, PageOrder order) {
  bench::Row row(state, cache_miss);
  preserve_pages(state, order, row, [](Handover& handover, std::span<const PhysAddr> pages) {
    for (const PhysAddr page : pages) (void)handover.preserve(Block{page, 0});
  });
}
BENCHMARK_CAPTURE(preserve_one_by_one, hot, PageOrder::Rising)->UseManualTime()->Iterations(5);
BENCHMARK_CAPTURE(preserve_one_by_one, cold, PageOrder::Shuffled)->UseManualTime()->Iterations(5);

void preserve_batch(benchmark::State& state, PageOrder order) {
  bench::Row row(state, cache_miss, 6);
  preserve_pages(state, order, row, [](Handover& handover, std::span<const PhysAddr> pages) {
    ColdMemory::in_chunks(pages, [&](std::span<const PhysAddr> some) { (void)handover.preserve(some, 0); });
  });
}
BENCHMARK_CAPTURE(preserve_batch, hot, PageOrder::Rising)->UseManualTime()->Iterations(5);
BENCHMARK_CAPTURE(preserve_batch, cold, PageOrder::Shuffled)->UseManualTime()->Iterations(5);

void unpreserve_batch(benchmark::State& state, PageOrder order) {
  bench::Row row(state, cache_miss);
  OpenHandover open;
  const auto pages = open.host.take_pages(order);
  for (auto _ : state) {
    if (!open.handover.preserve(pages, 0).ok()) throw std::runtime_error("not preserved");
    if (order == PageOrder::Shuffled) ColdMemory::sweep();
    row.round(
        pages.size(),
        [&] {
          ColdMemory::in_chunks(pages, [&](std::span<const PhysAddr> some) { open.handover.unpreserve(some, 0); });
        },
        ColdMemory::misses_per_round, ColdMemory::misses);
  }
}
BENCHMARK_CAPTURE(unpreserve_batch, hot, PageOrder::Rising)->UseManualTime()->Iterations(5);
BENCHMARK_CAPTURE(unpreserve_batch, cold, PageOrder::Shuffled)->UseManualTime()->Iterations(5);

/// Pages that the previous kernel has preserved, as their frames say: nothing else of it is read.
template <class Restore>
void restore_pages(benchmark::State& state, PageOrder order, bench::Row& row, Restore&& restore) {
  OpenHandover open;
  const auto pages = open.host.take_pages(order);
  for (auto _ : state) {
    for (const PhysAddr page : pages) open.host.memory().frames.at(page).state = FrameState::Incoming;
    if (order == PageOrder::Shuffled) ColdMemory::sweep();
    u64 restored = 0;
    row.round(
        pages.size(), [&] { restored = restore(open.handover, pages); }, ColdMemory::misses_per_round,
        ColdMemory::misses);
    verify_invariant(restored == pages.size(), "pages were not restored");
  }
}

void restore_one_by_one(benchmark::State& state, PageOrder order) {
  bench::Row row(state, cache_miss);
  restore_pages(state, order, row, [](Handover& handover, std::span<const PhysAddr> pages) {
    u64 restored = 0;
    for (const PhysAddr page : pages) restored += handover.restore(page).ok() ? 1 : 0;
    return restored;
  });
}
BENCHMARK_CAPTURE(restore_one_by_one, hot, PageOrder::Rising)->UseManualTime()->Iterations(5);
BENCHMARK_CAPTURE(restore_one_by_one, cold, PageOrder::Shuffled)->UseManualTime()->Iterations(5);

void restore_batch(benchmark::State& state, PageOrder order) {
  bench::Row row(state, cache_miss, 2.5);
  restore_pages(state, order, row, [](Handover& handover, std::span<const PhysAddr> pages) {
    u64 restored = 0;
    ColdMemory::in_chunks(pages, [&](std::span<const PhysAddr> some) { restored += handover.restore(some, 0); });
    return restored;
  });
}
BENCHMARK_CAPTURE(restore_batch, hot, PageOrder::Rising)->UseManualTime()->Iterations(5);
BENCHMARK_CAPTURE(restore_batch, cold, PageOrder::Shuffled)->UseManualTime()->Iterations(5);

}  // namespace
}  // namespace holdfast::kho

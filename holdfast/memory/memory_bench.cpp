// What the allocators cost that page tables and records stand on, beside one locked exchange on L1-resident memory:
// each takes and gives back a spin lock, so no call of theirs is below one of those.
#include <array>
#include <atomic>
#include <stdexcept>
#include <vector>

#include "holdfast/memory/own_ram.hpp"
#include "tests/bench/row.hpp"

namespace holdfast {
namespace {

constexpr std::size_t calls = 512;
constexpr u64 ram_bytes = u64{64} << 20;

class MemoryBench {
 public:
  MemoryBench() : x_bytes(ram_bytes + page_size_bytes), x_ram(whole_pages(), PhysAddr(0)) {
    if (!x_ram.open().ok()) throw std::runtime_error("no RAM for the benchmark");
  }
  Memory& memory() { return x_ram.memory(); }
  /// The yardstick.
  void exchange() {
    for (std::atomic<u64>& word : x_words) word.exchange(1);
  }

 private:
  std::span<std::byte> whole_pages() {
    const auto past_page = reinterpret_cast<std::uintptr_t>(x_bytes.data()) % page_size_bytes;
    return {x_bytes.data() + (page_size_bytes - past_page), ram_bytes};
  }

  std::vector<std::byte> x_bytes;
  OwnRam x_ram;
  std::array<std::atomic<u64>, calls> x_words{};
};

/// Pages one after the other, then all given back.
void page_pair(benchmark::State& state) {
  MemoryBench host;
  std::array<PhysAddr, calls> pages;
  bench::Row row(state, "locked exchange in L1");
  for (auto _ : state)
    row.round(
        calls,
        [&] {
          for (PhysAddr& page : pages) page = host.memory().buddy.allocate(0).value();
          for (const PhysAddr page : pages) host.memory().buddy.release(page, 0);
        },
        calls, [&] { host.exchange(); });
}
BENCHMARK(page_pair)->UseManualTime();

/// One block of 2 MiB and back: the allocator takes a larger one apart and puts it together again.
void arena_block_pair(benchmark::State& state) {
  MemoryBench host;
  bench::Row row(state, "locked exchange in L1");
  for (auto _ : state)
    row.round(
        calls,
        [&] {
          for (std::size_t i = 0; i < calls; ++i)
            host.memory().buddy.release(host.memory().buddy.allocate(9).value(), 9);
        },
        calls, [&] { host.exchange(); });
}
BENCHMARK(arena_block_pair)->UseManualTime();

}  // namespace
}  // namespace holdfast

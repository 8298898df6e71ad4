// Fuzzes sequences of operations on a live table of any format: after each, the table says what a plain model says.
//
// The model is one entry a page of a window of addresses; hardware's part (dirty bits) is not played here.
// COVERS holdfast/pt/engine_cut.hpp holdfast/pt/gather.cpp
#include <map>
#include <vector>

#include "holdfast/memory/own_ram.hpp"
#include "holdfast/pt/formats.hpp"
#include "holdfast/pt/table.hpp"
#include "holdfast/pt/test_fuzz_input.hpp"

namespace holdfast::pt {
namespace {

constexpr u64 ram_bytes = u64{8} << 20;

/// Beside the shapes of all fuzzers: a top that grows, from 39 bits on.
constexpr TableConfig growing = {
    .format = Format::AmdV1, .levels = 3, .iova_bits = 57, .page_sizes = 0xff000, .dynamic_top = true};
constexpr std::size_t shapes = std::size(fuzz_shapes) + 1;

/// Address of a page -> where it leads.
using Model = std::map<u64, u64>;

/// Half of the sessions gather without gaps; a full gather is asked for what it says.
class Flusher final : public GatherFlusher {
 public:
  void flush(const Gather& gather) override {
    verify_invariant(gather.ranges().size() == Gather::max_ranges, "a gather was flushed before it was full");
    for (std::size_t i = 1; i < gather.ranges().size(); ++i)
      verify_invariant(gather.ranges()[i - 1].last() + 1 < gather.ranges()[i].start, "ranges touch, or do not rise");
  }
};

enum class Ranges : u8 { Merging, NoGaps };

/// Hardware follows the top as it grows.
class Hardware final : public TopObserver {
 public:
  void top_changed(PhysAddr top, unsigned levels) override {
    verify_invariant(top.value != 0 && levels > x_levels, "the top changed and did not grow");
    x_levels = levels;
  }

 private:
  unsigned x_levels = growing.levels;
};

class Session {
 public:
  Session(Memory& memory, const TableConfig& config, unsigned granule_lg2, Ranges ranges)
      : x_granule(u64{1} << granule_lg2),
        x_table(*Table::create(memory, config, config.dynamic_top ? &x_hardware : nullptr).value()),
        x_gather(ranges == Ranges::NoGaps ? Gather(x_flusher) : Gather()) {
    // Around a boundary of large pages in the middle of the lower (or only) half.
    const Tree tree = x_table.tree();
    // Where the top grows: around the end of what it has.
    const u64 middle = (u64{1} << (config.dynamic_top ? tree.iova_bits : tree.iova_bits - 2)) - 32 * x_granule;
    x_window = tree.to(config.extent == IovaExtent::SignExtended ? middle >> 1 : middle).value;
  }
  ~Session() {
    x_gather.complete(x_table);
    check();
    Table::destroy(&x_table);
  }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  void step(FuzzInput& input) {
    const u64 choice = input.below(4);
    const u64 iova = x_window + input.below(700) * x_granule;
    const u64 pages = 1 + (input.below(2) == 0 ? input.below(8) : input.below(1200));
    switch (choice) {
      case 0:
      case 1: map(iova, pages, input); break;
      case 2: unmap(iova, pages); break;
      case 3: cut(iova); break;
    }
    if (const u64 end = input.below(8); end == 0) {
      x_gather.complete(x_table);
    } else if (end == 1) {
      Gather(std::move(x_gather)).complete(x_table);
    }
    if (input.below(8) == 0) check();
  }

 private:
  void map(u64 iova, u64 pages, FuzzInput& input) {
    std::vector<PhysRange> runs;
    const auto aligned = input.below(3);
    for (u64 left = pages; left != 0;) {
      const u64 count = input.below(3) == 0 ? 1 + input.below(left) : left;
      u64 target = (u64{1} << 31) + input.below(4096) * x_granule;
      if (aligned != 0) target = (target & ~low_bits(25)) | (iova & low_bits(25));
      runs.push_back({PhysAddr(target), count * x_granule});
      left -= count;
    }
    Iova collision;
    const Status status = x_table.map(Iova(iova), runs, Prot::ReadWrite, x_gather, &collision);
    const auto taken = x_model.lower_bound(iova);
    const bool free = taken == x_model.end() || taken->first >= iova + pages * x_granule;
    if (!free) {
      verify_invariant(status.code() == Code::AddressInUse, "mapped over a page");
      verify_invariant(collision.value == taken->first, "another collision was named");
      return;
    }
    if (status.code() == Code::NoMemory) return;
    verify_invariant(status.ok(), "a free range was not mapped");
    for (const PhysRange& run : runs)
      for (u64 at = 0; at < run.size_bytes; at += x_granule, iova += x_granule) x_model[iova] = run.start.value + at;
  }

  void unmap(u64 iova, u64 pages) {
    // Whole leaves up to the first hole, and nothing when the first leaf begins before.
    u64 expected = 0;
    while (expected < pages * x_granule) {
      const auto found = x_table.lookup(Iova(iova + expected));
      if (!found.ok() || ((iova + expected) & (found->page_size - 1)) != 0) break;
      expected += found->page_size;
    }
    const auto bytes = x_table.unmap(Iova(iova), pages * x_granule, x_gather);
    verify_invariant(bytes.ok() && *bytes == expected, "another number of bytes was unmapped");
    x_model.erase(x_model.lower_bound(iova), x_model.lower_bound(iova + expected));
  }

  void cut(u64 iova) {
    const Status status = x_table.cut(Iova(iova), x_gather);
    if (!status.ok()) return;
    const auto found = x_table.lookup(Iova(iova));
    if (found.ok()) verify_invariant((iova & (found->page_size - 1)) == 0, "a leaf still crosses the boundary");
  }

  void check() const {
    auto expected = x_model.begin();
    x_table.for_each_leaf([&](Iova from, const Translation& to) {
      for (u64 at = 0; at < to.page_size; at += x_granule, ++expected) {
        verify_invariant(expected != x_model.end() && expected->first == from.value + at,
                         "a page too many, or too few");
        verify_invariant(expected->second == to.address.value + at, "a page leads elsewhere");
      }
    });
    verify_invariant(expected == x_model.end(), "a page is missing");
  }

  u64 x_granule;
  Hardware x_hardware;
  Table& x_table;
  Flusher x_flusher;
  Gather x_gather;
  u64 x_window = 0;
  Model x_model;
};

}  // namespace
}  // namespace holdfast::pt

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace holdfast;
  alignas(page_size_bytes) static std::byte bytes[pt::ram_bytes];
  OwnRam ram(bytes, PhysAddr(0));
  MUST(ram.open(), "there is room for the frame table");
  pt::FuzzInput input(data, size);
  const u64 shape = input.below(pt::shapes);
  pt::TableConfig config = shape < std::size(pt::fuzz_shapes) ? pt::fuzz_shapes[shape] : pt::growing;
  config.mode = input.below(2) == 0 ? TableMode::Arena : TableMode::Page;
  config.sharing = input.below(2) == 0 ? pt::Sharing::Exclusive : pt::Sharing::Shared;
  unsigned granule_lg2 = 0;
  MUST(pt::with_format(config.format, [&]<class F>() { return granule_lg2 = F::granule_lg2, Status(); }), "known");
  const u64 free_before = ram.memory().buddy.free_frames();
  const auto ranges = input.below(2) == 0 ? pt::Ranges::Merging : pt::Ranges::NoGaps;
  {
    pt::Session session(ram.memory(), config, granule_lg2, ranges);
    while (!input.empty()) session.step(input);
  }
  verify_invariant(ram.memory().buddy.free_frames() == free_before, "memory was lost");
  return 0;
}

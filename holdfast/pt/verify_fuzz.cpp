// Fuzzes verification and reading of a tree that another kernel left: any words are a tree in order, or Corrupt.
//
// The input chooses a shape and writes items: raw words, and tables and leaves made as a kernel makes them, so that the
// fuzzer comes beyond the first item. Then the recorded count and checksum are made right, or not. What is accepted is
// read leaf by leaf: every leaf leads into the guest's memory; then it is freed, and every block must come back.
// COVERS holdfast/pt/verify.cpp
#include <bit>
#include <vector>

#include "holdfast/memory/own_ram.hpp"
#include "holdfast/pt/digest.hpp"
#include "holdfast/pt/formats.hpp"
#include "holdfast/pt/restored_table.hpp"
#include "holdfast/pt/stamp.hpp"
#include "holdfast/pt/test_fuzz_input.hpp"
#include "holdfast/pt/walk.hpp"

namespace holdfast::pt {
namespace {

constexpr u64 ram_bytes = u64{4} << 20;
constexpr unsigned tables_order = 8;  // 1 MiB: sixteen tables of 64K
constexpr unsigned guest_order = 5;

constexpr u64 table_count = 16;

/// Memory that the previous kernel preserved: tables, in one block or each in its own, and a block of the guest.
class Incoming final : public BlockRestorer {
 public:
  Incoming(Memory& memory, TableMode mode, unsigned top_order, unsigned order)
      : x_memory(memory),
        tables{memory.buddy.allocate(tables_order).value(), tables_order},
        guest{memory.buddy.allocate(guest_order).value(), guest_order} {
    std::memset(memory.map.bytes(tables.start), 0, tables.size_bytes());
    for (const Block& block : {tables, guest}) memory.frames.at(block.start).state = FrameState::Incoming;
    if (mode == TableMode::Arena) return;
    for (u64 i = 0; i < table_count; ++i) split_off({table(i), i == 0 ? top_order : order});
  }
  [[nodiscard]] PhysAddr table(u64 index) const { return tables.start + index * (tables.size_bytes() / table_count); }
  using BlockRestorer::restore;
  Result<Block> restore(PhysAddr start) override { return x_memory.frames.take_incoming(start); }

 private:
  void split_off(Block block) {
    for (u64 offset = 0; offset < block.size_bytes(); offset += page_size_bytes) {
      Frame& frame = x_memory.frames.at(block.start + offset);
      frame.state = offset == 0 ? FrameState::Incoming : FrameState::Tail;
      frame.order = static_cast<u8>(block.order);
    }
  }

  Memory& x_memory;

 public:
  Block tables;
  Block guest;
};

template <class F>
class Forgery {
 public:
  Forgery(Memory& memory, const Incoming& incoming, const TableConfig& shape)
      : x_memory(memory), x_incoming(incoming), x_shape(shape) {
    saved = {.top = incoming.table(0),
             .top_level = static_cast<u8>(shape.levels - 1),
             .iova_bits = shape.iova_bits,
             .extent = shape.extent};
  }

  void write(FuzzInput& input) {
    while (!input.empty()) {
      const u64 at = input.below(table_count);
      const auto level = static_cast<unsigned>(input.below(F::max_levels));
      u64* word = &words(x_incoming.table(at))[input.below(u64{8} << F::index_bits)];
      switch (input.below(5)) {
        case 0: *word = input.take<u64>(); break;
        case 1: *word = F::table(x_incoming.table(input.below(table_count)), level); break;
        case 2: write_leaf(word, level, input); break;
        case 3: *word ^= u64{1} << input.below(64); break;
        case 4: change_saved(input); break;
      }
    }
  }

  /// The count and the checksum that a kernel would have recorded for these words.
  void repair() {
    if (!is_valid_tree<F>(saved.top_level + 1u, saved.iova_bits, saved.extent, F::max_phys_bits)) return;
    if (saved.top != x_incoming.table(0)) return;
    std::vector<PhysAddr> met;
    saved.checksum = 0;
    sum(saved.top, saved.top_level, met);
    saved.table_count = met.size();
  }

  SavedTable saved;

 private:
  [[nodiscard]] u64* words(PhysAddr at) const { return x_memory.map.at<u64>(at); }

  void write_leaf(u64* word, unsigned level, FuzzInput& input) {
    const u64 sizes = F::leaf_sizes(level) & x_shape.page_sizes;
    const auto attributes = F::attributes_of(static_cast<Prot>(input.take<u8>() & 63), x_shape.features);
    if (sizes == 0 || !attributes.ok()) return;
    const auto size_lg2 =
        static_cast<unsigned>(input.below(2) == 0 ? std::countr_zero(sizes) : 63 - std::countl_zero(sizes));
    const PhysAddr target((x_incoming.guest.start.value + (input.below(40) << page_lg2)) & ~low_bits(size_lg2));
    u64 item = F::leaf(target, level, size_lg2, *attributes);
    const u64 count = items_of_leaf<F>(level, size_lg2);
    word = reinterpret_cast<u64*>(reinterpret_cast<u64>(word) & ~(count * sizeof(u64) - 1));
    for (u64 i = 0; i < count; ++i, item += F::next_in_leaf(level)) word[i] = item;
  }

  void change_saved(FuzzInput& input) {
    switch (input.below(5)) {
      case 0: saved.top = PhysAddr(input.take<u64>()); break;
      case 1: saved.top_level = input.take<u8>(); break;
      case 2: saved.iova_bits = input.take<u8>(); break;
      case 3: saved.extent = static_cast<IovaExtent>(input.take<u8>()); break;
      case 4: saved.encryption = u64{1} << input.below(64); break;
    }
  }

  void sum(PhysAddr page, unsigned level, std::vector<PhysAddr>& met) {
    const Tree tree = tree_of(saved);
    const u64 bytes = page_size_bytes << order_at<F>(tree, level);
    const PhysRange all{x_incoming.tables.start, x_incoming.tables.size_bytes()};
    if (!all.contains(page, bytes) || !page.is_aligned(bytes)) return;
    if (std::find(met.begin(), met.end(), page) != met.end()) return;
    met.push_back(page);
    const std::span<const u64> items(words(page), table_words<F>(tree, level));
    saved.checksum += table_digest<F>(page, level, items);
    for (const u64 word : items) {
      const u64 item = word & ~saved.encryption;
      if (level != 0 && F::kind(item, level) == EntryKind::Table) sum(F::table_address(item), level - 1, met);
    }
  }

  Memory& x_memory;
  const Incoming& x_incoming;
  const TableConfig& x_shape;
};

void read_and_free(Memory& memory, RestoredTable& table, Incoming& incoming) {
  // Where tables stand alone, one that is not in the tree is memory like any other.
  const Block& all = table.mode() == TableMode::Page ? incoming.tables : incoming.guest;
  const PhysRange guest{incoming.guest.start, incoming.guest.size_bytes()};
  const PhysRange other{all.start, all.size_bytes()};
  const TreeReader reader = table.reader().value();
  reader.for_each_leaf([&](Iova from, const Translation& to) {
    verify_invariant(guest.contains(to.address, to.page_size) || other.contains(to.address, to.page_size),
                     "a leaf of a verified tree leads elsewhere");
    const auto found = reader.lookup(from);
    verify_invariant(found.ok() && *found == to, "a leaf is not found where it was seen");
  });
  verify_invariant(RestoredTable::destroy(&table, incoming).ok(), "a verified table is not freed");
  verify_invariant(memory.frames.at(incoming.tables.start).state != FrameState::Incoming,
                   "its block did not come back");
}

template <class F>
void fuzz(Memory& memory, const TableConfig& shape, FuzzInput& input) {
  const bool repair = input.below(4) != 0;
  const TableMode mode = input.below(3) != 0 ? TableMode::Arena : TableMode::Page;
  Incoming incoming(memory, mode, top_order<F>(shape.levels - 1u, shape.iova_bits), table_order<F>);
  Forgery<F> forgery(memory, incoming, shape);
  forgery.write(input);
  if (repair) forgery.repair();
  RestoredTable& table = *RestoredTable::create(memory, F::format, forgery.saved, mode,
                                                {&incoming.tables, mode == TableMode::Arena ? 1u : 0u})
                              .value();
  VerifyReport report;
  const Status seen = inspect(memory, F::format, forgery.saved, IncomingOwner(memory.frames), report);
  const Status status = table.verify(report);
  verify_invariant(seen.ok() || !status.ok(), "a tree was refused when it was looked at, and then accepted");
  if (status.ok()) return read_and_free(memory, table, incoming);
  verify_invariant(status.code() == Code::Corrupt, "an answer out of contract");
  verify_invariant(report.reason != VerifyReason::None && !to_string(report.reason).empty(), "no reason is given");
  for (u64 at = 0; at < ram_bytes; at += page_size_bytes)
    verify_invariant(memory.frames.at(PhysAddr(at)).mark == 0, "a stamp is left behind");
  RestoredTable::forget(&table);
}

}  // namespace
}  // namespace holdfast::pt

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace holdfast;
  alignas(page_size_bytes) static std::byte bytes[pt::ram_bytes];
  OwnRam ram(bytes, PhysAddr(0));
  MUST(ram.open(), "there is room for the frame table");
  pt::FuzzInput input(data, size);
  const pt::TableConfig& shape = pt::fuzz_shapes[input.below(std::size(pt::fuzz_shapes))];
  MUST(pt::with_format(shape.format, [&]<class F>() { return pt::fuzz<F>(ram.memory(), shape, input), Status(); }),
       "the format is known");
  return 0;
}

// What it costs to deal with all tables of a domain: collect, preserve, restore, destroy. Page mode is what Linux does;
// arena mode, by the block. "Hot": tables in address order, caches warm. "Cold": tables all over memory in random
// order, caches swept.
#include <algorithm>

#include "holdfast/kho/handover.hpp"
#include "holdfast/pt/restored_table.hpp"
#include "holdfast/pt/stamp.hpp"
#include "holdfast/pt/walk.hpp"
#include "tests/bench/tables.hpp"
#include "tests/bench/textbook.hpp"

namespace holdfast::bench {
namespace {

constexpr int rounds = 15;
constexpr int cold_rounds = 5;
constexpr u64 most_bytes = u64{32} << 20;

enum class Pages : u8 { InOrder, Scattered };

/// 32 MiB of tables (16 GiB of 4 KiB pages), each with what fits of one block of 2 MiB.
class Domain {
 public:
  Domain(const Subject& subject, TableMode mode, Pages pages, u64 seed = 1)
      : x_memory(Machine::get().memory()), x_table(x_memory, config_of(subject, mode)) {
    const u64 count = most_bytes >> (page_lg2 + subject.table_order);
    const u64 mapped = std::min(subject.table_span(), Machine::target.size_bytes());
    if (pages == Pages::Scattered) {
      ScatteredBlocks blocks(x_memory, subject.table_order, seed);
      for (u64 i = 0; i < count; ++i)
        while (x_table.try_map(iova(subject, i), Machine::target.start.value, mapped) == Code::NoMemory) blocks.next();
    } else {
      for (u64 i = 0; i < count; ++i) x_table.map(iova(subject, i), Machine::target.start.value, mapped);
    }
  }

  [[nodiscard]] pt::Table& table() { return *x_table; }
  [[nodiscard]] BenchTable& bench() { return x_table; }

 private:
  static pt::TableConfig config_of(const Subject& subject, TableMode mode) {
    pt::TableConfig config = subject.config;
    config.mode = mode;
    return config;
  }
  static u64 iova(const Subject& subject, u64 i) { return first_iova + i * subject.table_span(); }

  Memory& x_memory;
  BenchTable x_table;
};

/// @p cold: sweeps, and readies M.
void before(Pages pages, u64 count) {
  if (pages == Pages::InOrder) return;
  Machine::get().sweep_caches();
  Misses::get().prepare(count);
}

/// The yardstick that goes with it: hot, X; cold, M.
const char* yardstick_name(Pages pages) { return pages == Pages::InOrder ? x_name : m_name; }
void yardstick(Pages pages, u64 count) {
  if (pages == Pages::InOrder)
    exchange(count);
  else
    Misses::get().read(count);
}

void collect(benchmark::State& state, const Subject& subject, Pages pages, Row& row) {
  Domain domain(subject, TableMode::Page, pages);
  const u64 count = domain.table().table_count();
  std::vector<PhysAddr> found(count);
  for (auto _ : state) {
    before(pages, count);
    row.round(
        count,
        [&] {
          std::size_t at = 0;
          domain.table().collect([&](PhysAddr page, unsigned) { found[at++] = page; });
          if (at != count) throw std::runtime_error("a benchmark collected too few tables");
        },
        count, [&] { yardstick(pages, count); });
  }
}

/// The outgoing set of this kernel, as in a live update.
class Outgoing {
 public:
  Outgoing() : x_handover(Machine::get().memory()) {
    MUST(x_handover.open({&Machine::scratch, 1}), "the machine has room for the handover");
  }
  ~Outgoing() { x_handover.close(); }
  Outgoing(const Outgoing&) = delete;
  Outgoing& operator=(const Outgoing&) = delete;
  [[nodiscard]] kho::Handover& operator*() { return x_handover; }

 private:
  kho::Handover x_handover;
};

void preserve(benchmark::State& state, const Subject& subject, TableMode mode, Pages pages, Row& row) {
  Domain domain(subject, mode, pages);
  Outgoing outgoing;
  const u64 count = domain.table().table_count();
  for (auto _ : state) {
    before(pages, count);
    row.round(
        count, [&] { MUST(domain.table().preserve(*outgoing), "there is memory for the set"); }, count,
        [&] { yardstick(pages, count); });
    domain.table().unpreserve(*outgoing);
  }
}

/// The kernel after a jump, over the same RAM: what @p blocks names and the target are incoming, its own heap has 4
/// MiB, all else belongs to others.
class NextKernel {
 public:
  explicit NextKernel(std::vector<Block> blocks)
      : x_memory(Machine::get().world(), Machine::get().boot()),
        x_early(x_memory.map, Machine::next_scratch),
        x_handover(x_memory) {
    MUST(x_memory.place_frames(x_early), "scratch is large enough");
    blocks.push_back(Machine::target);
    std::sort(blocks.begin(), blocks.end(), [](const Block& a, const Block& b) { return a.start < b.start; });
    std::vector<PhysRange> taken{Machine::next_free};
    for (const Block& block : blocks) taken.push_back({block.start, block.size_bytes()});
    PhysAddr at;
    for (const PhysRange& range : taken) {
      x_memory.mark({at, range.start - at}, FrameState::Reserved);
      at = range.start + range.size_bytes;
    }
    x_memory.mark({at, x_memory.map.end() - at}, FrameState::Reserved);
    for (const Block& block : blocks) MUST(x_memory.mark_incoming(block), "blocks are disjoint");
    x_memory.open();
  }
  [[nodiscard]] Memory& memory() { return x_memory; }
  [[nodiscard]] kho::Handover& handover() { return x_handover; }

 private:
  Memory x_memory;
  EarlyAllocator x_early;
  kho::Handover x_handover;
};

/// A domain that has crossed, verified.
class Crossed {
 public:
  Crossed(const Subject& subject, Domain& domain, TableMode mode)
      : x_subject(subject), x_next(blocks_of(subject, domain, mode)) {
    const pt::SavedTable saved = domain.table().saved();
    const auto made =
        pt::RestoredTable::create(x_next.memory(), subject.config.format, saved, mode, domain.table().arena().blocks());
    MUST(made, "the next kernel has memory");
    x_table = *made;
    MUST(x_table->verify(x_report), "what was saved is what is verified");
  }
  /// Walks the tree and takes every table over, as Linux's restore does: leaf tables are not read.
  void restore() {
    MUST(pt::with_format(
             x_subject.config.format,
             [&]<class F>() {
               struct Restore final : pt::TableVisitor {
                 Restore(kho::Handover& from, unsigned order) : x_from(from), x_order(order) {}
                 pt::Visit tables(std::span<const PhysAddr> pages, unsigned) override {
                   BlockRestorer& restorer = x_from;
                   if (restorer.restore(pages, x_order) != pages.size())
                     throw std::runtime_error("a benchmark cannot restore");
                   return pt::Visit::Continue;
                 }
                 kho::Handover& x_from;
                 unsigned x_order;
               } restoring(x_next.handover(), pt::table_order<F>);
               pt::visit_lower_tables<F, pt::Order::ChildrenFirst>(
                   pt::tree_of(x_table->saved()), restoring, pt::FollowStamped{x_next.memory(), x_report.generation});
               return x_next.handover().restore(x_table->saved().top).ok() ? Status() : Status(Code::NotFound);
             }),
         "the top was handed over");
  }
  void destroy() { MUST(pt::RestoredTable::destroy(x_table, x_next.handover()), "every table was handed over"); }

 private:
  static std::vector<Block> blocks_of(const Subject& subject, Domain& domain, TableMode mode) {
    if (mode == TableMode::Arena)
      return {domain.table().arena().blocks().begin(), domain.table().arena().blocks().end()};
    std::vector<Block> blocks;
    for (const PhysAddr page : domain.bench().all_tables()) blocks.push_back({page, subject.table_order});
    return blocks;
  }

  const Subject& x_subject;
  NextKernel x_next;
  pt::RestoredTable* x_table = nullptr;
  pt::VerifyReport x_report;
};

/// @p operation on a domain that has just crossed.
template <class Operation>
void after_jump(benchmark::State& state, const Subject& subject, TableMode mode, Pages pages, Row& row,
                Operation&& operation) {
  Domain domain(subject, mode, pages);
  const u64 count = domain.table().table_count();
  for (auto _ : state) {
    Crossed crossed(subject, domain, mode);
    before(pages, count);
    row.round(count, [&] { operation(crossed); }, count, [&] { yardstick(pages, count); });
  }
}

void destroy(benchmark::State& state, const Subject& subject, TableMode mode, Pages pages, Row& row) {
  for (auto _ : state) {
    Domain domain(subject, mode, pages);
    const u64 count = domain.table().table_count();
    before(pages, count);
    row.round(count, [&] { domain.bench().destroy(); }, count, [&] { yardstick(pages, count); });
  }
}

/// Cold rows have a target, hot ones none.
template <class F>
Operation with_row(Pages pages, double target, F&& f) {
  return [=](benchmark::State& state, const Subject& subject) {
    if (target != 0) {
      Row row(state, yardstick_name(pages), target);
      f(state, subject, row);
    } else {
      Row row(state, yardstick_name(pages));
      f(state, subject, row);
    }
  };
}

constexpr auto hot = Pages::InOrder;
constexpr auto cold = Pages::Scattered;
constexpr auto by_page = TableMode::Page;
constexpr auto by_block = TableMode::Arena;

/// One table of an arena may be of another size than the others; and what differs between policies is not here.
bool is_plain(const Subject& subject) {
  return subject.config.sharing == pt::Sharing::Exclusive && subject.config.coherent;
}

const int rows[] = {
    add_rows("collect_hot", rounds,
             with_row(hot, 0, [](auto& state, auto& s, Row& row) { collect(state, s, hot, row); }), is_plain),
    add_rows("collect_cold", cold_rounds,
             with_row(cold, 4, [](auto& state, auto& s, Row& row) { collect(state, s, cold, row); }), is_plain),
    add_rows("preserve_hot", rounds,
             with_row(hot, 0, [](auto& state, auto& s, Row& row) { preserve(state, s, by_page, hot, row); }), is_plain),
    add_rows("preserve_cold", cold_rounds,
             with_row(cold, 6, [](auto& state, auto& s, Row& row) { preserve(state, s, by_page, cold, row); }),
             is_plain),
    add_rows("restore_hot", cold_rounds,
             with_row(hot, 0,
                      [](auto& state, auto& s, Row& row) {
                        after_jump(state, s, by_page, hot, row, [](Crossed& crossed) { crossed.restore(); });
                      }),
             is_plain),
    add_rows("restore_cold", cold_rounds,
             with_row(cold, 2.5,
                      [](auto& state, auto& s, Row& row) {
                        after_jump(state, s, by_page, cold, row, [](Crossed& crossed) { crossed.restore(); });
                      }),
             is_plain),
    add_rows("restored_destroy_cold", cold_rounds,
             with_row(cold, 0,
                      [](auto& state, auto& s, Row& row) {
                        after_jump(state, s, by_page, cold, row, [](Crossed& crossed) { crossed.destroy(); });
                      }),
             is_plain),
    add_rows("destroy_hot", cold_rounds,
             with_row(hot, 0, [](auto& state, auto& s, Row& row) { destroy(state, s, by_page, hot, row); }), is_plain),
    add_rows("destroy_cold", cold_rounds,
             with_row(cold, 5, [](auto& state, auto& s, Row& row) { destroy(state, s, by_page, cold, row); }),
             is_plain),
    add_rows("arena_preserve", rounds,
             with_row(hot, 0, [](auto& state, auto& s, Row& row) { preserve(state, s, by_block, hot, row); }),
             is_plain),
    add_rows("arena_restored_destroy", cold_rounds,
             with_row(hot, 0,
                      [](auto& state, auto& s, Row& row) {
                        after_jump(state, s, by_block, hot, row, [](Crossed& crossed) { crossed.destroy(); });
                      }),
             is_plain),
    add_rows("arena_destroy", cold_rounds,
             with_row(hot, 0, [](auto& state, auto& s, Row& row) { destroy(state, s, by_block, hot, row); }), is_plain),
};

void textbook_collect(benchmark::State& state) {
  Memory& memory = Machine::get().memory();
  Textbook<Entries::Stored> table(memory);
  const u64 count = most_bytes / page_size_bytes;
  for (u64 i = 0; i < count; ++i) table.map(first_iova + (i << 21), 4096, first_address);
  Row row(state, x_name);
  for (auto _ : state) {
    std::size_t found = 0;
    row.round(count, [&] { found = table.collect().size(); }, count, [&] { exchange(count); });
    if (found < count) throw std::runtime_error("the textbook collected too few tables");
  }
}
BENCHMARK(textbook_collect)->Name("collect_hot/textbook")->Iterations(cold_rounds)->UseManualTime();

}  // namespace
}  // namespace holdfast::bench

// A live table under proof. Each operation is foretold by the model, carried out, and compared: the answer, the gather,
// and the whole tree as the naive walkers read it.
//
// Watch::EveryStep also looks before and after every store that the operation makes: hardware, walking at that moment,
// finds each address as it was or as it will be, never elsewhere, in the caches' view and in the flushed one. What is
// watched are the stores of the traced build, which writes runs of live items one by one. The plain build writes the
// same items with the kernels of base/word_kernels.hpp, which keep each item whole but promise no order: that no order
// matters is what looking after each single item shows.
//
// Threads: one. Failure: Disproved, with everything that was done.
#pragma once

#include <functional>
#include <stdexcept>
#include <string>

#include "holdfast/pt/test_support.hpp"
#include "tests/page_table_proofs/hardware.hpp"
#include "tests/page_table_proofs/leaf_model.hpp"

namespace page_table_proofs {

class Disproved final : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

enum class Watch : u8 { Results, EveryStep };
enum class Policy : u8 { Merging, NoGaps };
enum class Supply : u8 { Plenty, Starved };  // whether there is memory for tables

class ProvedTable final : private TopObserver, private GatherFlusher {
 public:
  ProvedTable(ProofMachine& machine, const Variant& variant, Watch watch);
  ~ProvedTable();
  ProvedTable(const ProvedTable&) = delete;
  ProvedTable& operator=(const ProvedTable&) = delete;

  void map(u64 iova, const std::vector<PhysRange>& runs, Prot prot, Policy policy = Policy::Merging,
           Supply supply = Supply::Plenty);
  void unmap(u64 iova, u64 length, Policy policy = Policy::Merging);
  void cut(u64 boundary, Policy policy = Policy::Merging, Supply supply = Supply::Plenty);
  enum class Bitmap : u8 { Wanted, None };
  void read_dirty(u64 first, u64 size_bytes, DirtyRead how, unsigned page_lg2, Bitmap bitmap,
                  Policy policy = Policy::Merging);
  /// One by one and all at once.
  void lookup(const std::vector<u64>& iovas);
  /// A device reads or writes there; nothing happens where it may not.
  void access(u64 iova, walk::Access access);
  /// Everything that would change the table is refused in between.
  void preserve();
  void unpreserve();
  /// The whole tree, in both views.
  void check() const;
  /// Destroys the table: nothing is left behind.
  void finish();

  /// Where a device writes before the n-th look, counted from 1; nothing: nowhere.
  using Writes = std::function<std::optional<u64>(u64 look)>;
  // Watched, and a device writes meanwhile: nothing of that is forgotten. Both answer how often it wrote.

  u64 cut_while_written(u64 boundary, const Writes& writes);
  u64 read_dirty_while_written(u64 first, u64 size_bytes, const Writes& writes);

  [[nodiscard]] const LeafModel& model() const { return x_model; }
  [[nodiscard]] const Configuration& of() const { return x_of; }
  [[nodiscard]] Table& table() { return *x_table; }
  [[nodiscard]] bool preserved() const { return x_preserved; }
  [[nodiscard]] const TableConfig& config() const { return x_config; }
  /// True when the tree may translate all of [first, last], now or after growing.
  [[nodiscard]] bool may_cover(u64 first, u64 last) const;
  /// How often the last operation was looked at; how often the top grew.
  [[nodiscard]] u64 steps() const { return x_steps; }
  [[nodiscard]] u64 growths() const { return x_growths; }

 private:
  [[noreturn]] void fail(const std::string& what) const;
  void require(bool good, const std::string& what) const {
    if (!good) fail(what);
  }
  /// What was done, to be told if something fails.
  struct Note {
    const char* what;
    std::array<u64, 6> numbers;
  };
  template <class... Numbers>
  void note(const char* what, Numbers... numbers) {
    x_log.push_back({what, {static_cast<u64>(numbers)...}});
  }
  [[nodiscard]] std::vector<walk::ReadWord> views() const;

  template <class F>
  auto watched(u64 first, u64 last, const LeafModel& after, F&& operation);
  /// What one walk found: it stands as long as the words that it read do.
  struct Finding {
    static constexpr std::size_t most = 6;
    u64 first = 0;
    u64 last = 0;
    std::size_t count = 0;
    std::array<std::pair<PhysAddr, u64>, most> words{};
  };
  void look();
  [[nodiscard]] std::vector<Finding> look_through(const walk::ReadWord& read, u64 first, u64 last) const;
  [[nodiscard]] Finding look_at(const walk::ReadWord& read, u64 at, u64 last) const;
  [[nodiscard]] std::vector<Finding> look_again(const walk::ReadWord& read, const std::vector<Finding>& before) const;
  void widen(u64& first, u64& last, const LeafModel& with) const;

  [[nodiscard]] Code map_code(u64 iova, std::span<const PhysRange> runs, Prot prot, u64 total) const;
  [[nodiscard]] unsigned levels_after(u64 iova, u64 last, std::span<const PhysRange> runs) const;
  [[nodiscard]] LeafModel after_cut(u64 boundary) const;
  [[nodiscard]] std::vector<u64> dirty_words(u64 first, u64 size_bytes, u64 bitmap_first, unsigned page_lg2) const;
  void settle(Gather& gather, Policy policy, const LeafModel& after);
  void check_ranges(const Gather& gather, Policy policy, const LeafModel& after) const;
  void check_view(const walk::ReadWord& read) const;
  void adopt_dirty_bits();
  std::vector<u64> x_written;  // during the operation
  void write_before_looks(const Writes& writes);

  void top_changed(PhysAddr top, unsigned levels) override;
  void flush(const Gather& gather) override;

  ProofMachine& x_machine;
  const Configuration& x_of;
  TableConfig x_config;
  Watch x_watch;
  std::array<u64, max_order + 1> x_free_before{};
  Table* x_table = nullptr;
  HardwareTop x_top;
  LeafModel x_model;
  std::vector<IovaRange> x_flushed;  // by a full gather
  SetSink x_sink;
  bool x_preserved = false;
  std::vector<Note> x_log;

  // While an operation is watched.
  const LeafModel* x_after = nullptr;
  u64 x_first = 0;
  u64 x_last = 0;
  u64 x_steps = 0;
  u64 x_growths = 0;
  std::function<void()> x_before_look;
  std::vector<std::vector<Finding>> x_found;  // by view; empty before the first look
  std::string x_failure;                      // found inside the library, which nothing may be thrown through
};

/// What finding a page table's pages takes: every page that a full walk reads.
[[nodiscard]] std::vector<PhysAddr> pages_read(const Configuration& of, const TableConfig& config,
                                               const walk::ReadWord& read, const HardwareTop& top);

}  // namespace page_table_proofs

// A kernel with guest memory and one table that maps it, of any configuration; everything preserved; then the next
// kernel, which finds the table.
//
// Failure: GoogleTest's, and exceptions where nothing can go on. Threads: one.
#pragma once

#include "holdfast/pt/restored_table.hpp"
#include "holdfast/pt/test_support.hpp"
#include "tests/page_tables/scene.hpp"

namespace page_tables {

enum class Filling : u8 {
  Empty,       // the top alone
  OnePage,     // one table at each level
  Everything,  // every size that memory has room for, in every half, at both ends; empty tables left over
};
inline constexpr Filling all_fillings[] = {Filling::Empty, Filling::OnePage, Filling::Everything};

/// Counts what it restores.
class CountingRestorer final : public BlockRestorer {
 public:
  explicit CountingRestorer(Memory& memory) : x_memory(memory) {}
  Result<Block> restore(PhysAddr start) override {
    const auto block = x_memory.frames.take_incoming(start);
    if (block.ok()) pages += u64{1} << block->order;
    return block;
  }
  u64 pages = 0;

 private:
  Memory& x_memory;
};

class Handover {
 public:
  static constexpr u64 ram_bytes = u64{8} << 20;

  Handover(const Variant& variant, Filling filling);
  /// A table of one smallest page at @p iova.
  Handover(const Variant& variant, Iova iova);
  ~Handover();

  /// The next kernel: all that was not handed over is overwritten, the old table's own object included.
  void jump();
  /// The table as the next kernel takes it up, from @p saved and @p blocks as they stand.
  RestoredTable& restore();
  /// What the reader of a verified table must find.
  [[nodiscard]] const Model& model() const { return scene.model; }
  [[nodiscard]] u64* words(PhysAddr page) { return next->memory.map.at<u64>(page); }
  [[nodiscard]] u64 words_of(unsigned level) const { return (page_size_bytes << orders[level]) / 8; }
  /// Takes back what a verification stamped, as a new boot would.
  void remove_stamps();
  [[nodiscard]] bool is_guest(u64 address) const;

  Scene scene;
  SetSink sink;
  std::vector<PhysRange> guest;
  SetSink guest_blocks;  // those of the guest alone
  SavedTable saved;
  std::vector<Block> blocks;
  std::map<u64, unsigned> tables;  // page -> level
  std::vector<unsigned> orders;    // of a table, by level
  Walked walked;                   // in the old kernel
  std::unique_ptr<NextKernel> next;

 private:
  explicit Handover(const Variant& variant);
  void take_guest_memory();
  void preserve();
  void fill(Filling filling);
  void fill_span(const Span& span);
};

/// The same leaves, read in the next kernel.
[[nodiscard]] Model read_all(const Reader& reader);

}  // namespace page_tables

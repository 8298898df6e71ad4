// Tables from the previous kernel. See restored_table.hpp.
#include "holdfast/pt/restored_table.hpp"

#include <algorithm>
#include <array>

#include "holdfast/pt/formats.hpp"
#include "holdfast/pt/stamp.hpp"
#include "holdfast/pt/walk.hpp"

namespace holdfast::pt {

Found TreeReader::find(Iova iova) const {
  const Tree tree = tree_of(x_saved);
  if (!tree.covers(iova.value, iova.value)) return Found::nothing(Code::OutOfRange);
  Found found = Found::nothing(Code::NotFound);
  MUST(with_format(x_format,
                   [&]<class F>() {
                     found = find_leaf<F>(tree, iova, FollowStamped{*x_memory, x_generation});
                     return Status();
                   }),
       "the format of a verified table is known");
  return found;
}

Visit TreeReader::visit_leaves(LeafVisitor& visitor) const {
  Visit answer = Visit::Continue;
  MUST(with_format(x_format,
                   [&]<class F>() {
                     answer = pt::visit_leaves<F>(tree_of(x_saved), visitor, FollowStamped{*x_memory, x_generation});
                     return Status();
                   }),
       "the format of a verified table is known");
  return answer;
}

RestoredTable::RestoredTable(Memory& memory, Format format, const SavedTable& saved, TableMode mode)
    : x_memory(memory), x_format(format), x_mode(mode), x_saved(saved), x_blocks(memory.heap) {}

Result<RestoredTable*> RestoredTable::create(Memory& memory, Format format, const SavedTable& saved, TableMode mode,
                                             std::span<const Block> blocks) {
  if ((mode == TableMode::Arena) == blocks.empty()) return Code::Invalid;
  TRY_ASSIGN(auto* table, memory.heap.create<RestoredTable>(memory, format, saved, mode));
  Status status = table->x_blocks.reserve(blocks.size());
  for (const Block& block : blocks)
    if (status.ok()) status = table->x_blocks.push_back(block);
  if (status.ok()) {
    std::sort(table->x_blocks.begin(), table->x_blocks.end(),
              [](const Block& a, const Block& b) { return a.start < b.start; });
    if (!blocks_are_incoming(memory.frames, table->blocks())) status = Code::Corrupt;
  }
  if (status.ok()) return table;
  memory.heap.destroy(table);
  return status.error();
}

void RestoredTable::forget(RestoredTable* table) {
  if (table != nullptr) table->x_memory.heap.destroy(table);
}

Status RestoredTable::verify(VerifyReport& report) {
  if (verified()) return Code::Busy;
  if (x_mode == TableMode::Arena)
    TRY(pt::verify(x_memory, x_format, x_saved, ArenaOwner(x_memory.frames, blocks()), report));
  else
    TRY(pt::verify(x_memory, x_format, x_saved, PageOwner(x_memory.frames), report));
  x_generation = report.generation;
  return {};
}

Result<TreeReader> RestoredTable::reader() const {
  if (!verified()) return Code::NotSupported;
  return TreeReader(x_memory, x_format, x_saved, x_generation);
}

/// Page mode: every stamped table but the top, children first, so that the visitor may free them.
Visit RestoredTable::visit_lower_tables(TableVisitor& visitor) const {
  Visit answer = Visit::Continue;
  MUST(with_format(x_format,
                   [&]<class F>() {
                     answer = pt::visit_lower_tables<F, Order::ChildrenFirst>(tree_of(x_saved), visitor,
                                                                              FollowStamped{x_memory, x_generation});
                     return Status();
                   }),
       "the format of a verified table is known");
  return answer;
}

Block RestoredTable::top_block() const {
  unsigned order = 0;
  MUST(with_format(x_format,
                   [&]<class F>() {
                     order = order_at<F>(tree_of(x_saved), x_saved.top_level);
                     return Status();
                   }),
       "the format of a verified table is known");
  return {x_saved.top, order};
}

unsigned RestoredTable::lower_order() const {
  unsigned order = 0;
  MUST(with_format(x_format, [&]<class F>() { return order = table_order<F>, Status(); }),
       "the format of a verified table is known");
  return order;
}

namespace {

/// Restores a block and gives it to the allocator. Corrupt when somebody else has it.
Status free_block(Memory& memory, BlockRestorer& restorer, PhysAddr start) {
  const auto block = restorer.restore(start);
  if (!block.ok()) return Code::Corrupt;
  memory.buddy.release(block->start, block->order);
  return {};
}

}  // namespace

Status RestoredTable::free_pages(BlockRestorer& restorer) {
  Status status;
  if (x_mode == TableMode::Arena) {
    for (const Block& block : x_blocks)
      if (!free_block(x_memory, restorer, block.start).ok()) status = Code::Corrupt;
    return status;
  }
  struct Free final : TableVisitor {
    Free(Memory& of, u32 verified_as, BlockRestorer& from, unsigned order)
        : x_memory(of), x_generation(verified_as), x_restorer(from), x_order(order) {}
    Visit tables(std::span<const PhysAddr> pages, unsigned level) override {
      std::array<PhysAddr, max_batch> batch;
      const auto end = std::copy_if(pages.begin(), pages.end(), batch.begin(), [&](PhysAddr page) {
        return is_stamped(x_memory.frames, page, x_generation, level);
      });
      std::span<const PhysAddr> ours(batch.begin(), end);
      if (ours.size() != pages.size()) status = Code::Corrupt;
      while (!ours.empty()) {
        const std::size_t restored = x_restorer.restore(ours, x_order);
        x_memory.buddy.release(ours.first(restored), x_order);
        if (restored == ours.size()) break;
        status = Code::Corrupt;  // somebody else has the next one
        ours = ours.subspan(restored + 1);
      }
      return Visit::Continue;
    }
    Memory& x_memory;
    u32 x_generation;
    BlockRestorer& x_restorer;
    unsigned x_order;
    Status status;
  } freeing(x_memory, x_generation, restorer, lower_order());
  visit_lower_tables(freeing);
  const bool top_is_ours = is_stamped(x_memory.frames, x_saved.top, x_generation, x_saved.top_level);
  if (!top_is_ours || !free_block(x_memory, restorer, x_saved.top).ok()) return Code::Corrupt;
  return freeing.status;
}

Status RestoredTable::destroy(RestoredTable* table, BlockRestorer& restorer) {
  if (table == nullptr) return {};
  if (table->x_mode == TableMode::Page && !table->verified()) return Code::NotSupported;
  const Status status = table->free_pages(restorer);
  forget(table);
  return status;
}

Result<SavedTable> RestoredTable::pass_on(BlockSink& sink) {
  if (x_mode == TableMode::Page) {
    TRY(preserve_pages(sink));
    return x_saved;
  }
  for (std::size_t i = 0; i < x_blocks.size(); ++i) {
    const Status status = sink.preserve(x_blocks[i]);
    if (status.ok()) continue;
    while (i-- != 0) sink.unpreserve(x_blocks[i]);
    return status.error();
  }
  return x_saved;
}

Status RestoredTable::preserve_pages(BlockSink& sink) {
  if (!verified()) return Code::NotSupported;
  TRY(sink.preserve(top_block()));
  struct Preserve final : TableVisitor {
    Preserve(BlockSink& set, unsigned order) : x_set(set), x_order(order) {}
    Visit tables(std::span<const PhysAddr> pages, unsigned) override {
      status = x_set.preserve(pages, x_order);
      return status.ok() ? Visit::Continue : Visit::Stop;
    }
    BlockSink& x_set;
    unsigned x_order;
    Status status;
  } preserve(sink, lower_order());
  if (visit_lower_tables(preserve) == Visit::Stop) cancel_pass_on(sink);
  return preserve.status;
}

void RestoredTable::cancel_pass_on(BlockSink& sink) {
  if (x_mode == TableMode::Arena) {
    for (const Block& block : x_blocks) sink.unpreserve(block);
    return;
  }
  struct Unpreserve final : TableVisitor {
    Unpreserve(BlockSink& set, unsigned order) : x_set(set), x_order(order) {}
    Visit tables(std::span<const PhysAddr> pages, unsigned) override {
      return x_set.unpreserve(pages, x_order), Visit::Continue;
    }
    BlockSink& x_set;
    unsigned x_order;
  } unpreserve(sink, lower_order());
  visit_lower_tables(unpreserve);
  sink.unpreserve(top_block());
}

}  // namespace holdfast::pt

// Tables from the previous kernel. See restored_table.hpp.
#include "holdfast/pt/restored_table.hpp"

#include <algorithm>

#include "holdfast/pt/formats.hpp"
#include "holdfast/pt/stamp.hpp"
#include "holdfast/pt/walk.hpp"

namespace holdfast::pt {

Result<Translation> TreeReader::lookup(Iova iova) const {
  if (iova.value >> x_saved.iova_bits != 0) return Code::OutOfRange;
  return with_format(x_format, [&]<class F>() {
    return find_leaf<F>(x_saved.top, x_saved.top_level, iova.value, FollowStamped{*x_memory, x_generation});
  });
}

Visit TreeReader::visit_leaves(LeafVisitor& visitor) const {
  Visit answer = Visit::Continue;
  MUST(with_format(x_format,
                   [&]<class F>() {
                     answer = visit_leaves_below<F>(x_saved.top, x_saved.top_level, 0, visitor,
                                                    FollowStamped{*x_memory, x_generation});
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

/// Page mode: every stamped table, children first, so that the visitor may free them.
Visit RestoredTable::visit_tables_post_order(TableVisitor& visitor) const {
  Visit answer = Visit::Continue;
  MUST(with_format(x_format,
                   [&]<class F>() {
                     answer = visit_tables_below<F, Order::ChildrenFirst>(x_saved.top, x_saved.top_level, visitor,
                                                                          FollowStamped{x_memory, x_generation});
                     return Status();
                   }),
       "the format of a verified table is known");
  return answer;
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
  struct Free final : TableVisitor {
    Free(Memory& of, u32 verified_as, BlockRestorer& from)
        : x_memory(of), x_generation(verified_as), x_restorer(from) {}
    Visit table(PhysAddr page, unsigned level) override {
      const bool ours = is_stamped(x_memory.frames, page, x_generation, level);
      if (!ours || !free_block(x_memory, x_restorer, page).ok()) status = Code::Corrupt;
      return Visit::Continue;
    }
    Memory& x_memory;
    u32 x_generation;
    BlockRestorer& x_restorer;
    Status status;
  } freeing(x_memory, x_generation, restorer);
  if (x_mode == TableMode::Page) {
    visit_tables_post_order(freeing);
    return freeing.status;
  }
  Status status;
  for (const Block& block : x_blocks)
    if (!free_block(x_memory, restorer, block.start).ok()) status = Code::Corrupt;
  return status;
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
    if (!verified()) return Code::NotSupported;
    struct Preserve final : TableVisitor {
      explicit Preserve(BlockSink& set) : x_set(set) {}
      Visit table(PhysAddr page, unsigned) override {
        status = x_set.preserve({page, 0});
        return status.ok() ? Visit::Continue : Visit::Stop;
      }
      BlockSink& x_set;
      Status status;
    } preserve(sink);
    if (visit_tables_post_order(preserve) == Visit::Continue) return x_saved;
    cancel_pass_on(sink);
    return preserve.status.error();
  }
  for (std::size_t i = 0; i < x_blocks.size(); ++i) {
    const Status status = sink.preserve(x_blocks[i]);
    if (status.ok()) continue;
    while (i-- != 0) sink.unpreserve(x_blocks[i]);
    return status.error();
  }
  return x_saved;
}

void RestoredTable::cancel_pass_on(BlockSink& sink) {
  if (x_mode == TableMode::Page) {
    struct Unpreserve final : TableVisitor {
      explicit Unpreserve(BlockSink& set) : x_set(set) {}
      Visit table(PhysAddr page, unsigned) override { return x_set.unpreserve({page, 0}), Visit::Continue; }
      BlockSink& x_set;
    } unpreserve(sink);
    visit_tables_post_order(unpreserve);
    return;
  }
  for (const Block& block : x_blocks) sink.unpreserve(block);
}

}  // namespace holdfast::pt

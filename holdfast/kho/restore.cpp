// The incoming side of Handover: claiming what the previous kernel preserved, and restoring each block exactly once.
#include "holdfast/base/text_line.hpp"
#include "holdfast/kho/block_cut.hpp"
#include "holdfast/kho/handover.hpp"

namespace holdfast::kho {

namespace {

/// "KHO: <what> 0x<address>"
void report_at(World& world, LogLevel level, std::string_view what, PhysAddr address) {
  TextLine line;
  world.log(level, line.text("KHO: ").text(what).text(" 0x").hex(address.value).view());
}

}  // namespace

Status Handover::claim_incoming(const IncomingMap& incoming) {
  Guard guard(x_mutex);
  Code bad = Code::Ok;
  const auto report = [&](std::string_view what, PhysAddr at) {
    bad = Code::Corrupt;
    report_at(x_memory.world, LogLevel::Error, what, at);
  };
  const auto keep = [&](PhysAddr page) {
    x_memory.touches.frame();
    if (!x_memory.mark_kept(page).ok()) report("a page of the incoming map is not memory of its own:", page);
  };
  x_holds_incoming_map = true;
  keep(incoming.root_fdt());
  // Linux lets the array stand in scratch, from where it was copied already.
  const PhysAddr array_page(align_down(incoming.scratch_array().value, page_size_bytes));
  const bool keeps_array = !incoming.is_in_scratch({array_page, page_size_bytes});
  if (keeps_array) keep(array_page);
  if (!incoming.for_each_node(keep).ok()) report("the incoming map has bad nodes, root", incoming.radix_root());
  const Status walked = incoming.walk([&](Block block) {
    const bool is_own_page =
        block.order == 0 && (block.start == incoming.root_fdt() || (keeps_array && block.start == array_page));
    if (is_own_page) return;
    x_memory.touches.block();
    if (!x_memory.mark_incoming(block).ok()) report("a preserved block overlaps something else:", block.start);
  });
  if (!walked.ok()) report("the incoming map names blocks that cannot be, root", incoming.radix_root());
  return bad;
}

Result<Block> Handover::restore(PhysAddr head) {
  might_sleep(x_memory.world);
  Guard guard(x_mutex);
  const auto block = x_memory.frames.take_incoming(head);
  if (!block.ok()) report_at(x_memory.world, LogLevel::Warning, "nothing to restore at", head);
  return block;
}

std::size_t Handover::restore_each(std::span<const PhysAddr> starts, unsigned order) {
  might_sleep(x_memory.world);
  Guard guard(x_mutex);
  const std::size_t restored = x_memory.frames.take_incoming(starts, order);
  if (restored != starts.size())
    report_at(x_memory.world, LogLevel::Warning, "nothing to restore at", starts[restored]);
  return restored;
}

bool Handover::is_incoming_block(Block block) const {
  const Frame* frame = x_memory.frames.find(block.start);
  return frame != nullptr && block.start.is_aligned(page_size_bytes) && frame->state == FrameState::Incoming &&
         frame->order == block.order;
}

Result<PhysAddr> Handover::restore_range(PhysRange range) {
  might_sleep(x_memory.world);
  if (!is_page_range(range)) return Code::Invalid;
  Guard guard(x_mutex);
  const PhysRange found = cut_while(range, [&](Block block) { return is_incoming_block(block); });
  if (found != range) {
    report_at(x_memory.world, LogLevel::Warning, "nothing to restore at", found.start + found.size_bytes);
    return Code::NotFound;
  }
  cut(range, [&](Block block) {
    MUST(x_memory.frames.take_incoming(block.start), "an incoming block, just looked at, can be restored");
  });
  return range.start;
}

void Handover::restore_free(PhysAddr head) {
  if (const auto block = restore(head); block.ok()) x_memory.buddy.release(block->start, block->order);
}

void Handover::restore_free_range(PhysRange range) {
  if (!restore_range(range).ok()) return;
  cut(range, [&](Block block) { x_memory.buddy.release(block.start, block.order); });
}

bool Handover::is_incoming(Block block) const {
  Guard guard(x_mutex);
  return is_incoming_block(block);
}

bool Handover::is_incoming_range(PhysRange range) const {
  const auto last = checked_last(range.start.value, range.size_bytes);
  if (!last) return false;
  Guard guard(x_mutex);
  for (u64 at = range.start.value;;) {
    const auto block = x_memory.frames.find_incoming(PhysAddr(at));
    if (!block) return false;
    const u64 block_last = block->start.value + (block->size_bytes() - 1);
    if (block_last >= *last) return true;
    at = block_last + 1;
  }
}

void Handover::for_each_unrestored(const Visitor<Block>& visit) const {
  Guard guard(x_mutex);
  for (u64 pfn = 0; pfn < x_memory.frames.count(); ++pfn) {
    const PhysAddr address = Pfn(pfn).address();
    if (const Frame& frame = x_memory.frames.at(address); frame.state == FrameState::Incoming)
      visit(Block{address, frame.order});
  }
}

u64 Handover::reclaim_unrestored() {
  might_sleep(x_memory.world);
  Guard guard(x_mutex);
  u64 reclaimed = 0;
  for (u64 pfn = 0; pfn < x_memory.frames.count(); ++pfn) {
    const PhysAddr address = Pfn(pfn).address();
    if (x_memory.frames.at(address).state != FrameState::Incoming) continue;
    MUST(x_memory.release_incoming(address), "the head of an incoming block can be released");
    ++reclaimed;
  }
  return reclaimed;
}

void Handover::release_incoming_map() {
  might_sleep(x_memory.world);
  Guard guard(x_mutex);
  if (!x_holds_incoming_map) return;
  x_holds_incoming_map = false;
  for (u64 pfn = 0; pfn < x_memory.frames.count(); ++pfn) {
    const PhysAddr address = Pfn(pfn).address();
    if (x_memory.frames.at(address).state == FrameState::Kept) x_memory.release_kept(address);
  }
}

}  // namespace holdfast::kho

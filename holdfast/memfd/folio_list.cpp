#include "holdfast/memfd/folio_list.hpp"

namespace holdfast::memfd {
namespace {

constexpr u64 pages_per_chunk = 511;

/// Fills one page of the list; its address becomes entry @p index of the whole chain.
Status add_page(Memory& memory, kho::Handover& handover, VmallocDescriptor& list, PhysAddr& last_chunk,
                std::span<const Extent> extents) {
  const u64 slot = list.total_pages % pages_per_chunk;
  TRY_ASSIGN(const PhysAddr page, handover.alloc_preserve(page_size_bytes));
  if (slot == 0) {
    auto chunk = handover.alloc_preserve(page_size_bytes);
    if (!chunk.ok()) {
      handover.unpreserve_free(page, page_size_bytes);
      return chunk.code();
    }
    if (list.first == 0)
      list.first = chunk->value;
    else
      memory.map.at<VmallocChunk>(last_chunk)->next = chunk->value;
    last_chunk = *chunk;
  }
  memory.map.at<VmallocChunk>(last_chunk)->pages[slot] = page.value;
  ++list.total_pages;
  auto* folios = memory.map.at<Folio>(page);
  for (const Extent& extent : extents)
    *folios++ = {Pfn(extent.start).value | Folio::dirty | Folio::up_to_date, extent.first_page};
  return {};
}

/// A page-aligned block that the previous kernel preserved with exactly this order.
bool is_incoming(const Memory& memory, u64 address, u32 order) {
  const auto block = memory.frames.find_incoming(PhysAddr(address));
  return block && *block == Block{PhysAddr(address), order};
}

struct ListShape {
  u64 blocks = 0;
  u64 chunks = 0;
};

Result<ListShape> shape_of(const VmallocDescriptor& list) {
  const u32 known_flags = abi::memfd::vmalloc_alloc | abi::memfd::vmalloc_huge_vmap;
  if ((list.flags & ~known_flags) != 0 || list.order > max_order) return Code::Corrupt;
  if (list.total_pages % (u64{1} << list.order) != 0) return Code::Corrupt;
  const u64 blocks = list.total_pages >> list.order;
  if ((blocks == 0) != (list.first == 0)) return Code::Corrupt;
  return ListShape{blocks, div_ceil(blocks, pages_per_chunk)};
}

/// @p chunk_visit(PhysAddr) and @p block_visit(Block, u64 index) -> Status, in order, after each was checked.
template <class ChunkVisit, class BlockVisit>
Status walk(Memory& memory, const VmallocDescriptor& list, ChunkVisit&& chunk_visit, BlockVisit&& block_visit) {
  TRY_ASSIGN(const ListShape shape, shape_of(list));
  u64 next = list.first;
  u64 index = 0;
  for (u64 i = 0; i < shape.chunks; ++i) {
    if (!is_incoming(memory, next, 0)) return Code::Corrupt;
    const auto* chunk = memory.map.at<VmallocChunk>(PhysAddr(next));
    const PhysAddr here(next);
    next = chunk->next;
    for (u64 slot = 0; slot < pages_per_chunk && index < shape.blocks; ++slot, ++index) {
      if (!is_incoming(memory, chunk->pages[slot], list.order)) return Code::Corrupt;
      TRY(block_visit(Block{PhysAddr(chunk->pages[slot]), list.order}, index));
    }
    chunk_visit(here);
  }
  return next == 0 ? Status() : Code::Corrupt;
}

}  // namespace

Result<VmallocDescriptor> write_folio_list(Memory& memory, kho::Handover& handover, std::span<const Extent> extents) {
  VmallocDescriptor list{.first = 0, .total_pages = 0, .flags = abi::memfd::vmalloc_alloc, .order = 0};
  PhysAddr last_chunk;
  while (!extents.empty()) {
    const u64 here = std::min<u64>(extents.size(), abi::memfd::folios_per_page);
    const Status status = add_page(memory, handover, list, last_chunk, extents.first(here));
    if (!status.ok()) {
      free_folio_list(memory, handover, list);
      return status.code();
    }
    extents = extents.subspan(here);
  }
  return list;
}

void free_folio_list(Memory& memory, kho::Handover& handover, const VmallocDescriptor& list) {
  u64 left = list.total_pages;
  for (u64 at = list.first; at != 0;) {
    const auto* chunk = memory.map.at<VmallocChunk>(PhysAddr(at));
    const u64 next = chunk->next;
    for (u64 slot = 0; slot < pages_per_chunk && left != 0; ++slot, --left)
      handover.unpreserve_free(PhysAddr(chunk->pages[slot]), page_size_bytes);
    handover.unpreserve_free(PhysAddr(at), page_size_bytes);
    at = next;
  }
}

Status read_folio_list(Memory& memory, const VmallocDescriptor& list, u64 count, Vec<Folio>& to) {
  if (count > memory.frames.count()) return Code::Corrupt;
  const u64 folios_per_block = abi::memfd::folios_per_page << std::min<u32>(list.order, max_order);
  TRY_ASSIGN(const ListShape shape, shape_of(list));
  if (shape.blocks != div_ceil(count, folios_per_block)) return Code::Corrupt;
  TRY(to.reserve(count));
  return walk(
      memory, list, [](PhysAddr) {},
      [&](Block block, u64 index) -> Status {
        const auto* folios = memory.map.at<Folio>(block.start);
        const u64 here = std::min(count - index * folios_per_block, folios_per_block);
        for (u64 i = 0; i < here; ++i) TRY(to.push_back(folios[i]));
        return {};
      });
}

Status for_each_list_block(Memory& memory, const VmallocDescriptor& list, kho::Visitor<Block> visit) {
  return walk(
      memory, list, [&](PhysAddr chunk) { visit(Block{chunk, 0}); },
      [&](Block block, u64) -> Status { return visit(block), Status(); });
}

}  // namespace holdfast::memfd

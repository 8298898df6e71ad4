// A growing array of records in preserved memory: see record_block.hpp for the contract.
#include "holdfast/luo/record_block.hpp"

#include <cstring>

namespace holdfast::luo {

Status RecordBlock::make_room(u64 count) {
  verify_invariant(x_next == PhysAddr{}, "make_room() without commit() or cancel()");
  if (count <= capacity()) return {};
  u32 order = x_shape.first_order;
  while (order < x_shape.last_order && x_shape.capacity(order) < count) ++order;
  if (x_shape.capacity(order) < count) return Code::NoSpace;
  TRY_ASSIGN(x_next, x_handover.alloc_preserve(page_size_bytes << order));
  x_next_order = order;
  return {};
}

void RecordBlock::commit() {
  if (x_next == PhysAddr{}) return;
  const PhysAddr next = x_next;
  x_next = {};
  if (exists()) std::memcpy(x_memory.map.bytes(next), x_memory.map.bytes(x_address), page_size_bytes << x_order);
  replace(next, x_next_order);
}

void RecordBlock::cancel() {
  if (x_next != PhysAddr{}) x_handover.unpreserve_free(x_next, page_size_bytes << x_next_order);
  x_next = {};
}

void RecordBlock::shrink(u64 count) {
  if (!exists()) return;
  u32 order = x_shape.first_order;
  while (x_shape.capacity(order) < count) ++order;
  if (order >= x_order) return;
  const auto smaller = x_handover.alloc_preserve(page_size_bytes << order);
  if (!smaller.ok()) return;  // the larger one serves as well
  std::memcpy(x_memory.map.bytes(*smaller), x_memory.map.bytes(x_address),
              x_shape.header_bytes + count * x_shape.record_bytes);
  replace(*smaller, order);
}

void RecordBlock::free() {
  cancel();
  if (exists()) x_handover.unpreserve_free(x_address, page_size_bytes << x_order);
  x_address = {};
}

void RecordBlock::replace(PhysAddr address, u32 order) {
  if (exists()) x_handover.unpreserve_free(x_address, page_size_bytes << x_order);
  x_address = address;
  x_order = order;
}

}  // namespace holdfast::luo

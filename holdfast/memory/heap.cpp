// Object heap. See heap.hpp.
//
// A slab is a naturally aligned buddy block; its header takes the first slots. The slab of an object is therefore found
// from the object's address and size alone.
#include "holdfast/memory/heap.hpp"

#include <cstring>

#include "holdfast/base/checked.hpp"

namespace holdfast {

struct Heap::Slab {
  Slab* next;
  Slab* prev;
  u32 used;  // objects, header slots not counted
  u32 slot_lg2;
  std::array<u64, 4> taken;  // bit n: slot n is taken or does not exist
};

namespace {

constexpr int poison = 0x5a;
constexpr std::size_t header_bytes = 64;

constexpr unsigned slab_order(unsigned slot_lg2) { return slot_lg2 <= 8 ? 0 : slot_lg2 - 8; }
constexpr u32 slot_count(unsigned slot_lg2) {
  return static_cast<u32>((page_size_bytes << slab_order(slot_lg2)) >> slot_lg2);
}
constexpr u32 header_slots(unsigned slot_lg2) {
  return static_cast<u32>(div_ceil(header_bytes, std::size_t{1} << slot_lg2));
}

constexpr unsigned slot_lg2_for(std::size_t size, std::size_t align, unsigned smallest) {
  return std::max(static_cast<unsigned>(std::bit_width(std::max(size, align) - 1)), smallest);
}

}  // namespace

Heap::Heap(World& world, const DirectMap& map, Buddy& buddy)
    : x_world(world), x_map(map), x_buddy(buddy), x_lock(world, LockRank::Allocator) {
  static_assert(sizeof(Slab) <= header_bytes);
  static_assert(slot_count(min_slot_lg2) <= 256);
}

void Heap::account(u64 size) {
  ++x_live_objects;
  x_live_bytes += size;
}

Result<void*> Heap::allocate(std::size_t size, std::size_t align) {
  if (size == 0) return Code::Invalid;
  if (size > page_size_bytes << max_order) return Code::TooBig;
  verify_invariant(is_power_of_two(align) && align <= page_size_bytes, "alignment the heap cannot give");
  if constexpr (traced)
    if (!x_world.may_allocate()) return Code::NoMemory;
  const unsigned slot_lg2 = slot_lg2_for(size, align, min_slot_lg2);
  void* memory = nullptr;
  if (slot_lg2 <= max_slot_lg2) {
    TRY_ASSIGN(memory, allocate_slot(slot_lg2));
  } else {
    TRY_ASSIGN(const PhysAddr block, x_buddy.allocate(order_for(size)));
    memory = x_map.bytes(block);
  }
  const Guard guard(x_lock);
  account(size);
  return memory;
}

void Heap::release(void* pointer, std::size_t size, std::size_t align) {
  const unsigned slot_lg2 = slot_lg2_for(size, align, min_slot_lg2);
  if (slot_lg2 <= max_slot_lg2)
    release_slot(pointer, slot_lg2);
  else
    x_buddy.release(x_map.phys(pointer), order_for(size));
  const Guard guard(x_lock);
  --x_live_objects;
  x_live_bytes -= size;
}

void Heap::push(Slab* slab, unsigned slot_lg2) {
  Slab*& head = x_partial[slot_lg2];
  slab->prev = nullptr;
  slab->next = head;
  if (head != nullptr) head->prev = slab;
  head = slab;
}

void Heap::unlink(Slab* slab, unsigned slot_lg2) {
  (slab->prev != nullptr ? slab->prev->next : x_partial[slot_lg2]) = slab->next;
  if (slab->next != nullptr) slab->next->prev = slab->prev;
}

void* Heap::take_slot(Slab* slab, unsigned slot_lg2) {
  for (u32 word = 0; word < slab->taken.size(); ++word) {
    if (slab->taken[word] == ~u64{0}) continue;
    const auto bit = static_cast<u32>(std::countr_one(slab->taken[word]));
    slab->taken[word] |= u64{1} << bit;
    ++slab->used;
    return reinterpret_cast<std::byte*>(slab) + (std::size_t{word * 64 + bit} << slot_lg2);
  }
  panic("a full slab was listed as partial");
}

Result<void*> Heap::allocate_slot(unsigned slot_lg2) {
  const u32 capacity = slot_count(slot_lg2) - header_slots(slot_lg2);
  {
    const Guard guard(x_lock);
    if (Slab* slab = x_partial[slot_lg2]; slab != nullptr) {
      void* memory = take_slot(slab, slot_lg2);
      if (slab->used == capacity) unlink(slab, slot_lg2);
      return memory;
    }
  }
  TRY_ASSIGN(const PhysAddr block, x_buddy.allocate(slab_order(slot_lg2)));
  auto* slab =
      ::new (x_map.bytes(block)) Slab{.next = nullptr, .prev = nullptr, .used = 0, .slot_lg2 = slot_lg2, .taken = {}};
  for (u32 slot = 0; slot < 256; ++slot)
    if (slot < header_slots(slot_lg2) || slot >= slot_count(slot_lg2)) slab->taken[slot / 64] |= u64{1} << (slot % 64);
  void* memory = take_slot(slab, slot_lg2);
  const Guard guard(x_lock);
  if (slab->used != capacity) push(slab, slot_lg2);
  return memory;
}

void Heap::release_slot(void* pointer, unsigned slot_lg2) {
  const u32 capacity = slot_count(slot_lg2) - header_slots(slot_lg2);
  const PhysAddr address = x_map.phys(pointer);
  const PhysAddr block(align_down(address.value, page_size_bytes << slab_order(slot_lg2)));
  auto* slab = x_map.at<Slab>(block);
  const u64 offset = address - block;
  const u64 slot = offset >> slot_lg2;
  {
    const Guard guard(x_lock);
    verify_invariant(slab->slot_lg2 == slot_lg2 && slot >= header_slots(slot_lg2) &&
                         address.is_aligned(u64{1} << slot_lg2) && (slab->taken[slot / 64] >> (slot % 64) & 1) != 0,
                     "released what is not a live object of that size");
    if constexpr (traced) std::memset(pointer, poison, std::size_t{1} << slot_lg2);
    slab->taken[slot / 64] &= ~(u64{1} << (slot % 64));
    if (slab->used-- == capacity) push(slab, slot_lg2);
    if (slab->used != 0) return;
    unlink(slab, slot_lg2);
  }
  x_buddy.release(block, slab_order(slot_lg2));
}

u64 Heap::live_objects() const {
  const Guard guard(x_lock);
  return x_live_objects;
}

u64 Heap::live_bytes() const {
  const Guard guard(x_lock);
  return x_live_bytes;
}

}  // namespace holdfast

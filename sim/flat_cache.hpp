// A hash table from u64 tags to small values: the storage of the unit's modelled caches.
//
// Open addressing, linear probing, at most half full. Entries are dropped by erase_if, clear, or when the table grows
// and the caller's keep() says that an entry is dead. The tag ~0 cannot be stored.
#pragma once

#include <vector>

#include "holdfast/base/types.hpp"

namespace sim {

using namespace holdfast;  // NOLINT

template <class Value>
class FlatCache {
 public:
  FlatCache() : x_slots(initial_slots) {}

  [[nodiscard]] const Value* find(u64 tag) const {
    for (std::size_t at = start(tag);; at = (at + 1) & (x_slots.size() - 1)) {
      const Slot& slot = x_slots[at];
      if (slot.tag == tag) return slot.live ? &slot.value : nullptr;
      if (slot.tag == empty_tag) return nullptr;
    }
  }

  template <class Keep>
  void insert(u64 tag, const Value& value, Keep&& keep) {
    if (2 * (x_used + 1) > x_slots.size()) rebuild(keep);
    store(tag, value);
  }
  void insert(u64 tag, const Value& value) {
    insert(tag, value, [](u64, const Value&) { return true; });
  }

  void erase(u64 tag) {
    if (const Value* value = find(tag)) owner(value)->live = false;
  }
  template <class Doomed>
  void erase_if(Doomed&& doomed) {
    for (Slot& slot : x_slots)
      if (slot.live && doomed(slot.tag, slot.value)) slot.live = false;
  }
  void clear() {
    if (x_used == 0) return;
    x_slots.assign(initial_slots, Slot{});
    x_used = 0;
  }
  /// Slots ever filled since the last clear; an upper bound of the entries.
  [[nodiscard]] std::size_t used() const { return x_used; }

 private:
  static constexpr u64 empty_tag = ~u64{0};
  static constexpr std::size_t initial_slots = 64;
  struct Slot {
    u64 tag = empty_tag;
    Value value{};
    bool live = false;
  };

  [[nodiscard]] std::size_t start(u64 tag) const {
    const u64 hash = (tag ^ tag >> 32) * 0x9e3779b97f4a7c15u;
    return static_cast<std::size_t>(hash >> 20) & (x_slots.size() - 1);
  }
  Slot* owner(const Value* value) {
    const auto offset = reinterpret_cast<const char*>(value) - reinterpret_cast<const char*>(x_slots.data());
    return &x_slots[static_cast<std::size_t>(offset) / sizeof(Slot)];
  }
  void store(u64 tag, const Value& value) {
    std::size_t at = start(tag);
    while (x_slots[at].tag != empty_tag && x_slots[at].tag != tag) at = (at + 1) & (x_slots.size() - 1);
    if (x_slots[at].tag == empty_tag) ++x_used;
    x_slots[at] = {tag, value, true};
  }
  template <class Keep>
  void rebuild(Keep&& keep) {
    std::size_t alive = 0;
    for (Slot& slot : x_slots) {
      slot.live = slot.live && keep(slot.tag, slot.value);
      alive += slot.live ? 1 : 0;
    }
    std::vector<Slot> old(initial_slots);
    old.swap(x_slots);
    std::size_t size = initial_slots;
    while (size < 4 * (alive + 1)) size *= 2;
    x_slots.assign(size, Slot{});
    x_used = 0;
    for (const Slot& slot : old)
      if (slot.live) store(slot.tag, slot.value);
  }

  std::vector<Slot> x_slots;
  std::size_t x_used = 0;
};

}  // namespace sim

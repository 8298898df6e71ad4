// Vec: a growable array on the Heap. Growing can fail and then changes nothing; removing never fails.
// An empty Vec owns no memory. How much it owns depends on its size and on reserve() alone, so that adding and removing
// does not add up: every insertion and every removal may move the elements.
//
// Threads: the owner's. Failure: NoMemory, TooBig (more than 4 MiB).
#pragma once

#include <algorithm>
#include <bit>
#include <span>
#include <type_traits>

#include "holdfast/memory/heap.hpp"

namespace holdfast {

template <class T>
class Vec {
 public:
  static_assert(std::is_nothrow_move_constructible_v<T> && std::is_nothrow_move_assignable_v<T>);

  explicit Vec(Heap& heap) : x_heap(&heap) {}
  Vec(Vec&& other) noexcept
      : x_heap(other.x_heap),
        x_items(std::exchange(other.x_items, nullptr)),
        x_size(std::exchange(other.x_size, 0)),
        x_capacity(std::exchange(other.x_capacity, 0)),
        x_floor(std::exchange(other.x_floor, 0)) {}
  Vec& operator=(Vec&& other) noexcept {
    if (this != &other) {
      clear();
      x_heap = other.x_heap;
      x_items = std::exchange(other.x_items, nullptr);
      x_size = std::exchange(other.x_size, 0);
      x_capacity = std::exchange(other.x_capacity, 0);
      x_floor = std::exchange(other.x_floor, 0);
    }
    return *this;
  }
  Vec(const Vec&) = delete;
  Vec& operator=(const Vec&) = delete;
  ~Vec() { clear(); }

  /// An empty one on the same heap.
  [[nodiscard]] Vec alike() const { return Vec(*x_heap); }

  [[nodiscard]] std::size_t size() const { return x_size; }
  [[nodiscard]] std::size_t capacity() const { return x_capacity; }
  [[nodiscard]] bool empty() const { return x_size == 0; }
  [[nodiscard]] std::span<T> span() { return {x_items, x_size}; }
  [[nodiscard]] std::span<const T> span() const { return {x_items, x_size}; }
  [[nodiscard]] T* begin() { return x_items; }
  [[nodiscard]] T* end() { return x_items + x_size; }
  [[nodiscard]] const T* begin() const { return x_items; }
  [[nodiscard]] const T* end() const { return x_items + x_size; }
  [[nodiscard]] T& operator[](std::size_t index) { return check(index), x_items[index]; }
  [[nodiscard]] const T& operator[](std::size_t index) const { return check(index), x_items[index]; }
  [[nodiscard]] T& back() { return (*this)[x_size - 1]; }

  /// Room for @p wanted elements in all, until shrink_to_fit(), clear() or the last removal; the next insertions up to
  /// it cannot fail.
  Status reserve(std::size_t wanted) {
    TRY(grow(wanted));
    x_floor = std::max(x_floor, wanted);
    return {};
  }
  /// Gives up what was reserved.
  void shrink_to_fit() {
    x_floor = 0;
    shrink();
  }
  Status push_back(T value) { return insert(x_size, std::move(value)); }
  Status insert(std::size_t at, T value) {
    verify_invariant(at <= x_size, "insert beyond the end of a Vec");
    TRY(grow(x_size + 1));
    ::new (static_cast<void*>(x_items + x_size)) T(std::move(value));
    ++x_size;
    std::rotate(x_items + at, x_items + x_size - 1, x_items + x_size);
    return {};
  }
  /// Keeps the order of the others.
  void erase(std::size_t at) {
    check(at);
    std::move(x_items + at + 1, x_items + x_size, x_items + at);
    pop_back();
  }
  void pop_back() {
    verify_invariant(x_size != 0, "pop_back of an empty Vec");
    x_items[--x_size].~T();
    shrink();
  }
  void clear() {
    for (std::size_t i = 0; i < x_size; ++i) x_items[i].~T();
    x_size = 0;
    x_floor = 0;
    release_items();
  }

 private:
  static constexpr std::size_t first_capacity = 4;
  static constexpr std::size_t max_bytes = page_size_bytes << max_order;

  void check(std::size_t index) const { verify_invariant(index < x_size, "index beyond the end of a Vec"); }
  [[nodiscard]] static std::size_t capacity_for(std::size_t size) {
    return std::min(std::bit_ceil(std::max(size, first_capacity)), max_bytes / sizeof(T));
  }
  Status grow(std::size_t wanted) {
    if (wanted <= x_capacity) return {};
    if (wanted > max_bytes / sizeof(T)) return Code::TooBig;
    return move_to(capacity_for(wanted));
  }
  /// Best effort: without memory for the smaller array the larger one stays.
  void shrink() {
    if (x_size == 0) return clear();
    const std::size_t capacity = capacity_for(std::max(x_size, x_floor));
    if (capacity < x_capacity) (void)move_to(capacity);
  }
  Status move_to(std::size_t capacity) {
    TRY_ASSIGN(void* memory, x_heap->allocate(capacity * sizeof(T), alignof(T)));
    T* items = static_cast<T*>(memory);
    for (std::size_t i = 0; i < x_size; ++i) {
      ::new (static_cast<void*>(items + i)) T(std::move(x_items[i]));
      x_items[i].~T();
    }
    release_items();
    x_items = items;
    x_capacity = capacity;
    return {};
  }
  void release_items() {
    if (x_items != nullptr) x_heap->release(x_items, x_capacity * sizeof(T), alignof(T));
    x_items = nullptr;
    x_capacity = 0;
  }

  Heap* x_heap;
  T* x_items = nullptr;
  std::size_t x_size = 0;
  std::size_t x_capacity = 0;
  std::size_t x_floor = 0;  // what reserve() asked for
};

}  // namespace holdfast

// Index: an ordered set of objects by key, with the links inside the objects: it never allocates, so it never fails.
//
// A treap whose priorities are a mix of the key: its shape depends on the contents only. Traits supply
//   static Key key(const T&)          ordered by <, unique in one index
//   static u64 priority(const T&)
// Cost: O(log n) expected. Threads: none of its own.
#pragma once

#include "holdfast/base/panic.hpp"
#include "holdfast/base/types.hpp"
#include "holdfast/kho/state_hash.hpp"

namespace holdfast::luo {

using kho::mix;

template <class T>
struct IndexHook {
  T* left = nullptr;
  T* right = nullptr;
};

template <class T, IndexHook<T> T::* Hook, class Traits>
class Index {
 public:
  Index() = default;
  Index(const Index&) = delete;
  Index& operator=(const Index&) = delete;

  [[nodiscard]] bool empty() const { return x_root == nullptr; }

  template <class Key>
  [[nodiscard]] T* find(const Key& key) const {
    T* at = x_root;
    while (at != nullptr) {
      const auto here = Traits::key(*at);
      if (key < here)
        at = (at->*Hook).left;
      else if (here < key)
        at = (at->*Hook).right;
      else
        return at;
    }
    return nullptr;
  }

  /// The first element whose key is not below @p key.
  template <class Key>
  [[nodiscard]] T* find_from(const Key& key) const {
    T* best = nullptr;
    T* at = x_root;
    while (at != nullptr) {
      const bool below = Traits::key(*at) < key;
      if (!below) best = at;
      at = below ? (at->*Hook).right : (at->*Hook).left;
    }
    return best;
  }

  /// The key is not in the index.
  void insert(T& element) {
    const auto key = Traits::key(element);
    const u64 priority = Traits::priority(element);
    T** link = &x_root;
    while (*link != nullptr && Traits::priority(**link) >= priority)
      link = key < Traits::key(**link) ? &((*link)->*Hook).left : &((*link)->*Hook).right;
    // Split what hangs there into the element's two sides.
    T* rest = *link;
    T** left = &(element.*Hook).left;
    T** right = &(element.*Hook).right;
    while (rest != nullptr) {
      if (key < Traits::key(*rest)) {
        *right = rest;
        right = &(rest->*Hook).left;
        rest = *right;
      } else {
        *left = rest;
        left = &(rest->*Hook).right;
        rest = *left;
      }
    }
    *left = *right = nullptr;
    *link = &element;
  }

  void remove(T& element) {
    const auto key = Traits::key(element);
    T** link = &x_root;
    while (*link != &element) {
      verify_invariant(*link != nullptr, "removed an element that is not in the index");
      link = key < Traits::key(**link) ? &((*link)->*Hook).left : &((*link)->*Hook).right;
    }
    T* left = (element.*Hook).left;
    T* right = (element.*Hook).right;
    while (left != nullptr && right != nullptr) {
      if (Traits::priority(*left) >= Traits::priority(*right)) {
        *link = left;
        link = &(left->*Hook).right;
        left = *link;
      } else {
        *link = right;
        link = &(right->*Hook).left;
        right = *link;
      }
    }
    *link = left != nullptr ? left : right;
    element.*Hook = {};
  }

 private:
  T* x_root = nullptr;
};

}  // namespace holdfast::luo

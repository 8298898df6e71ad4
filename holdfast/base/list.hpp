// Intrusive doubly linked list. An element is on at most one list per hook; the list owns and allocates nothing.
//
//   struct Device { ListHook group_link; ... };     List<Device, &Device::group_link> devices;
#pragma once

#include <cstddef>

#include "holdfast/base/panic.hpp"

namespace holdfast {

struct ListHook {
  ListHook* next = nullptr;
  ListHook* prev = nullptr;

  [[nodiscard]] bool linked() const { return next != nullptr; }
};

template <class T, ListHook T::* Hook>
class List {
 public:
  List() { x_head.next = x_head.prev = &x_head; }
  List(const List&) = delete;
  List& operator=(const List&) = delete;

  [[nodiscard]] bool empty() const { return x_head.next == &x_head; }
  void push_back(T& element) { insert_before(x_head, element.*Hook); }
  void push_front(T& element) { insert_before(*x_head.next, element.*Hook); }
  static void remove(T& element) {
    ListHook& hook = element.*Hook;
    verify_invariant(hook.linked(), "removed an element that is on no list");
    hook.prev->next = hook.next;
    hook.next->prev = hook.prev;
    hook = {};
  }
  [[nodiscard]] T* front() { return empty() ? nullptr : owner(x_head.next); }
  [[nodiscard]] T* back() { return empty() ? nullptr : owner(x_head.prev); }
  /// The element before @p element, which is on this list; null at the front.
  [[nodiscard]] T* previous(T& element) {
    ListHook* hook = (element.*Hook).prev;
    return hook == &x_head ? nullptr : owner(hook);
  }

  template <class Value, class HookPointer>
  class BasicIterator {
   public:
    explicit BasicIterator(HookPointer at) : x_at(at), x_next(at->next) {}
    Value& operator*() const { return *owner(x_at); }
    /// The element under the iterator may be removed before the step.
    BasicIterator& operator++() {
      x_at = x_next;
      x_next = x_at->next;
      return *this;
    }
    bool operator!=(const BasicIterator& other) const { return x_at != other.x_at; }

   private:
    HookPointer x_at;
    HookPointer x_next;
  };
  [[nodiscard]] auto begin() { return BasicIterator<T, ListHook*>(x_head.next); }
  [[nodiscard]] auto end() { return BasicIterator<T, ListHook*>(&x_head); }
  [[nodiscard]] auto begin() const { return BasicIterator<const T, ListHook*>(x_head.next); }
  [[nodiscard]] auto end() const { return BasicIterator<const T, ListHook*>(const_cast<ListHook*>(&x_head)); }

 private:
  static void insert_before(ListHook& where, ListHook& hook) {
    verify_invariant(!hook.linked(), "added an element that is on a list already");
    hook.next = &where;
    hook.prev = where.prev;
    where.prev->next = &hook;
    where.prev = &hook;
  }
  static T* owner(ListHook* hook) {
    // offsetof through a member pointer: T has standard layout around its hooks in every compiler we build with.
    alignas(T) static constexpr char probe[1]{};
    const auto offset = reinterpret_cast<const char*>(&(reinterpret_cast<const T*>(&probe)->*Hook)) - probe;
    return reinterpret_cast<T*>(reinterpret_cast<char*>(hook) - offset);
  }
  ListHook x_head;
};

}  // namespace holdfast

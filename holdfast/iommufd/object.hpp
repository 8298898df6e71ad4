// Objects of one iommufd and their table: ids from 1, the lowest free one first, as in Linux.
//
// Contract: users counts the objects and devices that need an object; one with users cannot be destroyed.
// Threads: under the iommufd's mutex. Failure: NoMemory.
#pragma once

#include "holdfast/base/result.hpp"
#include "holdfast/memory/vec.hpp"

namespace holdfast::iommufd {

enum class ObjectKind : u8 { Ioas, Hwpt, Device };

struct Object {
  const ObjectKind kind;
  ObjectId id;
  u32 users = 0;

  Object(const Object&) = delete;
  Object& operator=(const Object&) = delete;

 protected:
  explicit Object(ObjectKind of_kind) : kind(of_kind) {}
  ~Object() = default;
};

class ObjectTable {
 public:
  explicit ObjectTable(Heap& heap) : x_slots(heap) {}

  /// Gives @p object an id.
  Status insert(Object& object);
  void remove(const Object& object);

  /// Null when there is none.
  [[nodiscard]] Object* find(ObjectId id) const;
  /// The object of class T under that id; null when there is none, or one of another kind.
  template <class T>
  [[nodiscard]] T* find(ObjectId id) const {
    Object* object = find(id);
    return object != nullptr && object->kind == T::object_kind ? static_cast<T*>(object) : nullptr;
  }

  [[nodiscard]] bool empty() const { return x_slots.empty(); }
  /// @p f(T&) for every object of class T by rising id; @p f may remove the one it is given.
  template <class T, class F>
  void for_each(F&& f) const {
    for (u64 i = 0; i < x_slots.size(); ++i) {
      Object* object = x_slots[i];
      if (object != nullptr && object->kind == T::object_kind) f(*static_cast<T*>(object));
    }
  }

 private:
  Vec<Object*> x_slots;  // id - 1; null where free; the last one is not null
};

}  // namespace holdfast::iommufd

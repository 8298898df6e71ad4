#include "holdfast/iommufd/object.hpp"

#include <algorithm>

namespace holdfast::iommufd {

Status ObjectTable::insert(Object& object) {
  const auto free_slot = std::find(x_slots.begin(), x_slots.end(), nullptr);
  if (free_slot == x_slots.end()) {
    TRY(x_slots.push_back(&object));
    object.id = ObjectId(static_cast<u32>(x_slots.size()));
    return {};
  }
  *free_slot = &object;
  object.id = ObjectId(static_cast<u32>(free_slot - x_slots.begin() + 1));
  return {};
}

void ObjectTable::remove(const Object& object) {
  x_slots[object.id.value - 1] = nullptr;
  while (!x_slots.empty() && x_slots.back() == nullptr) x_slots.pop_back();
}

Object* ObjectTable::find(ObjectId id) const {
  return id.value == 0 || id.value > x_slots.size() ? nullptr : x_slots[id.value - 1];
}

}  // namespace holdfast::iommufd

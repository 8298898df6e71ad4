// Undo: runs its action at the end of the scope unless keep() was called: the unwinding of a step that may still fail.
#pragma once

#include <utility>

namespace holdfast::iommu {

template <class F>
class [[nodiscard]] Undo {
 public:
  explicit Undo(F action) : x_action(std::move(action)) {}
  Undo(const Undo&) = delete;
  Undo& operator=(const Undo&) = delete;
  ~Undo() {
    if (x_armed) x_action();
  }
  /// The step stands.
  void keep() { x_armed = false; }

 private:
  F x_action;
  bool x_armed = true;
};

}  // namespace holdfast::iommu

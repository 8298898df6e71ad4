// Visitor: a callback parameter that allocates nothing.
#pragma once

#include <concepts>
#include <type_traits>

namespace holdfast::kho {

/// Refers to a callable, which must outlive the call it is passed to.
template <class Argument>
class Visitor {
 public:
  template <std::invocable<Argument> F>
    requires(!std::same_as<std::remove_cvref_t<F>, Visitor>)
  Visitor(F&& f)  // NOLINT: implicit by design
      : x_object(const_cast<void*>(static_cast<const void*>(&f))),
        x_call([](void* object, Argument argument) { (*static_cast<std::remove_reference_t<F>*>(object))(argument); }) {
  }
  void operator()(Argument argument) const { x_call(x_object, argument); }

 private:
  void* x_object;
  void (*x_call)(void*, Argument);
};

}  // namespace holdfast::kho

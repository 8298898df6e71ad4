// Place: storage for an object that nobody destroys. A kernel and its world end by their jump.
#pragma once

#include <cstddef>
#include <new>
#include <utility>

namespace holdfast {

template <class T>
struct Place {
  alignas(T) std::byte bytes[sizeof(T)];

  template <class... Arguments>
  T& create(Arguments&&... arguments) {
    return *new (bytes) T(std::forward<Arguments>(arguments)...);
  }
};

}  // namespace holdfast

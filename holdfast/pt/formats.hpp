// The formats that exist, and how code that holds a Format number reaches the type.
//
// Threads: no state. Failure: NotSupported.
#pragma once

#include "holdfast/pt/vtd_second_stage.hpp"

namespace holdfast::pt {

/// Calls @p f.template operator()<F>() for the format type of @p format; @p f answers a Status or a Result.
template <class Function>
auto with_format(Format format, Function&& f) -> decltype(f.template operator()<VtdSecondStage>()) {
  switch (format) {
    case Format::VtdSecondStage: return f.template operator()<VtdSecondStage>();
  }
  return Code::NotSupported;
}

}  // namespace holdfast::pt

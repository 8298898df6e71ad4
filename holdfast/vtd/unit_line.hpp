// How lines of this driver begin.
#pragma once

#include "holdfast/base/text_line.hpp"

namespace holdfast::vtd {

/// "vtd fed90000: "
inline TextLine unit_line(PhysAddr register_base) {
  TextLine line;
  line.text("vtd ").hex(register_base.value).text(": ");
  return line;
}

}  // namespace holdfast::vtd

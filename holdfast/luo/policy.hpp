// Policy: whose answers the user boundary gives. docs list every difference.
#pragma once

#include "holdfast/base/types.hpp"

namespace holdfast::luo {

enum class Policy : u8 {
  Holdfast,  // the default: what Linux refuses for want of a second phase works, unclear input is refused
  Linux,     // the answers of a real Linux and of the series, its hazards refused
};

}  // namespace holdfast::luo

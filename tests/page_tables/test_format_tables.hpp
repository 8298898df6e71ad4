// The formats of holdfast/pt/test_formats.hpp as configurations of the suite: odd geometry, and every way in which
// formats differ. The library does not know them by number, so they are neither verified nor restored.
//
// Threads: constants. Failure: none.
#pragma once

#include "tests/page_tables/configuration.hpp"

namespace page_tables {

struct TestFormatTable {
  Configuration described;
  std::vector<std::vector<unsigned>> sizes;
};

[[nodiscard]] std::vector<TestFormatTable> test_format_tables();

}  // namespace page_tables

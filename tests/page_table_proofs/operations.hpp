// Operations as plain numbers, so that they can be drawn at random, shrunk and printed; a table gives them a meaning.
//
// Threads: values. Failure: Disproved.
#pragma once

#include <array>
#include <iosfwd>

#include "tests/page_table_proofs/proved_table.hpp"

namespace page_table_proofs {

struct Operation {
  static constexpr std::size_t count = 10;
  /// kind, place (3), size (2), target, and what is left; each below `limit`.
  std::array<u8, count> choice{};
  static constexpr u8 limit = 240;
};

std::ostream& operator<<(std::ostream& out, const Operation& operation);

/// Carries out @p operation, which makes @p most_leaves leaves at most.
void apply(ProvedTable& table, const Operation& operation, std::size_t most_leaves);

}  // namespace page_table_proofs

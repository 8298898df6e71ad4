// What a trial must look like, and the short list of lies that do no harm.
#pragma once

#include <span>
#include <string>

#include "tests/untrusted/campaign.hpp"

namespace untrusted {

/// A lie that may be accepted without a word, and why. Patterns as in fnmatch(3).
struct Harmless {
  const char* field;
  const char* change;
  const char* reason;
};
[[nodiscard]] std::span<const Harmless> harmless_lies();

/// What is wrong with the outcome; empty when nothing is.
[[nodiscard]] std::string judge(const Campaign& campaign, const Field& field, const Change& change, Way way,
                                const Trial& trial);
/// For the trial without a lie: everything works and nothing is said.
[[nodiscard]] std::string judge_truth(const Campaign& campaign, const Trial& trial);

}  // namespace untrusted

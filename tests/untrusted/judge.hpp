// What a trial must look like, and the short list of lies that do no harm.
#pragma once

#include <span>
#include <string>

#include "tests/untrusted/campaign.hpp"

namespace untrusted {

/// A lie that is not what the rule says, and why. Patterns as in fnmatch(3).
struct Known {
  const char* field;
  const char* change;
  const char* reason;
};
/// May be believed without a word: nothing is lost.
[[nodiscard]] std::span<const Known> harmless_lies();
/// May cost what belongs to the field without a word in the log: it looks like a truth, and whoever asks is told.
[[nodiscard]] std::span<const Known> unnamed_lies();

/// May be believed where tables come with the checksum that they should have: no other witness of what they map is
/// there before the comparison with the new table. What devices do through them is theirs until then.
[[nodiscard]] std::span<const Known> sound_tables();

/// Lies of the lists that were told so far in this process and needed their place in it.
[[nodiscard]] bool was_needed(const Known& known);

/// What is wrong with the outcome; empty when nothing is.
[[nodiscard]] std::string judge(const Campaign& campaign, const Field& field, const Change& change, Way way,
                                const Trial& trial);
/// For the trial without a lie: everything works and nothing is said.
[[nodiscard]] std::string judge_truth(const Campaign& campaign, const Trial& trial);

}  // namespace untrusted

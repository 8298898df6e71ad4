// Random entries, refereed: a device's structures at random places with random numbers, a random domain behind them,
// requests, and single bits of the entries flipped. QEMU's unit and the modelled one are compared as for the rows of
// entries.hpp, known differences included. Everything follows from the seed.
// Threads: one. Failure: RunError where the machine fails; disagreements are counted and described.
#pragma once

#include "tests/referee/domain.hpp"
#include "tests/referee/entries.hpp"

namespace referee {

/// A Score of one domain; its dmas are requests that both units were asked about.
[[nodiscard]] Score referee_entries(EntryReferee& referee, Release release, TableMemory& memory, u64 seed);

}  // namespace referee

// Digest of one table: what the checksum of a tree is summed from. It crosses a jump, so it never changes.
//
// Four lanes, each h = rotate((h xor word) * odd): any change of one word changes the result, for certain. It finds
// damage; it is no defence against somebody who wants to deceive. Threads: pure.
#pragma once

#include <bit>
#include <span>

#include "holdfast/pt/format.hpp"

namespace holdfast::pt {

/// Bits that hardware may change do not count. Words beyond the last whole four are padded with 0.
template <class F>
[[nodiscard]] u64 table_digest(PhysAddr page, unsigned level, std::span<const u64> words) {
  constexpr u64 multiplier = 0x9e3779b97f4a7c15;
  u64 lanes[4] = {page.value, level, 0x6a09e667f3bcc908, 0xbb67ae8584caa73b};
  for (u64 i = 0; i < words.size(); i += 4)
    for (u64 lane = 0; lane < 4; ++lane) {
      const u64 word = i + lane < words.size() ? words[i + lane] : 0;
      lanes[lane] = std::rotl((lanes[lane] ^ (word & ~changing_bits<F>(word))) * multiplier, 29);
    }
  u64 mixed = 0;
  for (const u64 lane : lanes) mixed = (std::rotl(mixed, 23) ^ lane ^ lane >> 32) * multiplier;
  return mixed ^ mixed >> 29;
}

}  // namespace holdfast::pt

// DomainIds: the domain ids of one unit (VT-d 5.0, 6.2.2.1 and CAP.ND).
//
// 0 and 1 are never given out: hardware in caching mode tags not-present entries with 0, and 1 is Linux's id for all
// first-stage and pass-through translations, which a successor may be.
// Threads: the caller serialises (LockRank::Iommu). Failure: nothing is taken.
#pragma once

#include <span>

#include "holdfast/base/result.hpp"

namespace holdfast::vtd {

class DomainIds {
 public:
  static constexpr u32 first_dynamic = 2;

  /// @p words: zeroed, one bit per id; @p count ids (a multiple of 64 or less than 64).
  DomainIds(std::span<u64> words, u32 count) : x_words(words), x_count(count) {}

  [[nodiscard]] static constexpr u64 words_for(u32 count) { return (u64{count} + 63) / 64; }

  /// The lowest free id. Errors: NoSpace.
  Result<DomainId> allocate();
  /// Errors: OutOfRange (below the dynamic range, or beyond the unit's number), Exists.
  Status reserve(DomainId id);
  /// Panics when @p id is not taken.
  void release(DomainId id);
  /// Forgets every id: the state they belonged to was given up.
  void release_all();

  [[nodiscard]] bool is_taken(DomainId id) const;
  [[nodiscard]] u32 in_use() const { return x_in_use; }
  [[nodiscard]] std::span<const u64> words() const { return x_words; }

 private:
  [[nodiscard]] bool in_range(DomainId id) const { return id.value >= first_dynamic && id.value < x_count; }

  std::span<u64> x_words;
  u32 x_count;
  u32 x_in_use = 0;
};

}  // namespace holdfast::vtd

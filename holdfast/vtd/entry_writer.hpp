// EntryWriter: the one place that writes root, context and PASID entries (VT-d 5.0, 6.2.2, 6.5.3.3 and 9.1).
//
// Hardware may fetch an entry at any moment, in aligned 16-byte pieces. At every moment between two stores of this
// class it sees the old entry, the new one, or one that is not present; never parts of two.
//   install    not present -> present: all pieces but the first, then the first, which holds P
//   replace    present -> present: one piece of a present entry, in the order that replacement.hpp gives
//   clear_*    present -> empty in two steps: P off, (the caller flushes), then the rest
// Threads: one writer per entry; the caller serialises. Failure: none. Where the unit does not walk coherently every
// written line is written back to memory.
#pragma once

#include <span>

#include "holdfast/base/hw_access.hpp"

namespace holdfast::vtd {

class EntryWriter {
 public:
  enum class Walk : u8 { NonCoherent, Coherent };

  EntryWriter(World& world, Walk walk) : x_world(&world), x_walk(walk) {}

  /// @p entry is not present; @p value has as many pieces.
  void install(std::span<Quad> entry, std::span<const Quad> value);
  /// One step of a Replacement; the caller invalidates before the next.
  void replace(Quad& piece, Quad value);
  void clear_present(std::span<Quad> entry);
  /// After clear_present() and the invalidations that made hardware forget it.
  void clear_rest(std::span<Quad> entry);
  /// A root half or a PASID directory entry: pointer and P in one word.
  void write_word(u64& where, u64 value);

 private:
  void write_back(const void* where, u64 size_bytes);

  World* x_world;
  Walk x_walk;
};

}  // namespace holdfast::vtd

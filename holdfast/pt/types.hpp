// The words every part of pt/ uses: formats, permissions, ranges, translations.
//
// Threads: values. Failure: none.
#pragma once

#include <concepts>

#include "holdfast/base/types.hpp"
#include "holdfast/memory/table_arena.hpp"

namespace holdfast::pt {

/// Page-table formats. The numbers cross a jump (attestation).
enum class Format : u32 {
  VtdSecondStage = 1,  // VT-d 5.0, 3.7 and 9.8
};

/// What a device may do, a set of bits; never empty in a mapping.
enum class Prot : u8 { None = 0, Read = 1, Write = 2, ReadWrite = 3 };

[[nodiscard]] constexpr Prot operator|(Prot a, Prot b) {
  return static_cast<Prot>(static_cast<u8>(a) | static_cast<u8>(b));
}
[[nodiscard]] constexpr Prot operator&(Prot a, Prot b) {
  return static_cast<Prot>(static_cast<u8>(a) & static_cast<u8>(b));
}
/// True when @p have allows all that @p wanted allows.
[[nodiscard]] constexpr bool allows(Prot have, Prot wanted) { return (have & wanted) == wanted; }

/// [start, start + size_bytes) as devices see it; size 0: nothing.
struct IovaRange {
  Iova start;
  u64 size_bytes = 0;

  constexpr bool operator==(const IovaRange&) const = default;
  /// Last byte; the range must not be empty.
  [[nodiscard]] constexpr Iova last() const { return start + (size_bytes - 1); }
};

/// Where one IOVA leads.
struct Translation {
  PhysAddr address;   // of the IOVA asked for, not of its page
  u64 page_size = 0;  // of the leaf that maps it
  Prot prot = Prot::None;

  constexpr bool operator==(const Translation&) const = default;
};

/// What a table is made like.
struct TableConfig {
  Format format = Format::VtdSecondStage;
  u8 levels = 4;
  u8 iova_bits = 48;              // width that may be mapped; at most 12 + 9 * levels
  u8 phys_bits = 46;              // host address width
  u64 page_sizes = u64{1} << 12;  // bit n: leaves of 2^n bytes may be used; bit 12 is required
  bool coherent = true;           // hardware snoops the CPU caches when it walks
  TableMode mode = TableMode::Arena;
};

/// What crosses a jump about one table; all of it untrusted when it comes in.
struct SavedTable {
  PhysAddr top;
  u8 top_level = 0;  // levels - 1
  u8 iova_bits = 0;
  u8 sign_extend = 0;  // 1: the upper half of the address space is mapped by sign extension
  u64 table_count = 0;
  u64 checksum = 0;  // sum over the tables of a mix of address, level and words, accessed and dirty bits masked

  constexpr bool operator==(const SavedTable&) const = default;
};

/// What a visitor wants next.
enum class Visit : u8 { Continue, Stop };

class LeafVisitor {
 public:
  /// @p to is the translation of @p from, the first IOVA of the leaf.
  virtual Visit leaf(Iova from, const Translation& to) = 0;

 protected:
  ~LeafVisitor() = default;
};

class TableVisitor {
 public:
  virtual Visit table(PhysAddr page, unsigned level) = 0;

 protected:
  ~TableVisitor() = default;
};

/// The mapping that a table expresses, whoever owns it.
class Reader {
 public:
  /// Errors: OutOfRange (beyond the width), NotFound (not mapped).
  [[nodiscard]] virtual Result<Translation> lookup(Iova iova) const = 0;
  /// Every leaf by rising IOVA. Answers Stop when the visitor did.
  virtual Visit visit_leaves(LeafVisitor& visitor) const = 0;
  /// @p f(Iova, const Translation&) -> Visit or void.
  template <class F>
  Visit for_each_leaf(F&& f) const {
    struct Call final : LeafVisitor {
      explicit Call(F& function) : x_f(function) {}
      Visit leaf(Iova from, const Translation& to) override {
        if constexpr (requires {
                        { x_f(from, to) } -> std::same_as<Visit>;
                      })
          return x_f(from, to);
        else
          return x_f(from, to), Visit::Continue;
      }
      F& x_f;
    } call(f);
    return visit_leaves(call);
  }

 protected:
  ~Reader() = default;
};

}  // namespace holdfast::pt

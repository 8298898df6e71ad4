// Every format and configuration that the suite runs over, described by hand: what the engine is asked for, and what
// the tests expect, which is never asked of the format.
//
// Threads: constants. Failure: none.
#pragma once

#include <functional>
#include <iosfwd>
#include <string>
#include <vector>

#include "holdfast/pt/table.hpp"
#include "sim/walk/walk.hpp"

namespace page_tables {

using namespace holdfast;      // NOLINT: the suite speaks the library's words
using namespace holdfast::pt;  // NOLINT
namespace walk = sim::walk;

/// [first, last], both as devices see them.
struct Span {
  u64 first;
  u64 last;
};

/// What the code of a format is needed for: to damage tables, and to mend their checksums.
struct Items {
  u64 (*table)(PhysAddr address, unsigned level) = nullptr;
  u64 (*leaf)(PhysAddr address, unsigned level, unsigned size_lg2) = nullptr;  // that may be read and written
  u64 (*digest)(PhysAddr page, unsigned level, std::span<const u64> words) = nullptr;
};

struct Configuration {
  std::string name = {};
  TableConfig config = {};
  unsigned index_bits = 9;
  unsigned max_levels = 0;                        // that the top may grow to; config.levels where it does not grow
  std::vector<std::vector<unsigned>> sizes = {};  // log2 of the leaves, by level from 0
  Prot kept = Prot::ReadWrite;                    // of what is asked, a leaf says so much
  Prot always = Prot::None;                       // and so much besides
  bool exchange = true;                           // a leaf can be cut
  bool dirty = false;                             // dirtiness can be told
  unsigned reserved_bit = 0;                      // that nobody writes, neither in leaves nor in table items
  bool restorable = true;                         // the library knows the format by number
  Items items = {};
  Result<Table*> (*create)(Memory&, const TableConfig&, TopObserver*) = nullptr;
  /// The naive walker, for a tree that begins at @p top and is @p levels high.
  walk::Enumeration (*enumerate)(const walk::ReadWord&, const TableConfig&, PhysAddr top, unsigned levels,
                                 const walk::VisitLeaf&) = nullptr;

  [[nodiscard]] unsigned granule_lg2() const { return sizes[0][0]; }
  [[nodiscard]] u64 granule() const { return u64{1} << granule_lg2(); }
  [[nodiscard]] unsigned item_lg2(unsigned level) const { return granule_lg2() + index_bits * level; }
  /// The addresses that may be mapped.
  [[nodiscard]] std::vector<Span> spans() const;
  /// log2 of every leaf that fits into a span, rising.
  [[nodiscard]] std::vector<unsigned> all_sizes() const;
  [[nodiscard]] unsigned level_of(unsigned size_lg2) const;
  /// A boundary between two tables of the lowest level that lies as high in the tree as this span allows.
  [[nodiscard]] u64 boundary(const Span& span) const;
  /// What a leaf mapped with @p prot says.
  [[nodiscard]] Prot granted(Prot prot) const { return (prot & kept) | always; }
  [[nodiscard]] bool may_map(Prot prot) const;
  /// A mapping with just these permissions, or a larger one if they are forbidden.
  [[nodiscard]] Prot permitted(Prot prot) const { return may_map(prot) ? prot : Prot::ReadWrite; }
  /// An address for a page of 2^size_lg2 bytes that uses many bits; @p salt makes others.
  [[nodiscard]] PhysAddr target(unsigned size_lg2, u64 salt = 0) const;
};

[[nodiscard]] const std::vector<Configuration>& configurations();
[[nodiscard]] const Configuration& configuration(std::string_view name);

/// One way of running one configuration.
struct Variant {
  const Configuration* of;
  Sharing sharing;
  TableMode mode;
};

/// Every configuration, Exclusive in an arena and Shared page by page; one of each kind the other way round too.
[[nodiscard]] std::vector<Variant> all_variants();
/// Those of which @p wanted says so.
[[nodiscard]] std::vector<Variant> variants_that(bool (*wanted)(const Variant&));
[[nodiscard]] std::string to_string(const Variant& variant);
void PrintTo(const Variant& variant, std::ostream* out);

}  // namespace page_tables

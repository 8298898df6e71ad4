#include "tests/page_tables/tiny_walkers.hpp"

#include <bit>

#include "sim/walk/tree.hpp"

namespace page_tables {
namespace {

using namespace sim::walk;  // NOLINT: one walker among the others
using sim::PhysAddr;
using sim::u32;
using sim::u64;

struct Geometry {
  const TinyTables& t;

  [[nodiscard]] Root root() const {
    return {
        {}, t.top, t.levels - 1, t.iova_bits > shift(t.levels - 1) ? u64{1} << (t.iova_bits - shift(t.levels - 1)) : 1};
  }
  [[nodiscard]] u64 full_iova(u64 iova) const {
    const bool high =
        t.extent == TinyExtent::Upper || (t.extent == TinyExtent::Signed && is_set(iova, t.iova_bits - 1));
    return high ? iova | bits(63, t.iova_bits) : iova;
  }
  [[nodiscard]] static unsigned shift(unsigned level) { return 12 + 3 * level; }
  [[nodiscard]] static u64 entries(unsigned) { return 8; }
  [[nodiscard]] static Permissions granted() { return everything; }
};

struct Replicated : Geometry {
  static Step examine(u64 word, unsigned level) {
    if ((word & 3) == 0) return refuse(Fault::NotPresent, "R and W are 0");
    const bool leaf = level == 0 || is_set(word, 7);
    Step step;
    step.permissions = {.read = is_set(word, 0), .write = is_set(word, 1), .execute = true};
    step.address = PhysAddr(word & bits(51, 12));
    if (!leaf) {
      step.next_level = level - 1;
      return step;
    }
    step.kind = Kind::Leaf;
    step.page_lg2 = shift(level);
    if (is_set(word, 63)) {
      step.page_lg2 = static_cast<unsigned>(std::countr_zero(step.address.value)) + 1;
      step.address = PhysAddr(step.address.value & ~below(step.page_lg2));
    }
    if (level > 2 || step.page_lg2 >= shift(level + 1) || (is_set(word, 63) && step.page_lg2 <= shift(level)))
      return refuse(Fault::Reserved, "no leaf of this size at this level");
    step.group_lg2 = step.page_lg2;
    step.dirty = is_set(word, 9);
    return step;
  }
  static bool agree(u64 first, u64 member, u64, unsigned) { return ((first ^ member) & ~(bit(8) | bit(9))) == 0; }
};

struct OwnAddress : Geometry {
  static Step examine(u64 word, unsigned level) {
    if (!is_set(word, 0) || (level == 0 && !is_set(word, 1))) return refuse(Fault::NotPresent, "not valid");
    Step step;
    step.address = PhysAddr(word & bits(47, 12));
    if (level > 0 && is_set(word, 1)) {
      step.next_level = level - 1;
      step.permissions = everything;
      return step;
    }
    if (level > 2) return refuse(Fault::Reserved, "no leaf at this level");
    step.kind = Kind::Leaf;
    step.page_lg2 = step.group_lg2 = shift(level);
    if (is_set(word, 52)) step.group_lg2 += level == 0 ? 2 : level == 1 ? 1 : 0;
    step.permissions = {.read = true, .write = !is_set(word, 7) || is_set(word, 51), .execute = true};
    step.dirty = is_set(word, 51) && !is_set(word, 7);
    return step;
  }
  static bool agree(u64 first, u64 member, u64 k, unsigned level) {
    const u64 free_bits = bit(10) | (is_set(first, 51) ? bit(7) : 0);
    return (((first + (k << shift(level))) ^ member) & ~free_bits) == 0;
  }
};

}  // namespace

Enumeration enumerate_leaves(const ReadWord& read, const TinyTables& tables, const VisitLeaf& visit) {
  if (tables.kind == TinyKind::Replicated) return enumerate_tree(read, Replicated{{tables}}, visit);
  return enumerate_tree(read, OwnAddress{{tables}}, visit);
}

}  // namespace page_tables

#include "sim/walk/odd_geometry.hpp"

#include "sim/walk/tree.hpp"

namespace sim::walk {
namespace {

struct Rules {
  const OddTables& t;

  [[nodiscard]] Root root() const {
    Root root{{}, t.top_table, t.levels - 1, u64{1} << t.index_bits};
    const bool possible = t.granule_lg2 >= 12 && t.index_bits >= 1 && t.index_bits <= 9 && t.levels >= 1 &&
                          t.levels <= 6 && t.width() <= 64;
    if (!possible) root.complaint = {Fault::Configuration, "no such geometry"};
    if (!t.top_table.is_aligned(4096)) root.complaint = {Fault::Configuration, "the root is not on a 4-KByte boundary"};
    return root;
  }
  [[nodiscard]] Complaint input(u64 iova) const {
    if (exceeds(iova, t.width())) return {Fault::InputRange, "the input address is beyond the tables' width"};
    return {};
  }
  [[nodiscard]] static u64 full_iova(u64 iova) { return iova; }
  [[nodiscard]] unsigned shift(unsigned level) const { return t.granule_lg2 + t.index_bits * level; }
  [[nodiscard]] u64 entries(unsigned) const { return u64{1} << t.index_bits; }
  [[nodiscard]] static Permissions granted() { return everything; }

  [[nodiscard]] Step examine(u64 word, unsigned level) const {
    const bool read = (word & ss_read) != 0;
    const bool write = (word & ss_write) != 0;
    if (!read && !write) return refuse(Fault::NotPresent, "R and W are 0 in a second-stage paging entry");
    const bool page_size = level > 0 && (word & ss_page_size) != 0;
    if (page_size && (t.page_levels >> level & 1) == 0)
      return refuse(Fault::Reserved, "PS is reserved in an entry of this level");
    const bool leaf = level == 0 || page_size;
    if ((word & reserved(level, leaf)) != 0)
      return refuse(Fault::Reserved, "a reserved field of a second-stage paging entry is not 0");
    Step step;
    step.permissions = {.read = read, .write = write, .execute = read};
    if (leaf) {
      step.kind = Kind::Leaf;
      step.page_lg2 = step.group_lg2 = shift(level);
      step.address = PhysAddr(word & bits(51, shift(level)));
      step.dirty = (word & ss_dirty) != 0;
    } else {
      step.next_level = level - 1;
      step.address = PhysAddr(word & bits(51, 12));
    }
    return step;
  }
  [[nodiscard]] u64 reserved(unsigned level, bool leaf) const {
    u64 mask = ss_transient;
    if (t.host_address_bits < 52) mask |= bits(51, t.host_address_bits);
    if (leaf && shift(level) > 12) mask |= bits(shift(level) - 1, 12);
    if (t.snoop == SnoopBit::Reserved || (t.snoop == SnoopBit::AllowedInLeaf && !leaf)) mask |= ss_snoop;
    return mask;
  }

  [[nodiscard]] static Complaint judge(u64, Permissions allowed, Access access) {
    if (allowed.allows(access)) return {};
    if (access == Access::Write) return {Fault::Permission, "W is 0 on the path and the request writes"};
    return {Fault::Permission, "R is 0 on the path and the request reads"};
  }
  [[nodiscard]] u64 touched(u64 word, Kind kind, Access access) const {
    if (t.accessed_dirty == AccessedDirty::Leave) return word;
    return word | ss_accessed | (kind == Kind::Leaf && access == Access::Write ? ss_dirty : 0);
  }
  [[nodiscard]] static bool agree(u64, u64, u64, unsigned) { return false; }  // there are no contiguous groups

  [[nodiscard]] static u32 code(const WalkResult& result, Access access) {
    switch (result.fault) {
      case Fault::InputRange: return 0x83;
      case Fault::TableAccess: return 0x78;
      case Fault::Reserved: return 0x7a;
      case Fault::NotPresent:
      case Fault::Permission: return access == Access::Write ? 0x85 : 0x86;
      default: return 0;
    }
  }
};

}  // namespace

OddTables geometry_of(const SecondStage& stage) {
  return {.top_table = stage.top_table,
          .granule_lg2 = 12,
          .index_bits = 9,
          .levels = stage.levels,
          .page_levels = 1u | (stage.pages_2m ? 2u : 0u) | (stage.pages_1g ? 4u : 0u),
          .host_address_bits = stage.host_address_bits,
          .snoop = stage.snoop};
}

WalkResult walk(const ReadWord& read, const OddTables& tables, u64 iova, Access access) {
  return walk_tree(read, Rules{tables}, iova, access);
}

Enumeration enumerate_leaves(const ReadWord& read, const OddTables& tables, const VisitLeaf& visit) {
  return enumerate_tree(read, Rules{tables}, visit);
}

WalkResult walk(const ReadWord& read, const SecondStage& tables, u64 iova, Access access) {
  return walk(read, geometry_of(tables), iova, access);
}

Enumeration enumerate_leaves(const ReadWord& read, const SecondStage& tables, const VisitLeaf& visit) {
  return enumerate_leaves(read, geometry_of(tables), visit);
}

}  // namespace sim::walk

#include "sim/walk/amdv1.hpp"

#include "sim/walk/tree.hpp"

namespace sim::walk {
namespace {

constexpr unsigned pr = 0;
constexpr unsigned a = 5;
constexpr unsigned d = 6;
constexpr unsigned ir = 61;
constexpr unsigned iw = 62;
constexpr unsigned page_of_own_size = 0;
constexpr unsigned page_of_encoded_size = 7;

struct Rules {
  const Amdv1Tables& t;

  [[nodiscard]] Root root() const {
    Root root{{}, t.top_table, t.mode - 1, 512};
    if (t.mode < 1 || t.mode > 6) {
      root.complaint = {Fault::Configuration, "ILLEGAL_DTE: Mode is not a number of levels"};
      return root;
    }
    if (!t.top_table.is_aligned(4096))
      root.complaint = {Fault::Configuration, "ILLEGAL_DTE: the root is not on a 4-KByte boundary"};
    root.entries = entries(root.level);
    return root;
  }
  [[nodiscard]] Complaint input(u64 iova) const {
    if (exceeds(iova, t.width())) return {Fault::InputRange, "IO_PAGE_FAULT: the address is beyond the levels of Mode"};
    return {};
  }
  [[nodiscard]] static u64 full_iova(u64 iova) { return iova; }
  [[nodiscard]] unsigned shift(unsigned level) const { return t.granule_lg2 + 9 * level; }
  [[nodiscard]] u64 entries(unsigned level) const {
    const unsigned left = 64 - shift(level);  // at the sixth level fewer than nine bits are left
    return left < 9 ? u64{1} << left : 512;
  }
  [[nodiscard]] Permissions granted() const { return t.device; }

  [[nodiscard]] Step examine(u64 word, unsigned level) const {
    word &= ~t.encryption_mask;
    if (!is_set(word, pr)) return refuse(Fault::NotPresent, "IO_PAGE_FAULT: PR is 0");
    const auto next = static_cast<unsigned>(word >> 9 & 7);
    const bool leaf = next == page_of_own_size || next == page_of_encoded_size;
    if ((word & (leaf ? bits(58, 52) : bits(60, 52))) != 0)
      return refuse(Fault::Reserved, "IO_PAGE_FAULT, RZ: a reserved bit is 1");
    const u64 field = (word & bits(51, 12)) >> 12;
    const u64 address = field << t.granule_lg2;
    if (exceeds(address, t.host_address_bits))
      return refuse(Fault::Reserved, "IO_PAGE_FAULT, RZ: an address is wider than the system's");
    Step step = leaf ? page(field, next, level) : table(address, next, level);
    step.permissions = {.read = is_set(word, ir), .write = is_set(word, iw), .execute = is_set(word, ir)};
    step.dirty = leaf && is_set(word, d);
    return step;
  }
  [[nodiscard]] Step page(u64 field, unsigned next, unsigned level) const {
    if (level == 5) return refuse(Fault::Reserved, "IO_PAGE_FAULT, RZ: a page at level 6");
    Step step;
    step.kind = Kind::Leaf;
    step.page_lg2 = shift(level);
    if (next == page_of_encoded_size) {
      unsigned ones = 0;
      while (is_set(field, ones)) ++ones;
      field &= ~below(ones);
      step.page_lg2 = t.granule_lg2 + ones + 1;
      if (step.page_lg2 <= shift(level) || step.page_lg2 >= shift(level + 1))
        return refuse(Fault::Reserved, "IO_PAGE_FAULT, RZ: the encoded page size does not belong to this level");
    }
    step.address = PhysAddr(field << t.granule_lg2);
    if ((step.address.value & below(step.page_lg2)) != 0)
      return refuse(Fault::Reserved, "IO_PAGE_FAULT, RZ: address bits inside the page are not zero");
    step.group_lg2 = step.page_lg2;
    return step;
  }
  [[nodiscard]] static Step table(u64 address, unsigned next, unsigned level) {
    const unsigned own = level + 1;
    if (next >= own) return refuse(Fault::Reserved, "IO_PAGE_FAULT, RZ: NextLevel is not below the entry's own level");
    if ((address & below(12)) != 0) return refuse(Fault::Reserved, "IO_PAGE_FAULT, RZ: a table is not aligned");
    Step step;
    step.address = PhysAddr(address);
    step.next_level = next - 1;
    return step;
  }

  [[nodiscard]] static Complaint judge(u64, Permissions allowed, Access access) {
    if (allowed.allows(access)) return {};
    if (access == Access::Write) return {Fault::Permission, "IO_PAGE_FAULT, PE: IW is 0 on the path"};
    return {Fault::Permission, "IO_PAGE_FAULT, PE: IR is 0 on the path"};
  }
  [[nodiscard]] u64 touched(u64 word, Kind kind, Access access) const {
    if (t.accessed_dirty == AccessedDirty::Leave) return word;
    return word | bit(a) | (kind == Kind::Leaf && access == Access::Write ? bit(d) : 0);
  }
  // Hardware sets accessed and dirty in the one entry that it came by.
  [[nodiscard]] static bool agree(u64 first, u64 member, u64, unsigned) {
    return ((first ^ member) & ~(bit(a) | bit(d))) == 0;
  }
  [[nodiscard]] static u32 code(const WalkResult& result, Access) {
    if (result.fault == Fault::Configuration) return 1;
    return result.fault == Fault::TableAccess ? 4 : 2;
  }
};

}  // namespace

WalkResult walk(const ReadWord& read, const Amdv1Tables& tables, u64 iova, Access access) {
  return walk_tree(read, Rules{tables}, iova, access);
}

Enumeration enumerate_leaves(const ReadWord& read, const Amdv1Tables& tables, const VisitLeaf& visit) {
  return enumerate_tree(read, Rules{tables}, visit);
}

}  // namespace sim::walk

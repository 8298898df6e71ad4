#include "sim/walk/riscv.hpp"

#include "sim/walk/tree.hpp"

namespace sim::walk {
namespace {

constexpr unsigned v = 0;
constexpr unsigned r = 1;
constexpr unsigned w = 2;
constexpr unsigned x = 3;
constexpr unsigned u = 4;
constexpr unsigned a = 6;
constexpr unsigned d = 7;
constexpr unsigned n = 63;
constexpr u64 pbmt = bits(62, 61);
constexpr u64 always_reserved = bits(60, 54);

struct Rules {
  const RiscvTables& t;

  [[nodiscard]] bool second() const { return t.stage == RiscvStage::Second; }
  [[nodiscard]] Root root() const {
    Root root{{}, t.top_table, t.levels - 1, second() ? 2048u : 512u};
    if (t.levels < 3 || t.levels > 5) root.complaint = {Fault::Configuration, "MODE names no such number of levels"};
    if (!t.top_table.is_aligned(root.entries * 8))
      root.complaint = {Fault::Configuration, "the root is not aligned to its size"};
    return root;
  }
  [[nodiscard]] Complaint input(u64 iova) const {
    if (second() && exceeds(iova, t.width()))
      return {Fault::InputRange, "guest page fault: upper bits of the guest physical address are not zero"};
    if (!second() && !is_sign_extended(iova, t.width()))
      return {Fault::InputRange, "page fault: upper bits of the virtual address are not equal"};
    return {};
  }
  [[nodiscard]] u64 full_iova(u64 iova) const { return second() ? iova : sign_extend(iova, t.width()); }
  [[nodiscard]] static unsigned shift(unsigned level) { return 12 + 9 * level; }
  [[nodiscard]] static u64 entries(unsigned) { return 512; }
  [[nodiscard]] static Permissions granted() { return everything; }

  [[nodiscard]] Step examine(u64 word, unsigned level) const {
    if (!is_set(word, v)) return refuse(Fault::NotPresent, "page fault: V is 0");
    if (is_set(word, w) && !is_set(word, r)) return refuse(Fault::Reserved, "page fault: W without R is reserved");
    if ((word & always_reserved) != 0) return refuse(Fault::Reserved, "page fault: bits 60:54 are reserved");
    if ((word & pbmt) != 0 && !t.svpbmt) return refuse(Fault::Reserved, "page fault: PBMT without Svpbmt");
    if ((word & pbmt) == pbmt) return refuse(Fault::Reserved, "page fault: PBMT 3 is reserved");
    if (is_set(word, n) && !t.svnapot) return refuse(Fault::Reserved, "page fault: N without Svnapot");
    const PhysAddr address((word & bits(53, 10)) << 2);  // PPN << 12
    if (exceeds(address.value, t.physical_address_bits))
      return refuse(Fault::AddressSize, "access fault: an address is wider than the system's");
    const bool leaf = is_set(word, r) || is_set(word, x);
    return leaf ? page(word, address, level) : table(word, address, level);
  }
  [[nodiscard]] static Step table(u64 word, PhysAddr address, unsigned level) {
    if ((word & (bit(d) | bit(a) | bit(u) | bit(n) | pbmt)) != 0)
      return refuse(Fault::Reserved, "page fault: D, A, U, PBMT and N are reserved in a table entry");
    if (level == 0) return refuse(Fault::Reserved, "page fault: a table entry at the last level");
    Step step;
    step.address = address;
    step.next_level = level - 1;
    step.permissions = everything;
    return step;
  }
  [[nodiscard]] Step page(u64 word, PhysAddr address, unsigned level) const {
    Step step;
    step.kind = Kind::Leaf;
    step.page_lg2 = shift(level);
    if (is_set(word, n)) {
      if (level != 0) return refuse(Fault::Reserved, "page fault: N above the last level is reserved");
      if ((word >> 10 & 0xf) != 8) return refuse(Fault::Reserved, "page fault: N with PPN 3:0 other than 1000");
      step.page_lg2 = 16;
      address = PhysAddr(address.value & ~below(16));
    }
    if ((address.value & below(step.page_lg2)) != 0)
      return refuse(Fault::Reserved, "page fault: a superpage is not aligned");
    step.group_lg2 = step.page_lg2;
    step.address = address;
    step.permissions = permissions(word);
    step.dirty = is_set(word, d);
    return step;
  }
  [[nodiscard]] Permissions permissions(u64 word) const {
    const Permissions own{.read = is_set(word, r), .write = is_set(word, w), .execute = is_set(word, x)};
    const bool user_page = is_set(word, u);
    if (second() || t.requester == Requester::User) return user_page ? own : Permissions{};
    if (!user_page) return own;
    return t.supervisor_user_access ? Permissions{own.read, own.write, false} : Permissions{};
  }

  [[nodiscard]] Complaint judge(u64 word, Permissions allowed, Access access) const {
    if (!allowed.allows(access))
      return {Fault::Permission, "page fault: R, W, X or U of the page does not allow the access"};
    if (t.accessed_dirty == AccessedDirty::Set) return {};
    if (!is_set(word, a)) return {Fault::AccessFlag, "page fault: A is 0"};
    if (access == Access::Write && !is_set(word, d))
      return {Fault::AccessFlag, "page fault: D is 0 and the access writes"};
    return {};
  }
  [[nodiscard]] u64 touched(u64 word, Kind kind, Access access) const {
    if (t.accessed_dirty == AccessedDirty::Leave || kind == Kind::Table) return word;
    return word | bit(a) | (access == Access::Write ? bit(d) : 0);
  }
  // Hardware sets A and D in the one entry that it came by.
  [[nodiscard]] static bool agree(u64 first, u64 member, u64, unsigned) {
    return ((first ^ member) & ~(bit(a) | bit(d))) == 0;
  }
  [[nodiscard]] u32 code(const WalkResult& result, Access access) const {
    const auto by_access = [access](u32 execute, u32 read, u32 write) {
      return access == Access::Execute ? execute : access == Access::Read ? read : write;
    };
    if (result.fault == Fault::Configuration) return 259;
    if (result.fault == Fault::TableAccess || result.fault == Fault::AddressSize) return by_access(1, 5, 7);
    return second() ? by_access(20, 21, 23) : by_access(12, 13, 15);
  }
};

}  // namespace

WalkResult walk(const ReadWord& read, const RiscvTables& tables, u64 iova, Access access) {
  return walk_tree(read, Rules{tables}, iova, access);
}

Enumeration enumerate_leaves(const ReadWord& read, const RiscvTables& tables, const VisitLeaf& visit) {
  return enumerate_tree(read, Rules{tables}, visit);
}

}  // namespace sim::walk

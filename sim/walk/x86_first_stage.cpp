#include "sim/walk/x86_first_stage.hpp"

#include "sim/walk/tree.hpp"

namespace sim::walk {
namespace {

constexpr unsigned p = 0;
constexpr unsigned rw = 1;
constexpr unsigned us = 2;
constexpr unsigned a = 5;
constexpr unsigned d = 6;
constexpr unsigned ps = 7;
constexpr unsigned xd = 63;

struct Rules {
  const FirstStage& t;

  [[nodiscard]] Root root() const {
    Root root{{}, t.top_table, t.levels - 1, 512};
    if (t.levels != 4 && t.levels != 5) root.complaint = {Fault::Configuration, "neither 4 nor 5 levels"};
    if (!t.top_table.is_aligned(4096)) root.complaint = {Fault::Configuration, "the root is not on a 4-KByte boundary"};
    return root;
  }
  [[nodiscard]] Complaint input(u64 iova) const {
    if (t.form == AddressForm::SignExtended && !is_sign_extended(iova, t.width()))
      return {Fault::InputRange, "the input address is not canonical"};
    if (t.form == AddressForm::ZeroExtended && exceeds(iova, t.width()))
      return {Fault::InputRange, "the input address is beyond what the tables translate"};
    return {};
  }
  [[nodiscard]] u64 full_iova(u64 iova) const {
    return t.form == AddressForm::SignExtended ? sign_extend(iova, t.width()) : iova;
  }
  [[nodiscard]] static unsigned shift(unsigned level) { return 12 + 9 * level; }
  [[nodiscard]] static u64 entries(unsigned) { return 512; }
  [[nodiscard]] static Permissions granted() { return everything; }

  [[nodiscard]] Step examine(u64 word, unsigned level) const {
    word &= ~t.encryption_mask;
    if (!is_set(word, p)) return refuse(Fault::NotPresent, "P is 0 in a first-stage paging entry");
    const bool large = level > 0 && is_set(word, ps);
    if (large && !(level == 1 || (level == 2 && t.pages_1g)))
      return refuse(Fault::Reserved, "PS is reserved in an entry of this level");
    u64 reserved = 0;
    if (t.host_address_bits < 52) reserved |= bits(51, t.host_address_bits);
    if (large) reserved |= bits(shift(level) - 1, 13);
    if (t.execute_disable == ExecuteDisable::Reserved) reserved |= bit(xd);
    if ((word & reserved) != 0)
      return refuse(Fault::Reserved, "a reserved field of a first-stage paging entry is not 0");

    Step step;
    step.permissions = permissions(word);
    if (level == 0 || large) {
      step.kind = Kind::Leaf;
      step.page_lg2 = step.group_lg2 = shift(level);
      step.address = PhysAddr(word & bits(51, shift(level)));
      step.dirty = is_set(word, d);
    } else {
      step.next_level = level - 1;
      step.address = PhysAddr(word & bits(51, 12));
    }
    return step;
  }
  [[nodiscard]] Permissions permissions(u64 word) const {
    if (t.requester == Requester::User && !is_set(word, us)) return {};
    const bool execute = t.execute_disable != ExecuteDisable::Honoured || !is_set(word, xd);
    return {.read = true, .write = is_set(word, rw), .execute = execute};
  }

  [[nodiscard]] static Complaint judge(u64, Permissions allowed, Access access) {
    if (!allowed.read) return {Fault::Permission, "U/S is 0 and the request has user privilege"};
    if (access == Access::Write && !allowed.write) return {Fault::Permission, "R/W is 0 and the request writes"};
    if (access == Access::Execute && !allowed.execute) return {Fault::Permission, "XD is 1 and the request executes"};
    return {};
  }
  [[nodiscard]] u64 touched(u64 word, Kind kind, Access access) const {
    if (t.accessed_dirty == AccessedDirty::Leave) return word;
    return word | bit(a) | (kind == Kind::Leaf && access == Access::Write ? bit(d) : 0);
  }
  [[nodiscard]] static bool agree(u64, u64, u64, unsigned) { return false; }  // there are no contiguous groups

  [[nodiscard]] u32 code(const WalkResult& result, Access access) const {
    switch (result.fault) {
      case Fault::InputRange: return 0x80;
      case Fault::TableAccess: return result.level == t.levels - 1 ? 0x73 : 0x70;
      case Fault::NotPresent: return 0x71;
      case Fault::Reserved: return 0x72;
      case Fault::Permission: return !result.permissions.read ? 0x81 : access == Access::Write ? 0x85 : 0x82;
      default: return 0;
    }
  }
};

}  // namespace

WalkResult walk(const ReadWord& read, const FirstStage& tables, u64 iova, Access access) {
  return walk_tree(read, Rules{tables}, iova, access);
}

Enumeration enumerate_leaves(const ReadWord& read, const FirstStage& tables, const VisitLeaf& visit) {
  return enumerate_tree(read, Rules{tables}, visit);
}

}  // namespace sim::walk

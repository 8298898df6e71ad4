#include "sim/walk/arm.hpp"

#include "sim/walk/tree.hpp"

namespace sim::walk {
namespace {

constexpr unsigned af = 10;
constexpr unsigned dbm = 51;
constexpr unsigned contiguous = 52;
constexpr u64 software_bits = bits(58, 55);
// Stage 1 pages and blocks.
constexpr unsigned ap_unprivileged = 6;
constexpr unsigned ap_read_only = 7;
constexpr unsigned pxn = 53;
constexpr unsigned uxn = 54;
// Stage 1 tables.
constexpr unsigned pxn_table = 59;
constexpr unsigned uxn_table = 60;
constexpr unsigned ap_table_no_unprivileged = 61;
constexpr unsigned ap_table_read_only = 62;
// Stage 2 pages and blocks.
constexpr unsigned s2ap_read = 6;
constexpr unsigned s2ap_write = 7;
constexpr unsigned xn_0 = 53;
constexpr unsigned xn_1 = 54;

/// lg2 of the descriptors that the contiguous bit joins, 0 where it joins none.
unsigned contiguous_lg2(unsigned granule_lg2, unsigned level) {
  switch (granule_lg2) {
    case 12: return level <= 2 ? 4 : 0;
    case 14: return level == 0 ? 7 : level == 1 ? 5 : 0;
    default: return level <= 1 ? 5 : 0;
  }
}

struct Rules {
  const ArmTables& t;

  [[nodiscard]] bool first() const { return t.stage == ArmStage::One; }
  [[nodiscard]] bool wide() const { return t.granule_lg2 == 16 && t.output_bits == 52; }
  [[nodiscard]] unsigned stride() const { return t.granule_lg2 - 3; }
  [[nodiscard]] unsigned shift(unsigned level) const { return t.granule_lg2 + stride() * level; }
  [[nodiscard]] u64 entries(unsigned) const { return u64{1} << stride(); }
  [[nodiscard]] static Permissions granted() { return everything; }

  [[nodiscard]] Root root() const {
    const auto impossible = [](std::string_view why) { return Root{{Fault::Configuration, why}, {}, 0, 0}; };
    if (t.granule_lg2 != 12 && t.granule_lg2 != 14 && t.granule_lg2 != 16) return impossible("no such granule");
    if (!is_output_size()) return impossible("no such output size");
    if (t.input_bits <= t.granule_lg2 || t.input_bits > (t.granule_lg2 == 16 ? 52u : 48u))
      return impossible("TnSZ is outside what the granule allows");
    unsigned level = 0;
    while (shift(level + 1) < t.input_bits) ++level;
    if (t.start_level) {
      if (first()) return impossible("stage 1 has no start level of its own");
      if (*t.start_level > 3) return impossible("no such start level");
      level = 3 - *t.start_level;
    }
    if (level > (t.granule_lg2 == 16 ? 2u : 3u)) return impossible("the granule has no such level");
    if (t.input_bits <= shift(level)) return impossible("the start level has no address bits to translate");
    const unsigned index_bits = t.input_bits - shift(level);
    if (index_bits > stride() + (first() ? 0 : 4)) return impossible("more than 16 concatenated tables");
    Root root{{}, t.top_table, level, u64{1} << index_bits};
    const u64 size_bytes = root.entries * 8;
    if (!t.top_table.is_aligned(size_bytes < 64 ? 64 : size_bytes))
      return impossible("the root is not aligned to its size");
    if (exceeds(t.top_table.value, t.output_bits))
      root.complaint = {Fault::AddressSize, "address size fault: the root is beyond the output size"};
    return root;
  }
  [[nodiscard]] bool is_output_size() const {
    for (unsigned size : {32u, 36u, 40u, 42u, 44u, 48u})
      if (t.output_bits == size) return true;
    return wide();
  }
  [[nodiscard]] bool upper() const { return first() && t.half == ArmHalf::Upper; }
  [[nodiscard]] Complaint input(u64 iova) const {
    const u64 prefix = bits(63, t.input_bits);
    if ((iova & prefix) != (upper() ? prefix : 0))
      return {Fault::InputRange, "translation fault: the input address is outside the configured size"};
    return {};
  }
  [[nodiscard]] u64 full_iova(u64 iova) const { return upper() ? iova | bits(63, t.input_bits) : iova; }

  [[nodiscard]] Step examine(u64 word, unsigned level) const {
    if (!is_set(word, 0)) return refuse(Fault::NotPresent, "translation fault: the descriptor is invalid");
    const bool table_or_page = is_set(word, 1);
    if (!table_or_page && !may_be_block(level))
      return refuse(Fault::NotPresent, "translation fault: bits 1:0 = 01 are reserved at this level");
    const bool leaf = !table_or_page || level == 0;
    const PhysAddr address = output(word, leaf ? shift(level) : t.granule_lg2);
    if (exceeds(address.value, t.output_bits))
      return refuse(Fault::AddressSize, "address size fault: an address is beyond the output size");
    if (t.res0 == Res0::Refused && (word & res0_bits(level, leaf)) != 0)
      return refuse(Fault::Reserved, "a RES0 bit is 1");
    Step step;
    step.address = address;
    if (!leaf) {
      step.next_level = level - 1;
      step.permissions = table_permissions(word);
      return step;
    }
    step.kind = Kind::Leaf;
    step.page_lg2 = step.group_lg2 = shift(level);
    if (is_set(word, contiguous)) step.group_lg2 += contiguous_lg2(t.granule_lg2, level);
    step.permissions = first() ? stage_1_permissions(word) : stage_2_permissions(word);
    step.dirty = is_set(word, dbm) && is_set(word, 7) != first();  // stage 1: bit 7 is read-only; stage 2: write
    return step;
  }
  [[nodiscard]] bool may_be_block(unsigned level) const {
    switch (t.granule_lg2) {
      case 12: return level == 1 || level == 2;
      case 14: return level == 1;
      default: return level == 1 || (level == 2 && wide());
    }
  }
  [[nodiscard]] PhysAddr output(u64 word, unsigned low) const {
    u64 address = word & bits(47, low);
    if (t.granule_lg2 == 16) address |= (word & bits(15, 12)) << 36;
    return PhysAddr(address);
  }
  // 50 is GP in a stage 1 leaf, 16 is nT in a block, 58:55 and a table's 51:48 and 11:2 are software's or ignored.
  [[nodiscard]] u64 res0_bits(unsigned level, bool leaf) const {
    const unsigned low = t.granule_lg2 == 16 ? 16 : 12;  // the first bit that can only belong to an address
    if (!leaf) return (t.granule_lg2 > low ? bits(t.granule_lg2 - 1, low) : 0) | (first() ? 0 : bits(63, 59));
    u64 reserved = bits(49, 48) | (first() ? 0 : bit(50));
    if (shift(level) > low) reserved |= bits(shift(level) - 1, low);
    if (level > 0) reserved &= ~bit(16);
    return reserved;
  }

  [[nodiscard]] bool writable_by_dirty_state(u64 word) const {
    return t.update == ArmUpdate::DirtyState && is_set(word, dbm);
  }
  [[nodiscard]] Permissions table_permissions(u64 word) const {
    if (!first()) return everything;
    const bool user = t.requester == Requester::User;
    Permissions allowed = everything;
    if (is_set(word, ap_table_read_only)) allowed.write = false;
    if (user && is_set(word, ap_table_no_unprivileged)) allowed.read = allowed.write = false;
    if (is_set(word, user ? uxn_table : pxn_table)) allowed.execute = false;
    return allowed;
  }
  [[nodiscard]] Permissions stage_1_permissions(u64 word) const {
    const bool writable = !is_set(word, ap_read_only) || writable_by_dirty_state(word);
    const bool unprivileged = is_set(word, ap_unprivileged);
    if (t.requester == Requester::User) return {unprivileged, unprivileged && writable, !is_set(word, uxn)};
    // What an unprivileged requester may write is never executed with privilege.
    return {true, writable, !is_set(word, pxn) && !(unprivileged && writable)};
  }
  [[nodiscard]] Permissions stage_2_permissions(u64 word) const {
    const bool write = is_set(word, s2ap_write) || writable_by_dirty_state(word);
    // XN[1:0]: 00 all may, 01 only unprivileged, 10 none, 11 only privileged.
    const bool privileged = t.requester == Requester::Supervisor;
    const bool execute = is_set(word, xn_1) ? is_set(word, xn_0) && privileged : !(is_set(word, xn_0) && privileged);
    return {is_set(word, s2ap_read), write, execute};
  }

  [[nodiscard]] Complaint judge(u64 word, Permissions allowed, Access access) const {
    if (!is_set(word, af) && t.update == ArmUpdate::Nothing) return {Fault::AccessFlag, "access flag fault: AF is 0"};
    if (!allowed.allows(access)) return {Fault::Permission, "permission fault"};
    return {};
  }
  [[nodiscard]] u64 touched(u64 word, Kind kind, Access access) const {
    if (t.update == ArmUpdate::Nothing || kind == Kind::Table) return word;
    word |= bit(af);
    if (access != Access::Write || !writable_by_dirty_state(word)) return word;
    return first() ? word & ~bit(ap_read_only) : word | bit(s2ap_write);
  }
  [[nodiscard]] bool agree(u64 first_word, u64 member, u64 k, unsigned level) const {
    if (output(member, shift(level)).value != output(first_word, shift(level)).value + (k << shift(level)))
      return false;
    u64 free_bits = bits(47, t.granule_lg2 == 16 ? 12 : shift(level)) | bit(af) | software_bits;
    if (is_set(first_word, dbm)) free_bits |= bit(7);
    return ((first_word ^ member) & ~free_bits) == 0;
  }
  [[nodiscard]] u32 code(const WalkResult& result, Access) const {
    switch (result.fault) {
      case Fault::Configuration: return first() ? 0x0a : 0x04;
      case Fault::TableAccess: return 0x0b;
      case Fault::InputRange:
      case Fault::NotPresent: return 0x10;
      case Fault::AddressSize: return 0x11;
      case Fault::AccessFlag: return 0x12;
      case Fault::Permission: return 0x13;
      default: return 0;
    }
  }
};

}  // namespace

WalkResult walk(const ReadWord& read, const ArmTables& tables, u64 iova, Access access) {
  return walk_tree(read, Rules{tables}, iova, access);
}

Enumeration enumerate_leaves(const ReadWord& read, const ArmTables& tables, const VisitLeaf& visit) {
  return enumerate_tree(read, Rules{tables}, visit);
}

}  // namespace sim::walk

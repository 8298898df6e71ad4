// The two loops that all formats of sim/walk have in common: down one path, and through a whole tree.
//
// What an entry means is the format's own; it supplies Rules:
//
//   Root        root()                          where a walk begins, or why none does
//   Complaint   input(iova)                     may these tables be asked for it
//   u64         full_iova(bits)                 the IOVA of which these are the translated bits
//   unsigned    shift(level)                    lg2 of the bytes that one entry covers
//   u64         entries(level)                  in a table below the root
//   Permissions granted()                       before the first entry
//   Step        examine(word, level)            what one entry says by itself
//   Complaint   judge(word, permissions, access) may the leaf that was found be used so
//   u64         touched(word, Kind, access)     the entry after hardware used it
//   bool        agree(first, member, k, level)  may word k of a contiguous group stand beside the first
//   u32         code(result, access)            the architecture's number for a fault
#pragma once

#include "sim/walk/walk.hpp"

namespace sim::walk {

/// The bits @p high to @p low, both included; none when they are the wrong way round.
constexpr u64 bits(unsigned high, unsigned low) { return low > high ? 0 : ~u64{0} >> (63 - high) & ~u64{0} << low; }
constexpr u64 bit(unsigned position) { return u64{1} << position; }
constexpr bool is_set(u64 word, unsigned position) { return (word & bit(position)) != 0; }
/// The bits of an offset into 2^@p lg2 bytes.
constexpr u64 below(unsigned lg2) { return lg2 == 0 ? 0 : bits(lg2 - 1, 0); }
/// Whether an address needs more than @p width bits.
constexpr bool exceeds(u64 value, unsigned width) { return width < 64 && value >> width != 0; }
/// Whether every bit from @p width - 1 up is the same.
constexpr bool is_sign_extended(u64 value, unsigned width) {
  const u64 upper = bits(63, width - 1);
  return (value & upper) == 0 || (value & upper) == upper;
}
constexpr u64 sign_extend(u64 value, unsigned width) {
  return is_set(value, width - 1) ? value | bits(63, width - 1) : value;
}

struct Complaint {
  Fault fault = Fault::None;
  std::string_view why;
};

struct Root {
  Complaint complaint;
  PhysAddr table;
  unsigned level = 0;
  u64 entries = 0;
};

enum class Kind : u8 { Table, Leaf };

struct Step {
  Complaint complaint;
  Kind kind = Kind::Table;
  PhysAddr address;         // the page's first byte, or the next table
  unsigned next_level = 0;  // table: less than the level of the entry
  unsigned page_lg2 = 0;    // leaf
  unsigned group_lg2 = 0;   // leaf: what it covers together with its contiguous neighbours, page_lg2 without
  Permissions permissions;  // of this entry alone
  bool dirty = false;
};

inline Step refuse(Fault fault, std::string_view why) {
  Step step;
  step.complaint = {fault, why};
  return step;
}

template <class Rules>
WalkResult walk_tree(const ReadWord& read, const Rules& rules, u64 iova, Access access) {
  WalkResult result;
  const auto failed = [&](Complaint complaint) {
    result.fault = complaint.fault;
    result.why = complaint.why;
    result.code = rules.code(result, access);
    result.updates.clear();
    return result;
  };
  const Root root = rules.root();
  result.level = root.level;
  if (root.complaint.fault != Fault::None) return failed(root.complaint);
  if (const Complaint c = rules.input(iova); c.fault != Fault::None) return failed(c);

  result.permissions = rules.granted();
  PhysAddr table = root.table;
  u64 entries = root.entries;
  for (;;) {
    result.entry = table + ((iova >> rules.shift(result.level)) & (entries - 1)) * 8;
    const std::optional<u64> word = read(result.entry);
    if (!word) return failed({Fault::TableAccess, "an entry could not be read"});
    result.word = *word;
    const Step step = rules.examine(*word, result.level);
    if (step.complaint.fault != Fault::None) return failed(step.complaint);
    result.permissions = result.permissions & step.permissions;
    if (const u64 after = rules.touched(*word, step.kind, access); after != *word)
      result.updates.push_back({result.entry, *word, after});
    if (step.kind == Kind::Leaf) {
      result.page_lg2 = step.page_lg2;
      result.address = step.address + (iova & below(step.page_lg2));
      break;
    }
    // Where levels are skipped, the address bits that they would have translated must be zero.
    for (unsigned skipped = step.next_level + 1; skipped < result.level; ++skipped)
      if ((iova >> rules.shift(skipped) & (rules.entries(skipped) - 1)) != 0)
        return failed({Fault::NotPresent, "address bits of a skipped level are not zero"});
    table = step.address;
    result.level = step.next_level;
    entries = rules.entries(result.level);
  }
  if (const Complaint c = rules.judge(result.word, result.permissions, access); c.fault != Fault::None)
    return failed(c);
  return result;
}

template <class Rules>
class Enumerator {
 public:
  Enumerator(const ReadWord& read, const Rules& rules, const VisitLeaf& visit)
      : x_read(read), x_rules(rules), x_visit(visit) {}

  Enumeration run() {
    const Root root = x_rules.root();
    if (root.complaint.fault != Fault::None)
      fault(root.complaint, 0, root.level, root.table);
    else
      table({root.table, root.level, root.entries, 0, x_rules.granted()});
    return x_end;
  }

 private:
  struct Table {
    PhysAddr at;
    unsigned level;
    u64 entries;
    u64 iova;
    Permissions permissions;
  };

  void fault(Complaint complaint, u64 iova, unsigned level, PhysAddr entry) {
    if (!x_end.ok()) return;
    x_end.fault = complaint.fault;
    x_end.why = complaint.why;
    x_end.iova = x_rules.full_iova(iova);
    x_end.level = level;
    x_end.entry = entry;
  }

  void table(const Table& t) {
    if (x_end.tables == max_tables) {
      x_stopped = true;
      return fault({Fault::TooMany, "more tables than a tree of a test has"}, t.iova, t.level, t.at);
    }
    ++x_end.tables;
    for (u64 index = 0; index < t.entries && !x_stopped;) {
      const PhysAddr entry = t.at + index * 8;
      const u64 iova = t.iova + (index << x_rules.shift(t.level));
      const std::optional<u64> word = x_read(entry);
      if (!word) return fault({Fault::TableAccess, "an entry could not be read"}, iova, t.level, entry);
      index += take(t, index, iova, *word);
    }
  }

  // Returns how many entries were dealt with.
  u64 take(const Table& t, u64 index, u64 iova, u64 word) {
    const Step step = x_rules.examine(word, t.level);
    if (step.complaint.fault == Fault::NotPresent) return 1;
    if (step.complaint.fault != Fault::None) {
      fault(step.complaint, iova, t.level, t.at + index * 8);
      return 1;
    }
    if (step.kind == Kind::Leaf) return leaf(t, index, iova, word, step);
    table({step.address, step.next_level, x_rules.entries(step.next_level), iova, t.permissions & step.permissions});
    return 1;
  }

  u64 leaf(const Table& t, u64 index, u64 iova, u64 word, const Step& step) {
    const unsigned item_lg2 = x_rules.shift(t.level);
    FoundLeaf found{{x_rules.full_iova(iova), step.address + (iova & below(step.page_lg2)), item_lg2,
                     t.permissions & step.permissions},
                    t.level,
                    t.at + index * 8,
                    word,
                    step.dirty};
    u64 members = u64{1} << (step.group_lg2 - item_lg2);
    if (members > 1) {
      if (agrees(t, index, members, word, step, iova, found))
        found.mapping.page_lg2 = step.group_lg2;
      else
        members = 1;
    }
    x_visit(found);
    return members;
  }

  bool agrees(const Table& t, u64 index, u64 members, u64 word, const Step& step, u64 iova, FoundLeaf& found) {
    const auto no = [&](std::string_view why, u64 at) {
      fault({Fault::Disagreement, why}, iova, t.level, t.at + at * 8);
      return false;
    };
    if (index % members != 0 || index + members > t.entries) return no("a contiguous group is not whole", index);
    if ((step.address.value & below(step.group_lg2)) != 0) return no("a contiguous group is not aligned", index);
    bool dirty = found.dirty;
    for (u64 k = 1; k < members; ++k) {
      const std::optional<u64> member = x_read(t.at + (index + k) * 8);
      if (!member || !x_rules.agree(word, *member, k, t.level))
        return no("members of a contiguous group differ", index + k);
      dirty = dirty || x_rules.examine(*member, t.level).dirty;
    }
    found.dirty = dirty;
    return true;
  }

  const ReadWord& x_read;
  const Rules& x_rules;
  const VisitLeaf& x_visit;
  Enumeration x_end;
  bool x_stopped = false;
};

template <class Rules>
Enumeration enumerate_tree(const ReadWord& read, const Rules& rules, const VisitLeaf& visit) {
  return Enumerator<Rules>(read, rules, visit).run();
}

}  // namespace sim::walk

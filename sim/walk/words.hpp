// Test support: memory in which tables are typed word by word.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <ostream>
#include <set>

#include "sim/walk/walk.hpp"

namespace sim::walk {

/// For messages of failed tests.
inline void PrintTo(const Mapping& m, std::ostream* out) {
  *out << std::hex << m.iova << "->" << m.address.value << std::dec << " 2^" << m.page_lg2 << " "
       << (m.permissions.read ? "r" : "-") << (m.permissions.write ? "w" : "-") << (m.permissions.execute ? "x" : "-");
}
inline void PrintTo(const Update& u, std::ostream* out) {
  *out << std::hex << u.entry.value << ": " << u.before << "->" << u.after;
}

class Words {
 public:
  /// Makes the page of @p at memory.
  void store(u64 at, u64 value) {
    x_pages.insert(at >> 12);
    x_words[at] = value;
  }
  /// [at, at + size) is memory and reads as zero.
  void zero(u64 at, u64 size_bytes) {
    for (u64 page = at >> 12; page < (at + size_bytes) >> 12; ++page) x_pages.insert(page);
  }
  [[nodiscard]] u64 load(u64 at) const {
    const auto found = x_words.find(at);
    return found == x_words.end() ? 0 : found->second;
  }
  [[nodiscard]] ReadWord reader() const {
    return [this](PhysAddr at) -> std::optional<u64> {
      if (!at.is_aligned(8) || !x_pages.contains(at.value >> 12)) return std::nullopt;
      return load(at.value);
    };
  }

 private:
  std::set<u64> x_pages;
  std::map<u64, u64> x_words;
};

/// What a walk is expected to find, in the order in which a case reads best.
struct Expected {
  u64 address;
  unsigned page_lg2;
  unsigned level;
};

template <class Tables>
void expect_found(const Words& memory, const Tables& tables, u64 iova, const Expected& expected) {
  const WalkResult found = walk(memory.reader(), tables, iova, Access::Read);
  EXPECT_EQ(found.fault, Fault::None) << found.why;
  EXPECT_EQ(found.address, PhysAddr(expected.address)) << std::hex << found.address.value;
  EXPECT_EQ(found.page_lg2, expected.page_lg2);
  EXPECT_EQ(found.level, expected.level);
}

template <class Tables>
void expect_fault(const Words& memory, const Tables& tables, u64 iova, Access access, Fault fault, u32 code) {
  const WalkResult found = walk(memory.reader(), tables, iova, access);
  EXPECT_EQ(found.fault, fault) << found.why << std::hex << " entry " << found.word;
  EXPECT_EQ(found.code, code) << found.why;
  EXPECT_NE(found.why, "");
  EXPECT_TRUE(found.updates.empty());
}

/// Enumerates, and asks the walk about the first and the last byte of every leaf.
template <class Tables>
std::vector<Mapping> mappings_of(const Words& memory, const Tables& tables) {
  Enumeration end;
  std::vector<Mapping> all = collect_mappings(memory.reader(), tables, end);
  EXPECT_EQ(end.fault, Fault::None) << end.why;
  for (const Mapping& m : all) {
    for (u64 offset : {u64{0}, (u64{1} << m.page_lg2) - 1}) {
      const WalkResult found = walk(memory.reader(), tables, m.iova + offset, Access::Read);
      EXPECT_EQ(found.address, m.address + offset) << std::hex << m.iova;
      EXPECT_EQ(found.permissions, m.permissions) << std::hex << m.iova;
    }
  }
  return all;
}

}  // namespace sim::walk

// Tables that are wrong in one place, and what three readers make of them: QEMU's IOMMU, our walker, our verifier.
//
// A row breaks one entry on the path of one page and says what each reader answers. Where they differ it says why that
// is so; a difference that no row explains fails the test. Threads: one. Failure: RunError.
#pragma once

#include "holdfast/pt/verify.hpp"
#include "tests/referee/domain.hpp"

namespace referee {

/// What QEMU or the walker does with the request: a fault code, or one of these.
inline constexpr u32 passes = 0;
inline constexpr u32 refuses = 0x10000;  // refused, and QEMU has no record to compare

struct MalformedRow {
  const char* machines;    // those whose name begins so; several beginnings with | between
  const char* name;        // of what is wrong
  unsigned page_lg2 = 12;  // of the page that is asked for
  unsigned level = 0;      // of the entry that is broken
  u64 clear = 0;
  u64 set = 0;
  Access access = Access::Write;
  u32 qemu = passes;
  u32 walker = passes;
  pt::VerifyReason verifier = pt::VerifyReason::None;  // None: such a table may be
  const char* why = "";                                // QEMU and the walker differ
};

struct Answers {
  u32 qemu = passes;
  u32 walker = passes;
  pt::VerifyReason verifier = pt::VerifyReason::None;

  constexpr bool operator==(const Answers&) const = default;
};

[[nodiscard]] std::span<const MalformedRow> malformed_rows();
[[nodiscard]] bool applies(const MalformedRow& row, const MachineKind& kind);
[[nodiscard]] std::string to_string(const Answers& answers);
[[nodiscard]] Answers expected_answers(const MalformedRow& row, const MachineKind& kind);

/// One machine and the memory for its malformed tables.
class MalformedTables {
 public:
  explicit MalformedTables(Machine& machine)
      : x_machine(machine), x_memory(machine.ram()), x_whole(machine.ram(), machine.ram().whole()) {}
  /// Makes a table, breaks it as @p row says, and asks all three.
  [[nodiscard]] Answers judge(const MalformedRow& row);

 private:
  Machine& x_machine;
  TableMemory x_memory;
  TableMemory x_whole;  // the verifier's view: targets are RAM to it as well; nothing is allocated from it
};

}  // namespace referee

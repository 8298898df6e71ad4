// Root, context, PASID-directory and PASID-table entries: the same bytes given to QEMU's unit and to the modelled unit
// that drivers are tested with (sim/vtd_unit.hpp), and the answers of both.
//
// Structures are whole words in the machine's RAM, which the modelled unit reads as its own. An answer is where a
// request arrived and what was recorded: reason, page and direction. Where QEMU answers otherwise than the modelled
// unit, known_entry_differences() says so and why; any other difference is an error of one of the two.
// Threads: one. Failure: RunError where a machine fails.
#pragma once

#include "sim/vtd_unit.hpp"
#include "tests/referee/machine_vtd.hpp"

namespace referee {

enum class Mode : u8 { Legacy, Scalable };

/// What a word belongs to.
enum class Place : u8 { RootPointer, Root, Context, Directory, Pasid, Paging };

/// A change of one word. @p word counts from the entry's start; of Paging it is the level, 1 for a table of pages.
struct Edit {
  Place place = Place::Root;
  unsigned word = 0;
  u64 clear = 0;
  u64 set = 0;
};

struct Request {
  u64 iova = 0;
  Access access = Access::Write;
};

/// A fault code (below 0x100), or one of these.
using Verdict = u32;
inline constexpr Verdict arrives = 0;             // where the tables lead
inline constexpr Verdict untranslated = 0x10001;  // at the request's own address
inline constexpr Verdict elsewhere = 0x10002;     // at the third place asked about
inline constexpr Verdict refused_silently = 0x10003;
inline constexpr Verdict unseen = 0x10004;          // let through to where nothing can be seen
inline constexpr Verdict wrong_record = 0x20000;    // with a code: its page or direction is not the request's
inline constexpr Verdict in_spite_of_it = 0x40000;  // with a code: it was recorded, and the request arrived
/// From what was recorded and where the request was seen.
[[nodiscard]] Verdict verdict_of(const std::optional<Record>& record, const Request& request, Verdict arrival);
[[nodiscard]] std::string verdict_text(Verdict verdict);
[[nodiscard]] constexpr bool is_arrival(Verdict verdict) {
  return verdict == arrives || verdict == untranslated || verdict == elsewhere || verdict == unseen;
}
/// What arrives out of sight shows in nothing but that there is no record.
[[nodiscard]] constexpr bool is_as_expected(Verdict seen, Verdict expected) {
  return seen == expected || (expected == unseen && seen == refused_silently);
}

/// Where structures are and what they say when they are as they should be.
struct Layout {
  Mode mode = Mode::Legacy;
  PhysAddr root_table;
  PhysAddr context_table;
  PhysAddr directory;  // scalable mode only, as everything about PASIDs
  PhysAddr pasid_table;
  PhysAddr top;
  unsigned levels = 4;
  u64 domain_id = 7;
  u64 rid_pasid = 0x41;
  u64 pdts = 0;
};

/// One device's entries in RAM, zeroed with the object.
class Structures {
 public:
  Structures(const SharedRam& ram, const Layout& layout);
  Structures(const Structures&) = delete;
  Structures& operator=(const Structures&) = delete;
  ~Structures();

  [[nodiscard]] const Layout& layout() const { return x_layout; }
  /// For the root pointer register.
  [[nodiscard]] u64 root_pointer() const { return x_root_pointer; }
  [[nodiscard]] u64 word(Place place, unsigned word) const { return x_ram.load(address(place, word)); }
  /// @p iova: whose paging entry.
  void apply(const Edit& edit, u64 iova);
  /// Takes the last edit back.
  void undo();

 private:
  [[nodiscard]] PhysAddr address(Place place, unsigned word) const;
  [[nodiscard]] PhysAddr paging_entry(unsigned level, u64 iova) const;

  const SharedRam& x_ram;
  Layout x_layout;
  u64 x_root_pointer;
  std::optional<PhysAddr> x_edited;
  u64 x_before = 0;
};

/// Places where a request may arrive. What is outside of the RAM for targets cannot be looked at.
struct Destinations {
  PhysAddr target;     // by the tables
  PhysAddr elsewhere;  // by the modelled unit; may equal target
};

/// The modelled unit beside QEMU's.
class EntryReferee {
 public:
  EntryReferee(VtdMachine& machine, Mode mode);

  [[nodiscard]] VtdMachine& machine() { return x_machine; }
  [[nodiscard]] Mode mode() const { return x_mode; }

  struct UnitAnswer {
    Verdict verdict = arrives;
    PhysAddr address;  // of a request that was let through
  };
  [[nodiscard]] UnitAnswer ask_unit(const Structures& structures, const Request& request, PhysAddr target);
  [[nodiscard]] Verdict ask_qemu(const Structures& structures, const Request& request, const Destinations& to);
  /// Whether something that arrives at @p address can be seen there.
  [[nodiscard]] bool is_visible(PhysAddr address) const;

 private:
  /// What the device has read last.
  [[nodiscard]] u64 read_buffer();
  void point_at(const Structures& structures);

  VtdMachine& x_machine;
  Mode x_mode;
  Structures x_good;  // and a table with one page, through which the device's buffer is filled and read
  u64 x_serial = 0;   // of what is laid out to be read
  sim::MachineConfig x_config;
  std::vector<u64> x_registers;
  sim::GuestRam x_unit_ram;
  sim::VtdUnit x_unit;
};

/// One entry that is wrong, or looks so, and what the modelled unit makes of it. What QEMU makes of it follows from
/// that and the known differences.
struct EntryRow {
  const char* name;
  Edit edit;
  Request request;
  Verdict legacy;  // absent: there is no such entry in this mode
  Verdict scalable;
};
inline constexpr Verdict absent = 0xffff'ffff;
[[nodiscard]] std::span<const EntryRow> entry_rows();

/// Where QEMU's unit is known to answer otherwise.
struct EntryDifference {
  const char* why;
  std::optional<Mode> mode;
  std::optional<Release> release;
  Verdict unit = arrives;  // or whatever
  Verdict qemu = arrives;  // or as_without
  // Nothing: wherever the edit is. Otherwise it is of that word, within bits, and changes one of one_of.
  std::optional<Place> place = std::nullopt;
  unsigned word = 0;  // or any_word
  u64 bits = ~u64{0};
  u64 one_of = ~u64{0};
  std::optional<Verdict> without = std::nullopt;  // the modelled unit's, without the edit
};
inline constexpr Verdict whatever = 0xffff'fffd;
inline constexpr unsigned any_word = ~0u;
/// QEMU does as if the edit were not there.
inline constexpr Verdict as_without = 0xffff'fffe;
[[nodiscard]] std::span<const EntryDifference> known_entry_differences();

/// What QEMU should answer, and by which difference if there is one.
struct Expected {
  Verdict verdict = arrives;
  const EntryDifference* by = nullptr;
};
/// @p unit: the modelled unit's answer with @p edit, @p without: without it.
[[nodiscard]] Expected expected_of_qemu(Mode mode, Release release, const Edit* edit, Verdict unit, Verdict without);

/// The tables of the rows: three pages, typed by hand.
class RowTables {
 public:
  explicit RowTables(const SharedRam& ram);
  [[nodiscard]] Layout layout(Mode mode) const;
  [[nodiscard]] PhysAddr target(u64 iova) const;

 private:
  const SharedRam& x_ram;
};

struct RowAnswers {
  Verdict unit = arrives;
  Verdict qemu = arrives;
  Expected expected;
};
[[nodiscard]] inline Verdict listed(const EntryRow& row, Mode mode) {
  return mode == Mode::Legacy ? row.legacy : row.scalable;
}
[[nodiscard]] RowAnswers judge_row(EntryReferee& referee, Release release, const EntryRow& row);

/// Nothing for machines that are not about second-stage tables of VT-d.
[[nodiscard]] std::optional<Mode> entry_mode(const MachineKind& kind);

}  // namespace referee

// Unit: what the IOMMU core asks of the driver of one IOMMU. vtd/ implements it; others will stand beside it.
//
// The driver owns the structures that hardware reads (root, context, PASID tables, queue) and the domain ids of its
// unit; the core (iommu/) owns devices, groups, domains, records and every decision. A device is named by its source
// id.
//
// Threads: the core calls under its mutex (LockRank::Iommu); a driver takes only its own spinlocks.
// Failure: a method that returns a Status either did all of it or left hardware and software as they were.
#pragma once

#include <array>
#include <span>

#include "holdfast/abi/iommu.hpp"
#include "holdfast/base/result.hpp"
#include "holdfast/memory/block_sink.hpp"
#include "holdfast/pt/table.hpp"

namespace holdfast::iommu {

/// Tables of one format, as far as a unit walks them.
struct TableLimits {
  pt::Format format = pt::Format::VtdSecondStage;
  u8 levels_mask = 0;  // bit n set: tables of n levels (3, 4, 5); 0: none of this format
  u64 page_sizes = 0;  // bit mask of leaf sizes
};

/// What one unit can do. Also recorded in the attestation, but for which tables come first and for pass_through, which
/// the capability registers say: a successor that finds other values does not adopt.
struct UnitLimits {
  bool scalable = false;                // translation mode in use: scalable, else legacy
  u8 iova_bits = 0;                     // MGAW
  std::array<TableLimits, 2> tables{};  // formats differ; new domains get the first
  u32 domain_ids = 0;                   // number of domain ids, the reserved ones included
  bool coherent_tables = false;
  bool pass_through = false;  // entries may say that addresses are physical ones
  u64 capability = 0;         // CAP as read
  u64 extended_capability = 0;

  /// nullptr where the unit walks no such tables.
  [[nodiscard]] constexpr const TableLimits* find(pt::Format format, unsigned levels) const {
    for (const TableLimits& one : tables)
      if (one.format == format && levels < 8 && (one.levels_mask >> levels & 1) != 0) return &one;
    return nullptr;
  }
};

// What the attestation says of all formats together; capability and extended_capability say which is which.
[[nodiscard]] constexpr u8 levels_of_any_format(const UnitLimits& limits) {
  return limits.tables[0].levels_mask | limits.tables[1].levels_mask;
}
[[nodiscard]] constexpr u64 page_sizes_of_any_format(const UnitLimits& limits) {
  return limits.tables[0].page_sizes | limits.tables[1].page_sizes;
}

/// What an entry has hardware do with the address of a request.
enum class EntryKind : u8 {
  Tables,       // looks it up in page tables
  PassThrough,  // takes it for a physical address
};

/// Under what hardware caches the translations of a domain on one unit.
struct CacheTag {
  DomainId did;
  pt::Format format = pt::Format::VtdSecondStage;  // of Tables
  EntryKind kind = EntryKind::Tables;

  constexpr bool operator==(const CacheTag&) const = default;
};

/// One translation as the hardware entry of a device expresses it.
struct EntrySpec {
  PhysAddr top;   // top page-table page
  u8 levels = 0;  // number of levels of that table
  DomainId did;   // tag of its cached translations on this unit
  pt::Format format = pt::Format::VtdSecondStage;
  EntryKind kind = EntryKind::Tables;

  /// There is no table: top and levels are 0, format says nothing.
  [[nodiscard]] static constexpr EntrySpec pass_through(DomainId did) {
    return {.top = {}, .levels = 0, .did = did, .kind = EntryKind::PassThrough};
  }

  constexpr bool operator==(const EntrySpec&) const = default;
  [[nodiscard]] constexpr CacheTag tag() const { return {did, format, kind}; }
};

/// The hardware entry of a device as it stands in memory.
struct LiveEntry {
  enum class State : u8 {
    Absent,
    Translating,  // through page tables, and nothing else; the one state in which an entry is taken over
    PassThrough,  // as this kernel writes it, under an id that is in use
    Other,        // present, and none of these
  };
  State state = State::Absent;
  EntrySpec spec;              // valid when known
  std::array<u64, 8> words{};  // the raw entry (legacy context: 2 words, scalable: the 8 of the PASID entry)

  constexpr bool operator==(const LiveEntry&) const = default;
  [[nodiscard]] constexpr bool is_known() const { return state == State::Translating || state == State::PassThrough; }
};

/// What adoption is told of a unit; all of it from records that the core has checked against the preserved map.
struct UnitAdoption {
  PhysAddr root_table;
  std::array<u64, 8> context_tables{};  // bit 2*bus + half: that context table exists and is preserved
};

/// Says whether a block belongs to what the previous kernel preserved (six loads of the preserved map).
class PreservedSet {
 public:
  [[nodiscard]] virtual bool contains(Block block) const = 0;

 protected:
  ~PreservedSet() = default;
};

/// Called for each present entry of a unit.
class EntryVisitor {
 public:
  virtual void entry(SourceId device) = 0;

 protected:
  ~EntryVisitor() = default;
};

/// Devices of one unit whose entries are accounted for.
class DeviceFilter {
 public:
  [[nodiscard]] virtual bool contains(SourceId device) const = 0;

 protected:
  ~DeviceFilter() = default;
};

class Unit {
 public:
  [[nodiscard]] virtual PhysAddr register_base() const = 0;
  [[nodiscard]] virtual u16 segment() const = 0;
  [[nodiscard]] virtual const UnitLimits& limits() const = 0;
  [[nodiscard]] virtual bool covers(SourceId device) const = 0;

  // Bring-up, after the unit was found. Exactly one of these three.

  /// No previous state: fresh root table, queue, translation on, everything blocked. If translation is found on
  /// already it stays on: the new (empty) root is swapped in under it.
  virtual Status start_fresh() = 0;
  /// Takes over what hardware walks. Writes nothing that the previous kernel left; checks RTADDR, mode and every root
  /// and context table named in @p state against @p preserved; then re-bases and starts the queue with TE always set
  /// and issues one global invalidation. Uses only memory given by the early allocator the driver was created with.
  /// Errors: Mismatch, Corrupt (state and machine disagree), TimedOut.
  virtual Status adopt(const UnitAdoption& state, const PreservedSet& preserved) = 0;
  /// Fallback when adopt() failed: an empty root is swapped in with translation on; every device of the unit is
  /// blocked.
  virtual Status quarantine() = 0;

  /// Root table that hardware walked when start_fresh() or quarantine() swapped in an empty one, which hardware
  /// confirmed; no table of it is walked any more. 0: there was none.
  [[nodiscard]] virtual PhysAddr replaced_root() const = 0;
  /// When memory is up, and after take_ownership() of an adopted unit: from here on the page of the root table is in
  /// @p sink, whether or not anything of the unit is preserved, because translation stays on through every jump and
  /// hardware goes on reading the root. No effect the second time; the root does not move afterwards.
  /// Errors: NoMemory; Io (the unit does not answer: where its root stands cannot be preserved, and check_alive() will
  /// refuse the jump).
  virtual Status keep_root(BlockSink& sink) = 0;

  // Domain ids. 0 and 1 are never given out (VT-d 6.2.2.1, and Linux's FLPT_DEFAULT_DID).

  virtual Result<DomainId> allocate_did() = 0;
  /// Errors: OutOfRange (below the dynamic range or beyond the unit's number), Exists (taken already).
  virtual Status reserve_did(DomainId did) = 0;
  virtual void release_did(DomainId did) = 0;
  [[nodiscard]] virtual u32 dids_in_use() const = 0;

  // Entries.

  /// Makes the tables exist that install() needs; afterwards install() and replace() of @p device cannot run out of
  /// memory.
  virtual Status prepare(SourceId device) = 0;
  /// Blocked -> translating or passing through. Busy if the entry is present.
  virtual Status install(SourceId device, const EntrySpec& to) = 0;
  /// From one to another with no moment in between, then the invalidations of both tags. No tag is ever filled from
  /// the other's table. @p from must be what stands there (Mismatch otherwise). Also NoSpace: a domain id is
  /// needed for the time of the change, and none is free.
  virtual Status replace(SourceId device, const EntrySpec& from, const EntrySpec& to) = 0;
  /// -> blocked: present bit, flush, then the rest. Fine if blocked already.
  virtual Status block(SourceId device) = 0;
  [[nodiscard]] virtual LiveEntry read_entry(SourceId device) const = 0;
  /// Every device whose context entry is present, whatever it says. After adopt(): those without a record get blocked.
  /// @p visitor may block the device it is told of.
  virtual void for_each_present_entry(EntryVisitor& visitor) const = 0;

  /// After adopt(), for a device that is not in @p believed, before it is blocked: tables of its own are not taken
  /// over. If no believed device stands in its context table, that page may be anything; then it is cut off at the
  /// root, never written and not taken over. The default does nothing. Errors: TimedOut, Io.
  virtual Status disown(SourceId /*device*/, const DeviceFilter& /*believed*/) { return {}; }

  /// After @p gather was filled by a change of a table cached under @p tag. Returns when hardware has forgotten.
  virtual Status invalidate(const CacheTag& tag, const pt::Gather& gather) = 0;
  /// Everything cached under @p tag.
  virtual Status invalidate_domain(const CacheTag& tag) = 0;

  // Handover, outgoing.

  /// Records the root table, which keep_root() preserved, and preserves every existing context table, once; later calls
  /// add context tables created since.
  virtual Status preserve(BlockSink& sink, abi::iommu::IntelUnit& record) = 0;
  /// Exactly the context tables that @p record names. Clears it.
  virtual void unpreserve(BlockSink& sink, abi::iommu::IntelUnit& record) = 0;
  /// Scalable mode: PASID directory and tables of @p device. Legacy: nothing.
  virtual Status preserve_device(BlockSink& sink, SourceId device, abi::iommu::IntelDevice& record) = 0;
  virtual void unpreserve_device(BlockSink& sink, SourceId device, abi::iommu::IntelDevice& record) = 0;

  /// Freeze, before the last consent: the queue answers and the root is kept. Errors: TimedOut, Io.
  virtual Status check_alive() = 0;
  /// After the last consent; allocates nothing, cannot fail for memory. Entries of every device of this unit that is
  /// not in @p keep: present bit, flush, rest; root halves of context tables that are not preserved; one global
  /// invalidation; queue drained; fault and queue interrupts masked. Translation stays on. A unit without preserved
  /// state is cut off the same way (its root then blocks everything). After a failure reinstate() puts back what was
  /// done.
  virtual Status cut_off(std::span<const SourceId> keep) = 0;
  /// The jump failed: puts back exactly what cut_off() removed; nothing if it removed nothing.
  virtual void reinstate() = 0;

  // Handover, incoming (after adopt(), when memory is up).

  /// Takes ownership of the restored pages: root, context tables, and the PASID tables of each adopted device.
  /// @p restore is called once per page. Called until it does not answer NoMemory, which leaves everything as it was.
  virtual Status take_ownership(BlockRestorer& restore) = 0;
  /// Scalable mode: checks that the PASID directory of @p device named by its record is the one hardware walks,
  /// preserved, and of the recorded size. RID_PASID is what the entry says, and stays. Legacy: nothing.
  /// Errors: Mismatch, Corrupt; of RID_PASID: OutOfRange (beyond the directory), NotSupported (not by this unit).
  virtual Status adopt_device(SourceId device, const abi::iommu::IntelDevice& record,
                              const PreservedSet& preserved) = 0;

  /// Reads and clears the fault records; returns how many there were. Each is logged with device, address and reason.
  virtual u32 drain_faults() = 0;
  /// Hash over everything that hardware reads (entries, registers that matter) and the ids in use.
  [[nodiscard]] virtual u64 state_hash() const = 0;

 protected:
  ~Unit() = default;
};

}  // namespace holdfast::iommu

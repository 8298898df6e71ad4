// Core: devices, domains and units; what of them crosses a jump; what of them is believed after one.
//
// Order of a kernel's life.
//   Cold: add_unit()..., start_fresh(), register_device()...
//   Live: (a) add_unit()..., adopt(): scratch memory only, nothing of the previous kernel is written; then the
//             blackout ends.
//         (b) claim_restored(), register_device()..., devices_enumerated(): owned before anyone can bind.
//         (c) verify(): from here on restored domains can be found, compared, replaced; free_replaced_roots().
//   Both: keep_roots(), when memory and the outgoing handover are open.
//   Outgoing: preserve_domain(), preserve_device(); prepare_freeze(), cut_off(), jump; reinstate() if it returns.
//
// Trust: whatever came in is checked before it is used; what is bad costs the object that it belongs to (quarantine:
// the device is blocked, named in the log and in quarantined()), nothing else. Policy::Panic turns that into a panic.
//
// Threads: every call takes one Mutex (LockRank::Iommu) and may sleep. Failure: a call that answers an error changed
// nothing, records, counts and preserved set included, unless it says otherwise.
#pragma once

#include <optional>
#include <span>

#include "holdfast/abi/attest.hpp"
#include "holdfast/abi/iommu.hpp"
#include "holdfast/base/locks.hpp"
#include "holdfast/iommu/device.hpp"
#include "holdfast/iommu/domain.hpp"
#include "holdfast/iommu/incoming.hpp"
#include "holdfast/iommu/outgoing.hpp"
#include "holdfast/iommu/unit.hpp"
#include "holdfast/kho/handover.hpp"
#include "holdfast/kho/visitor.hpp"
#include "holdfast/luo/flb.hpp"

namespace holdfast::iommu {

enum class QuarantinePolicy : u8 { Quarantine, Panic };

struct CoreOptions {
  TableMode table_mode = TableMode::Arena;  // of every domain; decides the version of the records
  QuarantinePolicy policy = QuarantinePolicy::Quarantine;
};

/// What adopt() found, for the log and for tests.
struct AdoptionReport {
  u32 units_adopted = 0;
  u32 units_fresh = 0;
  u32 units_quarantined = 0;
  u32 devices_adopted = 0;
  u32 devices_quarantined = 0;
  u32 entries_blocked = 0;  // present in hardware, with no record
};

class Core {
 public:
  static constexpr std::size_t max_units = 64;

  Core(Memory& memory, kho::Handover& handover, const CoreOptions& options = {});
  Core(const Core&) = delete;
  Core& operator=(const Core&) = delete;

  [[nodiscard]] const CoreOptions& options() const { return x_options; }

  // Bring-up.

  /// Errors: Exists (same register base), NoSpace.
  Status add_unit(Unit& unit);
  /// Cold boot: every unit starts with everything blocked. A unit that does not start gets no devices; the first error
  /// is answered after all were tried.
  Status start_fresh();
  /// Live boot (a). Reads no page table and no block list. A unit is adopted, quarantined or (never known before)
  /// started fresh; each present entry without a good record is blocked. Error: NoMemory (scratch; nothing was
  /// started). Other failures are the objects': see quarantined().
  Status adopt(const kho::IncomingMap& incoming, EarlyAllocator& early);
  /// Live boot (b), once memory is open and the incoming map is claimed. The units take their pages over, each exactly
  /// once; domain objects are made. A second call does what the first could not. Error: NoMemory.
  Status claim_restored();
  /// Cold and live, once the units have memory and the outgoing handover is open; after claim_restored(). Every root
  /// table that hardware reads is in the handover from here on: a unit of which nothing is preserved goes on blocking
  /// through the jump. Error: NoMemory (a second call does what the first could not).
  Status keep_roots();
  /// Live boot (b), after the PCI walk: incoming devices that were not found lose their entries and domains.
  void devices_enumerated();
  /// Live boot, between adopt() and Memory::open(), when it is not known what all the previous kernel preserved: memory
  /// that devices still reach would be given out. Every adopted unit is quarantined, its devices are lost.
  void block_adopted(std::string_view reason);
  /// Live boot (b), between claiming the incoming map and opening memory: devices whose tables are not sound, or lead
  /// to memory that was not preserved and that is about to be given out, are blocked and named. Their domains are dealt
  /// with by verify().
  void check_reach();
  /// Live boot (c). A domain that fails is quarantined and its devices are blocked. Error: NoMemory; may be repeated.
  Status verify();
  /// Live boot (c), after verify(). Root tables that the previous kernel kept and that this one replaced, because
  /// nothing of their units crossed or nothing of it was believed, go back to the allocator, unless a record, a block
  /// list or a domain claims the page. A second call finds nothing.
  void free_replaced_roots();

  [[nodiscard]] const AdoptionReport& adoption_report() const { return x_report; }
  /// Live-update number of the jump that the incoming attestation was written for; nothing if there is none.
  [[nodiscard]] std::optional<u64> incoming_generation() const { return x_incoming.generation(); }
  /// Everything that was not believed, by name and reason.
  void for_each_quarantined(kho::Visitor<const Quarantined&> visit) const;

  // Devices.

  /// A device that the previous kernel preserved comes back attached and owned by its token; one whose identity is not
  /// the attested one is quarantined (and is not an error). Errors: NoDevice (no unit covers it, or its unit does not
  /// work), Exists, NoMemory.
  Result<Device*> register_device(const DeviceIdentity& identity);
  /// Blocks it, except when it is attached to its restored domain: then it stays as it is, and registered again it is
  /// what it was. Errors: Busy (owned or preserved), and those of Unit::block.
  Status unregister_device(Device& device);
  [[nodiscard]] Result<Device*> find_device(u16 segment, SourceId id) const;
  void for_each_device(kho::Visitor<Device&> visit) const;

  /// @p token: the token under which @p owner was preserved by the previous kernel, if it was. Claiming again is fine.
  /// A new owner finds the device blocked, but for a restored one, which comes as it is.
  /// Errors: Busy (another owner, or what one left is preserved), NotPermitted (restored, and not under this token),
  /// Corrupt (quarantined), TimedOut or Io (what an owner before left attached cannot be blocked).
  Status claim_owner(Device& device, const void* owner, std::optional<u64> token = std::nullopt);
  /// No effect when @p owner is not the owner. A restored device stays reserved for its token while it is attached to
  /// its restored domain.
  void release_owner(Device& device, const void* owner);

  /// Blocked -> @p domain, or from one domain to another with no moment in between. The same domain again is fine.
  /// Errors: Busy (device or domain preserved), Corrupt (device quarantined), NotPermitted (not claimed, and restored
  /// or for an identity domain), NotSupported (shared device; a restored domain takes no device; the unit has no
  /// pass-through for an identity domain), Invalid (the unit cannot walk these tables), NoSpace (domain ids), NoMemory,
  /// TimedOut, Io.
  Status attach(Device& device, Domain& domain);
  /// -> blocked. Fine if blocked already. Errors: Busy (preserved), NotPermitted (restored and not claimed), TimedOut,
  /// Io.
  Status detach(Device& device);

  // Domains.

  /// Levels and width as the unit of @p limits_from allows. Errors: Invalid (no usable level or page size), NoMemory.
  Result<Domain*> create_domain(const Device& limits_from, const DomainOptions& options);
  /// For devices whose own drivers run in this kernel: their addresses are physical ones, so they reach all of memory.
  /// No table: what maps, unmaps, looks up, compares or preserves answers NotSupported, and at the cut-off its devices
  /// are blocked. Errors: NotSupported (the unit of @p limits_from has no pass-through), NoMemory.
  Result<Domain*> create_identity_domain(const Device& limits_from);
  /// Frees tables and object; of a restored domain its incoming pages, unless a unit that does not answer may still
  /// know them: then they stay taken, which is logged. Errors: Busy (attached or preserved), TimedOut
  /// or Io (the flush failed: nothing was freed).
  Status destroy_domain(Domain& domain);
  /// All or nothing. Errors: Busy (preserved), NotSupported (restored or identity), those of pt::Table::map, TimedOut,
  /// Io (a flush failed: nothing is mapped, but hardware may have seen it; the flush is owed and tried again by the
  /// next call).
  Status map(Domain& domain, Iova iova, std::span<const PhysRange> runs, pt::Prot prot,
             Iova* first_collision = nullptr);
  /// Hardware forgets what changes before still owe. Errors: TimedOut, Io.
  Status settle(Domain& domain);
  /// Bytes unmapped. When it returns, hardware has forgotten. Errors as map(); after TimedOut or Io what it was to
  /// unmap may be gone from the table, and hardware may know it still.
  Result<u64> unmap(Domain& domain, Iova iova, u64 length);
  /// Errors: those of pt::Reader::lookup, NotSupported (not verified, or identity).
  [[nodiscard]] Result<pt::Translation> lookup(const Domain& domain, Iova iova) const;
  /// First IOVA that @p from maps and @p to does not map identically (same address, at least the same permissions).
  /// Error: NotSupported (one of them is not verified, or identity).
  [[nodiscard]] Result<std::optional<Iova>> compare(const Domain& from, const Domain& to) const;
  /// The restored domain of the previous kernel's record. Errors: NotFound (no such record, or freed), Again (not
  /// verified yet), Corrupt (quarantined).
  [[nodiscard]] Result<Domain*> find_restored(PhysAddr record) const;

  // Handover, outgoing.

  /// The FLBs that handlers of files that need IOMMU state depend on. Both are preserved before the first domain.
  [[nodiscard]] luo::Flb& records_flb() { return x_records_flb; }
  [[nodiscard]] luo::Flb& attest_flb() { return x_attest_flb; }

  /// From here the domain cannot change. A restored domain is passed on: same tables, new record. Answers the address
  /// of its record. Errors: Busy (already), Invalid (no FLB), Corrupt (quarantined), Again (not verified),
  /// NotSupported (identity: there is no table to hand over; or table blocks that this kernel's records cannot name),
  /// NoMemory.
  Result<PhysAddr> preserve_domain(Domain& domain);
  /// No effect when not preserved. Error: Busy (a preserved device refers to it).
  Status unpreserve_domain(Domain& domain);
  /// The device's attachment crosses. Errors: Busy (already), NotSupported (shared, or attached to an identity domain),
  /// Corrupt (quarantined), Invalid (not owned, not attached, or its domain is not preserved), NoMemory, those of
  /// Unit::preserve_device.
  Status preserve_device(Device& device, u64 owner_token);
  /// No effect when not preserved. Works also when the owner is gone.
  void unpreserve_device(Device& device);

  /// Open flags and mode of a preserved memfd, for which the attestation has room. Errors: Invalid (no FLB), NoMemory.
  Status attest_memfd(PhysAddr record, u32 open_flags, u32 mode);
  void forget_memfd(PhysAddr record);
  /// What the previous kernel attested of a memfd record. Errors: NotFound, Corrupt.
  [[nodiscard]] Result<abi::attest::MemfdAttest> find_memfd(PhysAddr record) const;
  /// Some unit did not confirm that devices have lost what the previous kernel gave them. Memory that they may have
  /// reached is nobody else's from then on: which it is, only those tables say.
  [[nodiscard]] bool is_reach_unknown() const;

  /// True when tables of @p format are preserved for the next kernel.
  [[nodiscard]] bool preserves(pt::Format format) const;

  // Freeze and jump. Between prepare_freeze() and its end (abandon_freeze(), reinstate() or the jump) no other call.

  /// Before the last consent: everything that can fail. @p generation: live-update number of the jump.
  /// Units that do not work are not asked and not cut off: whoever calls sees to it that what stands behind them does
  /// no DMA. Errors: TimedOut, Io (a queue does not answer; the log says whose), NoMemory.
  Status prepare_freeze(u64 generation);
  /// The freeze was refused after prepare_freeze() and before cut_off().
  void abandon_freeze();
  /// After the last consent: blocks every device that is not preserved, copies the live entries into the attestation.
  /// Allocates nothing. Errors: TimedOut, Io: everything is reinstated, the freeze abandoned.
  Status cut_off();
  /// The jump came back.
  void reinstate();

  // Handover, incoming.

  /// The administrator gave it up, or it is not wanted: blocked, detached, nobody's; a quarantine ends.
  /// Errors: Busy (preserved), TimedOut, Io.
  Status drop_device(Device& device);
  /// Drops every device attached to the restored domain of @p record and frees it. NotFound is success: nothing is
  /// left.
  Status drop_domain(PhysAddr record);

  /// Hash over devices, domains, records, counts, table bytes and units. Equal states, equal hashes.
  [[nodiscard]] u64 state_hash() const;

 private:
  struct UnitState {
    Unit* unit = nullptr;
    bool working = false;      // it translates or blocks as told
    bool adopted = false;      // with the previous kernel's root
    bool owns_tables = false;  // take_ownership() is done
    bool cut_off = false;
    u32 preserved_devices = 0;  // outgoing
    PhysAddr record;            // outgoing iommu::Unit record
    PhysAddr attest;
    std::string_view reason;  // why it was quarantined or does not work
  };
  class StrayEntries;

  /// Flb that calls back into the core.
  class RecordsFlb final : public luo::Flb {
   public:
    explicit RecordsFlb(Core& core) : x_core(core) {}
    [[nodiscard]] std::string_view compatible() const override { return abi::iommu::compatible; }
    Result<u64> preserve() override;
    void unpreserve() override;
    void finish() override;

   private:
    Core& x_core;
  };
  class AttestFlb final : public luo::Flb {
   public:
    explicit AttestFlb(Core& core) : x_core(core) {}
    [[nodiscard]] std::string_view compatible() const override { return abi::attest::compatible; }
    Result<u64> preserve() override;
    void unpreserve() override;
    void finish() override;

   private:
    Core& x_core;
  };

  [[nodiscard]] std::span<UnitState> units() { return {x_units.data(), x_unit_count}; }
  [[nodiscard]] std::span<const UnitState> units() const { return {x_units.data(), x_unit_count}; }
  [[nodiscard]] UnitState& state_of(const Unit& unit);
  [[nodiscard]] UnitState* find_unit_of(u16 segment, SourceId id);
  [[nodiscard]] Device* find_device_locked(u16 segment, SourceId id) const;

  void visit_quarantined(const kho::Visitor<const Quarantined&>& visit) const;

  // core_adopt.cpp
  void start_unit(UnitState& state);
  void quarantine_unit(UnitState& state, std::string_view reason);
  void adopt_unit(UnitState& state, const PreservedSet& preserved);
  [[nodiscard]] std::string_view adopt_entry(IncomingDevice& device, const PreservedSet& preserved);
  [[nodiscard]] std::string_view link_incoming(IncomingDevice& device, DomainId did);
  void block_strays(UnitState& state);
  void lose_devices(const Unit& unit, std::string_view reason);
  void keep_restored_tables();
  void report(const Quarantined& what) const;
  void distrust(const Quarantined& what);

  // core_restore.cpp
  Status make_restored_domain(IncomingDomain& incoming);
  void adopt_device_object(Device& device, IncomingDevice& incoming);
  void part_from_object(Device& device);
  void give_up_incoming(IncomingDevice& incoming, std::string_view reason);
  Status verify_domain(IncomingDomain& incoming);
  Result<bool> read_block_list(IncomingDomain& incoming, Vec<Block>& blocks);
  template <class F>
  [[nodiscard]] bool any_record_page(F is_wanted) const;
  [[nodiscard]] bool holds_records(const IncomingDomain& incoming) const;
  void check_disjoint();
  Status check_targets();
  void unlink_given_up(IncomingDomain& incoming);
  void set_aside(PhysAddr page);
  void quarantine_domain(IncomingDomain& incoming, std::string_view reason);
  Status drop_domain_locked(IncomingDomain& incoming);
  void finish_records();
  void finish_attest();
  [[nodiscard]] IncomingDomain* incoming_of(const Domain& domain);

  // core_domain.cpp
  [[nodiscard]] static bool can_walk(const Unit& unit, const pt::TableConfig& config);
  [[nodiscard]] static Status can_take(const Device& device, const Domain& domain);
  Result<UnitLink*> take_link(Domain& domain, Unit& unit);
  void drop_unused_link(Domain& domain, UnitLink& link);
  void put_link(Domain& domain, UnitLink& link);
  Status settle_link(Domain& domain, UnitLink& link);
  [[nodiscard]] static UnitLink* find_link(const Domain& domain, const Unit& unit);
  [[nodiscard]] static EntrySpec spec_of(const Domain& domain, const UnitLink& link);
  [[nodiscard]] static CacheTag tag_of(const Domain& domain, const UnitLink& link) {
    return spec_of(domain, link).tag();
  }
  Status point_entry(Device& device, const Domain& domain, const UnitLink& link);
  void join(Device& device, Domain& domain);
  void leave(Device& device);
  Status block_device(Device& device);
  Status flush(Domain& domain);
  Status destroy_locked(Domain& domain);
  void free_restored_tables(Domain& domain);
  [[nodiscard]] const pt::Reader* reader_of(const Domain& domain, std::optional<pt::TreeReader>& storage) const;

  // core_preserve.cpp
  Result<u64> open_records();
  Result<u64> open_attest();
  void close_records();
  void close_attest();
  Status preserve_unit(UnitState& state, Device& device);
  void unpreserve_unit(UnitState& state, Device& device);
  void seal_unit(const UnitState& state);
  void seal_domain(const Domain& domain);
  void seal_device(const Device& device);
  void forget_freeze();
  void reinstate_locked();
  [[nodiscard]] static std::span<const Block> blocks_of(const Domain& domain);
  void hash_domain(const Domain& domain, u64& hash) const;

  Memory& x_memory;
  kho::Handover& x_handover;
  CoreOptions x_options;
  mutable Mutex x_mutex;
  std::array<UnitState, max_units> x_units{};
  std::size_t x_unit_count = 0;
  List<Device, &Device::x_core_link> x_devices;
  List<Domain, &Domain::x_core_link> x_domains;
  Outgoing x_outgoing;
  Incoming x_incoming;
  AdoptionReport x_report;
  RecordsFlb x_records_flb;
  AttestFlb x_attest_flb;
  bool x_has_incoming_records = false;  // not finished
  bool x_has_incoming_attest = false;
  bool x_is_reach_unknown = false;  // stays: a unit that answers again does not say what it did meanwhile
  u32 x_set_aside = 0;              // Frame::mark of incoming pages that are ours and no tables; 0: none yet
  bool x_is_freezing = false;
  Vec<SourceId> x_keep;  // prepare_freeze(): preserved devices, unit by unit
  u64 x_generation = 0;  // of the freeze
};

}  // namespace holdfast::iommu

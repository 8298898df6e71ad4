// VtdUnit: the driver of one Intel remapping unit, as the IOMMU core asks for it (iommu/unit.hpp).
//
// Life: create() reads what the unit can do and takes queue, id bitmap and an empty root from the early allocator, so
// that adoption works before there is a frame table; then start_fresh(), adopt() or quarantine(); then attach_memory(),
// after which context and PASID tables can be made; after an adoption take_ownership(); then keep_root().
//
// Legacy mode: a device's context entry names its table. Scalable mode: its context entry leads to a PASID directory
// and table of its own, made once; the PASID entry for requests without PASID names the table, and blocked means that
// this entry is not present. There it is a first or a second stage; a legacy context entry knows a second stage alone.
// Where ECAP.PT is set both can say pass-through instead.
// A device whose PASID structures are not known to be sound is blocked at its context entry. Which PASID requests
// without PASID have (RID_PASID) is the unit's option for context entries that it makes; an entry that an earlier
// kernel made keeps the value that stands in it, for as long as the device keeps its PASID tables.
//
// Translation is never turned off. Caching mode (CAP.CM) and units without a queue are refused.
// Threads: the core's mutex (LockRank::Iommu) around everything; the queue has its own spinlock.
// Failure: hardware waits are bounded. Where a command fails after an entry was made non-present, it stays so: the
// device is blocked and the caller hears of it. An invalidation that failed is owed: the next one of the unit, whatever
// it is for, first makes hardware forget everything, so that a success also speaks for every failure before it.
#pragma once

#include "holdfast/iommu/unit.hpp"
#include "holdfast/memory/memory.hpp"
#include "holdfast/vtd/context_tables.hpp"
#include "holdfast/vtd/dmar.hpp"
#include "holdfast/vtd/domain_ids.hpp"
#include "holdfast/vtd/entry_writer.hpp"
#include "holdfast/vtd/invalidation_queue.hpp"
#include "holdfast/vtd/pasid_tables.hpp"
#include "holdfast/vtd/replacement.hpp"
#include "holdfast/vtd/rid_pasids.hpp"
#include "holdfast/vtd/unit_line.hpp"

namespace holdfast::vtd {

/// Whether hardware looks at the RID_PASID of a context entry. There is hardware that does and does not say so.
enum class RidPasidSupport : u8 {
  Reported,  // where ECAP.RPS is set
  Assumed,   // whatever ECAP says
};

struct UnitOptions {
  /// Falls back to Legacy where the unit lacks it. Where translation is on already the mode is what hardware runs in,
  /// which cannot change without a moment in which nothing translates. limits() says which it is.
  Mode mode = Mode::Scalable;
  u32 rid_pasid = 0;  // below rid_pasid_limit; 0 where the unit knows no other (see rid_pasid_support), which is logged
  /// First or second stage for new domains; nothing: second where the unit has it in the mode in use.
  /// A unit that has only the other says so and uses that.
  std::optional<pt::Format> format = std::nullopt;
  RidPasidSupport rid_pasid_support = RidPasidSupport::Reported;
};

class VtdUnit final : public iommu::Unit {
 public:
  /// @p dmar, of which @p description is one unit, @p map and @p touches must outlive the unit.
  /// Errors: NotSupported (no queue, caching mode, no tables that we know), Invalid (RID_PASID),
  /// NoMemory.
  static Result<VtdUnit*> create(World& world, const DirectMap& map, TouchMeter& touches, EarlyAllocator& early,
                                 const Dmar& dmar, const DmarUnit& description, const UnitOptions& wanted);
  VtdUnit(const VtdUnit&) = delete;
  VtdUnit& operator=(const VtdUnit&) = delete;

  /// Buddy and heap work from now on. A root table in early memory is replaced by one that can be preserved;
  /// translation stays on. A unit that does not answer is logged, and no error. Errors: NoMemory.
  Status attach_memory(Memory& memory);

  [[nodiscard]] PhysAddr register_base() const override { return x_description->register_base; }
  [[nodiscard]] u16 segment() const override { return x_description->segment; }
  [[nodiscard]] const iommu::UnitLimits& limits() const override { return x_limits; }
  [[nodiscard]] bool covers(SourceId device) const override;

  Status start_fresh() override;
  Status adopt(const iommu::UnitAdoption& state, const iommu::PreservedSet& preserved) override;
  Status quarantine() override;
  [[nodiscard]] PhysAddr replaced_root() const override { return x_replaced_root; }
  Status keep_root(BlockSink& sink) override;

  Result<DomainId> allocate_did() override { return x_dids.allocate(); }
  Status reserve_did(DomainId did) override { return x_dids.reserve(did); }
  void release_did(DomainId did) override { x_dids.release(did); }
  [[nodiscard]] u32 dids_in_use() const override { return x_dids.in_use(); }

  Status prepare(SourceId device) override;
  Status install(SourceId device, const iommu::EntrySpec& to) override;
  Status replace(SourceId device, const iommu::EntrySpec& from, const iommu::EntrySpec& to) override;
  Status block(SourceId device) override;
  [[nodiscard]] iommu::LiveEntry read_entry(SourceId device) const override;
  void for_each_present_entry(iommu::EntryVisitor& visitor) const override;

  Status disown(SourceId device, const iommu::DeviceFilter& believed) override;
  Status invalidate(const iommu::CacheTag& tag, const pt::Gather& gather) override;
  Status invalidate_domain(const iommu::CacheTag& tag) override;

  /// Also Io: the root is not kept.
  Status preserve(BlockSink& sink, abi::iommu::IntelUnit& record) override;
  void unpreserve(BlockSink& sink, abi::iommu::IntelUnit& record) override;
  Status preserve_device(BlockSink& sink, SourceId device, abi::iommu::IntelDevice& record) override;
  void unpreserve_device(BlockSink& sink, SourceId device, abi::iommu::IntelDevice& record) override;

  Status check_alive() override;
  /// Undoes itself when hardware does not answer. Also Invalid, with nothing changed: a device in @p keep translates
  /// through tables that are not preserved.
  Status cut_off(std::span<const SourceId> keep) override;
  void reinstate() override;

  /// After a success, or before any page was taken, it may be called again. Errors: NoMemory (nothing taken), NotFound
  /// or Corrupt (a page is not there as preserved: some were taken, none twice).
  Status take_ownership(BlockRestorer& restore) override;
  Status adopt_device(SourceId device, const abi::iommu::IntelDevice& record,
                      const iommu::PreservedSet& preserved) override;

  u32 drain_faults() override;
  [[nodiscard]] u64 state_hash() const override;

 private:
  struct EarlyMemory {
    InvalidationQueue::Storage queue;
    std::span<u64> did_words;
    PhysAddr empty_root;
  };
  /// The entry that names the page table; no pieces when there is none, or none that may be followed.
  struct TranslationEntry {
    std::span<Quad> pieces;
    u32 rid_pasid = 0;  // scalable
  };
  struct EventMasks {
    hw::vtd::EventControl fault;
    hw::vtd::EventControl queue;
  };

  VtdUnit(World& world, const DirectMap& map, TouchMeter& touches, const Dmar& dmar, const DmarUnit& description,
          const UnitRegisters& registers, const EarlyMemory& memory, const UnitOptions& options);

  // unit.cpp
  [[nodiscard]] TextLine line() const { return unit_line(register_base()); }
  [[nodiscard]] EntryWriter writer() const;
  [[nodiscard]] PageWalk page_walk() const {
    return x_limits.coherent_tables ? PageWalk::Coherent : PageWalk::NonCoherent;
  }
  [[nodiscard]] Draining draining() const;
  [[nodiscard]] bool has_protected_memory() const;
  Status commit_writes();
  Status forget(std::span<const Descriptor> batch);
  Status forget_everything();
  Status forget_entry(SourceId device, const iommu::CacheTag& tag, u32 rid_pasid);
  [[nodiscard]] bool is_forgotten_by_pasid(const iommu::CacheTag& tag) const;
  void mask_events();

  // unit_bring_up.cpp
  void set_mode(Mode mode);
  [[nodiscard]] PhysAddr root_under_translation() const;
  Result<PhysAddr> make_empty_root();
  Status start_with_empty_root();
  Status set_root(PhysAddr root);
  [[nodiscard]] hw::vtd::Rtaddr root_pointer(PhysAddr root) const;
  [[nodiscard]] bool has_pages_of_its_own(SourceId device, const PasidTables& tables) const;

  // unit_entries.cpp
  [[nodiscard]] bool is_possible(const iommu::EntrySpec& spec) const;
  [[nodiscard]] EntryEncoding encoding() const { return {x_tables.mode(), page_walk(), x_pass_through_levels}; }
  /// Also NotSupported: hardware does not look at the RID_PASID that stands in the entry.
  [[nodiscard]] Result<PasidTables> pasid_tables(std::span<const Quad> context) const;
  [[nodiscard]] TranslationEntry translation_entry(SourceId device) const;
  void judge(std::span<const Quad> pieces, iommu::LiveEntry& live) const;
  [[nodiscard]] iommu::LiveEntry read_legacy(std::span<const Quad> context) const;
  [[nodiscard]] iommu::LiveEntry read_scalable(std::span<const Quad> context) const;
  Status make_context_table(SourceId device);
  Status make_pasid_tables(SourceId device, std::span<Quad> context);
  Status replace_checked(SourceId device, const TranslationEntry& entry, const iommu::EntrySpec& from,
                         const iommu::EntrySpec& to);
  bool take_back(SourceId device, const TranslationEntry& entry, std::span<const Replacement::Step> done);

  // unit_handover.cpp
  [[nodiscard]] bool can_keep(SourceId device) const;
  void save_tables();
  Status cut_off_saved(std::span<const SourceId> keep);
  void clear_present_entries(std::span<const SourceId> keep);
  void clear_rest_of_entries();
  void clear_unpreserved_roots();
  void restore_entries();
  void restore_roots();

  World* x_world;
  const DirectMap* x_map;
  TouchMeter* x_touches;
  const Dmar* x_dmar;
  const DmarUnit* x_description;
  Memory* x_memory = nullptr;

  UnitRegisters x_registers;
  hw::vtd::Cap x_cap;
  hw::vtd::Ecap x_ecap;
  bool x_knows_rid_pasid;
  u32 x_rid_pasid;  // of context entries made here
  std::optional<pt::Format> x_wanted_format;
  u8 x_pass_through_levels;
  RidPasids x_rid_pasids;  // of every device whose tables are known
  iommu::UnitLimits x_limits;
  InvalidationQueue x_queue;
  DomainIds x_dids;
  ContextTables x_tables;
  PhysAddr x_early_root;
  PhysAddr x_replaced_root;

  bool x_owns_tables = false;  // take_ownership() is done
  bool x_keeps_root = false;
  bool x_cut_off = false;
  bool x_owes_forgetting = false;  // an invalidation failed: hardware may remember anything
  EventMasks x_masks_before;       // cut_off() changed them
};

}  // namespace holdfast::vtd

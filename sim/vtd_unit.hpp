// One modelled VT-d unit: registers, invalidation queue, fault records, translation (VT-d Architecture
// Specification 4.1).
//
// Its register page is memory of the machine's owner: the unit stores what a kernel may read there, and
// register_write() is how a kernel's store arrives. A command is complete when register_write returns, except the
// queue's work when the machine has a queue lag. With translation off a request goes to the raw address, as on real
// hardware.
//
// Modelled: legacy and scalable mode, first stage, second stage and pass-through, requests without PASID, accessed and
// dirty bits of the first stage, register-based invalidation while the queue is off. Not modelled: nesting, PASID
// requests, device-TLBs, interrupts (message generation), interrupt remapping, advanced fault log, protected memory,
// accessed and dirty bits of the second stage, caching mode.
//
// Threads: one at a time. Tables are fetched in aligned 16-byte atomic pieces (8-byte for paging and PASID directory
// entries), so a kernel may store them meanwhile.
#pragma once

#include <deque>

#include "holdfast/hw/vtd/descriptors.hpp"
#include "holdfast/hw/vtd/entries.hpp"
#include "holdfast/hw/vtd/faults.hpp"
#include "holdfast/hw/vtd/registers.hpp"
#include "sim/register_file.hpp"
#include "sim/vtd_caches.hpp"
#include "sim/walk/vtd_second_stage.hpp"
#include "sim/walk/x86_first_stage.hpp"

namespace sim {

using hw::vtd::FaultReason;

enum class Access : u8 { Read, Write };

struct Translation {
  bool allowed = false;
  PhysAddr address;
  FaultReason reason = FaultReason::None;
};

/// One fault, recorded in registers or not.
struct FaultEvent {
  SourceId sid;
  FaultReason reason{};
  Access access{};
  u64 iova = 0;
};

struct UnitStats {
  u64 translation_enabled = 0;   // times GSTS.TES went 0 -> 1
  u64 translation_disabled = 0;  // and 1 -> 0
  u64 root_pointers_set = 0;     // SRTP commands
  u64 descriptors = 0;           // executed by the queue
  u64 queue_errors = 0;
  u64 faults = 0;          // all of them
  u64 faults_dropped = 0;  // not recorded: records full, FPD
  u64 leaf_hits = 0;       // IOTLB
  u64 walks = 0;
  u64 stale = 0;    // uses of cached state that a fresh walk contradicts (MachineConfig::count_stale_uses)
  u64 misuses = 0;  // register writes against the manual's protocol
};

/// Test hook: a queue on hold takes no work, as broken hardware would.
enum class QueueHold : u8 { Released, Held };

class VtdUnit {
 public:
  VtdUnit(const MachineConfig& config, const GuestRam& ram, RegisterFile registers);

  void register_write(u64 offset, Width width, u64 value);
  /// One step of the machine: a lagging queue comes nearer to its work.
  void tick();

  Translation translate(SourceId sid, u64 iova, Access access);
  /// What a unit without caches and without fault records would answer; changes nothing.
  [[nodiscard]] Translation translate_afresh(SourceId sid, u64 iova, Access access) const;

  [[nodiscard]] bool translating() const { return x_translating; }
  [[nodiscard]] PhysAddr root_table() const { return x_root; }
  [[nodiscard]] hw::vtd::Ttm table_mode() const { return x_ttm; }
  [[nodiscard]] const UnitStats& stats() const { return x_stats; }
  /// The newest executed descriptors, at most 4096, oldest first.
  [[nodiscard]] const std::deque<Quad>& descriptors() const { return x_descriptors; }
  /// The newest faults, at most 1024, oldest first.
  [[nodiscard]] const std::deque<FaultEvent>& faults() const { return x_faults; }
  void hold_queue(QueueHold hold);

 private:
  struct Resolved {
    FaultReason fault = FaultReason::None;
    bool abort_silently = false;
    bool scalable = false;
    Stage stage;  // of a fault: fault_processing_disabled only
  };

  // vtd_unit.cpp: registers and queue.
  void write_capabilities();
  void command(hw::vtd::Gcmd value);
  void set_translation(bool on);
  void set_queue(bool on);
  void set_root();
  void write64(u64 offset, Width width, u64 value);
  void context_command(u64 value);
  void iotlb_command(u64 value);
  void clear_fault_status(u32 value);
  void ring_tail();
  void run_queue();
  void stop_queue(hw::vtd::QueueError why);
  hw::vtd::QueueError execute(Quad descriptor);
  hw::vtd::QueueError context_cache(Quad raw);
  hw::vtd::QueueError pasid_cache(Quad raw);
  hw::vtd::QueueError iotlb(Quad raw);
  hw::vtd::QueueError pasid_iotlb(Quad raw);
  hw::vtd::QueueError wait(Quad raw);

  // vtd_faults.cpp
  void record_fault(const FaultEvent& event, bool suppressed);
  void clear_fault_record(u64 offset, Width width, u64 value);
  void update_fault_status();
  void raise_event();
  [[nodiscard]] u64 record_offset(unsigned index) const;

  // vtd_translate.cpp; caches is null for a walk that uses and fills none.
  Translation translate_with(SourceId sid, u64 iova, Access access, VtdCaches* caches, Resolved& resolved,
                             UnitStats* stats) const;
  /// The page at the end of the walk, or why there is none.
  FaultReason find_page(const Resolved& resolved, u64 iova, Access access, VtdCaches* caches, UnitStats* stats,
                        CachedLeaf& leaf) const;
  void resolve(SourceId sid, VtdCaches* caches, Resolved& resolved) const;
  void resolve_legacy(SourceId sid, VtdCaches* caches, Resolved& resolved) const;
  void resolve_scalable(SourceId sid, VtdCaches* caches, Resolved& resolved) const;
  [[nodiscard]] FaultReason fetch_context(SourceId sid, CachedContext& context) const;
  [[nodiscard]] FaultReason fetch_scalable_context(SourceId sid, CachedContext& context) const;
  [[nodiscard]] FaultReason fetch_pasid(const CachedContext& context, Stage& stage) const;
  [[nodiscard]] FaultReason read_pasid_entry(const hw::vtd::PasidEntry& entry, Stage& stage) const;
  [[nodiscard]] walk::Lookup walk_cached(const walk::SecondStage& tables, u16 tag, u64 iova, VtdCaches& caches) const;
  [[nodiscard]] walk::SecondStage tables_of(const Stage& stage, bool scalable) const;
  [[nodiscard]] bool width_supported(u64 address_width) const;
  [[nodiscard]] bool beyond_host_width(u64 page_frame) const;

  [[nodiscard]] bool has_stage(Stages stage) const {
    return (static_cast<unsigned>(x_config.stages) & static_cast<unsigned>(stage)) != 0;
  }

  // vtd_first_stage.cpp
  [[nodiscard]] walk::FirstStage first_stage_of(const Stage& stage, bool sets_bits) const;
  FaultReason walk_first_stage(const Stage& stage, u64 iova, Access access, VtdCaches* caches, UnitStats* stats,
                               CachedLeaf& leaf) const;
  [[nodiscard]] bool write_updates(const std::vector<walk::Update>& updates) const;

  const MachineConfig& x_config;
  const GuestRam& x_ram;
  RegisterFile x_registers;
  hw::vtd::Cap x_cap;
  hw::vtd::Ecap x_ecap;

  bool x_translating = false;
  bool x_queue_enabled = false;
  PhysAddr x_root;
  hw::vtd::Ttm x_ttm = hw::vtd::Ttm::Legacy;
  u64 x_head = 0;  // in bytes
  QueueHold x_hold = QueueHold::Released;
  unsigned x_lag_left = 0;
  unsigned x_next_record = 0;

  VtdCaches x_caches;
  UnitStats x_stats;
  std::deque<Quad> x_descriptors;
  std::deque<FaultEvent> x_faults;
};

}  // namespace sim

// Test support (hosted; never part of the library): a machine with modelled units, and kernels that follow one another
// on it. The units keep their tables in RAM, in a layout of their own, so that they survive a jump as real ones do.
//
//   Machine machine;
//   Kernel a(machine);                       // cold
//   ... a.core().preserve_device(...);
//   const auto numbers = a.jump(1);          // freeze, cut off, publish
//   Kernel b(machine, numbers);              // live: adopt, claim, register, verify
//
// A kernel that jumped is not destroyed: its memory is the next one's.
#pragma once

#include <gtest/gtest.h>
#include <libfdt.h>

#include <array>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <new>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "holdfast/abi/luo.hpp"
#include "holdfast/iommu/core.hpp"
#include "holdfast/memory/test_world.hpp"

namespace holdfast::iommu {

/// What of a unit is hardware: it outlives kernels.
struct FakeHardware {
  PhysAddr base;
  u8 first_bus = 0;
  u8 last_bus = 0;
  UnitLimits limits{.scalable = false,
                    .iova_bits = 48,
                    .tables = {{{pt::Format::VtdSecondStage, 1 << 4, 0x201000}}},
                    .domain_ids = 64,
                    .coherent_tables = true,
                    .pass_through = true,
                    .capability = 0xc0de,
                    .extended_capability = 0xeca9};
  PhysAddr root;
  bool translating = false;
  bool answers = true;
  bool dies_after_replace = false;
  bool dies_in_replace = false;  // and the entry is as it was
  bool dies_in_block = false;    // the entry is gone, which hardware does not confirm
  std::vector<std::string> log;
};

class FakeUnit final : public Unit {
 public:
  struct Entry {
    u64 lo = 0;  // top | 1 when present
    u64 hi = 0;  // pass-through << 25 | first stage << 24 | did << 8 | levels
    bool operator==(const Entry&) const = default;
  };

  FakeUnit(FakeHardware& hardware, Memory& memory, EarlyAllocator& early)
      : x_hw(hardware), x_memory(memory), x_early(early) {}

  [[nodiscard]] PhysAddr register_base() const override { return x_hw.base; }
  [[nodiscard]] u16 segment() const override { return 0; }
  [[nodiscard]] const UnitLimits& limits() const override { return x_hw.limits; }
  [[nodiscard]] bool covers(SourceId id) const override {
    return x_hw.first_bus <= id.bus() && id.bus() <= x_hw.last_bus;
  }

  Status start_fresh() override {
    log("fresh");
    return empty_root();
  }
  Status adopt(const UnitAdoption& state, const PreservedSet& preserved) override {
    log("adopt");
    if (!x_hw.answers) return Code::TimedOut;
    if (!x_hw.translating || state.root_table != x_hw.root) return Code::Mismatch;
    if (!is_preserved_page(state.root_table, preserved)) return Code::Corrupt;
    for (unsigned bus = 0; bus < 256; ++bus) {
      const bool recorded = (state.context_tables[bus / 32] >> (2 * bus % 64) & 1) != 0;
      if (recorded != (root()[bus] != 0)) return Code::Corrupt;
      if (recorded && !is_preserved_page(PhysAddr(root()[bus]), preserved)) return Code::Corrupt;
    }
    return {};
  }
  Status quarantine() override {
    log("quarantine");
    return empty_root();
  }

  [[nodiscard]] PhysAddr replaced_root() const override { return x_replaced_root; }
  /// A root from before memory moves first, as a driver would do when it hears of memory.
  Status keep_root(BlockSink& sink) override {
    if (x_kept_root == x_hw.root) return {};
    if (!x_hw.answers) return Code::Io;
    if (x_root_is_early) {
      TRY_ASSIGN(const PhysAddr moved, x_memory.buddy.allocate_zeroed(0));
      x_hw.root = moved;
      x_root_is_early = false;
    }
    TRY(sink.preserve({x_hw.root, 0}));
    x_kept_root = x_hw.root;
    return {};
  }

  Result<DomainId> allocate_did() override {
    for (u32 did = 2; did < x_hw.limits.domain_ids; ++did)
      if (x_dids.insert(static_cast<u16>(did)).second) return DomainId(static_cast<u16>(did));
    return Code::NoSpace;
  }
  Status reserve_did(DomainId did) override {
    if (did.value < 2 || did.value >= x_hw.limits.domain_ids) return Code::OutOfRange;
    return x_dids.insert(did.value).second ? Status() : Code::Exists;
  }
  void release_did(DomainId did) override {
    if (x_dids.erase(did.value) == 0) panic("released an id that was not taken");
  }
  [[nodiscard]] u32 dids_in_use() const override { return static_cast<u32>(x_dids.size()); }

  Status prepare(SourceId id) override {
    if (root()[id.bus()] != 0) return {};
    TRY_ASSIGN(const PhysAddr page, x_memory.buddy.allocate_zeroed(0));
    root()[id.bus()] = page.value;
    return {};
  }
  Status install(SourceId id, const EntrySpec& to) override {
    if (!x_hw.answers) return Code::TimedOut;
    if (entry(id)->lo != 0) return Code::Busy;
    *entry(id) = encode(to);
    log("install", id, to.did);
    return {};
  }
  Status replace(SourceId id, const EntrySpec& from, const EntrySpec& to) override {
    if (!x_hw.answers) return Code::TimedOut;
    if (*entry(id) != encode(from)) return Code::Mismatch;
    if (x_hw.dies_in_replace) return x_hw.answers = false, Code::TimedOut;
    *entry(id) = encode(to);
    if (x_hw.dies_after_replace) x_hw.answers = false;
    log("replace", id, to.did);
    return {};
  }
  Status block(SourceId id) override {
    if (!x_hw.answers) return Code::TimedOut;
    if (Entry* at = entry(id); at != nullptr) *at = {};
    if (x_hw.dies_in_block) return x_hw.answers = false, Code::TimedOut;
    log("block", id);
    return {};
  }
  [[nodiscard]] LiveEntry read_entry(SourceId id) const override {
    LiveEntry live;
    const Entry* at = entry(id);
    if (at == nullptr || at->lo == 0) return live;
    live.state = at->hi >> 60 != 0 ? LiveEntry::State::Other : LiveEntry::State::Translating;
    live.spec = {PhysAddr(at->lo & ~u64{1}), static_cast<u8>(at->hi & 0xff), DomainId(static_cast<u16>(at->hi >> 8)),
                 (at->hi >> 24 & 1) != 0 ? pt::Format::X86FirstStage : pt::Format::VtdSecondStage};
    if (live.state == LiveEntry::State::Translating && (at->hi >> 25 & 1) != 0) {
      live.state = LiveEntry::State::PassThrough;
      live.spec = EntrySpec::pass_through(live.spec.did);
    }
    live.words[0] = at->lo;
    live.words[1] = at->hi;
    return live;
  }
  void for_each_present_entry(EntryVisitor& visitor) const override {
    for (unsigned id = 0; id < 0x10000; ++id) {
      const SourceId device(static_cast<u16>(id));
      if (const Entry* at = entry(device); at != nullptr && at->lo != 0) visitor.entry(device);
    }
  }
  Status invalidate(const CacheTag& tag, const pt::Gather&) override { return flush("flush", tag.did); }
  Status invalidate_domain(const CacheTag& tag) override { return flush("flush domain", tag.did); }

  Status preserve(BlockSink& sink, abi::iommu::IntelUnit& record) override {
    std::vector<PhysAddr> added;
    Status status;
    const auto add = [&](PhysAddr page) {
      if (!status.ok() || x_preserved.contains(page.value)) return;
      status = sink.preserve({page, 0});
      if (status.ok()) added.push_back(page);
    };
    for (unsigned bus = 0; bus < 256; ++bus)
      if (root()[bus] != 0) add(PhysAddr(root()[bus]));
    if (!status.ok()) {
      for (PhysAddr page : added) sink.unpreserve({page, 0});
      return status;
    }
    for (PhysAddr page : added) x_preserved.insert(page.value);
    record.phys_addr = x_hw.base.value;
    record.root_table = x_hw.root.value;
    for (unsigned bus = 0; bus < 256; ++bus)
      if (root()[bus] != 0) record.context_tables_bitmap[bus / 32] |= u64{1} << (2 * bus % 64);
    return {};
  }
  void unpreserve(BlockSink& sink, abi::iommu::IntelUnit& record) override {
    const auto drop = [&](u64 page) {
      if (x_preserved.erase(page) != 0) sink.unpreserve({PhysAddr(page), 0});
    };
    for (unsigned bus = 0; bus < 256; ++bus)
      if ((record.context_tables_bitmap[bus / 32] >> (2 * bus % 64) & 1) != 0) drop(root()[bus]);
    record = {};
  }
  Status preserve_device(BlockSink&, SourceId, abi::iommu::IntelDevice&) override { return device_hook; }
  void unpreserve_device(BlockSink&, SourceId, abi::iommu::IntelDevice& record) override { record = {}; }

  Status check_alive() override { return x_hw.answers ? Status() : Code::TimedOut; }
  Status cut_off(std::span<const SourceId> keep) override {
    log("cut off");
    if (!x_hw.answers) return Code::TimedOut;
    struct Clear final : EntryVisitor {
      Clear(FakeUnit& of, std::span<const SourceId> kept) : unit(of), keep(kept) {}
      void entry(SourceId id) override {
        if (std::find(keep.begin(), keep.end(), id) != keep.end()) return;
        unit.x_removed[id.value] = *unit.entry(id);
        *unit.entry(id) = {};
      }
      FakeUnit& unit;
      std::span<const SourceId> keep;
    } clear(*this, keep);
    for_each_present_entry(clear);
    return {};
  }
  void reinstate() override {
    for (const auto& [id, before] : x_removed) *entry(SourceId(id)) = before;
    x_removed.clear();
  }

  Status take_ownership(BlockRestorer& restore) override {
    ++ownerships;
    TRY(restore.restore(x_hw.root));
    for (unsigned bus = 0; bus < 256; ++bus)
      if (root()[bus] != 0) TRY(restore.restore(PhysAddr(root()[bus])));
    return {};
  }
  Status adopt_device(SourceId, const abi::iommu::IntelDevice&, const PreservedSet&) override { return {}; }
  u32 drain_faults() override { return 0; }
  [[nodiscard]] u64 state_hash() const override {
    u64 hash = x_hw.root.value;
    for (unsigned bus = 0; bus < 256; ++bus) {
      if (root()[bus] == 0) continue;
      hash = abi::checksum_add(hash, root()[bus]);
      hash =
          abi::checksum_add(hash, abi::checksum({x_memory.map.bytes(PhysAddr(root()[bus])), page_size_bytes}, ~u64{0}));
    }
    for (u16 did : x_dids) hash = abi::checksum_add(hash, did);
    return hash;
  }

  /// The entry in memory; nullptr without a context table.
  [[nodiscard]] Entry* entry(SourceId id) const {
    const u64 table = root()[id.bus()];
    return table == 0 ? nullptr : x_memory.map.at<Entry>(PhysAddr(table)) + id.devfn();
  }
  [[nodiscard]] const std::set<u16>& dids() const { return x_dids; }

  Status device_hook;  // what preserve_device() answers
  unsigned ownerships = 0;
  bool memory_is_up = false;

 private:
  [[nodiscard]] u64* root() const { return x_memory.map.at<u64>(x_hw.root); }
  static Entry encode(const EntrySpec& spec) {
    const u64 first_stage = spec.format == pt::Format::X86FirstStage ? 1 : 0;
    const u64 pass_through = spec.kind == EntryKind::PassThrough ? 1 : 0;
    return {spec.top.value | 1, pass_through << 25 | first_stage << 24 | u64{spec.did.value} << 8 | spec.levels};
  }
  static bool is_preserved_page(PhysAddr page, const PreservedSet& preserved) {
    return page.value != 0 && page.is_aligned(page_size_bytes) && preserved.contains({page, 0});
  }
  Status empty_root() {
    if (!x_hw.answers) return Code::TimedOut;
    if (x_hw.translating) x_replaced_root = x_hw.root;
    x_root_is_early = !memory_is_up;
    if (memory_is_up) {
      TRY_ASSIGN(x_hw.root, x_memory.buddy.allocate_zeroed(0));
    } else {
      TRY_ASSIGN(x_hw.root, x_early.allocate(page_size_bytes, page_size_bytes));
    }
    x_hw.translating = true;
    return {};
  }
  Status flush(const char* what, DomainId did) {
    if (!x_hw.answers) return Code::TimedOut;
    x_hw.log.push_back(std::string(what) + " did " + std::to_string(did.value));
    return {};
  }
  void log(const char* what) { x_hw.log.emplace_back(what); }
  void log(const char* what, SourceId id) { x_hw.log.push_back(std::string(what) + " " + std::to_string(id.value)); }
  void log(const char* what, SourceId id, DomainId did) {
    x_hw.log.push_back(std::string(what) + " " + std::to_string(id.value) + " did " + std::to_string(did.value));
  }

  FakeHardware& x_hw;
  Memory& x_memory;
  EarlyAllocator& x_early;
  std::set<u16> x_dids;
  std::set<u64> x_preserved;
  PhysAddr x_replaced_root;
  PhysAddr x_kept_root;
  bool x_root_is_early = false;
  std::map<u16, Entry> x_removed;
};

/// Storage whose object is never destroyed.
template <class T>
class Undying {
 public:
  template <class... Args>
  explicit Undying(Args&&... args) : x_object(::new(x_storage.data()) T(std::forward<Args>(args)...)) {}
  Undying(const Undying&) = delete;
  Undying& operator=(const Undying&) = delete;
  T* operator->() const { return x_object; }
  T& operator*() const { return *x_object; }

 private:
  alignas(T) std::array<std::byte, sizeof(T)> x_storage{};
  T* x_object;
};

class Kernel;

class Machine {
 public:
  explicit Machine(u64 ram_bytes = u64{64} << 20) {
    x_worlds.push_back(std::make_unique<TestWorld>(ram_bytes));
    units[0].base = PhysAddr(0xfed90000);
    units[0].last_bus = 0x0f;
    units[1].base = PhysAddr(0xfed91000);
    units[1].first_bus = 0x10;
    units[1].last_bus = 0xff;
  }
  [[nodiscard]] TestWorld& world() { return *x_worlds.back(); }
  void jump() { x_worlds.push_back(std::make_unique<TestWorld>(*x_worlds.back(), AfterJump{})); }

  std::array<FakeHardware, 2> units;
  std::function<void(Kernel&)> before_memory_opens;  // of the next live kernel
  std::vector<std::unique_ptr<FakeUnit>> drivers;    // of all kernels: freed with the machine

 private:
  std::vector<std::unique_ptr<TestWorld>> x_worlds;
};

inline DeviceIdentity identity_of(SourceId id) {
  return {.segment = 0,
          .id = id,
          .vendor = 0x8086,
          .device = static_cast<u16>(0x1000 + id.value),
          .class_revision = 0x02000001};
}

/// The orchestrator's records with these FLBs, written as "luo-v1" says.
inline void publish_luo(Memory& memory, kho::Handover& handover, u64 number,
                        const std::map<std::string, u64>& data_of) {
  const PhysAddr tree = *handover.alloc_preserve(page_size_bytes);
  const PhysAddr sessions = *handover.alloc_preserve(page_size_bytes << abi::luo::session_block_order);
  const PhysAddr flbs = *handover.alloc_preserve(page_size_bytes);
  auto* header = memory.map.at<abi::luo::FlbHeader>(flbs);
  header->page_count = 1;
  for (const auto& [name, data] : data_of) {
    auto* record = memory.map.at<abi::luo::FlbRecord>(flbs + sizeof(abi::luo::FlbHeader)) + header->count++;
    std::memcpy(record->name, name.data(), name.size());
    record->data = data;
    record->count = 1;
  }
  std::byte* fdt = memory.map.bytes(tree);
  const auto put = [&](std::string_view name, const void* value, std::size_t bytes) {
    fdt_property(fdt, std::string(name).c_str(), value, static_cast<int>(bytes));
  };
  const auto put_compatible = [&](std::string_view text) {
    const std::string value(text);
    put("compatible", value.c_str(), value.size() + 1);
  };
  const auto put_part = [&](std::string_view node, std::string_view compatible, std::string_view property,
                            PhysAddr at) {
    fdt_begin_node(fdt, std::string(node).c_str());
    put_compatible(compatible);
    put(property, &at.value, sizeof at.value);
    fdt_end_node(fdt);
  };
  fdt_create(fdt, static_cast<int>(page_size_bytes));
  fdt_finish_reservemap(fdt);
  fdt_begin_node(fdt, "");
  put_compatible(abi::luo::compatible);
  put(abi::luo::number_property, &number, sizeof number);
  put_part(abi::luo::session_node, abi::luo::session_compatible, abi::luo::session_header_property, sessions);
  put_part(abi::luo::flb_node, abi::luo::flb_compatible, abi::luo::flb_header_property, flbs);
  fdt_end_node(fdt);
  EXPECT_EQ(fdt_finish(fdt), 0);
  EXPECT_TRUE(handover.add_subtree(abi::luo::subtree_name, tree).ok());
}

class Kernel {
 public:
  /// Cold.
  explicit Kernel(Machine& machine, const CoreOptions& options = {})
      : x_machine(machine),
        x_mem(machine.world()),
        x_handover(x_mem->memory),
        x_core(x_mem->memory, *x_handover, options) {
    add_units();
    for (FakeUnit* unit : x_units) unit->memory_is_up = true;
    open_handover();
    EXPECT_TRUE(core().start_fresh().ok());
    EXPECT_TRUE(core().keep_roots().ok());
  }
  enum class Until : u8 { Adopted, Claimed, Verified };
  /// Live. @p devices are what the PCI walk finds.
  Kernel(Machine& machine, const holdfast::Handover& numbers, const std::vector<DeviceIdentity>& devices,
         Until until = Until::Verified, const CoreOptions& options = {})
      : x_machine(machine),
        x_mem((machine.jump(), machine.world()), TestOpen::Later, numbers),
        x_handover(x_mem->memory),
        x_core(x_mem->memory, *x_handover, options) {
    add_units();
    auto opened = kho::IncomingMap::open(memory().map, numbers);
    EXPECT_TRUE(opened.ok());
    x_incoming.emplace(*opened);
    memory().touches.running = true;
    adopted = core().adopt(*x_incoming, x_mem->early);
    memory().touches.running = false;
    if (until == Until::Adopted) return;
    EXPECT_TRUE(handover().claim_incoming(*x_incoming).ok());
    if (machine.before_memory_opens) machine.before_memory_opens(*this);
    memory().open();
    open_handover();
    for (FakeUnit* unit : x_units) unit->memory_is_up = true;
    EXPECT_TRUE(core().claim_restored().ok());
    EXPECT_TRUE(core().keep_roots().ok());
    for (const DeviceIdentity& device : devices) add_device(device);
    core().devices_enumerated();
    if (until == Until::Claimed) return;
    EXPECT_TRUE(core().verify().ok());
    core().free_replaced_roots();
  }

  [[nodiscard]] Core& core() { return *x_core; }
  [[nodiscard]] Memory& memory() { return x_mem->memory; }
  [[nodiscard]] kho::Handover& handover() { return *x_handover; }
  [[nodiscard]] TestWorld& world() { return x_machine.world(); }
  [[nodiscard]] FakeUnit& unit(std::size_t index) { return *x_units[index]; }
  [[nodiscard]] const kho::IncomingMap& incoming() const { return *x_incoming; }
  [[nodiscard]] PhysRange scratch() { return x_mem->scratch(); }

  Device& add_device(const DeviceIdentity& identity) {
    auto device = core().register_device(identity);
    EXPECT_TRUE(device.ok());
    return **device;
  }
  Device& add_device(SourceId id) { return add_device(identity_of(id)); }
  Device& device(SourceId id) { return **core().find_device(0, id); }
  Domain& new_domain(Device& device) { return **core().create_domain(device, {}); }

  /// Memory that crosses, as guest memory does.
  PhysRange guest_memory(unsigned order) {
    const PhysAddr start = *memory().buddy.allocate(order);
    EXPECT_TRUE(handover().preserve({start, order}).ok());
    return {start, page_size_bytes << order};
  }

  void open_flbs() {
    x_flbs = {{std::string(abi::iommu::compatible), *core().records_flb().preserve()},
              {std::string(abi::attest::compatible), *core().attest_flb().preserve()}};
  }
  void close_flbs() {
    core().records_flb().unpreserve();
    core().attest_flb().unpreserve();
    x_flbs.clear();
  }
  [[nodiscard]] PhysAddr flb(std::string_view name) const { return PhysAddr(x_flbs.at(std::string(name))); }

  /// Freeze, cut off, records of the orchestrator. What it returns is what the next kernel boots with.
  holdfast::Handover jump(u64 number) {
    EXPECT_TRUE(core().prepare_freeze(number).ok());
    EXPECT_TRUE(core().cut_off().ok());
    publish(number);
    return handover().numbers();
  }
  void publish(u64 number) { publish_luo(memory(), handover(), number, x_flbs); }

  /// Everything that "undone is undone" is about.
  [[nodiscard]] u64 state_hash() {
    u64 hash = core().state_hash();
    hash = abi::checksum_add(hash, handover().state_hash());
    hash = abi::checksum_add(hash, memory().heap.live_objects());
    hash = abi::checksum_add(hash, memory().heap.live_bytes());
    for (u64 blocks : memory().buddy.free_blocks()) hash = abi::checksum_add(hash, blocks);
    return hash;
  }

  /// Reasons by what they are about, as the core tells them.
  [[nodiscard]] std::vector<std::string> quarantined() {
    std::vector<std::string> all;
    core().for_each_quarantined([&](const Quarantined& what) { all.emplace_back(what.reason); });
    return all;
  }
  [[nodiscard]] u64 unrestored() {
    u64 count = 0;
    handover().for_each_unrestored([&](Block) { ++count; });
    return count;
  }

  Status adopted;

 private:
  void add_units() {
    for (FakeHardware& hardware : x_machine.units) {
      x_machine.drivers.push_back(std::make_unique<FakeUnit>(hardware, memory(), x_mem->early));
      x_units.push_back(x_machine.drivers.back().get());
      EXPECT_TRUE(core().add_unit(*x_units.back()).ok());
    }
  }
  void open_handover() {
    const PhysRange range = x_mem->scratch();
    EXPECT_TRUE(handover().open({&range, 1}).ok());
  }
  Machine& x_machine;
  Undying<TestMemory> x_mem;
  Undying<kho::Handover> x_handover;
  Undying<Core> x_core;
  std::vector<FakeUnit*> x_units;
  std::optional<kho::IncomingMap> x_incoming;
  std::map<std::string, u64> x_flbs;
};

}  // namespace holdfast::iommu

// Test support (hosted; never part of the library): a modelled unit, and one kernel with memory, handover, IOMMU core,
// orchestrator, memory files and a process.
//
//   Machine<MemfdKernel> machine(64 << 20);   // cold boot
//   machine->...                              // calls of its process
//   MemfdKernel& next = machine.jump();       // consent, cut-off, live boot on the same RAM and hardware
//
// The unit is a stand-in for a driver: entries are a map that outlives the kernels, as hardware does.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <set>
#include <string>

#include "holdfast/luo/orchestrator.hpp"
#include "holdfast/memfd/memfd_handler.hpp"
#include "holdfast/memfd/test_support.hpp"
#include "uapi/holdfast/liveupdate.h"
#include "uapi/holdfast/memfd.h"

namespace holdfast {

/// What stays when the kernel goes.
struct FakeHardware {
  std::map<u16, iommu::EntrySpec> entries;
  PhysAddr root;
  bool dead = false;          // the queue does not answer
  std::vector<u16> blocked;   // devices that lost their entry, in order
  std::vector<u16> replaced;  // devices whose entry was swapped with no moment in between
};

class FakeUnit final : public iommu::Unit {
 public:
  static constexpr PhysAddr base{0xfed90000};

  FakeUnit(Memory& memory, FakeHardware& hardware) : x_memory(memory), x_hardware(hardware) {
    x_limits.iova_bits = 39;
    x_limits.levels_mask = 1 << 3 | 1 << 4;
    x_limits.page_sizes = u64{1} << 12 | u64{1} << 21;
    x_limits.domain_ids = 256;
    x_limits.coherent_tables = true;
    x_limits.capability = 0x00d2008c22260286;
    x_limits.extended_capability = 0xf00f4a;
  }

  PhysAddr register_base() const override { return base; }
  u16 segment() const override { return 0; }
  const iommu::UnitLimits& limits() const override { return x_limits; }
  bool covers(SourceId) const override { return true; }

  /// The root exists while it is preserved: a live boot starts units before there is memory.
  Status start_fresh() override {
    x_hardware.root = {};
    x_hardware.entries.clear();
    return {};
  }
  Status adopt(const iommu::UnitAdoption& state, const iommu::PreservedSet& preserved) override {
    if (state.root_table != x_hardware.root) return Code::Mismatch;
    return preserved.contains({state.root_table, 0}) ? Status() : Code::Corrupt;
  }
  Status quarantine() override { return x_hardware.entries.clear(), Status(); }

  Result<DomainId> allocate_did() override {
    for (u16 did = 2; did < x_limits.domain_ids; ++did)
      if (x_dids.insert(did).second) return DomainId(did);
    return Code::NoSpace;
  }
  Status reserve_did(DomainId did) override {
    if (did.value < 2 || did.value >= x_limits.domain_ids) return Code::OutOfRange;
    return x_dids.insert(did.value).second ? Status() : Code::Exists;
  }
  void release_did(DomainId did) override { x_dids.erase(did.value); }
  u32 dids_in_use() const override { return static_cast<u32>(x_dids.size()); }

  Status prepare(SourceId) override { return {}; }
  Status install(SourceId device, const iommu::EntrySpec& to) override {
    if (x_hardware.dead) return Code::TimedOut;
    return x_hardware.entries.emplace(device.value, to).second ? Status() : Code::Busy;
  }
  Status replace(SourceId device, const iommu::EntrySpec& from, const iommu::EntrySpec& to) override {
    if (x_hardware.dead) return Code::TimedOut;
    if (!x_hardware.entries.contains(device.value) || x_hardware.entries[device.value] != from) return Code::Mismatch;
    x_hardware.entries[device.value] = to;
    x_hardware.replaced.push_back(device.value);
    return {};
  }
  Status block(SourceId device) override {
    if (x_hardware.dead) return Code::TimedOut;
    if (x_hardware.entries.erase(device.value) != 0) x_hardware.blocked.push_back(device.value);
    return {};
  }
  iommu::LiveEntry read_entry(SourceId device) const override {
    iommu::LiveEntry entry;
    const auto at = x_hardware.entries.find(device.value);
    if (at == x_hardware.entries.end()) return entry;
    entry.state = iommu::LiveEntry::State::Translating;
    entry.spec = at->second;
    entry.words[0] = at->second.top.value | 1;
    entry.words[1] = u64{at->second.did.value} << 8 | at->second.levels;
    return entry;
  }
  void for_each_present_entry(iommu::EntryVisitor& visitor) const override {
    const auto copy = x_hardware.entries;
    for (const auto& [device, entry] : copy) visitor.entry(SourceId(device));
  }
  Status invalidate(DomainId, const pt::Gather&) override { return x_hardware.dead ? Code::TimedOut : Status(); }
  Status invalidate_domain(DomainId) override { return x_hardware.dead ? Code::TimedOut : Status(); }

  Status preserve(BlockSink& sink, abi::iommu::IntelUnit& record) override {
    if (x_hardware.root == PhysAddr()) {
      TRY_ASSIGN(x_hardware.root, x_memory.buddy.allocate_zeroed(0));
      x_owns_root = true;
    }
    const Status status = sink.preserve({x_hardware.root, 0});
    if (!status.ok()) return free_root(), status;
    record.phys_addr = base.value;
    record.root_table = x_hardware.root.value;
    return {};
  }
  void unpreserve(BlockSink& sink, abi::iommu::IntelUnit& record) override {
    sink.unpreserve({x_hardware.root, 0});
    free_root();
    record = {};
  }
  Status preserve_device(BlockSink&, SourceId, abi::iommu::IntelDevice&) override { return {}; }
  void unpreserve_device(BlockSink&, SourceId, abi::iommu::IntelDevice&) override {}
  Status check_alive() override { return x_hardware.dead ? Code::TimedOut : Status(); }
  Status cut_off(std::span<const SourceId> keep) override {
    for (const auto& [device, entry] : x_hardware.entries)
      if (std::find(keep.begin(), keep.end(), SourceId(device)) == keep.end()) x_cut_off[device] = entry;
    for (const auto& [device, entry] : x_cut_off) x_hardware.entries.erase(device);
    return {};
  }
  void reinstate() override {
    x_hardware.entries.merge(x_cut_off);
    x_cut_off.clear();
  }
  Status take_ownership(BlockRestorer& restore) override {
    TRY(restore.restore(x_hardware.root));
    return {};
  }
  Status adopt_device(SourceId, const abi::iommu::IntelDevice&, const iommu::PreservedSet&) override { return {}; }
  u32 drain_faults() override { return 0; }
  u64 state_hash() const override {
    u64 hash = x_dids.size();
    for (const u16 did : x_dids) hash = abi::checksum_add(hash, did);
    for (const auto& [device, entry] : x_hardware.entries) {
      hash = abi::checksum_add(hash, u64{device} << 32 | u64{entry.did.value} << 8 | entry.levels);
      hash = abi::checksum_add(hash, entry.top.value);
    }
    return hash;
  }

 private:
  void free_root() {
    if (!x_owns_root) return;
    x_memory.buddy.release(x_hardware.root, 0);
    x_hardware.root = {};
    x_owns_root = false;
  }

  Memory& x_memory;
  FakeHardware& x_hardware;
  bool x_owns_root = false;
  iommu::UnitLimits x_limits;
  std::set<u16> x_dids;
  std::map<u16, iommu::EntrySpec> x_cut_off;
};

/// Everything that must be the same before and after a call that failed.
struct StateSnapshot {
  std::array<u64, max_order + 1> free_blocks{};
  u64 live_objects = 0;
  u64 handover = 0;
  u64 core = 0;
  u64 orchestrator = 0;
  u64 files = 0;

  bool operator==(const StateSnapshot&) const = default;
};

class MemfdKernel {
 public:
  static constexpr u64 mib = u64{1} << 20;

  MemfdKernel(GrantWorld& in_world, FakeHardware& on_hardware, luo::Policy with_policy = luo::Policy::Holdfast)
      : MemfdKernel(in_world, on_hardware, Handover{}, with_policy) {}
  MemfdKernel(GrantWorld& in_world, FakeHardware& on_hardware, const Handover& left,
             luo::Policy with_policy = luo::Policy::Holdfast)
      : world(in_world),
        hardware(on_hardware),
        policy(with_policy),
        host(in_world, TestOpen::Later, left),
        unit(host.memory, on_hardware) {
    boot_early();
    boot_late();
  }
  MemfdKernel(const MemfdKernel&) = delete;
  MemfdKernel& operator=(const MemfdKernel&) = delete;
  virtual ~MemfdKernel() = default;

  // Calls of the process. Descriptors are small numbers; ids are the iommufd's.

  luo::File& file(i32 fd) { return *process.fds.files.at(fd); }
  i32 make_memfd(u64 size_bytes, u32 seals = F_SEAL_SEAL | F_SEAL_GROW | F_SEAL_SHRINK) {
    luo::FileRef made = memfd::MemFile::create(host.memory, memfd::Sealing::Allowed).value();
    auto& memory_file = *luo::file_cast<memfd::MemFile>(made.get());
    EXPECT_TRUE(memory_file.truncate(size_bytes).ok());
    EXPECT_TRUE(seals == 0 || memory_file.add_seals(seals).ok());
    return process.install(std::move(made));
  }
  memfd::MemFile& memory_of(i32 fd) { return *luo::file_cast<memfd::MemFile>(&file(fd)); }

  template <class T>
  Code call(i32 fd, u32 command, T& argument) {
    return process.ioctl(file(fd), command, argument);
  }

  // Sessions.

  i32 create_session(const std::string& name) { return process.install(orchestrator.create_session(bytes_of(name)).value()); }
  Code retrieve_session(const std::string& name, i32& fd) {
    auto session = orchestrator.retrieve_session(bytes_of(name));
    if (session.ok()) fd = process.install(*session);
    return session.code();
  }
  Code preserve(i32 session_fd, i32 fd, u64 token) {
    liveupdate_session_preserve_fd command{.size = sizeof command, .fd = fd, .token = token};
    return call(session_fd, LIVEUPDATE_SESSION_PRESERVE_FD, command);
  }
  Code retrieve(i32 session_fd, u64 token, i32& fd) {
    liveupdate_session_retrieve_fd command{.size = sizeof command, .fd = -1, .token = token};
    const Code code = call(session_fd, LIVEUPDATE_SESSION_RETRIEVE_FD, command);
    fd = command.fd;
    return code;
  }
  Code finish(i32 session_fd) {
    liveupdate_session_finish command{.size = sizeof command, .reserved = 0};
    return call(session_fd, LIVEUPDATE_SESSION_FINISH, command);
  }
  Status drop_session(const std::string& name) { return orchestrator.drop_session(bytes_of(name)); }
  void close(i32 fd) { EXPECT_TRUE(process.fds.close(fd).ok()); }

  // The jump.

  Status freeze() {
    TRY(orchestrator.freeze());
    TRY(core.prepare_freeze(orchestrator.number() + 1));
    return core.cut_off();
  }
  Handover jump() {
    EXPECT_TRUE(freeze().ok());
    // The old kernel ends here: its memory belongs to the next one, so nothing of it is destroyed.
    for (auto& [fd, open] : process.fds.files) static_cast<void>(open.detach());
    process.fds.files.clear();
    has_jumped = true;
    return handover.numbers();
  }

  [[nodiscard]] StateSnapshot snapshot() {
    StateSnapshot now{.free_blocks = host.memory.buddy.free_blocks(),
                      .live_objects = host.memory.heap.live_objects(),
                      .handover = handover.state_hash(),
                      .core = core.state_hash(),
                      .orchestrator = orchestrator.state_hash()};
    for (const auto& [fd, open] : process.fds.files)
      now.files = abi::checksum_add(now.files, hash_of(*open));
    return now;
  }

  GrantWorld& world;
  FakeHardware& hardware;
  const luo::Policy policy;
  TestMemory host;
  kho::Handover handover{host.memory};
  FakeUnit unit;
  iommu::Core core{host.memory, handover};
  luo::Orchestrator orchestrator{host.memory, handover, policy};
  memfd::MemfdHandler memfd_handler{host.memory, handover, core, policy};
  std::optional<kho::IncomingMap> incoming;
  TestProcess process;
  std::array<iommu::Device*, 4> devices{};  // 00:01.0 to 00:04.0
  bool has_jumped = false;

 protected:
  /// State of an open file, as far as a kind has one.
  [[nodiscard]] virtual u64 hash_of(const luo::File& open) const {
    const auto* memory = luo::file_cast<memfd::MemFile>(&open);
    return memory == nullptr ? 0 : abi::checksum_add(memory->size_bytes(), u64{memory->is_preserved()} << 32 | memory->pins());
  }

 private:
  static luo::Orchestrator::NameBytes bytes_of(const std::string& name) {
    static std::array<u8, 64> bytes;
    bytes = {};
    std::copy(name.begin(), name.end(), bytes.begin());
    return bytes;
  }
  void boot_early() {
    ASSERT_TRUE(core.add_unit(unit).ok());
    if (!host.boot.is_live()) {
      host.memory.open();
      ASSERT_TRUE(core.start_fresh().ok());
    } else {
      auto opened = kho::IncomingMap::open(host.memory.map, host.boot.handover);
      ASSERT_TRUE(opened.ok());
      incoming.emplace(*opened);
      ASSERT_TRUE(core.adopt(*incoming, host.early).ok());
      ASSERT_TRUE(handover.claim_incoming(*incoming).ok());
      host.memory.open();
      ASSERT_TRUE(core.claim_restored().ok());
    }
    const PhysRange scratch = host.scratch();
    ASSERT_TRUE(handover.open({&scratch, 1}).ok());
    ASSERT_TRUE(orchestrator.open(incoming ? &*incoming : nullptr).ok());
  }
  void boot_late() {
    for (u8 i = 0; i < devices.size(); ++i) {
      const iommu::DeviceIdentity identity{.segment = 0, .id = SourceId(0, static_cast<u8>(i + 1), 0), .vendor = 0xf01d, .device = 1};
      devices[i] = core.register_device(identity).value();
    }
    core.devices_enumerated();
    ASSERT_TRUE(core.verify().ok());
    ASSERT_TRUE(orchestrator.register_handler(memfd_handler).ok());
    if (policy == luo::Policy::Linux) return;
    ASSERT_TRUE(orchestrator.register_flb(memfd_handler, core.attest_flb()).ok());
  }
};

/// A kernel that jumped is abandoned, not destroyed: its objects lie in memory that the next kernel has overwritten.
struct EndOfKernel {
  void operator()(MemfdKernel* kernel) const {
    static std::vector<MemfdKernel*> abandoned;  // so that leak checkers find them
    if (kernel->has_jumped)
      abandoned.push_back(kernel);
    else
      delete kernel;
  }
};

/// One machine and the kernel that runs on it now.
template <class Kernel>
class Machine {
 public:
  explicit Machine(u64 ram_bytes, luo::Policy policy = luo::Policy::Holdfast)
      : x_world(std::make_unique<GrantWorld>(ram_bytes)), x_kernel(new Kernel(*x_world, hardware, policy)) {}

  Kernel* operator->() const { return x_kernel.get(); }
  Kernel& operator*() const { return *x_kernel; }

  /// The next kernel boots on what this one leaves.
  Kernel& jump() { return boot(x_kernel->jump(), x_kernel->policy); }
  Kernel& boot(const Handover& left, luo::Policy policy) {
    auto next = std::make_unique<GrantWorld>(*x_world, AfterJump{});
    x_kernel.reset();
    x_world = std::move(next);
    x_kernel.reset(new Kernel(*x_world, hardware, left, policy));
    return *x_kernel;
  }

  FakeHardware hardware;

 private:
  std::unique_ptr<GrantWorld> x_world;
  std::unique_ptr<Kernel, EndOfKernel> x_kernel;
};

}  // namespace holdfast

// Test support (hosted; never part of the library): a modelled unit, and one kernel with memory, handover, IOMMU core,
// orchestrator, memory files and a process.
//
//   Machine<MemfdKernel> machine(64 << 20);   // cold boot
//   machine->...                              // calls of its process
//   MemfdKernel& next = machine.jump();       // consent, cut-off, live boot on the same RAM and hardware
//
// The unit is iommu's stand-in for a driver (iommu/test_machine.hpp).
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <set>
#include <string>

#include "holdfast/iommu/test_machine.hpp"
#include "holdfast/luo/orchestrator.hpp"
#include "holdfast/memfd/memfd_handler.hpp"
#include "holdfast/memfd/test_support.hpp"
#include "uapi/holdfast/liveupdate.h"
#include "uapi/holdfast/memfd.h"

namespace holdfast {

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

  /// Who registers devices: this class four of its own, or a class above by walking a bus.
  enum class Devices : u8 { Four, FromAbove };

  MemfdKernel(GrantWorld& in_world, iommu::FakeHardware& on_hardware, const Handover& left,
              luo::Policy with_policy = luo::Policy::Holdfast, Devices which = Devices::Four)
      : world(in_world),
        hardware(on_hardware),
        policy(with_policy),
        host(in_world, TestOpen::Later, left),
        unit(on_hardware, host.memory, host.early) {
    boot_early();
    if (which == Devices::Four) register_devices();
    register_handler();
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

  i32 create_session(const std::string& name) {
    liveupdate_ioctl_create_session command{.size = sizeof command, .fd = -1, .name = {}};
    std::copy(name.begin(), name.end(), command.name);
    const luo::FileRef device = orchestrator.open_device().value();
    EXPECT_EQ(process.ioctl(*device, LIVEUPDATE_IOCTL_CREATE_SESSION, command), Code::Ok);
    return command.fd;
  }
  Code retrieve_session(const std::string& name, i32& fd) {
    liveupdate_ioctl_retrieve_session command{.size = sizeof command, .fd = -1, .name = {}};
    std::copy(name.begin(), name.end(), command.name);
    const luo::FileRef device = orchestrator.open_device().value();
    const Code code = process.ioctl(*device, LIVEUPDATE_IOCTL_RETRIEVE_SESSION, command);
    fd = command.fd;
    return code;
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

  // The hardware.

  /// Where the entry of each device leads that has one.
  [[nodiscard]] std::map<u16, PhysAddr> entries() const {
    struct Collect final : iommu::EntryVisitor {
      void entry(SourceId device) override { ids.push_back(device); }
      std::vector<SourceId> ids;
    } collect;
    unit.for_each_present_entry(collect);
    std::map<u16, PhysAddr> found;
    for (const SourceId id : collect.ids) found[id.value] = unit.read_entry(id).spec.top;
    return found;
  }
  /// How often the unit was told to do something ("replace", "block") since its log was cleared.
  [[nodiscard]] u64 count(const std::string& what) const {
    return static_cast<u64>(std::count_if(hardware.log.begin(), hardware.log.end(),
                                          [&](const std::string& line) { return line.starts_with(what + " "); }));
  }

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
    for (const auto& [fd, open] : process.fds.files) now.files = abi::checksum_add(now.files, hash_of(*open));
    return now;
  }

  GrantWorld& world;
  iommu::FakeHardware& hardware;
  const luo::Policy policy;
  TestMemory host;
  kho::Handover handover{host.memory};
  iommu::FakeUnit unit;
  iommu::Core core{host.memory, handover};
  luo::Orchestrator orchestrator{host.memory, handover, policy};
  memfd::MemfdHandler memfd_handler{host.memory, handover, core, policy};
  std::optional<kho::IncomingMap> incoming;
  TestProcess process;
  std::array<iommu::Device*, 4> devices{};  // 00:01.0 to 00:04.0
  bool has_jumped = false;

 protected:
  /// The end of a boot, when all devices are registered.
  void verify() {
    core.devices_enumerated();
    ASSERT_TRUE(core.verify().ok());
    core.free_replaced_roots();
  }
  /// State of an open file, as far as a kind has one.
  [[nodiscard]] virtual u64 hash_of(const luo::File& open) const {
    const auto* memory = luo::file_cast<memfd::MemFile>(&open);
    return memory == nullptr
               ? 0
               : abi::checksum_add(memory->size_bytes(), u64{memory->is_preserved()} << 32 | memory->pins());
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
    if (host.boot.is_live()) {
      auto opened = kho::IncomingMap::open(host.memory.map, host.boot.handover);
      ASSERT_TRUE(opened.ok());
      incoming.emplace(*opened);
      ASSERT_TRUE(core.adopt(*incoming, host.early).ok());
      ASSERT_TRUE(handover.claim_incoming(*incoming).ok());
    }
    host.memory.open();
    unit.memory_is_up = true;
    const PhysRange scratch = host.scratch();
    ASSERT_TRUE(handover.open({&scratch, 1}).ok());
    ASSERT_TRUE((incoming ? core.claim_restored() : core.start_fresh()).ok());
    ASSERT_TRUE(core.keep_roots().ok());
    ASSERT_TRUE(orchestrator.open(incoming ? &*incoming : nullptr).ok());
  }
  void register_devices() {
    for (u8 i = 0; i < devices.size(); ++i) {
      const iommu::DeviceIdentity identity{
          .segment = 0, .id = SourceId(0, static_cast<u8>(i + 1), 0), .vendor = 0xf01d, .device = 1};
      devices[i] = core.register_device(identity).value();
    }
    verify();
  }
  void register_handler() {
    ASSERT_TRUE(orchestrator.register_handler(memfd_handler).ok());
    if (policy == luo::Policy::Linux) return;
    ASSERT_TRUE(orchestrator.register_flb(memfd_handler, core.attest_flb()).ok());
  }
};

/// A kernel that jumped is abandoned, not destroyed: its objects lie in memory that the next kernel has overwritten.
struct EndOfKernel {
  void operator()(MemfdKernel* kernel) const {
    static auto& abandoned = *new std::vector<MemfdKernel*>;  // never freed, so that leak checkers find them
    if (kernel->has_jumped)
      abandoned.push_back(kernel);
    else
      delete kernel;
  }
};

/// One machine and the kernel that runs on it now.
template <class Kernel, class MachineWorld = GrantWorld>
class Machine {
 public:
  explicit Machine(u64 ram_bytes, luo::Policy policy = luo::Policy::Holdfast)
      : x_world(std::make_unique<MachineWorld>(ram_bytes)) {
    hardware.base = PhysAddr(0xfed90000);
    hardware.last_bus = 0xff;
    hardware.limits.iova_bits = 39;
    hardware.limits.tables[0].levels_mask = 1 << 3 | 1 << 4;
    hardware.limits.capability = 0x00d2008c22260286;
    hardware.limits.extended_capability = 0xf00f4a;
    x_kernel.reset(new Kernel(*x_world, hardware, Handover{}, policy));
  }

  [[nodiscard]] MachineWorld& world() const { return *x_world; }
  Kernel* operator->() const { return x_kernel.get(); }
  Kernel& operator*() const { return *x_kernel; }

  /// The next kernel boots on what this one leaves.
  Kernel& jump() { return boot(x_kernel->jump(), x_kernel->policy); }
  Kernel& boot(const Handover& left, luo::Policy policy) {
    auto next = std::make_unique<MachineWorld>(*x_world, AfterJump{});
    x_kernel.reset();
    x_world = std::move(next);
    x_kernel.reset(new Kernel(*x_world, hardware, left, policy));
    return *x_kernel;
  }

  iommu::FakeHardware hardware;

 private:
  std::unique_ptr<MachineWorld> x_world;
  std::unique_ptr<Kernel, EndOfKernel> x_kernel;
};

}  // namespace holdfast

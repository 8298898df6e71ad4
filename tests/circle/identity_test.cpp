// A device of the kernel's own driver, in an identity domain: DMA to physical addresses, until the cut-off and no
// longer.
#include <vector>

#include "holdfast/hw/dma_engine/registers.hpp"
#include "host/report_collector.hpp"
#include "tests/circle/circle.hpp"

namespace circle {
namespace {

namespace engine = hw::dma_engine;

constexpr u32 window_order = 4;
constexpr u64 pci_command_offset = 4;
constexpr u64 memory_space_and_bus_master = 6;

/// The kernel's own driver of a device. Owns nothing: a jump leaves it behind.
class OwnDriver {
 public:
  explicit OwnDriver(host::ModelSession::Context& context)
      : x_context(context),
        x_device(**core().find_device(0, config().devices[own_device].source_id())),
        x_identity(**core().create_identity_domain(x_device)),
        x_window{*context.kernel.memory().buddy.allocate_zeroed(window_order), page_size_bytes << window_order} {}

  /// The engine works in memory of the kernel, under the addresses that the kernel itself knows.
  void start() {
    for (u64 page = 0; page < x_window.size_bytes / page_size_bytes; ++page)
      *x_context.kernel.memory().map.at<engine::Slot>(x_window.start + page * page_size_bytes + engine::stamp_offset) =
          engine::stamp_content(page);
    x_context.world.guest_memory(x_window, GuestMemory::Granted);
    EXPECT_TRUE(core().claim_owner(x_device, this).ok());
    EXPECT_TRUE(core().attach(x_device, x_identity).ok());
    x_context.world.mmio_write(sim::ecam_start + (u64{x_device.id().value} << 12) + pci_command_offset, Width::Word,
                               memory_space_and_bus_master);
    write(engine::window_iova_offset, Width::Qword, x_window.start.value);
    write(engine::window_bytes_offset, Width::Qword, x_window.size_bytes);
    write(engine::file_bytes_offset, Width::Qword, x_window.size_bytes);
    write(engine::seed_offset, Width::Dword, 7);
    write(engine::ctrl_offset, Width::Dword, engine::Ctrl().with<engine::ctrl::Run>(1).raw());
  }
  /// Some more transfers, if it can make any.
  void run() {
    const u64 until = counters().transfers + 64;
    for (int turn = 0; turn < 1000 && counters().transfers < until; ++turn) x_context.world.relax();
  }
  void expect_undisturbed() {
    EXPECT_GT(counters().transfers, 0u);
    EXPECT_EQ(counters(), sim::EngineCounters{.transfers = counters().transfers});
    EXPECT_TRUE(machine().audit(own_device).clean());
  }

  [[nodiscard]] sim::Machine& machine() { return x_context.machine.machine(); }
  [[nodiscard]] const sim::MachineConfig& config() { return machine().config(); }
  [[nodiscard]] sim::EngineCounters counters() { return machine().counters(own_device); }
  [[nodiscard]] kernel::Kernel& kernel() { return x_context.kernel; }
  [[nodiscard]] iommu::Core& core() { return x_context.kernel.iommu(); }
  [[nodiscard]] iommu::Device& device() { return x_device; }
  [[nodiscard]] iommu::Domain& identity() { return x_identity; }
  [[nodiscard]] PhysRange window() const { return x_window; }

 private:
  void write(u64 offset, Width width, u64 value) {
    x_context.world.mmio_write(sim::bar_address(config(), own_device) + offset, width, value);
  }

  host::ModelSession::Context& x_context;
  iommu::Device& x_device;
  iommu::Domain& x_identity;
  PhysRange x_window;
};

/// When all is preserved that will be, the kernel is asked for its own device too.
class RefusedSyscalls final : public WatchedSyscalls {
 public:
  RefusedSyscalls(host::ModelSession::Context& context, OwnDriver& own) : WatchedSyscalls(context), x_own(own) {}
  i64 reboot_kexec() override {
    x_own.expect_undisturbed();
    const u64 before = x_own.kernel().state_hash();
    EXPECT_EQ(x_own.core().preserve_domain(x_own.identity()).code(), Code::NotSupported);
    EXPECT_EQ(x_own.core().preserve_device(x_own.device(), 5).code(), Code::NotSupported);
    EXPECT_EQ(x_own.kernel().state_hash(), before);
    return WatchedSyscalls::reboot_kexec();
  }

 private:
  OwnDriver& x_own;
};

struct Choice {
  const char* name;
  const char* mode;
  sim::Stages stages;
};

class IdentityDomain : public testing::TestWithParam<Choice> {
 protected:
  static Scene scene() {
    Scene chosen;
    chosen.mode = GetParam().mode;
    chosen.stages = GetParam().stages;
    chosen.has_own_device = true;
    return chosen;
  }
  sim::Machine& machine() { return circle.session.machine(); }
  std::vector<std::byte> bytes_of(PhysRange range) {
    const std::byte* at = machine().ram().at(range.start, range.size_bytes);
    return {at, at + range.size_bytes};
  }

  Circle circle{scene()};
};
INSTANTIATE_TEST_SUITE_P(Circle, IdentityDomain,
                         testing::Values(Choice{"Legacy", "legacy", sim::Stages::Second},
                                         Choice{"SecondStage", "scalable", sim::Stages::Second},
                                         Choice{"FirstStage", "scalable", sim::Stages::First}),
                         [](const auto& choice) { return choice.param.name; });

TEST_P(IdentityDomain, IsRefusedForPreservationAndItsDeviceBlockedWhileTheNeighboursGoOn) {
  RecordProperty("acceptance", "P4");
  PhysRange window;
  host::ReportCollector collector(circle.reports);
  const host::Generation first = circle.session.run([&](host::ModelSession::Context& context) {
    OwnDriver own(context);
    own.start();
    own.run();
    window = own.window();
    RefusedSyscalls system(context, own);
    vmm::run_generation(system, circle.vmm, collector);
  });
  ASSERT_TRUE(first.jumped()) << first.text();
  ++circle.vmm.generation;
  --circle.vmm.updates;

  const sim::EngineCounters stopped = machine().counters(own_device);
  const u64 neighbour = machine().counters(0).transfers;
  const std::vector<std::byte> before = bytes_of(window);
  machine().step(100);
  EXPECT_TRUE(machine().running(own_device)) << "nobody told it";
  EXPECT_EQ(machine().counters(own_device).transfers, stopped.transfers);
  EXPECT_GT(machine().counters(own_device).faulted, stopped.faulted);
  EXPECT_EQ(bytes_of(window), before);
  EXPECT_GT(machine().counters(0).transfers, neighbour);

  ASSERT_NO_FATAL_FAILURE(circle.run_to_the_end());
  expect_clean(circle);  // nothing wild: its memory is others' now
  EXPECT_EQ(machine().counters(own_device).transfers, stopped.transfers);
}

/// When the next kernel comes the entry of a preserved device lets everything through, as a Linux writes it.
TEST_P(IdentityDomain, LeftByAPredecessorInAPreservedEntryCostsThatDeviceAlone) {
  ASSERT_TRUE(circle.generation().jumped());
  const bool legacy = GetParam().mode == std::string_view("legacy");
  const u64 id = machine().config().devices[0].source_id().devfn();
  const auto load = [&](PhysAddr at) { return *machine().ram().load64(at); };
  const auto table = [&](PhysAddr at) { return PhysAddr(load(at) & ~u64{0xfff}); };
  PhysAddr entry = table(machine().unit(0).root_table()) + (legacy ? 16 : 32) * id;
  if (!legacy) entry = table(table(entry));
  auto* words = reinterpret_cast<u64*>(machine().ram().at(entry, 64));
  ASSERT_EQ(words[0] & 1, 1u);
  std::fill(words, words + (legacy ? 2 : 8), u64{0});
  words[0] = legacy ? 0x9 : 0x109;
  words[1] = legacy ? 0x102 : 0x1;
  const u64 wild = machine().wild();

  const host::Generation next = circle.session.run([](host::ModelSession::Context& context) {
    for (int turn = 0; turn < 100; ++turn) context.world.relax();
  });
  ASSERT_TRUE(next.returned()) << next.text();
  ASSERT_EQ(next.boot, Code::Ok) << next.text();
  EXPECT_NE(next.log.find("00:03.0: its hardware entry does not translate"), std::string::npos) << next.log;
  const u64 stopped = machine().counters(0).transfers;
  const u64 running = machine().counters(1).transfers;
  machine().step(100);
  EXPECT_EQ(machine().counters(0).transfers, stopped);
  EXPECT_GT(machine().counters(1).transfers, running);
  EXPECT_EQ(machine().counters(1).faulted, 0u);
  EXPECT_EQ(machine().wild(), wild);
}

TEST_P(IdentityDomain, AndTablesReplaceEachOtherUnderDma) {
  RecordProperty("acceptance", "N1");
  const host::Generation only = circle.session.run([&](host::ModelSession::Context& context) {
    OwnDriver own(context);
    own.start();
    iommu::Domain& tables = **own.core().create_domain(own.device(), {});
    const PhysRange window = own.window();
    ASSERT_TRUE(own.core().map(tables, Iova(window.start.value), {&window, 1}, pt::Prot::ReadWrite).ok());
    WatchedSyscalls system(context);
    for (int round = 0; round < 4; ++round) {
      ASSERT_TRUE(own.core().attach(own.device(), round % 2 == 0 ? tables : own.identity()).ok());
      system.pause();
      own.run();
      own.expect_undisturbed();
    }
    ASSERT_TRUE(own.core().detach(own.device()).ok());
    const u64 stopped = own.counters().transfers;
    own.run();
    EXPECT_EQ(own.counters().transfers, stopped);
    EXPECT_GT(own.counters().faulted, 0u);
  });
  ASSERT_TRUE(only.returned()) << only.text();
  ASSERT_EQ(only.boot, Code::Ok) << only.text();
  EXPECT_EQ(machine().wild(), 0u);
  for (std::size_t i = 0; i < machine().unit_count(); ++i) {
    EXPECT_EQ(machine().unit(i).stats().misuses, 0u);
    EXPECT_EQ(machine().unit(i).stats().queue_errors, 0u);
  }
}

}  // namespace
}  // namespace circle

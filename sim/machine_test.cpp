// The machine as a whole: firmware, configuration space, engines, grants, marks.
#include "sim/machine.hpp"

#include <gtest/gtest.h>

#include "holdfast/hw/acpi/tables.hpp"
#include "sim/test_tables.hpp"

namespace sim {
namespace {

using namespace hw::pci;
namespace engine = hw::dma_engine;

MachineConfig two_units() {
  MachineConfig config;
  config.ram_bytes = u64{32} << 20;
  config.units = 2;
  config.devices = {{.bus = 0, .device = 3, .function = 0, .unit = 0},
                    {.bus = 2, .device = 1, .function = 0, .unit = 0},
                    {.bus = 0, .device = 5, .function = 1, .unit = 1}};
  return config;
}

TEST(MachineConfig, LaysRamOutAroundTheHole) {
  MachineConfig config = two_units();
  config.ram_bytes = u64{5} << 30;
  const auto map = memory_map(config);
  EXPECT_EQ(map.back().range, (PhysRange{PhysAddr(high_ram_start), u64{2} << 30}));
  EXPECT_EQ(ram_span_bytes(config), u64{6} << 30);
  u64 ram = 0;
  for (const MemoryRange& range : map) ram += range.range.size_bytes;
  EXPECT_EQ(ram, config.ram_bytes);
}

TEST(MachineConfig, RefusesMachinesThatCannotBe) {
  const auto refused = [](auto change) {
    MachineConfig config = two_units();
    change(config);
    EXPECT_THROW(check(config), std::invalid_argument);
  };
  refused([](MachineConfig& c) { c.ram_bytes = 4096; });
  refused([](MachineConfig& c) { c.units = 0; });
  refused([](MachineConfig& c) { c.devices[0].unit = 2; });
  refused([](MachineConfig& c) { c.devices[1] = c.devices[0]; });
  refused([](MachineConfig& c) { c.devices[0].device = first_root_port_device; });
  refused([](MachineConfig& c) { c.devices[0].bus = 4; });
  refused([](MachineConfig& c) { c.fault_records = 0; });
}

TEST(MachineConfig, RegionsNeverOverlap) {
  const auto regions = mmio_layout(two_units());
  for (std::size_t i = 1; i < regions.size(); ++i) {
    EXPECT_GE(regions[i].start.value, regions[i - 1].start.value + regions[i - 1].size_bytes);
    EXPECT_EQ(regions[i].backing_offset, regions[i - 1].backing_offset + regions[i - 1].size_bytes);
  }
}

template <class T>
T at(HandMadeMachine& m, PhysAddr address) {
  T value{};
  std::memcpy(&value, m.machine().ram().at(address, sizeof value), sizeof value);
  return value;
}

std::span<const std::byte> bytes_at(HandMadeMachine& m, PhysAddr address, u64 size) {
  return {m.machine().ram().at(address, size), size};
}

TEST(Firmware, DescribesUnitsAndDevices) {
  using namespace hw::acpi;
  HandMadeMachine m(two_units());
  const auto rsdp = at<Rsdp>(m, rsdp_address);
  EXPECT_EQ(rsdp.signature, rsdp_signature);
  EXPECT_EQ(byte_sum(bytes_at(m, rsdp_address, 20)), 0u);
  EXPECT_EQ(byte_sum(bytes_at(m, rsdp_address, 36)), 0u);
  const PhysAddr xsdt(u64{rsdp.xsdt_address});
  EXPECT_EQ(at<TableHeader>(m, xsdt).length, 36u + 2 * 8);
  const PhysAddr mcfg(m.word(PhysAddr(xsdt.value + 36) - 4) >> 32 | m.word(xsdt + 40) << 32);
  EXPECT_EQ(at<McfgAllocation>(m, mcfg + sizeof(Mcfg)).base_address, ecam_start.value);
  const PhysAddr dmar(rsdp_address + 0x400);
  const auto header = at<TableHeader>(m, dmar);
  EXPECT_EQ(header.signature, dmar_signature);
  EXPECT_EQ(byte_sum(bytes_at(m, dmar, header.length)), 0u);
  const auto first = at<Drhd>(m, dmar + sizeof(Dmar));
  EXPECT_EQ(first.register_base, 0xfed90000u);
  EXPECT_EQ(first.flags, 0u);
  EXPECT_EQ(first.header.length, 16u + 8 + 10);
  // The device on bus 2 is reached through root port 0x1c of bus 0.
  const auto path = at<std::array<u8, 4>>(m, dmar + sizeof(Dmar) + 16 + 8 + 6);
  EXPECT_EQ(path, (std::array<u8, 4>{0x1c, 0, 1, 0}));
  const auto second = at<Drhd>(m, dmar + sizeof(Dmar) + first.header.length);
  EXPECT_EQ(second.register_base, 0xfed91000u);
  EXPECT_EQ(second.flags, drhd_include_pci_all);
  EXPECT_EQ(header.length, sizeof(Dmar) + first.header.length + 16u);
}

TEST(ConfigSpace, ShowsEndpointsBridgesAndNothingElse) {
  HandMadeMachine m(two_units());
  const SourceId device(0, 3, 0);
  EXPECT_EQ(m.config(device, vendor_id_offset, Width::Dword), 0x0001f01du);
  EXPECT_EQ(m.config(device, revision_id_offset, Width::Dword) >> 8, engine::class_code);
  EXPECT_EQ(m.config(device, bar0_offset, Width::Dword), 0xf0000000u);
  EXPECT_EQ(m.config(device, command_offset, Width::Word), 2u);
  const u64 capability = m.config(device, capabilities_pointer_offset, Width::Byte);
  EXPECT_EQ(m.config(device, capability, Width::Byte), 0x10u);
  EXPECT_NE(m.config(device, capability + express_device_capabilities_offset, Width::Dword) & device_capabilities_flr,
            0u);
  const SourceId port(0, first_root_port_device, 0);
  EXPECT_EQ(m.config(port, header_type_offset, Width::Byte), 1u);
  EXPECT_EQ(m.config(port, secondary_bus_offset, Width::Byte), 2u);
  EXPECT_EQ(m.config(SourceId(2, 1, 0), bar0_offset, Width::Dword), 0xf0201000u);
  EXPECT_EQ(m.config(SourceId(0, 4, 0), vendor_id_offset, Width::Dword), 0xffffffffu);
  EXPECT_EQ(m.machine().mmio_read(PhysAddr(0xd0000000), Width::Word), 0xffffu);
}

TEST(ConfigSpace, KeepsReadOnlyBitsAndSizesTheBar) {
  HandMadeMachine m(two_units());
  const SourceId device(0, 3, 0);
  m.config16(device, vendor_id_offset, 0x1234);
  EXPECT_EQ(m.config(device, vendor_id_offset, Width::Word), 0xf01du);
  const PhysAddr bar = ecam_start + ecam_offset(device) + bar0_offset;
  m.machine().mmio_write(bar, Width::Dword, 0xffffffff);
  EXPECT_EQ(m.machine().mmio_read(bar, Width::Dword), 0xfffff000u);
  m.config16(device, command_offset, 0xffff);
  EXPECT_EQ(m.config(device, command_offset, Width::Word), 0x0547u);
  m.machine().mmio_write(ecam_start + ecam_offset(SourceId(0, 4, 0)), Width::Dword, 0);
  EXPECT_EQ(m.config(SourceId(0, 4, 0), vendor_id_offset, Width::Dword), 0xffffffffu);
}

// A machine whose one device runs over a file of 16 pages, mapped three times.
struct Running : HandMadeMachine {
  explicit Running(Mode mode = Mode::Scalable, MachineConfig config = one_device())
      : HandMadeMachine(std::move(config)), file(PhysAddr(0x1000000)) {
    top = map_all(window, file);
    attach(mode, top, did);
    enable(mode);
    for (u64 page = 0; page < pages; ++page) {
      const engine::Slot stamp = engine::stamp_content(page);
      store(file + page * page_size_bytes + engine::stamp_offset, stamp.number);
      store(file + page * page_size_bytes + engine::stamp_offset + 8, stamp.check);
    }
    machine().guest_memory({file, pages * page_size_bytes}, GuestMemory::Granted);
    config16(sid, command_offset, 6);
    program(0);
  }
  PhysAddr map_all(u64 at, PhysAddr to) {
    const PhysAddr table = new_page();
    for (u64 page = 0; page < aliases * pages; ++page)
      map(table, at + page * page_size_bytes, (to + page % pages * page_size_bytes).value | 3);
    return table;
  }
  void program(std::size_t device) {
    const PhysAddr bar = bar_address(machine().config(), static_cast<unsigned>(device));
    machine().mmio_write(bar + engine::window_iova_offset, Width::Qword, window);
    machine().mmio_write(bar + engine::window_bytes_offset, Width::Qword, aliases * pages * page_size_bytes);
    machine().mmio_write(bar + engine::file_bytes_offset, Width::Qword, pages * page_size_bytes);
    machine().mmio_write(bar + engine::slot_offset_offset, Width::Dword, 32 * (device + 1));
    machine().mmio_write(bar + engine::seed_offset, Width::Dword, 77);
    machine().mmio_write(bar + engine::ctrl_offset, Width::Dword, 1);
  }
  u64 counter(u64 offset) { return machine().mmio_read(bar_start + offset, Width::Qword); }
  PhysAddr slot(u64 index) { return file + index * page_size_bytes + 32; }

  static constexpr u64 window = 0x7000000000;
  static constexpr u64 pages = 16;
  static constexpr u64 aliases = 3;
  static constexpr u16 did = 9;
  PhysAddr file;
  PhysAddr top;
};

TEST(DmaEngine, RunsWithoutLossThroughItsUnit) {
  for (const CacheModel caches : {CacheModel::Hoarding, CacheModel::Absent}) {
    MachineConfig config = HandMadeMachine::one_device();
    config.caches = caches;
    Running m(Mode::Scalable, config);
    EXPECT_EQ(m.machine().step(1000), 1000u);
    EXPECT_EQ(m.machine().counters(0), (EngineCounters{1000, 0, 0, 0, 0}));
    EXPECT_EQ(m.counter(engine::transfers_offset), 1000u);
    const AuditResult audit = m.machine().audit(0);
    EXPECT_TRUE(audit.clean());
    EXPECT_EQ(audit.slots, 16u);
    EXPECT_EQ(m.machine().wild(), 0u);
  }
}

TEST(DmaEngine, NoticesLostRepeatedAndWrongSlots) {
  Running m;
  const engine::Parameters p = m.machine().parameters(0);
  m.machine().step(40);
  const u64 last = engine::slot_of(p, 39);
  const engine::Slot earlier = engine::slot_content(p, 39 - 16);
  m.store(m.slot(last), earlier.number);
  m.store(m.slot(last) + 8, earlier.check);
  const engine::Slot later = engine::slot_content(p, 38 + 16);
  m.store(m.slot(engine::slot_of(p, 38)), later.number);
  m.store(m.slot(engine::slot_of(p, 38)) + 8, later.check);
  m.store(m.slot(engine::slot_of(p, 37)), 5);
  const AuditResult audit = m.machine().audit(0);
  EXPECT_EQ(audit.lost, 1u);
  EXPECT_EQ(audit.repeated, 1u);
  EXPECT_EQ(audit.wrong, 1u);
  m.machine().step(16);
  EXPECT_EQ(m.machine().counters(0), (EngineCounters{56, 0, 1, 1, 1}));
  EXPECT_EQ(m.counter(engine::lost_offset), 1u);
  EXPECT_EQ(m.counter(engine::repeated_offset), 1u);
  EXPECT_EQ(m.counter(engine::wrong_offset), 1u);
  EXPECT_TRUE(m.machine().audit(0).clean());
}

TEST(DmaEngine, NoticesAPageThatIsNotTheFiles) {
  Running m;
  m.machine().step(100);
  m.store(m.file + engine::stamp_offset, 0x1234);
  m.machine().step(1000);
  EXPECT_GT(m.machine().counters(0).wrong, 0u);
  EXPECT_EQ(m.machine().audit(0).wrong, 1u);
}

TEST(DmaEngine, TriesARefusedAccessAgainAndLosesNothing) {
  MachineConfig config = HandMadeMachine::one_device();
  config.caches = CacheModel::Absent;
  Running m(Mode::Legacy, config);
  m.machine().step(50);
  const u64 entry = m.word(m.context);
  for (u64 round = 0; round < 20; ++round) {  // refused in the middle of transfers too: pages vanish one by one
    const PhysAddr leaf_table = PhysAddr(m.word(m.top + walk::entry_index(m.window, 4) * 8) & ~u64{0xfff});
    const u64 saved = m.word(leaf_table + walk::entry_index(m.window, 3) * 8);
    m.store(leaf_table + walk::entry_index(m.window, 3) * 8, round % 2 == 0 ? saved & ~u64{2} : 0);
    EXPECT_EQ(m.machine().step(3), 0u);
    m.store(leaf_table + walk::entry_index(m.window, 3) * 8, saved);
    EXPECT_EQ(m.machine().step(7), 7u);
  }
  m.store(m.context, 0);
  EXPECT_EQ(m.machine().step(10), 0u);
  m.store(m.context, entry);
  m.machine().step(100);
  const EngineCounters counters = m.machine().counters(0);
  EXPECT_EQ(counters.transfers, 50u + 140 + 100);
  EXPECT_EQ(counters.faulted, 70u);
  EXPECT_EQ(counters.lost + counters.repeated + counters.wrong, 0u);
  EXPECT_TRUE(m.machine().audit(0).clean());
}

TEST(DmaEngine, NeedsBusMasteringAndGoesAwayWithAReset) {
  Running m;
  m.machine().step(10);
  m.config16(m.sid, command_offset, 2);
  EXPECT_EQ(m.machine().step(10), 0u);
  m.config16(m.sid, command_offset, 6);
  EXPECT_EQ(m.machine().step(10), 10u);
  m.config16(m.sid, 0x40 + express_device_control_offset, device_control_initiate_flr);
  EXPECT_EQ(m.machine().step(10), 0u);
  EXPECT_EQ(m.counter(engine::transfers_offset), 0u);
  EXPECT_EQ(m.machine().mmio_read(bar_start, Width::Dword), engine::id_value);
  EXPECT_EQ(m.config(m.sid, command_offset, Width::Word), 0u);
  EXPECT_EQ(m.config(m.sid, 0x40 + express_device_control_offset, Width::Word), 0u);
  EXPECT_EQ(m.machine().counters(0), EngineCounters{});
}

TEST(DmaEngine, IgnoresParametersItCannotRunWith) {
  Running m;
  m.machine().mmio_write(bar_start + engine::file_bytes_offset, Width::Qword, 3 * page_size_bytes);
  EXPECT_EQ(m.machine().step(10), 0u);
  EXPECT_FALSE(m.machine().running(0));
}

TEST(Machine, DoesTheSameThingsAgain) {
  const auto run = [] {
    MachineConfig config = HandMadeMachine::one_device();
    config.devices.push_back({.bus = 0, .device = 4});
    Running m(Mode::Scalable, config);
    m.attach(Mode::Scalable, m.top, Running::did, SourceId(0, 4, 0));
    m.config16(SourceId(0, 4, 0), command_offset, 6);
    m.program(1);
    m.machine().step(500);
    EXPECT_EQ(m.machine().counters(1).transfers, 500u);
    u64 sum = 0;
    for (u64 at = 0; at < m.pages * page_size_bytes; at += 8) sum = engine::mix(sum, m.word(m.file + at));
    return sum;
  };
  EXPECT_EQ(run(), run());
}

TEST(Grants, CountWritesOutsideWhatWasGranted) {
  Running m;
  m.machine().step(100);
  EXPECT_EQ(m.machine().wild(), 0u);
  m.machine().guest_memory({m.file, page_size_bytes}, GuestMemory::Revoked);
  m.machine().step(16);
  EXPECT_EQ(m.machine().wild(), 1u);
  m.reg32(hw::vtd::gcmd_offset, 0x04000000);  // translation off: raw addresses, here beyond all RAM
  m.machine().step(5);
  EXPECT_EQ(m.machine().counters(0).faulted, 5u);
  EXPECT_EQ(m.machine().wild(), 1u) << "a read is refused first";
}

TEST(Grants, WithTranslationOffARawAddressIsWild) {
  Running m;
  m.reg32(hw::vtd::gcmd_offset, 0x04000000);
  m.machine().mmio_write(bar_start + engine::window_iova_offset, Width::Qword, 0x1800000);
  m.machine().step(3);
  EXPECT_EQ(m.machine().wild(), 3u);
}

void control_write(HandMadeMachine& m, u64 offset, Width width, u64 value) {
  m.machine().mmio_write(control_start + offset, width, value);
}

TEST(Grants, LastOverABootOnlyWhenPreserved) {
  Running m;
  const auto write = [&](u64 offset, Width width, u64 value) { control_write(m, offset, width, value); };
  const PhysRange half{m.file, m.pages / 2 * page_size_bytes};
  control::write_guest_memory(write, half, GuestMemory::Preserved);
  control::write_mark(write, Phase::AdoptionDone, {});
  EXPECT_EQ(m.machine().grants().granted_pages(), m.pages / 2);
  control::write_mark(write, Phase::AdoptionDone, {});
  EXPECT_EQ(m.machine().grants().granted_pages(), m.pages / 2) << "the next kernel may start over";
  control::write_guest_memory(write, half, GuestMemory::Unpreserved);
  control::write_mark(write, Phase::AdoptionDone, {});
  EXPECT_EQ(m.machine().grants().granted_pages(), 0u);
}

TEST(Marks, RecordTimeCountersAndWhatWasTouched) {
  Running m;
  const auto write = [&](u64 offset, Width width, u64 value) { control_write(m, offset, width, value); };
  m.model.set_pace({.transfers_per_step = 3, .step_ns = 10, .relax_ns = 100});
  m.model.advance(500);
  control::write_mark(write, Phase::LastConsent, {});
  m.model.advance(500);
  control::write_mark(write, Phase::AdoptionDone, {.tables = 1, .blocks = 2, .records = 3, .files = 4, .frames = 5});
  const auto& marks = m.machine().marks();
  ASSERT_EQ(marks.size(), 2u);
  EXPECT_EQ(marks[0].phase, Phase::LastConsent);
  EXPECT_EQ(marks[1].phase, Phase::AdoptionDone);
  EXPECT_EQ(marks[0].time_ns, 500u);
  EXPECT_EQ(marks[1].time_ns, 1000u);
  EXPECT_EQ(marks[1].devices.at(0).transfers - marks[0].devices.at(0).transfers, 3u);
  EXPECT_EQ(marks[1].touched, (TouchCounts{1, 2, 3, 4, 5}));
}

TEST(Machine, SendsADeviceBehindABridgeUnderItsOwnSourceId) {
  MachineConfig config = HandMadeMachine::one_device();
  config.devices.push_back({.bus = 1, .device = 0});
  Running m(Mode::Scalable, config);
  const SourceId behind(1, 0, 0);
  m.config16(behind, command_offset, 6);
  m.program(1);
  EXPECT_EQ(m.machine().step(1), 1u);
  EXPECT_EQ(m.machine().counters(1).faulted, 1u);
  EXPECT_EQ(m.unit().faults().front().sid, behind);
  m.attach(Mode::Scalable, m.top, Running::did, behind);
  EXPECT_EQ(m.machine().step(1), 2u);
}

}  // namespace
}  // namespace sim

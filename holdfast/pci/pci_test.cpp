// The walk over configuration space, BARs, what crosses, and that nothing of what crossed is written.
#include "holdfast/pci/pci.hpp"

#include <gtest/gtest.h>

#include "holdfast/iommu/test_machine.hpp"

namespace holdfast::pci {
namespace {

using iommu::FakeHardware;
using iommu::FakeUnit;

constexpr PhysAddr ecam{0xe0000000};
constexpr PhysAddr rsdp_at{0x1000};

/// Configuration space of a few functions.
struct FakeFunction {
  std::array<u8, 256> bytes{};
  std::array<u32, 6> bar_masks{};  // writable bits of each BAR
  bool has_flr = false;

  template <class T>
  T get(u64 at) const {
    T value;
    std::memcpy(&value, bytes.data() + at, sizeof value);
    return value;
  }
  template <class T>
  void set(u64 at, T value) {
    std::memcpy(bytes.data() + at, &value, sizeof value);
  }
};

struct Bus {
  std::map<u16, FakeFunction> functions;
  std::vector<std::pair<u16, u64>> writes;  // source id and offset

  FakeFunction& endpoint(SourceId id) {
    FakeFunction& function = functions[id.value];
    function.set<u16>(hw::pci::vendor_id_offset, 0x8086);
    function.set<u16>(hw::pci::device_id_offset, static_cast<u16>(0x1000 + id.value));
    function.set<u32>(hw::pci::revision_id_offset, 0x02000001);
    return function;
  }
  FakeFunction& bridge(SourceId id, u8 secondary, u8 subordinate) {
    FakeFunction& function = endpoint(id);
    function.set<u8>(hw::pci::header_type_offset, 1);
    function.set<u8>(hw::pci::primary_bus_offset, id.bus());
    function.set<u8>(hw::pci::secondary_bus_offset, secondary);
    function.set<u8>(hw::pci::subordinate_bus_offset, subordinate);
    return function;
  }
  /// A 32-bit BAR, or a 64-bit one in two.
  void bar(SourceId id, unsigned index, u64 address, u64 size, u32 flags) {
    FakeFunction& function = functions[id.value];
    const u64 mask = ~(size - 1);
    function.set<u32>(hw::pci::bar0_offset + 4u * index, static_cast<u32>(address) | flags);
    function.bar_masks[index] = static_cast<u32>(mask);
    if ((flags & 4) == 0) return;
    function.set<u32>(hw::pci::bar0_offset + 4u * index + 4, static_cast<u32>(address >> 32));
    function.bar_masks[index + 1] = static_cast<u32>(mask >> 32);
  }
};

class PciWorld final : public TestWorld {
 public:
  PciWorld(u64 ram_bytes, Bus& bus) : TestWorld(ram_bytes), x_bus(bus) {}
  PciWorld(const PciWorld& before, AfterJump jump) : TestWorld(before, jump), x_bus(before.x_bus) {}

  u64 mmio_read(PhysAddr address, Width width) override {
    const auto found = x_bus.functions.find(id_at(address));
    if (found == x_bus.functions.end()) return ~u64{0};
    const u64 at = address.value & 0xff;
    if ((address.value & 0xfff) > 0xff) return 0;
    u64 value = 0;
    std::memcpy(&value, found->second.bytes.data() + at, static_cast<std::size_t>(width));
    return value;
  }
  void mmio_write(PhysAddr address, Width width, u64 value) override {
    const auto found = x_bus.functions.find(id_at(address));
    if (found == x_bus.functions.end()) return;
    FakeFunction& function = found->second;
    const u64 at = address.value & 0xff;
    x_bus.writes.emplace_back(found->first, at);
    if (at >= hw::pci::bar0_offset && at < hw::pci::bar0_offset + 24) {
      const u64 index = (at - hw::pci::bar0_offset) / 4;
      const u32 mask = function.bar_masks[index];
      function.set<u32>(at, (static_cast<u32>(value) & mask) | (function.get<u32>(at) & ~mask & 0xf));
      return;
    }
    if (function.has_flr && at == 0x40 + hw::pci::express_device_control_offset &&
        (value & hw::pci::device_control_initiate_flr) != 0) {
      for (u64 bar = 0; bar < 6; ++bar) function.set<u32>(hw::pci::bar0_offset + 4 * bar, 0);
      function.set<u16>(hw::pci::command_offset, 0);
      return;
    }
    std::memcpy(function.bytes.data() + at, &value, static_cast<std::size_t>(width));
  }

 private:
  static u16 id_at(PhysAddr address) { return static_cast<u16>((address - ecam) >> 12); }
  Bus& x_bus;
};

template <class T>
void put(TestWorld& world, u64 at, const T& value) {
  std::memcpy(world.direct_map() + at, &value, sizeof value);
}
void seal(TestWorld& world, u64 at, u64 length, u64 checksum_offset) {
  std::byte& checksum = world.direct_map()[at + checksum_offset];
  checksum = std::byte{0};
  checksum = static_cast<std::byte>(-hw::acpi::byte_sum({world.direct_map() + at, length}));
}

constexpr u64 xsdt_at = 0x1100;
constexpr u64 mcfg_at = 0x1200;

/// RSDP, XSDT and MCFG in page 1.
void write_acpi(TestWorld& world, std::initializer_list<hw::acpi::McfgAllocation> windows) {
  hw::acpi::Mcfg mcfg{};
  mcfg.header.signature = hw::acpi::mcfg_signature;
  mcfg.header.length = static_cast<u32>(sizeof mcfg + windows.size() * sizeof(hw::acpi::McfgAllocation));
  put(world, mcfg_at, mcfg);
  u64 at = mcfg_at + sizeof mcfg;
  for (const auto& window : windows) {
    put(world, at, window);
    at += sizeof window;
  }
  seal(world, mcfg_at, mcfg.header.length, 9);
  hw::acpi::TableHeader xsdt{};
  xsdt.signature = hw::acpi::xsdt_signature;
  xsdt.length = sizeof xsdt + 8;
  put(world, xsdt_at, xsdt);
  put(world, xsdt_at + sizeof xsdt, u64{mcfg_at});
  seal(world, xsdt_at, xsdt.length, 9);
  hw::acpi::Rsdp rsdp{};
  rsdp.signature = hw::acpi::rsdp_signature;
  rsdp.revision = 2;
  rsdp.length = sizeof rsdp;
  rsdp.xsdt_address = xsdt_at;
  put(world, rsdp_at.value, rsdp);
  seal(world, rsdp_at.value, 20, 8);
  seal(world, rsdp_at.value, sizeof rsdp, 32);
}

constexpr hw::acpi::McfgAllocation all_buses{
    .base_address = ecam.value, .segment = 0, .start_bus = 0, .end_bus = 255, .reserved = 0};

/// One kernel's PCI.
class Host {
 public:
  explicit Host(PciWorld& world, TestOpen open = TestOpen::Now, holdfast::Handover numbers = {})
      : mem(world, open, numbers),
        handover(mem->memory),
        core(mem->memory, *handover),
        config(world),
        pci(mem->memory, *handover, *core, config) {}

  void start(FakeUnit& unit) {
    unit.memory_is_up = true;
    const PhysRange scratch = mem->scratch();
    ASSERT_TRUE(handover->open({&scratch, 1}).ok());
    ASSERT_TRUE(core->add_unit(unit).ok());
    ASSERT_TRUE(core->start_fresh().ok());
    ASSERT_TRUE(config.open(mem->memory.map, rsdp_at).ok());
  }

  iommu::Undying<TestMemory> mem;
  iommu::Undying<kho::Handover> handover;
  iommu::Undying<iommu::Core> core;
  ConfigSpace config;
  iommu::Undying<Pci> pci;
};

class PciTest : public testing::Test {
 protected:
  static constexpr u64 ram = u64{32} << 20;

  PciTest() {
    hardware.base = PhysAddr(0xfed90000);
    hardware.last_bus = 255;
    write_acpi(world, {all_buses});
    world.memory_map = {{{PhysAddr(0), 0x1000}, MemoryKind::Ram},
                        {{PhysAddr(0x1000), 0x1000}, MemoryKind::Reserved},
                        {{PhysAddr(0x2000), ram - 0x2000}, MemoryKind::Ram}};
  }
  Host& boot() {
    host.emplace(world);
    unit.emplace(hardware, host->mem->memory, host->mem->early);
    host->start(*unit);
    EXPECT_TRUE(host->pci->scan().ok());
    return *host;
  }
  std::vector<u16> found() {
    std::vector<u16> ids;
    host->pci->for_each_function([&](Function& function) { ids.push_back(function.id.value); });
    std::sort(ids.begin(), ids.end());
    return ids;
  }
  Function& function(SourceId id) { return **host->pci->find(0, id); }

  Bus bus;
  PciWorld world{ram, bus};
  FakeHardware hardware;
  std::optional<Host> host;
  std::optional<FakeUnit> unit;
};

TEST_F(PciTest, FindsEveryFunctionUpToTheLastOne) {
  const SourceId last(0, 31, 7);
  bus.endpoint(SourceId(0, 0, 0));
  bus.endpoint(SourceId(0, 31, 0)).set<u8>(hw::pci::header_type_offset, 0x80);
  bus.endpoint(last);
  bus.endpoint(SourceId(0, 3, 1));  // no function 0: not there
  bus.endpoint(SourceId(0, 4, 0));
  bus.endpoint(SourceId(0, 4, 1));  // function 0 is not multi-function
  boot();
  EXPECT_EQ(last.value, 0xff);
  EXPECT_EQ(found(), (std::vector<u16>{0x00, 0x20, 0xf8, 0xff}));
}

TEST_F(PciTest, FollowsBridgesAndInheritsBusNumbers) {
  RecordProperty("acceptance", "Q3");
  bus.bridge(SourceId(0, 1, 0), 1, 3);
  bus.bridge(SourceId(1, 0, 0), 2, 3);
  bus.endpoint(SourceId(2, 0, 0));
  bus.bridge(SourceId(0, 2, 0), 0, 0);  // bus numbers make no sense
  bus.bridge(SourceId(0, 3, 0), 9, 8);
  boot();
  EXPECT_EQ(found(), (std::vector<u16>{0x08, 0x10, 0x18, 0x100, 0x200}));
  EXPECT_EQ(function(SourceId(2, 0, 0)).upstream, &function(SourceId(1, 0, 0)));
  EXPECT_EQ(function(SourceId(1, 0, 0)).upstream, &function(SourceId(0, 1, 0)));
  EXPECT_EQ(function(SourceId(0, 1, 0)).upstream, nullptr);
  EXPECT_EQ(bus.functions[0x08].get<u8>(hw::pci::secondary_bus_offset), 1);
}

TEST_F(PciTest, EndpointsAreDevicesOfTheirUnit) {
  hardware.last_bus = 1;
  bus.bridge(SourceId(0, 1, 0), 2, 2);
  bus.endpoint(SourceId(0, 2, 0));
  bus.endpoint(SourceId(2, 0, 0));  // covered by no unit
  boot();
  const iommu::Device* device = function(SourceId(0, 2, 0)).iommu_device;
  ASSERT_NE(device, nullptr);
  EXPECT_EQ(device->identity().vendor, 0x8086);
  EXPECT_EQ(device->identity().device, 0x1010);
  EXPECT_EQ(device->identity().class_revision, 0x02000001u);
  EXPECT_EQ(function(SourceId(0, 1, 0)).iommu_device, nullptr);
  EXPECT_EQ(function(SourceId(2, 0, 0)).iommu_device, nullptr);
}

TEST_F(PciTest, BarsAreSizedAndPutBack) {
  const SourceId id(0, 1, 0);
  bus.endpoint(id).set<u16>(hw::pci::command_offset, 6);
  bus.bar(id, 0, 0xf0000000, 0x1000, 0);
  bus.bar(id, 1, 0x1100000000, 0x100000000, 0xc);  // 64-bit, prefetchable
  bus.bar(id, 3, 0xc001, 0x20, 1);                 // I/O
  bus.bar(id, 4, 0x2040000000, 0x40000000, 0xc);
  const auto before = bus.functions[id.value].bytes;
  boot();
  EXPECT_EQ(bus.functions[id.value].bytes, before);
  const Pci& pci = *host->pci;
  EXPECT_EQ(*pci.bar(function(id), 0), (PhysRange{PhysAddr(0xf0000000), 0x1000}));
  EXPECT_EQ(*pci.bar(function(id), 1), (PhysRange{PhysAddr(0x1100000000), 0x100000000}));
  EXPECT_EQ(pci.bar(function(id), 2).code(), Code::NotFound);
  EXPECT_EQ(pci.bar(function(id), 3).code(), Code::NotFound);
  EXPECT_EQ(*pci.bar(function(id), 4), (PhysRange{PhysAddr(0x2040000000), 0x40000000}));
  EXPECT_EQ(pci.bar(function(id), 5).code(), Code::NotFound);
  EXPECT_EQ(pci.bar(function(id), 6).code(), Code::Invalid);
}

TEST_F(PciTest, BusMasteringGoesOnUpToTheRoot) {
  bus.bridge(SourceId(0, 1, 0), 1, 1);
  bus.endpoint(SourceId(1, 0, 0));
  boot();
  host->pci->set_bus_master(function(SourceId(1, 0, 0)), BusMaster::On);
  EXPECT_EQ(host->pci->bus_master(function(SourceId(0, 1, 0))), BusMaster::On);
  host->pci->set_bus_master(function(SourceId(1, 0, 0)), BusMaster::Off);
  EXPECT_EQ(host->pci->bus_master(function(SourceId(1, 0, 0))), BusMaster::Off);
  EXPECT_EQ(host->pci->bus_master(function(SourceId(0, 1, 0))), BusMaster::On);
}

TEST_F(PciTest, ResetStopsDmaAndKeepsTheBars) {
  const SourceId id(0, 1, 0);
  FakeFunction& fake = bus.endpoint(id);
  bus.bar(id, 0, 0xf0000000, 0x1000, 0);
  fake.has_flr = true;
  fake.set<u16>(hw::pci::status_offset, 0x10);
  fake.set<u8>(hw::pci::capabilities_pointer_offset, 0x40);
  fake.set<u8>(0x40, 0x10);
  fake.set<u32>(0x40 + hw::pci::express_device_capabilities_offset, hw::pci::device_capabilities_flr);
  fake.set<u16>(hw::pci::command_offset, 6);
  bus.endpoint(SourceId(0, 2, 0));  // no capability
  boot();
  ASSERT_TRUE(host->pci->reset(function(id)).ok());
  EXPECT_EQ(fake.get<u32>(hw::pci::bar0_offset), 0xf0000000);
  EXPECT_EQ(fake.get<u16>(hw::pci::command_offset), 2);
  EXPECT_EQ(host->pci->reset(function(SourceId(0, 2, 0))).code(), Code::NotSupported);
}

TEST_F(PciTest, CapabilityListThatLoopsEnds) {
  const SourceId id(0, 1, 0);
  FakeFunction& fake = bus.endpoint(id);
  fake.set<u16>(hw::pci::status_offset, 0x10);
  fake.set<u8>(hw::pci::capabilities_pointer_offset, 0x40);
  fake.set<u8>(0x40, 0x05);
  fake.set<u8>(0x41, 0x40);
  boot();
  EXPECT_EQ(host->pci->reset(function(id)).code(), Code::NotSupported);
}

TEST_F(PciTest, BridgesAboveAreCounted) {
  RecordProperty("acceptance", "Q2");
  bus.bridge(SourceId(0, 1, 0), 1, 3);
  bus.bridge(SourceId(1, 0, 0), 2, 3);
  bus.bridge(SourceId(1, 1, 0), 3, 3);
  for (SourceId id : {SourceId(2, 0, 0), SourceId(2, 1, 0), SourceId(3, 0, 0)}) bus.endpoint(id);
  boot();
  Pci& pci = *host->pci;
  const u64 nothing = pci.state_hash();
  EXPECT_EQ(pci.preserve(function(SourceId(2, 0, 0))).code(), Code::Invalid);  // no FLB
  const PhysAddr at(*pci.flb().preserve());
  const u64 open = pci.state_hash();
  for (SourceId id : {SourceId(2, 0, 0), SourceId(3, 0, 0), SourceId(2, 1, 0)})
    ASSERT_TRUE(pci.preserve(function(id)).ok());
  EXPECT_EQ(function(SourceId(0, 1, 0)).preserved, 3u);
  EXPECT_EQ(function(SourceId(1, 0, 0)).preserved, 2u);
  EXPECT_EQ(function(SourceId(1, 1, 0)).preserved, 1u);
  const auto& header = *host->mem->memory.map.at<abi::pci::Header>(at);
  EXPECT_EQ(header.nr_devices, 6u);
  const u64 all = pci.state_hash();
  EXPECT_EQ(pci.preserve(function(SourceId(2, 0, 0))).code(), Code::Busy);
  EXPECT_EQ(pci.preserve(function(SourceId(1, 0, 0))).code(), Code::Invalid);
  EXPECT_EQ(pci.reset(function(SourceId(2, 0, 0))).code(), Code::Busy);
  EXPECT_EQ(pci.state_hash(), all);
  for (SourceId id : {SourceId(3, 0, 0), SourceId(2, 0, 0), SourceId(2, 1, 0)}) pci.unpreserve(function(id));
  EXPECT_EQ(pci.state_hash(), open);
  pci.flb().unpreserve();
  EXPECT_EQ(pci.state_hash(), nothing);
}

TEST_F(PciTest, WhatCrossedIsKnownAgainAndNotWritten) {
  RecordProperty("acceptance", "Q5");
  const SourceId crossing(1, 0, 0);
  const SourceId changed(1, 1, 0);
  bus.bridge(SourceId(0, 1, 0), 1, 1);
  bus.endpoint(crossing);
  bus.bar(crossing, 0, 0xf0000000, 0x1000, 0);
  bus.endpoint(changed);
  bus.bar(changed, 0, 0xf0010000, 0x1000, 0);
  boot();
  Pci& pci = *host->pci;
  const u64 flb = *pci.flb().preserve();
  for (SourceId id : {crossing, changed}) {
    pci.set_bus_master(function(id), BusMaster::On);
    ASSERT_TRUE(pci.preserve(function(id)).ok());
  }
  iommu::publish_luo(host->mem->memory, *host->handover, 1, {{std::string(abi::pci::compatible), flb}});
  bus.functions[changed.value].set<u16>(hw::pci::device_id_offset, 0x7777);  // swapped in the gap
  bus.writes.clear();

  PciWorld after(world, AfterJump{});
  after.memory_map = world.memory_map;
  Host next(after, TestOpen::Later, host->handover->numbers());
  const auto incoming = kho::IncomingMap::open(next.mem->memory.map, host->handover->numbers());
  ASSERT_TRUE(incoming.ok());
  ASSERT_TRUE(next.handover->claim_incoming(*incoming).ok());
  next.mem->memory.open();
  FakeUnit next_unit(hardware, next.mem->memory, next.mem->early);
  next.start(next_unit);
  next.pci->read_incoming(*incoming);
  ASSERT_TRUE(next.pci->scan().ok());
  for (const auto& [id, offset] : bus.writes) EXPECT_EQ(id, changed.value) << offset;
  const Function& same = **next.pci->find(0, crossing);
  EXPECT_TRUE(same.is_incoming);
  EXPECT_EQ(next.pci->bus_master(same), BusMaster::On);
  EXPECT_EQ(next.pci->bus_master(**next.pci->find(0, SourceId(0, 1, 0))), BusMaster::On);
  EXPECT_EQ(next.pci->bar(same, 0)->size_bytes, 0x1000u);
  EXPECT_FALSE((*next.pci->find(0, changed))->is_incoming);
  EXPECT_EQ(next.pci->reset(**next.pci->find(0, crossing)).code(), Code::Busy);
  next.pci->flb().finish();
  EXPECT_FALSE(next.handover->is_incoming({PhysAddr(flb), 0}));
  EXPECT_FALSE((*next.pci->find(0, crossing))->is_incoming);
}

TEST_F(PciTest, SizeThatReachesIntoAnotherFunctionIsNotBelieved) {
  const SourceId liar(0, 1, 0);
  const SourceId other(0, 2, 0);
  for (SourceId id : {liar, other}) {
    bus.endpoint(id);
    bus.bar(id, 0, id == liar ? 0xf0000000 : 0xf0010000, 0x1000, 0);
  }
  boot();
  const u64 flb = *host->pci->flb().preserve();
  for (SourceId id : {liar, other}) ASSERT_TRUE(host->pci->preserve(function(id)).ok());
  iommu::publish_luo(host->mem->memory, *host->handover, 1, {{std::string(abi::pci::compatible), flb}});
  auto* header = host->mem->memory.map.at<abi::pci::Header>(PhysAddr(flb));
  reinterpret_cast<abi::pci::Device*>(header + 1)->bar_bytes[0] = 0x100000;
  const u64 bytes = sizeof *header + header->nr_devices * sizeof(abi::pci::Device);
  header->checksum = abi::checksum({reinterpret_cast<std::byte*>(header), bytes}, offsetof(abi::pci::Header, checksum));

  PciWorld after(world, AfterJump{});
  Host next(after, TestOpen::Later, host->handover->numbers());
  const auto incoming = kho::IncomingMap::open(next.mem->memory.map, host->handover->numbers());
  ASSERT_TRUE(incoming.ok());
  ASSERT_TRUE(next.handover->claim_incoming(*incoming).ok());
  next.mem->memory.open();
  FakeUnit next_unit(hardware, next.mem->memory, next.mem->early);
  next.start(next_unit);
  next.pci->read_incoming(*incoming);
  ASSERT_TRUE(next.pci->scan().ok());
  EXPECT_EQ(next.pci->bar(**next.pci->find(0, liar), 0).code(), Code::NotFound);
  EXPECT_EQ(next.pci->bar(**next.pci->find(0, other), 0)->size_bytes, 0x1000u);
}

TEST_F(PciTest, DamagedRecordIsNoRecord) {
  bus.endpoint(SourceId(0, 1, 0));
  boot();
  const u64 flb = *host->pci->flb().preserve();
  ASSERT_TRUE(host->pci->preserve(function(SourceId(0, 1, 0))).ok());
  iommu::publish_luo(host->mem->memory, *host->handover, 1, {{std::string(abi::pci::compatible), flb}});
  auto* words = host->mem->memory.map.at<u64>(PhysAddr(flb));
  for (u64 word = 0; word < (sizeof(abi::pci::Header) + sizeof(abi::pci::Device)) / 8; ++word) {
    for (u64 value : {u64{0}, ~u64{0}, words[word] + 0x1000}) {
      const u64 before = words[word];
      if (value == before) continue;
      words[word] = value;
      PciWorld after(world, AfterJump{});
      Host next(after, TestOpen::Later, host->handover->numbers());
      const auto incoming = kho::IncomingMap::open(next.mem->memory.map, host->handover->numbers());
      ASSERT_TRUE(incoming.ok());
      ASSERT_TRUE(next.handover->claim_incoming(*incoming).ok());
      next.mem->memory.open();
      FakeUnit next_unit(hardware, next.mem->memory, next.mem->early);
      next.start(next_unit);
      next.pci->read_incoming(*incoming);
      ASSERT_TRUE(next.pci->scan().ok());
      EXPECT_FALSE((*next.pci->find(0, SourceId(0, 1, 0)))->is_incoming) << word << " " << value;
      words[word] = before;
    }
  }
}

TEST_F(PciTest, MoreFunctionsThanRoomIsRefused) {
  bus.endpoint(SourceId(0, 1, 0));
  boot();
  Pci& pci = *host->pci;
  (void)*pci.flb().preserve();
  Function late;
  late.id = SourceId(0, 9, 0);
  ASSERT_TRUE(pci.preserve(function(SourceId(0, 1, 0))).ok());
  EXPECT_EQ(pci.preserve(late).code(), Code::NoSpace);
  EXPECT_EQ(pci.preserve(function(SourceId(0, 1, 0))).code(), Code::Busy);
}

TEST_F(PciTest, ScanThatRunsOutOfMemorySaysSo) {
  bus.endpoint(SourceId(0, 1, 0));
  bus.endpoint(SourceId(0, 2, 0));
  host.emplace(world);
  unit.emplace(hardware, host->mem->memory, host->mem->early);
  host->start(*unit);
  const u64 before = host->mem->memory.heap.live_objects();
  for (u64 k = 1;; ++k) {
    Status scanned;
    const bool failed = world.failing(k, [&] { scanned = host->pci->scan(); });
    if (!failed) break;
    ASSERT_EQ(scanned.code(), Code::NoMemory);
    host->pci->close();
    ASSERT_EQ(host->mem->memory.heap.live_objects(), before);
  }
  EXPECT_EQ(found().size(), 2u);
}

TEST(Acpi, TablesAreCheckedBeforeTheyAreBelieved) {
  Bus bus;
  PciWorld world(u64{32} << 20, bus);
  const DirectMap map(world, world.memory_map);
  write_acpi(world, {all_buses});
  EXPECT_TRUE(find_acpi_table(map, rsdp_at, hw::acpi::mcfg_signature).ok());
  EXPECT_EQ(find_acpi_table(map, rsdp_at, hw::acpi::dmar_signature).code(), Code::NotFound);
  EXPECT_EQ(find_acpi_table(map, PhysAddr(0), hw::acpi::mcfg_signature).code(), Code::NotFound);
  EXPECT_EQ(find_acpi_table(map, PhysAddr(~u64{0} - 3), hw::acpi::mcfg_signature).code(), Code::Corrupt);
  for (u64 at : {rsdp_at.value, xsdt_at + 20, mcfg_at + 50, rsdp_at.value + 24, xsdt_at + 4}) {
    write_acpi(world, {all_buses});
    world.direct_map()[at] ^= std::byte{0x40};
    EXPECT_EQ(find_acpi_table(map, rsdp_at, hw::acpi::mcfg_signature).code(), Code::Corrupt) << at;
  }
  // A length that reaches beyond RAM.
  write_acpi(world, {all_buses});
  put(world, mcfg_at + 4, u32{0xffffffff});
  EXPECT_EQ(find_acpi_table(map, rsdp_at, hw::acpi::mcfg_signature).code(), Code::Corrupt);
}

TEST(Acpi, FirmwareOfAcpi1ListsItsTablesIn32Bits) {
  Bus bus;
  PciWorld world(u64{32} << 20, bus);
  const DirectMap map(world, world.memory_map);
  write_acpi(world, {all_buses});
  hw::acpi::TableHeader rsdt{};
  rsdt.signature = hw::acpi::rsdt_signature;
  rsdt.length = sizeof rsdt + 4;
  put(world, xsdt_at, rsdt);
  put(world, xsdt_at + sizeof rsdt, static_cast<u32>(mcfg_at));
  put(world, xsdt_at + sizeof rsdt + 4, ~u32{0});  // not part of it
  seal(world, xsdt_at, rsdt.length, 9);
  hw::acpi::Rsdp rsdp{};
  rsdp.signature = hw::acpi::rsdp_signature;
  rsdp.rsdt_address = static_cast<u32>(xsdt_at);
  rsdp.xsdt_address = ~u64{0};  // revision 0 has none
  put(world, rsdp_at.value, rsdp);
  seal(world, rsdp_at.value, hw::acpi::first_rsdp_bytes, 8);
  EXPECT_TRUE(find_acpi_table(map, rsdp_at, hw::acpi::mcfg_signature).ok());
  EXPECT_EQ(find_acpi_table(map, rsdp_at, hw::acpi::dmar_signature).code(), Code::NotFound);
  world.direct_map()[rsdp_at.value + 16] ^= std::byte{0x40};
  EXPECT_EQ(find_acpi_table(map, rsdp_at, hw::acpi::mcfg_signature).code(), Code::Corrupt);
}

TEST(ConfigSpace, WindowsAreChecked) {
  Bus bus;
  PciWorld world(u64{32} << 20, bus);
  const DirectMap map(world, world.memory_map);
  ConfigSpace config(world);
  auto overlapping = all_buses;
  overlapping.start_bus = 10;
  write_acpi(world, {all_buses, overlapping});
  EXPECT_EQ(config.open(map, rsdp_at).code(), Code::Corrupt);
  auto backwards = all_buses;
  backwards.start_bus = 9;
  backwards.end_bus = 8;
  write_acpi(world, {backwards});
  EXPECT_EQ(config.open(map, rsdp_at).code(), Code::Corrupt);
  auto few = all_buses;
  few.end_bus = 3;
  write_acpi(world, {few});
  ASSERT_TRUE(config.open(map, rsdp_at).ok());
  bus.endpoint(SourceId(4, 0, 0));
  EXPECT_FALSE(config.is_present(0, SourceId(4, 0, 0)));  // beyond the window
  EXPECT_FALSE(config.is_present(1, SourceId(0, 0, 0)));  // another segment
  EXPECT_EQ(config.buses_below(0, SourceId(0, 0, 0)).code(), Code::NoDevice);
}

}  // namespace
}  // namespace holdfast::pci

// Test support (hosted; never part of the library): a bus with a few endpoints, and a TestKernel that finds them and
// has device files. See memfd/test_kernel.hpp.
//
// Each endpoint has configuration space with a function-level reset and one BAR of a page; its registers are plain
// memory. What was written to it is remembered across kernels, as by hardware.
#pragma once

#include "holdfast/hw/acpi/tables.hpp"
#include "holdfast/iommufd/test_support.hpp"
#include "holdfast/vfio/vfio_handler.hpp"
#include "uapi/holdfast/vfio.h"

namespace holdfast {

struct FakeEndpoint {
  std::array<u8, 4096> config{};
  std::array<u8, 4096> bar{};
  u32 resets = 0;
  std::vector<u64> config_writes;  // offsets

  template <class T>
  T get(u64 at) const {
    T value;
    std::memcpy(&value, config.data() + at, sizeof value);
    return value;
  }
  template <class T>
  void set(u64 at, T value) {
    std::memcpy(config.data() + at, &value, sizeof value);
  }
  [[nodiscard]] bool is_bus_master() const {
    return (get<u16>(hw::pci::command_offset) >> hw::pci::command::BusMaster::low & 1) != 0;
  }
};

class VfioWorld final : public GrantWorld {
 public:
  static constexpr u64 ecam = 0xe0000000;
  static constexpr u64 bars = 0xfe000000;
  static constexpr u64 capability = 0x40;
  static constexpr u64 rsdp = 0x1000;

  explicit VfioWorld(u64 ram) : GrantWorld(ram), endpoints(std::make_shared<Endpoints>()) {
    for (u8 device = 1; device <= 3; ++device) add_endpoint(device);
    memory_map = {{{PhysAddr(0), 0x1000}, MemoryKind::Ram},
                  {{PhysAddr(0x1000), 0x1000}, MemoryKind::Reserved},
                  {{PhysAddr(0x2000), ram - 0x2000}, MemoryKind::Ram}};
    write_acpi();
  }
  VfioWorld(const VfioWorld& before, AfterJump jump) : GrantWorld(before, jump), endpoints(before.endpoints) {}

  [[nodiscard]] FakeEndpoint& endpoint(u8 index) const {
    return endpoints->at(SourceId(0, static_cast<u8>(index + 1), 0).value);
  }

  u64 mmio_read(PhysAddr address, Width width) override {
    u64 value = 0;
    const auto bytes = bytes_at(address.value);
    if (bytes.empty()) return ~u64{0};
    std::memcpy(&value, bytes.data(), static_cast<std::size_t>(width));
    return value;
  }
  void mmio_write(PhysAddr address, Width width, u64 value) override {
    const auto bytes = bytes_at(address.value);
    if (bytes.empty()) return;
    if (address.value >= bars) return void(std::memcpy(bytes.data(), &value, static_cast<std::size_t>(width)));
    FakeEndpoint& function = endpoints->at(static_cast<u16>((address.value - ecam) >> 12));
    const u64 at = address.value & 0xfff;
    function.config_writes.push_back(at);
    if (at == capability + hw::pci::express_device_control_offset &&
        (value & hw::pci::device_control_initiate_flr) != 0)
      return reset(function);
    if (at >= hw::pci::bar0_offset && at < hw::pci::bar0_offset + 24)
      return function.set<u32>(at, at == hw::pci::bar0_offset ? static_cast<u32>(value) & ~u32{0xfff} : 0);
    std::memcpy(bytes.data(), &value, static_cast<std::size_t>(width));
  }

 private:
  using Endpoints = std::map<u16, FakeEndpoint>;

  static void reset(FakeEndpoint& function) {
    ++function.resets;
    function.set<u16>(hw::pci::command_offset, 0);
    function.set<u32>(hw::pci::bar0_offset, 0);
    function.bar.fill(0);
  }
  std::span<u8> bytes_at(u64 address) {
    if (address >= bars) {
      for (auto& [id, function] : *endpoints) {
        const u64 base = function.get<u32>(hw::pci::bar0_offset);
        if (base != 0 && address - base < function.bar.size()) return std::span(function.bar).subspan(address - base);
      }
      return {};
    }
    const auto found = endpoints->find(static_cast<u16>((address - ecam) >> 12));
    return found == endpoints->end() ? std::span<u8>() : std::span(found->second.config).subspan(address & 0xfff);
  }
  void add_endpoint(u8 device) {
    FakeEndpoint& function = (*endpoints)[SourceId(0, device, 0).value];
    function.set<u16>(hw::pci::vendor_id_offset, 0xf01d);
    function.set<u16>(hw::pci::device_id_offset, 1);
    function.set<u32>(hw::pci::revision_id_offset, 0x08800001);
    function.set<u16>(hw::pci::status_offset, 1 << 4);
    function.set<u32>(hw::pci::bar0_offset, static_cast<u32>(bars + device * u64{0x1000}));
    function.set<u8>(hw::pci::capabilities_pointer_offset, capability);
    function.set<u8>(capability, static_cast<u8>(hw::pci::CapabilityId::Express));
    function.set<u32>(capability + hw::pci::express_device_capabilities_offset, hw::pci::device_capabilities_flr);
  }
  template <class T>
  u64 put(u64 at, const T& value) {
    std::memcpy(direct_map() + at, &value, sizeof value);
    return at + sizeof value;
  }
  void seal(u64 at, u64 length, u64 checksum_offset) {
    direct_map()[at + checksum_offset] = static_cast<std::byte>(-hw::acpi::byte_sum({direct_map() + at, length}));
  }
  void write_acpi() {
    hw::acpi::Mcfg mcfg{};
    mcfg.header.signature = hw::acpi::mcfg_signature;
    mcfg.header.length = sizeof mcfg + sizeof(hw::acpi::McfgAllocation);
    put(put(0x1200, mcfg),
        hw::acpi::McfgAllocation{.base_address = ecam, .segment = 0, .start_bus = 0, .end_bus = 0, .reserved = 0});
    seal(0x1200, mcfg.header.length, 9);
    hw::acpi::TableHeader xsdt{};
    xsdt.signature = hw::acpi::xsdt_signature;
    xsdt.length = sizeof xsdt + 8;
    put(put(0x1100, xsdt), u64{0x1200});
    seal(0x1100, xsdt.length, 9);
    hw::acpi::Rsdp pointer{};
    pointer.signature = hw::acpi::rsdp_signature;
    pointer.revision = 2;
    pointer.length = sizeof pointer;
    pointer.xsdt_address = 0x1100;
    put(rsdp, pointer);
    seal(rsdp, 20, 8);
    seal(rsdp, sizeof pointer, 32);
  }

  std::shared_ptr<Endpoints> endpoints;
};

class VfioKernel : public TestKernel {
 public:
  VfioKernel(VfioWorld& in_world, iommu::FakeHardware& on_hardware, const Handover& left,
             luo::Policy with_policy = luo::Policy::Holdfast)
      : TestKernel(in_world, on_hardware, left, with_policy, Devices::FromAbove), config(in_world) {
    boot_devices();
  }
  ~VfioKernel() override { process.fds.files.clear(); }

  i32 open_device(u64 number) { return process.install(vfio_devices.open_device(number).value()); }
  vfio::VfioDevice& device_of(i32 fd) { return *luo::file_cast<vfio::VfioDevice>(&file(fd)); }
  Code bind(i32 fd, i32 iommufd, u32& id) {
    vfio_device_bind_iommufd command{};
    command.argsz = sizeof command;
    command.iommufd = iommufd;
    const Code code = call(fd, VFIO_DEVICE_BIND_IOMMUFD, command);
    id = command.out_devid;
    return code;
  }
  Code attach(i32 fd, u32& pt) {
    vfio_device_attach_iommufd_pt command{.argsz = sizeof command, .flags = 0, .pt_id = pt, .pasid = 0};
    const Code code = call(fd, VFIO_DEVICE_ATTACH_IOMMUFD_PT, command);
    pt = command.pt_id;
    return code;
  }
  Code detach(i32 fd) {
    vfio_device_detach_iommufd_pt command{.argsz = sizeof command, .flags = 0, .pasid = 0};
    return call(fd, VFIO_DEVICE_DETACH_IOMMUFD_PT, command);
  }

  pci::ConfigSpace config;
  pci::Pci pci{host.memory, handover, core, config};
  vfio::Devices vfio_devices{host.memory, pci};
  vfio::VfioHandler vfio_handler{host.memory, handover, core, vfio_devices, policy};

 private:
  void boot_devices() {
    ASSERT_TRUE(config.open(host.memory.map, PhysAddr(VfioWorld::rsdp)).ok());
    if (incoming) pci.read_incoming(*incoming);
    ASSERT_TRUE(pci.scan().ok());
    verify();
    ASSERT_TRUE(vfio_devices.open().ok());
    ASSERT_TRUE(orchestrator.register_handler(vfio_handler).ok());
    for (luo::Flb* flb : {&core.records_flb(), &core.attest_flb(), &pci.flb()})
      ASSERT_TRUE(orchestrator.register_flb(vfio_handler, *flb).ok());
  }
};

}  // namespace holdfast

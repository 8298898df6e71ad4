#include "sim/acpi_writer.hpp"

#include <algorithm>
#include <cstring>
#include <span>
#include <stdexcept>

#include "holdfast/hw/acpi/tables.hpp"

namespace sim {

using namespace hw::acpi;

namespace {

constexpr u64 xsdt_at = 0x100;  // from the RSDP
constexpr u64 mcfg_at = 0x200;
constexpr u64 dmar_at = 0x400;

class Table {
 public:
  template <class T>
  void append(const T& part) {
    const auto bytes = std::as_bytes(std::span<const T, 1>(&part, 1));
    x_bytes.insert(x_bytes.end(), bytes.begin(), bytes.end());
  }
  [[nodiscard]] u64 size() const { return x_bytes.size(); }
  void patch(u64 offset, u16 value) { std::memcpy(x_bytes.data() + offset, &value, sizeof value); }

  void place(const GuestRam& ram, PhysAddr at) {
    const u32 length = static_cast<u32>(x_bytes.size());
    std::memcpy(x_bytes.data() + offsetof(TableHeader, length), &length, sizeof length);
    const u8 checksum = static_cast<u8>(0 - byte_sum(x_bytes));
    x_bytes[offsetof(TableHeader, checksum)] = std::byte{checksum};
    std::byte* to = ram.at(at, x_bytes.size());
    if (to == nullptr || !firmware_area.contains(at, x_bytes.size()))
      throw std::length_error("the ACPI tables do not fit into the firmware area");
    std::memcpy(to, x_bytes.data(), x_bytes.size());
  }

 private:
  std::vector<std::byte> x_bytes;
};

TableHeader header(Signature signature, u8 revision) {
  TableHeader result{};
  result.signature = signature;
  result.revision = revision;
  result.oem_id = {'H', 'O', 'L', 'D', 'F', 'A'};
  result.oem_table_id = {'M', 'O', 'D', 'E', 'L', ' ', ' ', ' '};
  return result;
}

void append_scope(Table& table, const MachineConfig& config, const DeviceConfig& device) {
  std::vector<ScopePath> path;
  if (device.bus != 0) {
    const auto buses = secondary_buses(config);
    const auto port = std::find(buses.begin(), buses.end(), device.bus) - buses.begin();
    path.push_back({static_cast<u8>(first_root_port_device + port), 0});
  }
  path.push_back({device.device, device.function});
  DeviceScope scope{};
  scope.type = static_cast<u8>(ScopeType::Endpoint);
  scope.length = static_cast<u8>(sizeof(DeviceScope) + path.size() * sizeof(ScopePath));
  table.append(scope);
  for (const ScopePath& step : path) table.append(step);
}

void append_unit(Table& table, const MachineConfig& config, unsigned unit) {
  const u64 start = table.size();
  const bool includes_all = config.last_unit_includes_all && unit + 1 == config.units;
  Drhd drhd{};
  drhd.header.type = static_cast<u16>(RemappingType::Drhd);
  drhd.flags = includes_all ? drhd_include_pci_all : u8{0};
  drhd.register_base = unit_address(unit).value;
  table.append(drhd);
  for (const DeviceConfig& device : config.devices)
    if (device.unit == unit && !includes_all) append_scope(table, config, device);
  table.patch(start + offsetof(RemappingHeader, length), static_cast<u16>(table.size() - start));
}

void write_rsdp(const GuestRam& ram) {
  Rsdp rsdp{};
  rsdp.signature = rsdp_signature;
  rsdp.oem_id = {'H', 'O', 'L', 'D', 'F', 'A'};
  rsdp.revision = 2;
  rsdp.length = sizeof(Rsdp);
  rsdp.xsdt_address = (rsdp_address + xsdt_at).value;
  const auto bytes = std::as_bytes(std::span<const Rsdp, 1>(&rsdp, 1));
  rsdp.checksum = static_cast<u8>(0 - byte_sum(bytes.first(20)));
  rsdp.extended_checksum = static_cast<u8>(0 - byte_sum(bytes));
  std::memcpy(ram.at(rsdp_address, sizeof rsdp), &rsdp, sizeof rsdp);
}

}  // namespace

void write_acpi_tables(const MachineConfig& config, const GuestRam& ram) {
  write_rsdp(ram);

  Table xsdt;
  xsdt.append(header(xsdt_signature, 1));
  xsdt.append((rsdp_address + mcfg_at).value);
  xsdt.append((rsdp_address + dmar_at).value);
  xsdt.place(ram, rsdp_address + xsdt_at);

  Table mcfg;
  mcfg.append(Mcfg{header(mcfg_signature, 1), 0});
  mcfg.append(McfgAllocation{ecam_start.value, 0, 0, static_cast<u8>(bus_count - 1), 0});
  mcfg.place(ram, rsdp_address + mcfg_at);

  Table dmar;
  Dmar start{};
  start.header = header(dmar_signature, 1);
  start.host_address_width = host_address_bits - 1;
  dmar.append(start);
  for (unsigned unit = 0; unit < config.units; ++unit) append_unit(dmar, config, unit);
  dmar.place(ram, rsdp_address + dmar_at);
}

}  // namespace sim

// ACPI tables: see acpi.hpp.
#include "holdfast/pci/acpi.hpp"

#include <cstring>

namespace holdfast::pci {
namespace {

using hw::acpi::Rsdp;
using hw::acpi::TableHeader;

template <class T>
T load(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

/// A whole table whose length fits RAM; its checksum is not looked at. Error: Corrupt.
Result<std::span<const std::byte>> table_at(const DirectMap& map, PhysAddr at) {
  TRY_ASSIGN(const auto* start, map.find<std::byte>(at, sizeof(TableHeader)));
  const u32 length = load<TableHeader>(start).length;
  if (length < sizeof(TableHeader) || !map.is_ram(at, length)) return Code::Corrupt;
  return std::span<const std::byte>(start, length);
}

Result<PhysAddr> find_xsdt(const DirectMap& map, PhysAddr rsdp) {
  if (rsdp.value == 0) return Code::NotFound;
  TRY_ASSIGN(const auto* start, map.find<std::byte>(rsdp, sizeof(Rsdp)));
  const auto root = load<Rsdp>(start);
  if (root.signature != hw::acpi::rsdp_signature || root.revision < 2 || root.length < sizeof(Rsdp) ||
      !map.is_ram(rsdp, root.length) || hw::acpi::byte_sum({start, root.length}) != 0)
    return Code::Corrupt;
  return PhysAddr(root.xsdt_address);
}

}  // namespace

Result<std::span<const std::byte>> find_acpi_table(const DirectMap& map, PhysAddr rsdp,
                                                   const hw::acpi::Signature& signature) {
  TRY_ASSIGN(const PhysAddr xsdt_at, find_xsdt(map, rsdp));
  TRY_ASSIGN(const auto xsdt, table_at(map, xsdt_at));
  if (load<TableHeader>(xsdt.data()).signature != hw::acpi::xsdt_signature || hw::acpi::byte_sum(xsdt) != 0)
    return Code::Corrupt;
  for (u64 at = sizeof(TableHeader); at + sizeof(u64) <= xsdt.size(); at += sizeof(u64)) {
    const PhysAddr address(load<u64>(xsdt.data() + at));
    const auto* start = map.find<std::byte>(address, sizeof(TableHeader)).ok() ? map.bytes(address) : nullptr;
    if (start == nullptr || load<TableHeader>(start).signature != signature) continue;
    TRY_ASSIGN(const auto table, table_at(map, address));
    if (hw::acpi::byte_sum(table) != 0) return Code::Corrupt;
    return table;
  }
  return Code::NotFound;
}

}  // namespace holdfast::pci

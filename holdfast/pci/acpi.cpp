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

/// The table that lists all others: the XSDT, or the RSDT of firmware that speaks ACPI 1.0.
struct RootTable {
  PhysAddr address;
  hw::acpi::Signature signature{};
  u64 entry_bytes = 0;
};

Result<RootTable> find_root_table(const DirectMap& map, PhysAddr rsdp) {
  if (rsdp.value == 0) return Code::NotFound;
  TRY_ASSIGN(const auto* start, map.find<std::byte>(rsdp, hw::acpi::first_rsdp_bytes));
  Rsdp root{};
  std::memcpy(&root, start, hw::acpi::first_rsdp_bytes);
  if (root.signature != hw::acpi::rsdp_signature || hw::acpi::byte_sum({start, hw::acpi::first_rsdp_bytes}) != 0)
    return Code::Corrupt;
  if (root.revision < 2) return RootTable{PhysAddr(root.rsdt_address), hw::acpi::rsdt_signature, sizeof(u32)};
  if (!map.is_ram(rsdp, sizeof(Rsdp))) return Code::Corrupt;
  root = load<Rsdp>(start);
  if (root.length < sizeof(Rsdp) || !map.is_ram(rsdp, root.length) || hw::acpi::byte_sum({start, root.length}) != 0)
    return Code::Corrupt;
  return RootTable{PhysAddr(root.xsdt_address), hw::acpi::xsdt_signature, sizeof(u64)};
}

}  // namespace

Result<std::span<const std::byte>> find_acpi_table(const DirectMap& map, PhysAddr rsdp,
                                                   const hw::acpi::Signature& signature) {
  TRY_ASSIGN(const RootTable root, find_root_table(map, rsdp));
  TRY_ASSIGN(const auto list, table_at(map, root.address));
  if (load<TableHeader>(list.data()).signature != root.signature || hw::acpi::byte_sum(list) != 0) return Code::Corrupt;
  for (u64 at = sizeof(TableHeader); at + root.entry_bytes <= list.size(); at += root.entry_bytes) {
    u64 entry = 0;  // little endian
    std::memcpy(&entry, list.data() + at, root.entry_bytes);
    const PhysAddr address(entry);
    const auto* start = map.find<std::byte>(address, sizeof(TableHeader)).ok() ? map.bytes(address) : nullptr;
    if (start == nullptr || load<TableHeader>(start).signature != signature) continue;
    TRY_ASSIGN(const auto table, table_at(map, address));
    if (hw::acpi::byte_sum(table) != 0) return Code::Corrupt;
    return table;
  }
  return Code::NotFound;
}

}  // namespace holdfast::pci

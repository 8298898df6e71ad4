// ACPI tables as data: ACPI 6.5 chapter 5.2, PCI Firmware Specification 3.3 (MCFG), VT-d 4.1 chapter 8 (DMAR).
//
// Packed, little endian, as they stand in memory; none is aligned. Every length in them comes from firmware and is
// checked by the reader. No behaviour but the checksum rule.
#pragma once

#include <array>
#include <span>

#include "holdfast/base/types.hpp"

namespace holdfast::hw::acpi {

#define HOLDFAST_ACPI_AT(type, member, offset) static_assert(offsetof(type, member) == (offset))

using Signature = std::array<char, 4>;
inline constexpr std::array<char, 8> rsdp_signature{'R', 'S', 'D', ' ', 'P', 'T', 'R', ' '};
inline constexpr Signature rsdt_signature{'R', 'S', 'D', 'T'};
inline constexpr Signature xsdt_signature{'X', 'S', 'D', 'T'};
inline constexpr Signature mcfg_signature{'M', 'C', 'F', 'G'};
inline constexpr Signature dmar_signature{'D', 'M', 'A', 'R'};

/// 5.2.5.3 Root System Description Pointer. Revision 0 (ACPI 1.0) ends after rsdt_address.
inline constexpr u64 first_rsdp_bytes = 20;
struct [[gnu::packed]] Rsdp {
  std::array<char, 8> signature;
  u8 checksum;  // of the first 20 bytes
  std::array<char, 6> oem_id;
  u8 revision;  // 0 or 2
  u32 rsdt_address;
  u32 length;
  u64 xsdt_address;
  u8 extended_checksum;  // of all length bytes
  std::array<u8, 3> reserved;
};
static_assert(sizeof(Rsdp) == 36);
HOLDFAST_ACPI_AT(Rsdp, checksum, 8);
HOLDFAST_ACPI_AT(Rsdp, revision, 15);
HOLDFAST_ACPI_AT(Rsdp, rsdt_address, 16);
HOLDFAST_ACPI_AT(Rsdp, length, 20);
HOLDFAST_ACPI_AT(Rsdp, xsdt_address, 24);
HOLDFAST_ACPI_AT(Rsdp, extended_checksum, 32);

/// 5.2.6 System Description Table Header. The XSDT is this and u64 physical addresses of tables.
struct [[gnu::packed]] TableHeader {
  Signature signature;
  u32 length;  // of the whole table
  u8 revision;
  u8 checksum;  // all bytes add up to 0
  std::array<char, 6> oem_id;
  std::array<char, 8> oem_table_id;
  u32 oem_revision;
  u32 creator_id;
  u32 creator_revision;
};
static_assert(sizeof(TableHeader) == 36);
HOLDFAST_ACPI_AT(TableHeader, length, 4);
HOLDFAST_ACPI_AT(TableHeader, revision, 8);
HOLDFAST_ACPI_AT(TableHeader, checksum, 9);
HOLDFAST_ACPI_AT(TableHeader, oem_id, 10);
HOLDFAST_ACPI_AT(TableHeader, oem_table_id, 16);
HOLDFAST_ACPI_AT(TableHeader, oem_revision, 24);

/// MCFG: header, 8 reserved bytes, then these.
struct [[gnu::packed]] Mcfg {
  TableHeader header;
  u64 reserved;
};
static_assert(sizeof(Mcfg) == 44);
struct [[gnu::packed]] McfgAllocation {
  u64 base_address;  // of bus 0's configuration space, even when start_bus is not 0
  u16 segment;
  u8 start_bus;
  u8 end_bus;
  u32 reserved;
};
static_assert(sizeof(McfgAllocation) == 16);
HOLDFAST_ACPI_AT(McfgAllocation, segment, 8);
HOLDFAST_ACPI_AT(McfgAllocation, start_bus, 10);
HOLDFAST_ACPI_AT(McfgAllocation, end_bus, 11);

/// VT-d 8.1 DMA Remapping Reporting: header, then remapping structures.
struct [[gnu::packed]] Dmar {
  TableHeader header;
  u8 host_address_width;  // - 1
  u8 flags;
  std::array<u8, 10> reserved;
};
static_assert(sizeof(Dmar) == 48);
HOLDFAST_ACPI_AT(Dmar, host_address_width, 36);
HOLDFAST_ACPI_AT(Dmar, flags, 37);

/// 8.2 each remapping structure starts with these four bytes.
struct [[gnu::packed]] RemappingHeader {
  u16 type;
  u16 length;
};
static_assert(sizeof(RemappingHeader) == 4);
enum class RemappingType : u16 { Drhd = 0, Rmrr = 1, Atsr = 2, Rhsa = 3, Andd = 4, Satc = 5, Sidp = 6 };

/// 8.3 DMA Remapping Hardware Unit Definition, followed by device scopes.
struct [[gnu::packed]] Drhd {
  RemappingHeader header;
  u8 flags;
  u8 size;  // register set: 2^size pages (reserved, 0, in older revisions)
  u16 segment;
  u64 register_base;
};
static_assert(sizeof(Drhd) == 16);
HOLDFAST_ACPI_AT(Drhd, flags, 4);
HOLDFAST_ACPI_AT(Drhd, size, 5);
HOLDFAST_ACPI_AT(Drhd, segment, 6);
HOLDFAST_ACPI_AT(Drhd, register_base, 8);
/// All devices of the segment that no other unit lists. Such a unit comes last.
inline constexpr u8 drhd_include_pci_all = 1;

/// 8.3.1 Device Scope, followed by {device, function} pairs: the path from start_bus down.
struct [[gnu::packed]] DeviceScope {
  u8 type;
  u8 length;
  u8 flags;
  u8 reserved;
  u8 enumeration_id;
  u8 start_bus;
};
static_assert(sizeof(DeviceScope) == 6);
HOLDFAST_ACPI_AT(DeviceScope, enumeration_id, 4);
HOLDFAST_ACPI_AT(DeviceScope, start_bus, 5);
enum class ScopeType : u8 { Endpoint = 1, SubHierarchy = 2, IoApic = 3, Hpet = 4, Namespace = 5 };
struct [[gnu::packed]] ScopePath {
  u8 device;
  u8 function;
};
static_assert(sizeof(ScopePath) == 2);

#undef HOLDFAST_ACPI_AT

/// Sum of all bytes; 0 for a table that is intact (5.2.5.3, 5.2.6).
[[nodiscard]] constexpr u8 byte_sum(std::span<const std::byte> bytes) {
  unsigned sum = 0;
  for (std::byte byte : bytes) sum += std::to_integer<unsigned>(byte);
  return static_cast<u8>(sum);
}

}  // namespace holdfast::hw::acpi

// "holdfast-attest-v1": what Linux's records do not say and a successor must know before it believes them.
//
// Contract: ours, plain data, native endian, naturally aligned, every offset asserted. The header page names four
// chains of array pages (abi::iommu::ArrayHeader and records, as in "iommu-liveupdate"); every record carries a
// checksum (abi/checksum.hpp) and, where it belongs to a Linux record, that record's address and checksum too. A
// domain's block list is a chain of pages with a checksum each. Reading rule: magic, version and size come first.
#pragma once

#include <array>
#include <cstddef>
#include <string_view>

#include "holdfast/abi/checksum.hpp"
#include "holdfast/abi/iommu.hpp"

namespace holdfast::abi::attest {

inline constexpr std::string_view compatible = "holdfast-attest-v1";
inline constexpr u64 magic = 0x5453455454414648;  // "HFATTEST"
inline constexpr u32 version = 1;

using iommu::ArrayHeader;
using iommu::ObjectHeader;

enum class TableMode : u32 { Page = 1, Arena = 2 };

struct Header {
  u64 magic;
  u32 version;
  u32 size;        // sizeof(Header)
  u64 generation;  // live-update number of the jump this was written for; 0 until the last consent
  u64 unit_array;
  u64 domain_array;
  u64 device_array;
  u64 memfd_array;
  u32 table_mode;  // TableMode of new domains of the writer
  u32 reserved;
  u64 checksum;
};
static_assert(sizeof(Header) == 72);
static_assert(offsetof(Header, magic) == 0 && offsetof(Header, version) == 8 && offsetof(Header, size) == 12);
static_assert(offsetof(Header, generation) == 16 && offsetof(Header, unit_array) == 24);
static_assert(offsetof(Header, domain_array) == 32 && offsetof(Header, device_array) == 40);
static_assert(offsetof(Header, memfd_array) == 48 && offsetof(Header, table_mode) == 56);
static_assert(offsetof(Header, reserved) == 60 && offsetof(Header, checksum) == 64);

/// ObjectHeader::ref_count of these is 0; flags as in "iommu-liveupdate".
struct UnitAttest {
  ObjectHeader header;
  u64 record_phys;      // the iommu::Unit record
  u64 record_checksum;  // of that record
  u64 register_base;
  u64 capability;           // CAP as read
  u64 extended_capability;  // ECAP as read
  u64 root_table;
  u64 page_sizes;
  u32 domain_ids;
  u8 scalable;
  u8 iova_bits;
  u8 levels_mask;
  u8 coherent;
  u64 checksum;
};
static_assert(sizeof(UnitAttest) == 80);
static_assert(offsetof(UnitAttest, record_phys) == 8 && offsetof(UnitAttest, record_checksum) == 16);
static_assert(offsetof(UnitAttest, register_base) == 24 && offsetof(UnitAttest, capability) == 32);
static_assert(offsetof(UnitAttest, extended_capability) == 40 && offsetof(UnitAttest, root_table) == 48);
static_assert(offsetof(UnitAttest, page_sizes) == 56 && offsetof(UnitAttest, domain_ids) == 64);
static_assert(offsetof(UnitAttest, scalable) == 68 && offsetof(UnitAttest, iova_bits) == 69);
static_assert(offsetof(UnitAttest, levels_mask) == 70 && offsetof(UnitAttest, coherent) == 71);
static_assert(offsetof(UnitAttest, checksum) == 72);

struct DeviceAttest {
  ObjectHeader header;
  u64 record_phys;  // the iommu::Device record
  u64 record_checksum;
  u32 devid;
  u32 pci_domain_nr;
  u16 vendor;
  u16 device;
  u32 class_revision;             // configuration space offset 8: class 31:8, revision 7:0
  std::array<u64, 8> live_entry;  // the hardware entry as it stood at the cut-off
  u64 checksum;
};
static_assert(sizeof(DeviceAttest) == 112);
static_assert(offsetof(DeviceAttest, record_phys) == 8 && offsetof(DeviceAttest, record_checksum) == 16);
static_assert(offsetof(DeviceAttest, devid) == 24 && offsetof(DeviceAttest, pci_domain_nr) == 28);
static_assert(offsetof(DeviceAttest, vendor) == 32 && offsetof(DeviceAttest, device) == 34);
static_assert(offsetof(DeviceAttest, class_revision) == 36 && offsetof(DeviceAttest, live_entry) == 40);
static_assert(offsetof(DeviceAttest, checksum) == 104);

struct DomainAttest {
  ObjectHeader header;
  u64 record_phys;  // the iommu::Domain record
  u64 record_checksum;
  u32 format;      // pt::Format
  u32 table_mode;  // TableMode
  u8 levels;
  u8 iova_bits;
  std::array<u8, 6> padding;
  u64 block_list;     // first BlockListPage; 0 when there is no block
  u64 block_count;    // blocks in the whole chain
  u64 table_count;    // page-table pages
  u64 checksum_root;  // over all tables, accessed and dirty bits masked
  u64 checksum;
};
static_assert(sizeof(DomainAttest) == 80);
static_assert(offsetof(DomainAttest, record_phys) == 8 && offsetof(DomainAttest, record_checksum) == 16);
static_assert(offsetof(DomainAttest, format) == 24 && offsetof(DomainAttest, table_mode) == 28);
static_assert(offsetof(DomainAttest, levels) == 32 && offsetof(DomainAttest, iova_bits) == 33);
static_assert(offsetof(DomainAttest, padding) == 34 && offsetof(DomainAttest, block_list) == 40);
static_assert(offsetof(DomainAttest, block_count) == 48 && offsetof(DomainAttest, table_count) == 56);
static_assert(offsetof(DomainAttest, checksum_root) == 64 && offsetof(DomainAttest, checksum) == 72);

struct MemfdAttest {
  ObjectHeader header;
  u64 record_phys;  // the memfd record
  u32 open_flags;
  u32 mode;
  u64 checksum;
};
static_assert(sizeof(MemfdAttest) == 32);
static_assert(offsetof(MemfdAttest, record_phys) == 8 && offsetof(MemfdAttest, open_flags) == 16);
static_assert(offsetof(MemfdAttest, mode) == 20 && offsetof(MemfdAttest, checksum) == 24);

struct BlockEntry {
  u64 phys;
  u64 order;
};
static_assert(sizeof(BlockEntry) == 16);

/// Blocks by rising address through the whole chain.
struct BlockListPage {
  u64 next;
  u64 nr_blocks;
  u64 checksum;  // of this page
  u64 reserved;
  std::array<BlockEntry, 254> blocks;
};
static_assert(sizeof(BlockListPage) == page_size_bytes);
static_assert(offsetof(BlockListPage, nr_blocks) == 8 && offsetof(BlockListPage, checksum) == 16);
static_assert(offsetof(BlockListPage, blocks) == 32);
inline constexpr u64 blocks_per_page = 254;

static_assert(iommu::records_per_page<UnitAttest> == 51);
static_assert(iommu::records_per_page<DeviceAttest> == 36);
static_assert(iommu::records_per_page<DomainAttest> == 51);
static_assert(iommu::records_per_page<MemfdAttest> == 127);

}  // namespace holdfast::abi::attest

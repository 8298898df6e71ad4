// "iommu-liveupdate": IOMMU records as they cross a jump. FLB version 1 of the Linux series (v5), field by field.
//
// Contract: plain data, native endian. Linux declares these structs packed; every field is naturally aligned in that
// layout, so the same bytes result without packing, and every offset is asserted below. A record is found by its
// physical address. One FLB page names three chains of array pages; an array page is a header and as many records as
// fit. No live pointer ever crosses: Domain::restored_domain, which Linux uses at run time, is always 0 in ours.
// Reading rule: IommuFlb::version comes first, nothing else is interpreted until it is known.
#pragma once

#include <array>
#include <cstddef>
#include <string_view>
#include <type_traits>

#include "holdfast/base/types.hpp"

namespace holdfast::abi::iommu {

inline constexpr std::string_view compatible = "iommu-liveupdate";

/// Page tables preserved page by page, nothing beyond series v5: a Linux of that version could read us.
inline constexpr u64 version_pages = 1;
/// Page tables preserved by arena block: a Linux refuses instead of misreading.
inline constexpr u64 version_arenas = 0x48460001;

struct IommuFlb {
  u64 version;
  u64 unit_array;    // physical address of the first page of Unit records
  u64 domain_array;  // ... of Domain records
  u64 device_array;  // ... of Device records
};
static_assert(sizeof(IommuFlb) == 32);
static_assert(offsetof(IommuFlb, version) == 0 && offsetof(IommuFlb, unit_array) == 8);
static_assert(offsetof(IommuFlb, domain_array) == 16 && offsetof(IommuFlb, device_array) == 24);

/// First bytes of every array page.
struct ArrayHeader {
  u64 next;        // physical address of the next page, 0 at the end
  u64 nr_objects;  // slots in use from the start of this page, DELETED ones included
};
static_assert(sizeof(ArrayHeader) == 16);
static_assert(offsetof(ArrayHeader, next) == 0 && offsetof(ArrayHeader, nr_objects) == 8);

inline constexpr u32 flag_deleted = 1;   // a free slot
inline constexpr u32 flag_incoming = 2;  // received from the previous kernel

struct ObjectHeader {
  u32 ref_count;
  u32 flags;
};
static_assert(sizeof(ObjectHeader) == 8 && offsetof(ObjectHeader, flags) == 4);

struct Domain {
  ObjectHeader header;
  u64 top_table_phys;
  u64 top_level;  // level number of the top table, 0 = the level of the smallest pages
  u32 vasz;       // IOVA bits of the current top
  u8 sign_extend;
  std::array<u8, 3> padding;
  u64 restored_domain;  // Linux: a live pointer of the new kernel. Ours: 0
};
static_assert(sizeof(Domain) == 40);
static_assert(offsetof(Domain, header) == 0 && offsetof(Domain, top_table_phys) == 8);
static_assert(offsetof(Domain, top_level) == 16 && offsetof(Domain, vasz) == 24);
static_assert(offsetof(Domain, sign_extend) == 28 && offsetof(Domain, padding) == 29);
static_assert(offsetof(Domain, restored_domain) == 32);

/// Which domain a device was attached to, on which unit, under which tag.
struct DeviceMap {
  u64 attachment_id;  // VT-d: the domain id on that unit
  u64 domain_phys;    // the Domain record
  u64 iommu_phys;     // the Unit record
};
static_assert(sizeof(DeviceMap) == 24);
static_assert(offsetof(DeviceMap, attachment_id) == 0 && offsetof(DeviceMap, domain_phys) == 8);
static_assert(offsetof(DeviceMap, iommu_phys) == 16);

/// Scalable mode: the PASID directory. All zero in legacy mode.
struct IntelDevice {
  u8 restored;
  std::array<u8, 7> padding;
  u64 pasid_table;  // physical address of the PASID directory
  u64 max_pasid;
};
static_assert(sizeof(IntelDevice) == 24);
static_assert(offsetof(IntelDevice, restored) == 0 && offsetof(IntelDevice, padding) == 1);
static_assert(offsetof(IntelDevice, pasid_table) == 8 && offsetof(IntelDevice, max_pasid) == 16);

struct Device {
  ObjectHeader header;
  u32 devid;  // requester id
  u32 pci_domain_nr;
  u64 dma_owner_token;
  DeviceMap domain_iommu;
  IntelDevice intel;
};
static_assert(sizeof(Device) == 72);
static_assert(offsetof(Device, header) == 0 && offsetof(Device, devid) == 8);
static_assert(offsetof(Device, pci_domain_nr) == 12 && offsetof(Device, dma_owner_token) == 16);
static_assert(offsetof(Device, domain_iommu) == 24 && offsetof(Device, intel) == 48);

struct IntelUnit {
  u8 restored;
  std::array<u8, 7> padding;
  u64 phys_addr;  // register base
  u64 root_table;
  std::array<u64, 8> context_tables_bitmap;  // bit 2 * bus + half; legacy mode uses even bits only
};
static_assert(sizeof(IntelUnit) == 88);
static_assert(offsetof(IntelUnit, restored) == 0 && offsetof(IntelUnit, padding) == 1);
static_assert(offsetof(IntelUnit, phys_addr) == 8 && offsetof(IntelUnit, root_table) == 16);
static_assert(offsetof(IntelUnit, context_tables_bitmap) == 24);

enum class UnitType : u64 { Invalid = 0, Intel = 1 };

struct Unit {
  ObjectHeader header;
  u64 token;  // register base
  u64 type;   // UnitType
  IntelUnit intel;
};
static_assert(sizeof(Unit) == 112);
static_assert(offsetof(Unit, header) == 0 && offsetof(Unit, token) == 8);
static_assert(offsetof(Unit, type) == 16 && offsetof(Unit, intel) == 24);

template <class Record>
inline constexpr u64 records_per_page = (page_size_bytes - sizeof(ArrayHeader)) / sizeof(Record);
static_assert(records_per_page<Domain> == 102);
static_assert(records_per_page<Device> == 56);
static_assert(records_per_page<Unit> == 36);

static_assert(std::is_trivially_copyable_v<IommuFlb> && std::is_standard_layout_v<IommuFlb>);
static_assert(std::is_trivially_copyable_v<Unit> && std::is_standard_layout_v<Unit>);
static_assert(std::is_trivially_copyable_v<Domain> && std::is_standard_layout_v<Domain>);
static_assert(std::is_trivially_copyable_v<Device> && std::is_standard_layout_v<Device>);

}  // namespace holdfast::abi::iommu

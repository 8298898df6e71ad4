// Invalidation queue descriptors as data: Intel VT-d Architecture Specification 4.1 / 5.0, section 6.5.2.
//
// All are declared 128 bits wide; the 256-bit form (IQA.DW = 1) has a second, all-reserved half. Address fields hold
// page frame numbers, except the wait descriptor's, which holds a 4-byte-aligned address without its low two bits.
#pragma once

#include "holdfast/base/bits.hpp"

namespace holdfast::hw::vtd {

enum class DescriptorType : u8 {
  ContextCache = 1,
  Iotlb = 2,
  DeviceTlb = 3,
  InterruptEntryCache = 4,
  Wait = 5,
  PasidIotlb = 6,
  PasidCache = 7,
  PasidDeviceTlb = 8,
  PageGroupResponse = 9,
};

/// The field that all descriptors share.
namespace descriptor {
using TypeHigh = Field<11, 9>;  // extension of the type, 0 for all types above
using Type = Field<3, 0>;
}  // namespace descriptor
using Descriptor = Bits<128, Field<127, 64>, Field<63, 12>, descriptor::TypeHigh, Field<8, 4>, descriptor::Type>;

/// 6.5.2.1 Context-cache Invalidate. In scalable mode the device-selective form ignores DID.
namespace context_cache_descriptor {
using Fm = Field<49, 48>;  // function mask: 0 exact, 1 bit 2, 2 bits 2:1, 3 bits 2:0 of the function ignored
using Sid = Field<47, 32>;
using Did = Field<31, 16>;
using G = Field<5, 4>;
using Type = Field<3, 0>;
}  // namespace context_cache_descriptor
using ContextCacheDescriptor =
    Bits<128, Reserved<127, 50>, context_cache_descriptor::Fm, context_cache_descriptor::Sid,
         context_cache_descriptor::Did, Reserved<15, 6>, context_cache_descriptor::G, context_cache_descriptor::Type>;
enum class ContextGranularity : u8 { Global = 1, Domain = 2, Device = 3 };

/// 6.5.2.2 PASID-cache Invalidate.
namespace pasid_cache_descriptor {
using Pasid = Field<51, 32>;
using Did = Field<31, 16>;
using G = Field<5, 4>;
using Type = Field<3, 0>;
}  // namespace pasid_cache_descriptor
using PasidCacheDescriptor = Bits<128, Reserved<127, 52>, pasid_cache_descriptor::Pasid, pasid_cache_descriptor::Did,
                                  Reserved<15, 6>, pasid_cache_descriptor::G, pasid_cache_descriptor::Type>;
enum class PasidGranularity : u8 { Domain = 0, PasidInDomain = 1, Global = 3 };

/// 6.5.2.3 IOTLB Invalidate.
namespace iotlb_descriptor {
using Addr = Field<127, 76>;
using Ih = Bit<70>;
using Am = Field<69, 64>;
using Did = Field<31, 16>;
using Dr = Bit<7>;
using Dw = Bit<6>;
using G = Field<5, 4>;
using Type = Field<3, 0>;
}  // namespace iotlb_descriptor
using IotlbDescriptor = Bits<128, iotlb_descriptor::Addr, Reserved<75, 71>, iotlb_descriptor::Ih, iotlb_descriptor::Am,
                             Reserved<63, 32>, iotlb_descriptor::Did, Reserved<15, 8>, iotlb_descriptor::Dr,
                             iotlb_descriptor::Dw, iotlb_descriptor::G, iotlb_descriptor::Type>;
enum class IotlbGranularity : u8 { Global = 1, Domain = 2, Page = 3 };

/// 6.5.2.4 PASID-based IOTLB Invalidate: first-stage (and nested) translations of one PASID in one domain.
namespace pasid_iotlb_descriptor {
using Addr = Field<127, 76>;
using Ih = Bit<70>;
using Am = Field<69, 64>;
using Pasid = Field<51, 32>;
using Did = Field<31, 16>;
using G = Field<5, 4>;
using Type = Field<3, 0>;
}  // namespace pasid_iotlb_descriptor
using PasidIotlbDescriptor =
    Bits<128, pasid_iotlb_descriptor::Addr, Reserved<75, 71>, pasid_iotlb_descriptor::Ih, pasid_iotlb_descriptor::Am,
         Reserved<63, 52>, pasid_iotlb_descriptor::Pasid, pasid_iotlb_descriptor::Did, Reserved<15, 6>,
         pasid_iotlb_descriptor::G, pasid_iotlb_descriptor::Type>;
enum class PasidIotlbGranularity : u8 { AllInPasid = 2, Page = 3 };

/// 6.5.2.5 Device-TLB Invalidate.
namespace device_tlb_descriptor {
using Addr = Field<127, 76>;
using S = Bit<64>;  // the address carries its size in trailing ones
using PfsidHigh = Field<63, 52>;
using Sid = Field<47, 32>;
using Mip = Field<20, 16>;
using PfsidLow = Field<15, 12>;
using Type = Field<3, 0>;
}  // namespace device_tlb_descriptor
using DeviceTlbDescriptor =
    Bits<128, device_tlb_descriptor::Addr, Reserved<75, 65>, device_tlb_descriptor::S, device_tlb_descriptor::PfsidHigh,
         Reserved<51, 48>, device_tlb_descriptor::Sid, Reserved<31, 21>, device_tlb_descriptor::Mip,
         device_tlb_descriptor::PfsidLow, Reserved<11, 4>, device_tlb_descriptor::Type>;

/// 6.5.2.8 Invalidation Wait.
namespace wait_descriptor {
using StatusAddr = Field<127, 66>;  // physical address >> 2
using StatusData = Field<63, 32>;
using Pd = Bit<7>;  // drain page requests
using Fn = Bit<6>;  // fence: later descriptors wait for this one
using Sw = Bit<5>;  // write StatusData to StatusAddr on completion
using If = Bit<4>;  // interrupt on completion (sets ICS.IWC)
using Type = Field<3, 0>;
}  // namespace wait_descriptor
using WaitDescriptor =
    Bits<128, wait_descriptor::StatusAddr, Reserved<65, 64>, wait_descriptor::StatusData, Reserved<31, 8>,
         wait_descriptor::Pd, wait_descriptor::Fn, wait_descriptor::Sw, wait_descriptor::If, wait_descriptor::Type>;

}  // namespace holdfast::hw::vtd

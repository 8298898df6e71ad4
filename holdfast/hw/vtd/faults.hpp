// Fault records and reasons as data: Intel VT-d Architecture Specification 4.1 / 5.0, sections 7.1 and 11.4.7.6.
//
// Record n is 16 bytes at CAP.FRO * 16 + 16 * n in the register page. Software clears it by writing 1 to F.
#pragma once

#include "holdfast/base/bits.hpp"

namespace holdfast::hw::vtd {

namespace fault_record {
using F = Bit<127>;          // fault; RW1C
using T1 = Bit<126>;         // with T2 = 0: 1 read, 0 write
using At = Field<125, 124>;  // address type
using Pv = Field<123, 104>;  // PASID
using Fr = Field<103, 96>;   // reason
using Pp = Bit<95>;          // the request had a PASID
using Exe = Bit<94>;         // execute requested
using Priv = Bit<93>;        // privilege requested
using T2 = Bit<92>;          // type, second bit
using Sid = Field<79, 64>;
using Fi = Field<63, 12>;  // page frame number of the address
}  // namespace fault_record
using FaultRecord = Bits<128, fault_record::F, fault_record::T1, fault_record::At, fault_record::Pv, fault_record::Fr,
                         fault_record::Pp, fault_record::Exe, fault_record::Priv, fault_record::T2, Reserved<91, 80>,
                         fault_record::Sid, fault_record::Fi, Reserved<11, 0>>;
inline constexpr u64 fault_record_bytes = 16;

/// Reasons of DMA remapping, table 7-3 of the manual; legacy mode below 0x20, scalable mode from 0x30.
enum class FaultReason : u8 {
  None = 0x00,
  // Legacy mode.
  RootNotPresent = 0x01,
  ContextNotPresent = 0x02,
  ContextInvalid = 0x03,      // TT or AW that the unit does not support, or the top table could not be read
  AddressBeyondWidth = 0x04,  // beyond the width of the entry, or MGAW
  WriteNotPermitted = 0x05,
  ReadNotPermitted = 0x06,
  PagingEntryAccess = 0x07,  // a paging entry below the top table could not be read
  RootTableAccess = 0x08,
  ContextTableAccess = 0x09,
  RootReserved = 0x0a,
  ContextReserved = 0x0b,
  PagingEntryReserved = 0x0c,
  TypeBlocked = 0x0d,       // translation or translated request, refused by TT
  InterruptAddress = 0x0e,  // output address inside the interrupt range
  // Scalable mode.
  RootTableAddressInvalid = 0x30,  // RTADDR.TTM
  ScalableRootAccess = 0x38,
  ScalableRootNotPresent = 0x39,
  ScalableRootReserved = 0x3a,
  ScalableContextAccess = 0x40,
  ScalableContextNotPresent = 0x41,
  ScalableContextReserved = 0x42,
  ScalableContextInvalid = 0x43,
  DeviceTlbDisabled = 0x44,
  PasidDisabled = 0x45,
  PasidTooLarge = 0x46,
  PageRequestDisabled = 0x47,
  RidPasidInvalid = 0x48,
  PasidDirectoryAccess = 0x50,
  PasidDirectoryNotPresent = 0x51,
  PasidDirectoryReserved = 0x52,
  PasidTableAccess = 0x58,
  PasidEntryNotPresent = 0x59,
  PasidEntryReserved = 0x5a,
  PasidEntryInvalid = 0x5b,  // PGTT or AW that the unit does not support
  ExecuteDisabled = 0x5c,
  SupervisorDisabled = 0x5d,
  FirstStageAccess = 0x70,
  FirstStageNotPresent = 0x71,
  FirstStageReserved = 0x72,
  FirstStagePointerInvalid = 0x73,
  SecondStageAccess = 0x78,
  SecondStagePermissionNested = 0x79,  // read or write permission of a second-stage entry on a nested walk
  SecondStageReserved = 0x7a,
  SecondStagePointerInvalid = 0x7b,  // the top table could not be read
  ScalableNotCanonical = 0x80,
  FirstStageNotUser = 0x81,       // a request without privilege, to a page of privileged ones
  ScalableBeyondWidth = 0x83,     // beyond the width of the entry, or MGAW
  SecondStageBeyondWidth = 0x84,  // an address that a first stage put out, nested
  ScalableWriteNotPermitted = 0x85,
  ScalableReadNotPermitted = 0x86,
  ScalableInterruptAddress = 0x87,
};

/// A fault is qualified (FPD of the entry may suppress its record) unless it was found before an entry with FPD was
/// read.
[[nodiscard]] constexpr bool is_qualified(FaultReason reason) {
  switch (reason) {
    case FaultReason::RootNotPresent:
    case FaultReason::RootTableAccess:
    case FaultReason::ContextTableAccess:
    case FaultReason::RootReserved:
    case FaultReason::RootTableAddressInvalid:
    case FaultReason::ScalableRootAccess:
    case FaultReason::ScalableRootNotPresent:
    case FaultReason::ScalableRootReserved:
    case FaultReason::ScalableContextAccess: return false;
    default: return true;
  }
}

}  // namespace holdfast::hw::vtd

// VT-d remapping structures as data: Intel VT-d Architecture Specification 4.1 / 5.0, chapter 9.
//
// Root, context and PASID entries. Hardware fetches them in aligned 16-byte pieces: each entry is an array of u64
// words, two to a piece. Table pointers hold page frame numbers (bits 63:12 unshifted); bits at and above the host
// address width are reserved as well, which only the reader can check. Second-stage entries are not here on purpose
// (see pt/, sim/walk/).
#pragma once

#include "holdfast/base/bits.hpp"

namespace holdfast::hw::vtd {

inline constexpr unsigned root_entries_per_table = 256;              // by bus
inline constexpr unsigned context_entries_per_table = 256;           // by device and function, 16 bytes each
inline constexpr unsigned scalable_context_entries_per_table = 128;  // by the low 7 bits of devfn, 32 bytes each
inline constexpr unsigned pasid_entries_per_table = 64;
inline constexpr unsigned pasid_table_lg2 = 6;  // directory index = PASID >> 6, table index = PASID & 0x3f

/// 9.1 Root Entry (legacy).
namespace root_entry {
using Ctp = Field<63, 12>;  // context table
using P = Bit<0>;           // present
}  // namespace root_entry
using RootEntry = Bits<128, Reserved<127, 64>, root_entry::Ctp, Reserved<11, 1>, root_entry::P>;

/// 9.2 Scalable-Mode Root Entry.
namespace scalable_root_entry {
using Uctp = Field<127, 76>;  // context table of devices 16..31
using Up = Bit<64>;
using Lctp = Field<63, 12>;  // context table of devices 0..15
using Lp = Bit<0>;
}  // namespace scalable_root_entry
using ScalableRootEntry = Bits<128, scalable_root_entry::Uctp, Reserved<75, 65>, scalable_root_entry::Up,
                               scalable_root_entry::Lctp, Reserved<11, 1>, scalable_root_entry::Lp>;

/// 9.3 Context Entry (legacy).
namespace context_entry {
using Did = Field<87, 72>;      // domain identifier
using Ignored = Field<70, 67>;  // software's
using Aw = Field<66, 64>;       // address width
using Ssptptr = Field<63, 12>;  // second-stage table
using Tt = Field<3, 2>;         // translation type
using Fpd = Bit<1>;             // fault processing disable
using P = Bit<0>;
}  // namespace context_entry
using ContextEntry =
    Bits<128, Reserved<127, 88>, context_entry::Did, Reserved<71>, context_entry::Ignored, context_entry::Aw,
         context_entry::Ssptptr, Reserved<11, 4>, context_entry::Tt, context_entry::Fpd, context_entry::P>;
enum class TranslationType : u8 { Untranslated = 0, DeviceTlb = 1, PassThrough = 2 };

/// 9.4 Scalable-Mode Context Entry.
namespace scalable_context_entry {
using RidPriv = Bit<84>;
using RidPasid = Field<83, 64>;     // PASID of requests without PASID
using PasidDirPtr = Field<63, 12>;  // PASID directory
using Pdts = Field<11, 9>;          // the directory has 2^(PDTS + 7) entries
using Pre = Bit<4>;                 // page requests
using Paside = Bit<3>;              // requests with PASID
using Dte = Bit<2>;                 // device-TLB
using Fpd = Bit<1>;
using P = Bit<0>;
}  // namespace scalable_context_entry
using ScalableContextEntry =
    Bits<256, Reserved<255, 85>, scalable_context_entry::RidPriv, scalable_context_entry::RidPasid,
         scalable_context_entry::PasidDirPtr, scalable_context_entry::Pdts, Reserved<8, 5>, scalable_context_entry::Pre,
         scalable_context_entry::Paside, scalable_context_entry::Dte, scalable_context_entry::Fpd,
         scalable_context_entry::P>;

/// 9.5 Scalable-Mode PASID Directory Entry.
namespace pasid_directory_entry {
using SmptblPtr = Field<63, 12>;  // PASID table
using Fpd = Bit<1>;
using P = Bit<0>;
}  // namespace pasid_directory_entry
using PasidDirectoryEntry =
    Bits<64, pasid_directory_entry::SmptblPtr, Reserved<11, 2>, pasid_directory_entry::Fpd, pasid_directory_entry::P>;

/// 9.6 Scalable-Mode PASID Table Entry.
namespace pasid_entry {
using Fsptptr = Field<191, 140>;  // first-stage table
using Eafe = Bit<135>;            // extended accessed flag enable
using Smep = Bit<134>;            // supervisor-mode execute prevention
using Nxe = Bit<133>;             // no-execute enable
using Wpe = Bit<132>;             // write protect enable
using Fspm = Field<131, 130>;     // first-stage paging mode: 0 4-level, 1 5-level
using Ere = Bit<129>;             // execute requests enable
using Sre = Bit<128>;             // supervisor requests enable
using Pat = Field<127, 96>;       // page attribute table
using Pcd = Bit<95>;
using Pwt = Bit<94>;
using Emt = Field<93, 91>;
using Emte = Bit<90>;
using Cd = Bit<89>;
using Pgsnp = Bit<88>;          // page snoop
using Pwsnp = Bit<87>;          // page-walk snoop
using Did = Field<79, 64>;      // domain identifier
using Ssptptr = Field<63, 12>;  // second-stage table
using Ssade = Bit<9>;           // second-stage accessed and dirty enable
using Pgtt = Field<8, 6>;       // PASID granular translation type
using Ssee = Bit<5>;            // second-stage execute enable
using Aw = Field<4, 2>;         // address width of the second stage
using Fpd = Bit<1>;
using P = Bit<0>;
}  // namespace pasid_entry
using PasidEntry =
    Bits<512, Reserved<511, 192>, pasid_entry::Fsptptr, Reserved<139, 136>, pasid_entry::Eafe, pasid_entry::Smep,
         pasid_entry::Nxe, pasid_entry::Wpe, pasid_entry::Fspm, pasid_entry::Ere, pasid_entry::Sre, pasid_entry::Pat,
         pasid_entry::Pcd, pasid_entry::Pwt, pasid_entry::Emt, pasid_entry::Emte, pasid_entry::Cd, pasid_entry::Pgsnp,
         pasid_entry::Pwsnp, Reserved<86, 80>, pasid_entry::Did, pasid_entry::Ssptptr, Reserved<11, 10>,
         pasid_entry::Ssade, pasid_entry::Pgtt, pasid_entry::Ssee, pasid_entry::Aw, pasid_entry::Fpd, pasid_entry::P>;
enum class Pgtt : u8 { FirstStage = 1, SecondStage = 2, Nested = 3, PassThrough = 4 };

}  // namespace holdfast::hw::vtd

// VT-d registers as data: Intel VT-d Architecture Specification, revision 4.1 / 5.0, chapter 11.4.
//
// One declaration per register, bits high to low, with its offset in the unit's register page. Address fields hold page
// frame numbers (the field is bits 63:12, values are unshifted). No behaviour; used by the driver and by the model.
#pragma once

#include "holdfast/base/bits.hpp"

namespace holdfast::hw::vtd {

/// 11.4.1 Version Register (32, ro).
inline constexpr u64 ver_offset = 0x00;
namespace ver {
using Max = Field<7, 4>;  // major version
using Min = Field<3, 0>;  // minor version
}  // namespace ver
using Ver = Bits<32, Reserved<31, 8>, ver::Max, ver::Min>;

/// 11.4.2 Capability Register (64, ro).
inline constexpr u64 cap_offset = 0x08;
namespace cap {
using Esrtps = Bit<63>;       // set-root-table-pointer invalidates all remapping caches
using Esirtps = Bit<62>;      // the same for the interrupt table
using Ecmds = Bit<61>;        // enhanced command support
using Fl5lp = Bit<60>;        // 5-level first stage
using Pi = Bit<59>;           // posted interrupts
using Fl1gp = Bit<56>;        // 1-GByte pages in the first stage
using Drd = Bit<55>;          // read draining
using Dwd = Bit<54>;          // write draining
using Mamv = Field<53, 48>;   // maximum address mask value of page-selective invalidation
using Nfr = Field<47, 40>;    // number of fault records - 1
using Psi = Bit<39>;          // page-selective invalidation
using Sllps = Field<37, 34>;  // second-stage large pages: bit 0 2M, bit 1 1G
using Fro = Field<33, 24>;    // fault-record offset / 16
using Zlr = Bit<22>;          // zero-length reads
using Mgaw = Field<21, 16>;   // maximum guest address width - 1
using Sagaw = Field<12, 8>;   // second-stage widths: bit 1 39-bit/3-level, bit 2 48/4, bit 3 57/5
using Cm = Bit<7>;            // caching mode
using Phmr = Bit<6>;          // protected high-memory region
using Plmr = Bit<5>;          // protected low-memory region
using Rwbf = Bit<4>;          // write-buffer flush required
using Afl = Bit<3>;           // advanced fault logging
using Nd = Field<2, 0>;       // 2^(4 + 2 ND) domain ids
}  // namespace cap
using Cap = Bits<64, cap::Esrtps, cap::Esirtps, cap::Ecmds, cap::Fl5lp, cap::Pi, Reserved<58, 57>, cap::Fl1gp, cap::Drd,
                 cap::Dwd, cap::Mamv, cap::Nfr, cap::Psi, Reserved<38>, cap::Sllps, cap::Fro, Reserved<23>, cap::Zlr,
                 cap::Mgaw, Reserved<15, 13>, cap::Sagaw, cap::Cm, cap::Phmr, cap::Plmr, cap::Rwbf, cap::Afl, cap::Nd>;

/// 11.4.3 Extended Capability Register (64, ro).
inline constexpr u64 ecap_offset = 0x10;
namespace ecap {
using Pms = Bit<51>;         // performance monitoring
using Rps = Bit<49>;         // RID_PASID support
using Smpwcs = Bit<48>;      // scalable-mode page-walk coherency
using Fsts = Bit<47>;        // first-stage translation (scalable)
using Ssts = Bit<46>;        // second-stage translation (scalable)
using Ssads = Bit<45>;       // second-stage accessed and dirty flags
using Vcs = Bit<44>;         // virtual commands
using Smts = Bit<43>;        // scalable mode
using Pds = Bit<42>;         // page-request drain
using Dit = Bit<41>;         // device-TLB invalidation throttle
using Pasid = Bit<40>;       // requests with PASID
using Pss = Field<39, 35>;   // PASID bits - 1
using Eafs = Bit<34>;        // extended accessed flag
using Nwfs = Bit<33>;        // no write flag
using Srs = Bit<31>;         // supervisor requests
using Ers = Bit<30>;         // execute requests
using Prs = Bit<29>;         // page requests
using Dis = Bit<27>;         // deferred invalidations
using Nest = Bit<26>;        // nested translation
using Mts = Bit<25>;         // memory types
using Mhmv = Field<23, 20>;  // maximum handle mask value (interrupt entry cache)
using Iro = Field<17, 8>;    // IOTLB register offset / 16
using Sc = Bit<7>;           // snoop control
using Pt = Bit<6>;           // pass-through
using Eim = Bit<4>;          // extended interrupt mode
using Ir = Bit<3>;           // interrupt remapping
using Dt = Bit<2>;           // device-TLBs
using Qi = Bit<1>;           // queued invalidation
using C = Bit<0>;            // coherent walks of root, context, PASID (legacy: paging) structures
}  // namespace ecap
using Ecap = Bits<64, Reserved<63, 52>, ecap::Pms, Reserved<50>, ecap::Rps, ecap::Smpwcs, ecap::Fsts, ecap::Ssts,
                  ecap::Ssads, ecap::Vcs, ecap::Smts, ecap::Pds, ecap::Dit, ecap::Pasid, ecap::Pss, ecap::Eafs,
                  ecap::Nwfs, Reserved<32>, ecap::Srs, ecap::Ers, ecap::Prs, Reserved<28>, ecap::Dis, ecap::Nest,
                  ecap::Mts, Reserved<24>, ecap::Mhmv, Reserved<19, 18>, ecap::Iro, ecap::Sc, ecap::Pt, Reserved<5>,
                  ecap::Eim, ecap::Ir, ecap::Dt, ecap::Qi, ecap::C>;

/// 11.4.4.1 Global Command Register (32, wo). A write carries the sticky bits (TE EAFL QIE IRE CFI) as they shall stay,
/// and at most one one-shot bit (SRTP SFL WBF SIRTP).
inline constexpr u64 gcmd_offset = 0x18;
namespace gcmd {
using Te = Bit<31>;     // translation enable
using Srtp = Bit<30>;   // set root table pointer
using Sfl = Bit<29>;    // set fault log
using Eafl = Bit<28>;   // enable advanced fault log
using Wbf = Bit<27>;    // write buffer flush
using Qie = Bit<26>;    // queued invalidation enable
using Ire = Bit<25>;    // interrupt remapping enable
using Sirtp = Bit<24>;  // set interrupt remap table pointer
using Cfi = Bit<23>;    // compatibility format interrupts
}  // namespace gcmd
using Gcmd = Bits<32, gcmd::Te, gcmd::Srtp, gcmd::Sfl, gcmd::Eafl, gcmd::Wbf, gcmd::Qie, gcmd::Ire, gcmd::Sirtp,
                  gcmd::Cfi, Reserved<22, 0>>;
/// GSTS & this = the sticky bits to carry in the next GCMD write (11.4.4.1, software sequence).
inline constexpr u32 gcmd_sticky_mask = 0x96ffffff;

/// 11.4.4.2 Global Status Register (32, ro).
inline constexpr u64 gsts_offset = 0x1c;
namespace gsts {
using Tes = Bit<31>;
using Rtps = Bit<30>;
using Fls = Bit<29>;
using Afls = Bit<28>;
using Wbfs = Bit<27>;
using Qies = Bit<26>;
using Ires = Bit<25>;
using Irtps = Bit<24>;
using Cfis = Bit<23>;
}  // namespace gsts
using Gsts = Bits<32, gsts::Tes, gsts::Rtps, gsts::Fls, gsts::Afls, gsts::Wbfs, gsts::Qies, gsts::Ires, gsts::Irtps,
                  gsts::Cfis, Reserved<22, 0>>;

/// 11.4.5 Root Table Address Register (64). In effect with the next GCMD.SRTP.
inline constexpr u64 rtaddr_offset = 0x20;
namespace rtaddr {
using Rta = Field<63, 12>;  // root table, page frame number
using Ttm = Field<11, 10>;  // translation table mode
}  // namespace rtaddr
using Rtaddr = Bits<64, rtaddr::Rta, rtaddr::Ttm, Reserved<9, 0>>;
enum class Ttm : u8 { Legacy = 0, Scalable = 1, Reserved = 2, AbortDma = 3 };

/// 11.4.6.1 Context Command Register (64): register-based context-cache invalidation, legacy mode only.
inline constexpr u64 ccmd_offset = 0x28;
namespace ccmd {
using Icc = Bit<63>;         // invalidate context-cache; clears itself
using Cirg = Field<62, 61>;  // requested granularity
using Caig = Field<60, 59>;  // actual granularity (ro)
using Fm = Field<33, 32>;    // function mask
using Sid = Field<31, 16>;
using Did = Field<15, 0>;
}  // namespace ccmd
using Ccmd = Bits<64, ccmd::Icc, ccmd::Cirg, ccmd::Caig, Reserved<58, 34>, ccmd::Fm, ccmd::Sid, ccmd::Did>;

/// 11.4.7.1 Fault Status Register (32). PFO, IQE, ICE, ITE and PRO are cleared by writing 1; PPF and FRI are read-only.
inline constexpr u64 fsts_offset = 0x34;
namespace fsts {
using Fri = Field<15, 8>;  // index of the first pending record
using Pro = Bit<7>;        // page request overflow
using Ite = Bit<6>;        // invalidation time-out
using Ice = Bit<5>;        // invalidation completion error
using Iqe = Bit<4>;        // invalidation queue error
using Apf = Bit<3>;        // advanced pending fault
using Afo = Bit<2>;        // advanced fault overflow
using Ppf = Bit<1>;        // primary pending fault
using Pfo = Bit<0>;        // primary fault overflow
}  // namespace fsts
using Fsts = Bits<32, Reserved<31, 16>, fsts::Fri, fsts::Pro, fsts::Ite, fsts::Ice, fsts::Iqe, fsts::Apf, fsts::Afo,
                  fsts::Ppf, fsts::Pfo>;

/// 11.4.7.2 .. 11.4.7.5 Fault Event Control, Data, Address, Upper Address (32 each).
inline constexpr u64 fectl_offset = 0x38;
inline constexpr u64 fedata_offset = 0x3c;
inline constexpr u64 feaddr_offset = 0x40;
inline constexpr u64 feuaddr_offset = 0x44;
namespace event_control {
using Im = Bit<31>;  // interrupt mask
using Ip = Bit<30>;  // interrupt pending (ro)
}  // namespace event_control
/// FECTL, IECTL and PECTL have one layout.
using EventControl = Bits<32, event_control::Im, event_control::Ip, Reserved<29, 0>>;

/// 11.4.7.7 Advanced Fault Log Register (64).
inline constexpr u64 aflog_offset = 0x58;

/// 11.4.8 Protected memory.
inline constexpr u64 pmen_offset = 0x64;
inline constexpr u64 plmbase_offset = 0x68;
inline constexpr u64 plmlimit_offset = 0x6c;
inline constexpr u64 phmbase_offset = 0x70;
inline constexpr u64 phmlimit_offset = 0x78;
namespace pmen {
using Epm = Bit<31>;  // enable protected memory
using Prs = Bit<0>;   // protected region status (ro)
}  // namespace pmen
using Pmen = Bits<32, pmen::Epm, Reserved<30, 1>, pmen::Prs>;

/// 11.4.9.1 Invalidation Queue Head (64, ro) and 11.4.9.2 Tail: byte offset of a 128-bit slot. With 256-bit descriptors
/// bit 4 is 0.
inline constexpr u64 iqh_offset = 0x80;
inline constexpr u64 iqt_offset = 0x88;
namespace iqh {
using Qh = Field<18, 4>;  // index in 16-byte slots
}  // namespace iqh
using Iqh = Bits<64, Reserved<63, 19>, iqh::Qh, Reserved<3, 0>>;
namespace iqt {
using Qt = Field<18, 4>;
}  // namespace iqt
using Iqt = Bits<64, Reserved<63, 19>, iqt::Qt, Reserved<3, 0>>;

/// 11.4.9.3 Invalidation Queue Address Register (64).
inline constexpr u64 iqa_offset = 0x90;
namespace iqa {
using Iqa = Field<63, 12>;  // queue base, page frame number
using Dw = Bit<11>;         // descriptor width: 1 = 256-bit
using Qs = Field<2, 0>;     // 2^QS pages: 2^(QS+8) descriptors of 128 or 2^(QS+7) of 256 bits
}  // namespace iqa
using Iqa = Bits<64, iqa::Iqa, iqa::Dw, Reserved<10, 3>, iqa::Qs>;

/// 11.4.9.4 Invalidation Completion Status (32, RW1C) and 11.4.9.5.. completion event registers.
inline constexpr u64 ics_offset = 0x9c;
namespace ics {
using Iwc = Bit<0>;  // a wait descriptor with IF completed
}  // namespace ics
using Ics = Bits<32, Reserved<31, 1>, ics::Iwc>;
inline constexpr u64 iectl_offset = 0xa0;
inline constexpr u64 iedata_offset = 0xa4;
inline constexpr u64 ieaddr_offset = 0xa8;
inline constexpr u64 ieuaddr_offset = 0xac;

/// 11.4.9.9 Invalidation Queue Error Record Register (64, ro).
inline constexpr u64 iqer_offset = 0xb0;
namespace iqer {
using Icesid = Field<63, 48>;  // source id of the completion error
using Itesid = Field<47, 32>;  // source id of the time-out
using Iqei = Field<3, 0>;      // why the queue stopped
}  // namespace iqer
using Iqer = Bits<64, iqer::Icesid, iqer::Itesid, Reserved<31, 4>, iqer::Iqei>;
enum class QueueError : u8 {
  None = 0,  // or not reported
  InvalidTail = 1,
  DescriptorFetch = 2,  // the descriptor could not be read
  InvalidType = 3,
  ReservedField = 4,
  InvalidWidth = 5,   // IQA.DW that the unit does not support
  UnalignedTail = 6,  // 256-bit descriptors, tail at an odd 128-bit slot
  InvalidTtm = 7,     // a descriptor that the current translation table mode does not have
};

/// 11.4.10 Interrupt Remapping Table Address (64).
inline constexpr u64 irta_offset = 0xb8;

/// 11.4.11 Page Request Queue.
inline constexpr u64 pqh_offset = 0xc0;
inline constexpr u64 pqt_offset = 0xc8;
inline constexpr u64 pqa_offset = 0xd0;
inline constexpr u64 prs_offset = 0xdc;
inline constexpr u64 pectl_offset = 0xe0;

/// 11.4.6.2 IOTLB registers, at ECAP.IRO * 16: Invalidate Address at +0, IOTLB Invalidate at +8 (64 each).
inline constexpr u64 iva_offset_from_iro = 0x0;
inline constexpr u64 iotlb_offset_from_iro = 0x8;
namespace iva {
using Addr = Field<63, 12>;  // page frame number
using Ih = Bit<6>;           // invalidation hint: no non-leaf entry changed
using Am = Field<5, 0>;      // address mask: 2^AM pages
}  // namespace iva
using Iva = Bits<64, iva::Addr, Reserved<11, 7>, iva::Ih, iva::Am>;
namespace iotlb {
using Ivt = Bit<63>;         // invalidate; clears itself
using Iirg = Field<61, 60>;  // requested granularity
using Iaig = Field<58, 57>;  // actual granularity (ro)
using Dr = Bit<49>;          // drain reads
using Dw = Bit<48>;          // drain writes
using Did = Field<47, 32>;
}  // namespace iotlb
using IotlbInvalidate = Bits<64, iotlb::Ivt, Reserved<62>, iotlb::Iirg, Reserved<59>, iotlb::Iaig, Reserved<56, 50>,
                             iotlb::Dr, iotlb::Dw, iotlb::Did, Reserved<31, 0>>;

/// Second-stage width codes: AW in context and PASID entries, and the bit number in CAP.SAGAW.
enum class AddressWidth : u8 { Bits39 = 1, Bits48 = 2, Bits57 = 3 };

/// Requests to [start, last] are interrupts and are never translated (3.15).
inline constexpr u64 interrupt_range_start = 0xfee00000;
inline constexpr u64 interrupt_range_last = 0xfeefffff;

inline constexpr u64 register_page_bytes = 0x1000;

}  // namespace holdfast::hw::vtd

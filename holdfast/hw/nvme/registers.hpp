// NVM Express controller as data: NVM Express Base Specification 1.4, chapter 3.1 (controller registers), 4.2 and 4.6
// (queue entries), 5 (admin commands) and 6 (NVM commands). Offsets are into BAR 0.
//
// What a driver of one I/O queue pair without interrupts needs. A Field without a name is the manual's own. No
// behaviour, but the one address function of the doorbells (3.1.24, 3.1.25).
#pragma once

#include "holdfast/base/bits.hpp"

namespace holdfast::hw::nvme {

/// Mass storage, non-volatile memory, NVM Express I/O controller.
inline constexpr u32 class_code = 0x010802;

inline constexpr u64 cap_offset = 0x00;   // 64
inline constexpr u64 vs_offset = 0x08;    // 32
inline constexpr u64 cc_offset = 0x14;    // 32
inline constexpr u64 csts_offset = 0x1c;  // 32
inline constexpr u64 aqa_offset = 0x24;   // 32
inline constexpr u64 asq_offset = 0x28;   // 64: page aligned
inline constexpr u64 acq_offset = 0x30;   // 64
inline constexpr u64 doorbells_offset = 0x1000;

/// 3.1.1 Controller Capabilities.
namespace cap {
using Mpsmin = Field<51, 48>;  // smallest page is 2^(12 + MPSMIN)
using Dstrd = Field<35, 32>;   // doorbells are 2^(2 + DSTRD) bytes apart
using To = Field<31, 24>;      // longest time to become ready, in 500 ms
using Mqes = Field<15, 0>;     // largest queue, 0's based
}  // namespace cap
using Cap = Bits<64, Field<63, 52>, cap::Mpsmin, Field<47, 36>, cap::Dstrd, cap::To, Field<23, 16>, cap::Mqes>;

/// 3.1.5 Controller Configuration. MPS 0: pages of 4096 bytes; CSS 0: the NVM command set.
namespace cc {
using Iocqes = Field<23, 20>;  // lg2 of a completion entry
using Iosqes = Field<19, 16>;  // lg2 of a submission entry
using Shn = Field<15, 14>;     // shutdown: 1 normal
using En = Bit<0>;
}  // namespace cc
using Cc = Bits<32, Field<31, 24>, cc::Iocqes, cc::Iosqes, cc::Shn, Field<13, 1>, cc::En>;

/// 3.1.6 Controller Status.
namespace csts {
using Cfs = Bit<1>;  // fatal
using Rdy = Bit<0>;
}  // namespace csts
using Csts = Bits<32, Field<31, 2>, csts::Cfs, csts::Rdy>;

/// 3.1.8 Admin Queue Attributes: sizes, 0's based.
namespace aqa {
using Acqs = Field<27, 16>;
using Asqs = Field<11, 0>;
}  // namespace aqa
using Aqa = Bits<32, Reserved<31, 28>, aqa::Acqs, Reserved<15, 12>, aqa::Asqs>;

enum class Doorbell : u8 { SubmissionTail = 0, CompletionHead = 1 };
[[nodiscard]] constexpr u64 doorbell_offset(Cap capabilities, u16 queue, Doorbell which) {
  const u64 stride = u64{4} << capabilities.get<cap::Dstrd>();
  return doorbells_offset + (u64{2} * queue + static_cast<u64>(which)) * stride;
}

/// 4.2 Submission queue entry.
struct Submission {
  u8 opcode = 0;
  u8 flags = 0;
  u16 command_id = 0;
  u32 namespace_id = 0;
  u64 reserved = 0;
  u64 metadata = 0;
  u64 prp1 = 0;  // first page of the data
  u64 prp2 = 0;
  u32 cdw10 = 0;
  u32 cdw11 = 0;
  u32 cdw12 = 0;
  u32 cdw13 = 0;
  u32 cdw14 = 0;
  u32 cdw15 = 0;
};
static_assert(sizeof(Submission) == 64 && offsetof(Submission, prp1) == 24 && offsetof(Submission, cdw10) == 40);

/// 4.6 Completion queue entry.
struct Completion {
  u32 result = 0;
  u32 reserved = 0;
  u16 submission_head = 0;
  u16 submission_queue = 0;
  u16 command_id = 0;
  u16 phase_and_status = 0;  // bit 0 phase tag, 15:1 status
};
static_assert(sizeof(Completion) == 16 && offsetof(Completion, command_id) == 12);
[[nodiscard]] constexpr u16 phase_of(const Completion& entry) { return entry.phase_and_status & 1; }
[[nodiscard]] constexpr u16 status_of(const Completion& entry) { return static_cast<u16>(entry.phase_and_status >> 1); }

// 5 Admin commands.
inline constexpr u8 admin_create_submission_queue = 0x01;  // cdw10 (size-1) << 16 | id, cdw11 cqid << 16 | 1
inline constexpr u8 admin_create_completion_queue = 0x05;  // cdw10 (size-1) << 16 | id, cdw11 1
inline constexpr u8 admin_identify = 0x06;                 // cdw10 what: 0 a namespace
inline constexpr u32 queue_is_contiguous = 1;              // PC, bit 0 of cdw11

// 6 NVM commands: cdw10, cdw11 first block; cdw12 number of blocks, 0's based.
inline constexpr u8 nvm_write = 0x01;
inline constexpr u8 nvm_read = 0x02;

// 5.15.2 Identify Namespace, offsets into its 4096 bytes.
inline constexpr u64 identify_nsze_offset = 0;    // u64: blocks
inline constexpr u64 identify_flbas_offset = 26;  // u8: 3:0 the format in use
inline constexpr u64 identify_lbaf_offset = 128;  // u32 each: 23:16 lg2 of the block
inline constexpr u32 identify_flbas_format = 0xf;
inline constexpr u32 identify_lbads_shift = 16;
inline constexpr u32 identify_lbads_mask = 0xff;

}  // namespace holdfast::hw::nvme

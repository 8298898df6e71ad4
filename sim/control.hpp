// The control page: a register page of the modelled machine itself, at control_start; no manual but this.
//
// A kernel's World writes it so that the machine, not the kernel, measures. TOUCHED registers are written before MARK,
// START and SIZE before GUEST_OP; the write to MARK or GUEST_OP is what counts.
#pragma once

#include "holdfast/base/world.hpp"

namespace sim::control {

using namespace holdfast;  // NOLINT

inline constexpr u64 id_offset = 0x00;               // u32 ro
inline constexpr u32 id_value = 0x48464350;          // "HFCP"
inline constexpr u64 mark_offset = 0x04;             // u32: a holdfast::Phase
inline constexpr u64 touched_tables_offset = 0x08;   // u64, as in holdfast::TouchCounts
inline constexpr u64 touched_blocks_offset = 0x10;   // u64
inline constexpr u64 touched_records_offset = 0x18;  // u64
inline constexpr u64 touched_files_offset = 0x20;    // u64
inline constexpr u64 touched_frames_offset = 0x28;   // u64
inline constexpr u64 guest_start_offset = 0x30;      // u64: physical address
inline constexpr u64 guest_size_offset = 0x38;       // u64: bytes
inline constexpr u64 guest_op_offset = 0x40;         // u32: a holdfast::GuestMemory

/// Writes one milestone through @p write(offset, width, value).
template <class Write>
void write_mark(Write&& write, Phase phase, const TouchCounts& touched) {
  write(touched_tables_offset, Width::Qword, touched.tables);
  write(touched_blocks_offset, Width::Qword, touched.blocks);
  write(touched_records_offset, Width::Qword, touched.records);
  write(touched_files_offset, Width::Qword, touched.files);
  write(touched_frames_offset, Width::Qword, touched.frames);
  write(mark_offset, Width::Dword, u64{static_cast<u8>(phase)});
}

template <class Write>
void write_guest_memory(Write&& write, PhysRange range, GuestMemory what) {
  write(guest_start_offset, Width::Qword, range.start.value);
  write(guest_size_offset, Width::Qword, range.size_bytes);
  write(guest_op_offset, Width::Dword, u64{static_cast<u8>(what)});
}

}  // namespace sim::control

// World: everything the library needs from the machine and the program around it. One implementation per world
// (sim/ deterministic model, host/ processes, metal/ bare metal); the core is the same code in each.
//
// Contract: one World serves one kernel, from its entry to its jump. Methods may be called from any thread of that
// kernel unless said otherwise. Nothing here allocates.
#pragma once

#include <span>
#include <string_view>

#include "holdfast/base/boot_info.hpp"
#include "holdfast/base/result.hpp"
#include "holdfast/base/types.hpp"
#include "holdfast/base/word_kernels.hpp"

namespace holdfast {

enum class Width : u8 { Byte = 1, Word = 2, Dword = 4, Qword = 8 };

enum class LogLevel : u8 { Debug, Info, Warning, Error };

/// How a line of the log begins.
[[nodiscard]] constexpr std::string_view name_of(LogLevel level) {
  switch (level) {
    case LogLevel::Debug: return "debug";
    case LogLevel::Info: return "info";
    case LogLevel::Warning: return "warning";
    case LogLevel::Error: return "error";
  }
  return "unknown";
}

/// Milestones of a live update, told to the world as they pass so that the machine, not the kernel, measures.
enum class Phase : u8 {
  FreezeBegin,   // reboot was called; everything from here to LastConsent may still be refused
  LastConsent,   // the blackout begins
  CutOffDone,    // unpreserved devices are blocked
  JumpBegin,     // last act of the old kernel
  JumpFailed,    // the jump came back: the old kernel is in service again
  BootEntry,     // first act of the new kernel
  AdoptionDone,  // every unit is adopted or blocked: the blackout ends
  VerifyDone,    // every incoming domain is verified or quarantined
  LiveBootDone,  // the new kernel takes calls
};

/// As the enumerator is called.
[[nodiscard]] constexpr std::string_view name_of(Phase phase) {
  switch (phase) {
    case Phase::FreezeBegin: return "FreezeBegin";
    case Phase::LastConsent: return "LastConsent";
    case Phase::CutOffDone: return "CutOffDone";
    case Phase::JumpBegin: return "JumpBegin";
    case Phase::JumpFailed: return "JumpFailed";
    case Phase::BootEntry: return "BootEntry";
    case Phase::AdoptionDone: return "AdoptionDone";
    case Phase::VerifyDone: return "VerifyDone";
    case Phase::LiveBootDone: return "LiveBootDone";
  }
  return "unknown";
}

/// What was touched while the blackout lasted. Equal for a small and for a huge mapping.
struct TouchCounts {
  u64 tables = 0;   // page-table pages read or written
  u64 blocks = 0;   // preserved blocks looked at one by one
  u64 records = 0;  // serialized records read or written
  u64 files = 0;    // preserved files visited
  u64 frames = 0;   // frame descriptors read or written

  constexpr bool operator==(const TouchCounts&) const = default;
};

/// What devices may do to a range of memory, as the kernel tells the machine's owner.
enum class GuestMemory : u8 {
  Granted,      // devices may write it
  Preserved,    // and may go on doing so after the jump
  Unpreserved,  // the promise of Preserved is taken back; still granted
  Revoked,      // no device may write it any more
};

struct ThreadLocks;  // base/locks.hpp

class World {
 public:
  /// Virtual address of physical address 0. Every RAM byte of the memory map is readable and writable at
  /// direct_map() + pa. Constant for the life of this World, different from one boot to the next.
  [[nodiscard]] virtual std::byte* direct_map() const = 0;

  /// Memory-mapped registers, configuration space (ECAM) included. @p address is naturally aligned.
  /// Use the wrappers in base/hw_access.hpp: they call the step hook.
  virtual u64 mmio_read(PhysAddr address, Width width) = 0;
  virtual void mmio_write(PhysAddr address, Width width, u64 value) = 0;

  /// Monotonic; keeps counting across a jump.
  [[nodiscard]] virtual u64 now_ns() = 0;
  /// One turn of a wait loop: lets the rest of the machine make progress.
  virtual void relax() = 0;

  virtual void log(LogLevel level, std::string_view message) = 0;
  /// Lock bookkeeping of the calling thread.
  [[nodiscard]] virtual ThreadLocks& thread_locks() = 0;

  /// Writes what the CPU caches hold of [@p start, @p start + @p size_bytes) to memory, for hardware that does not
  /// snoop them. A world whose hardware always snoops has nothing to do.
  virtual void flush_cache(const void* /*start*/, std::size_t /*size_bytes*/) {}
  /// Loops over words, as fast as this world allows; asked once per table.
  [[nodiscard]] virtual const WordKernels& word_kernels() const { return plain_word_kernels; }

  /// Marks a milestone. @p touched is meaningful for the phases of the blackout.
  virtual void phase(Phase phase, const TouchCounts& touched) = 0;

  /// Tells the machine's owner which memory devices may write: a referee's ground truth, no effect on the kernel.
  /// Ranges are whole pages. At Phase::AdoptionDone everything that is granted but not preserved is dropped.
  virtual void guest_memory(PhysRange, GuestMemory) {}

  /// The descriptor of the ELF note "Holdfast" of the image that jump() would enter.
  /// Errors: NotFound (no image staged), Invalid (not an ELF with that note), TooBig (@p buffer too small).
  virtual Result<u64> read_next_image_note(std::span<std::byte> buffer) = 0;
  /// Drops this kernel's view of RAM it will not touch again before the jump, so that the jump does not pay for it.
  virtual Status prepare_jump(std::span<const PhysRange> ranges) = 0;
  /// Restores what prepare_jump dropped: the jump was given up.
  virtual void cancel_jump() = 0;
  /// Enters the next image. Returns only on failure, with the reason.
  virtual Code jump(const Handover& handover) = 0;

  // The traced build only (HOLDFAST_TRACED); never called by the plain one.

  /// Before and after every hw_store and every register access: the rest of the machine may act here.
  virtual void step() {}
  /// Asked before every allocation; false makes it fail with NoMemory.
  virtual bool may_allocate() { return true; }

 protected:
  ~World() = default;
};

#if defined(HOLDFAST_TRACED) && HOLDFAST_TRACED
inline constexpr bool traced = true;
#else
inline constexpr bool traced = false;
#endif

}  // namespace holdfast

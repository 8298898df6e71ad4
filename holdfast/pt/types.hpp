// The words every part of pt/ uses: formats, permissions, ranges, translations.
//
// Threads: values. Failure: none.
#pragma once

#include <concepts>
#include <span>
#include <type_traits>

#include "holdfast/base/types.hpp"
#include "holdfast/memory/table_arena.hpp"

namespace holdfast::pt {

/// Page-table formats. The numbers cross a jump (attestation): none is ever given to another format.
enum class Format : u32 {
  VtdSecondStage = 1,      // VT-d 5.0, 3.7 and 9.8
  X86FirstStage = 2,       // x86-64, 4 and 5 levels: VT-d first stage, AMD v2, CPU
  AmdV1 = 3,               // AMD I/O virtualization specification, 2.2.3
  RiscvFirstStage = 4,     // RISC-V Sv39, Sv48, Sv57, with Svnapot
  RiscvSecondStage = 5,    // RISC-V Sv39x4, Sv48x4, Sv57x4
  ArmStage1Granule4K = 6,  // Arm VMSAv8-64
  ArmStage1Granule16K = 7,
  ArmStage1Granule64K = 8,
  ArmStage2Granule4K = 9,
  ArmStage2Granule16K = 10,
  ArmStage2Granule64K = 11,
};

/// What a device may do and how, a set of bits (Linux's IOMMU_READ and so on). A mapping allows reading or writing; the
/// other bits are dropped by formats that have no place for them.
enum class Prot : u8 {
  None = 0,
  Read = 1,
  Write = 2,
  ReadWrite = 3,
  Cache = 4,  // DMA is coherent with the CPU caches
  NoExecute = 8,
  Mmio = 16,        // the target is device memory
  Privileged = 32,  // privileged accesses only
};

[[nodiscard]] constexpr Prot operator|(Prot a, Prot b) {
  return static_cast<Prot>(static_cast<u8>(a) | static_cast<u8>(b));
}
[[nodiscard]] constexpr Prot operator&(Prot a, Prot b) {
  return static_cast<Prot>(static_cast<u8>(a) & static_cast<u8>(b));
}
/// True when @p have allows all that @p wanted allows.
[[nodiscard]] constexpr bool allows(Prot have, Prot wanted) { return (have & wanted) == wanted; }

/// Which 64-bit addresses a table of N bits of IOVA translates.
enum class IovaExtent : u8 {
  Lower,         // 0 .. 2^N - 1
  SignExtended,  // 0 .. 2^(N-1) - 1 and 2^64 - 2^(N-1) .. 2^64 - 1
  Upper,         // 2^64 - 2^N .. 2^64 - 1 (Arm TTBR1)
};

/// What a format can do beyond the plain entry, a set of bits. A format refuses what it does not know.
enum class Features : u32 {
  None = 0,
  ForceCoherence = 1,  // every leaf makes DMA snoop (VT-d SNP, AMD FC)
  NoReadOnly = 2,      // a mapping that may not be written is refused (VT-d erratum under a nested domain)
  DirtyTracking = 4,   // leaves that may be written start clean and hardware marks them (Arm DBM)
  ForceWriteBack = 8,  // memory type by stage 2 alone (Arm S2FWB)
  NonSecure = 16,      // leaves carry NS (Arm stage 1)
  Exchange = 32,       // hardware allows a leaf and a table to change places at once (Arm BBM level 2)
};

[[nodiscard]] constexpr Features operator|(Features a, Features b) {
  return static_cast<Features>(static_cast<u32>(a) | static_cast<u32>(b));
}
[[nodiscard]] constexpr bool has(Features set, Features wanted) {
  return (static_cast<u32>(set) & static_cast<u32>(wanted)) == static_cast<u32>(wanted);
}
/// True when @p set has nothing but @p known.
[[nodiscard]] constexpr bool only(Features set, Features known) {
  return (static_cast<u32>(set) & ~static_cast<u32>(known)) == 0;
}

/// Who may call at the same time; see the head of engine.hpp.
enum class Sharing : u8 {
  Exclusive,  // one thread at a time; counts what is mapped, so that a full table is dropped unseen
  Shared,     // threads whose ranges are disjoint (Linux's contract)
};

/// [start, start + size_bytes) as devices see it; size 0: nothing.
struct IovaRange {
  Iova start;
  u64 size_bytes = 0;

  constexpr bool operator==(const IovaRange&) const = default;
  /// Last byte; the range must not be empty.
  [[nodiscard]] constexpr Iova last() const { return start + (size_bytes - 1); }
};

/// Where one IOVA leads.
struct Translation {
  PhysAddr address;   // of the IOVA asked for, not of its page
  u64 page_size = 0;  // of the leaf that maps it
  Prot prot = Prot::None;

  constexpr bool operator==(const Translation&) const = default;
};

/// A Result<Translation> that a call answers in two registers: page size and permissions fit beside the code.
class Found {
 public:
  static Found leaf(PhysAddr address, unsigned size_lg2, Prot prot) {
    return {address, static_cast<u64>(prot) | u64{size_lg2} << size_shift};
  }
  static Found nothing(Code why) { return {PhysAddr(0), static_cast<u64>(why) << code_shift}; }

  [[nodiscard]] Result<Translation> result() const {
    const auto code = static_cast<Code>(x_rest >> code_shift);
    if (code != Code::Ok) return code;
    return Translation{x_address, u64{1} << (x_rest >> size_shift & 63), static_cast<Prot>(x_rest & 0xff)};
  }

 private:
  // Not the second byte: writing that alone stalls the register it is part of.
  static constexpr unsigned size_shift = 16;
  static constexpr unsigned code_shift = 24;

  Found(PhysAddr address, u64 rest) : x_address(address), x_rest(rest) {}

  PhysAddr x_address;
  u64 x_rest;
};
static_assert(sizeof(Found) == 16 && std::is_trivially_copyable_v<Found>);

/// What a table is made like.
struct TableConfig {
  Format format = Format::VtdSecondStage;
  u8 levels = 4;                  // tables from the top to the smallest pages; to begin with, if the top may grow
  u8 iova_bits = 48;              // width that may be mapped; if the top may grow, what it may grow to
  u8 phys_bits = 46;              // host address width
  u64 page_sizes = u64{1} << 12;  // bit n: leaves of 2^n bytes may be used; the smallest page of the format is required
  bool coherent = true;           // hardware snoops the CPU caches when it walks
  TableMode mode = TableMode::Arena;
  IovaExtent extent = IovaExtent::Lower;
  bool dynamic_top = false;  // the top grows with what is mapped (AMDv1); needs a TopObserver
  Sharing sharing = Sharing::Exclusive;
  Features features = Features::None;
  u64 encryption =
      0;  // address bits that mark encrypted memory, set in every table entry and leaf; MMIO leaves excepted
};

/// What crosses a jump about one table; all of it untrusted when it comes in.
struct SavedTable {
  PhysAddr top;
  u8 top_level = 0;  // levels - 1
  u8 iova_bits = 0;  // what the top covers now
  IovaExtent extent = IovaExtent::Lower;
  u64 table_count = 0;
  u64 checksum = 0;    // sum over the tables of a mix of address, level and words, accessed and dirty bits masked
  u64 encryption = 0;  // as in TableConfig; a property of the machine, which the next kernel knows as well

  constexpr bool operator==(const SavedTable&) const = default;
};

/// What a visitor wants next.
enum class Visit : u8 { Continue, Stop };

class LeafVisitor {
 public:
  /// @p to is the translation of @p from, the first IOVA of the leaf.
  virtual Visit leaf(Iova from, const Translation& to) = 0;

 protected:
  ~LeafVisitor() = default;
};

class TableVisitor {
 public:
  /// Up to max_batch tables of one level, in no particular order: who needs their descriptors may prefetch.
  virtual Visit tables(std::span<const PhysAddr> pages, unsigned level) = 0;
  static constexpr unsigned max_batch = 64;

 protected:
  ~TableVisitor() = default;
};

/// The mapping that a table expresses, whoever owns it.
class Reader {
 public:
  /// Errors: OutOfRange (beyond the width), NotFound (not mapped).
  [[nodiscard]] Result<Translation> lookup(Iova iova) const { return find(iova).result(); }
  /// Every leaf by rising IOVA. Answers Stop when the visitor did.
  virtual Visit visit_leaves(LeafVisitor& visitor) const = 0;
  /// @p f(Iova, const Translation&) -> Visit or void.
  template <class F>
  Visit for_each_leaf(F&& f) const {
    struct Call final : LeafVisitor {
      explicit Call(F& function) : x_f(function) {}
      Visit leaf(Iova from, const Translation& to) override {
        if constexpr (requires {
                        { x_f(from, to) } -> std::same_as<Visit>;
                      })
          return x_f(from, to);
        else
          return x_f(from, to), Visit::Continue;
      }
      F& x_f;
    } call(f);
    return visit_leaves(call);
  }

 protected:
  ~Reader() = default;

 private:
  [[nodiscard]] virtual Found find(Iova iova) const = 0;
};

}  // namespace holdfast::pt

// What a plain translation looks like in the entries of each mode (VT-d 5.0, 9.3, 9.4, 9.6), and what passing through
// does. Pure functions.
//
// All that a second-stage entry says stands in its first 16 bytes, in every mode: pointer, width, type and domain id
// share one hardware fetch. A first stage has its pointer and depth in the second 16 bytes, type and domain id in the
// first. A pass-through entry has type, id and, as the manual demands, the widest width of the unit, all in the first
// 16 bytes. All else is zero. replacement.hpp says what follows from that.
// Decoding is strict: an entry is ours only if encoding what was read gives the same bytes.
#pragma once

#include <array>
#include <optional>
#include <span>

#include "holdfast/base/hw_access.hpp"
#include "holdfast/hw/vtd/entries.hpp"
#include "holdfast/iommu/unit.hpp"

namespace holdfast::vtd {

enum class Mode : u8 { Legacy, Scalable };

inline constexpr u64 present_bit = 1;
inline constexpr u64 table_pointer_mask = ~(page_size_bytes - 1);

/// Entries as rows of 16-byte pieces.
inline constexpr unsigned pieces_per_legacy_context = 1;
inline constexpr unsigned pieces_per_scalable_context = 2;
inline constexpr unsigned pieces_per_pasid_entry = 4;

/// Where a PASID stands: in which entry of the directory, and in which of the table that this one leads to.
[[nodiscard]] constexpr u64 directory_index(u32 pasid) { return pasid >> hw::vtd::pasid_table_lg2; }
[[nodiscard]] constexpr u64 table_index(u32 pasid) { return pasid & (hw::vtd::pasid_entries_per_table - 1); }

/// A PASID directory as Linux and we make it: 2^(PDTS + 7) entries, each for 64 PASIDs.
struct PasidDirectory {
  PhysAddr base;
  u8 pdts = 0;

  constexpr bool operator==(const PasidDirectory&) const = default;
  [[nodiscard]] constexpr u64 entries() const { return u64{1} << (pdts + 7); }
  [[nodiscard]] constexpr u64 max_pasid() const { return entries() << hw::vtd::pasid_table_lg2; }
  [[nodiscard]] constexpr u64 size_bytes() const { return entries() * sizeof(u64); }
};
/// One page of directory: 32768 PASIDs.
inline constexpr u8 one_page_pdts = 2;
/// Directories of ours are one page, so a RID_PASID of ours is below this (and far within its 20 bits).
inline constexpr u64 rid_pasid_limit = PasidDirectory{.base = {}, .pdts = one_page_pdts}.max_pasid();
static_assert(rid_pasid_limit <= u64{1} << 20);

/// A scalable-mode context entry: where PASIDs are looked up, and which one requests without PASID have. No other is in
/// use.
struct ScalableContext {
  PasidDirectory directory;
  u32 rid_pasid = 0;

  constexpr bool operator==(const ScalableContext&) const = default;
};

/// The entry that names a page table: a legacy context entry has the first piece only, a PASID entry has them all.
using EntryPieces = std::array<Quad, pieces_per_pasid_entry>;

/// What a PASID entry says about snooping: PWSNP where the unit walks coherently.
enum class PageWalk : u8 { NonCoherent, Coherent };

[[nodiscard]] Quad encode_legacy_context(const iommu::EntrySpec& spec);
[[nodiscard]] std::optional<iommu::EntrySpec> decode_legacy_context(Quad entry);

[[nodiscard]] Quad encode_scalable_context(const ScalableContext& context);
[[nodiscard]] std::optional<ScalableContext> decode_scalable_context(std::span<const Quad> pieces);

/// AW is the width of a second stage; in a first-stage entry the manual has it ignored, and QEMU wants that of the
/// tables.
[[nodiscard]] EntryPieces encode_pasid_entry(const iommu::EntrySpec& spec, PageWalk walk);
[[nodiscard]] std::optional<iommu::EntrySpec> decode_pasid_entry(std::span<const Quad> pieces, PageWalk walk);

/// Pass-through entries. @p widest_levels: levels of the widest second stage that the unit has an address width for
/// (CAP.SAGAW).
[[nodiscard]] Quad encode_legacy_pass_through(DomainId did, u8 widest_levels);
[[nodiscard]] Quad encode_pasid_pass_through(DomainId did, u8 widest_levels);

/// The mode of a unit, and what its walks are like: all that it takes to say a translation in an entry.
struct EntryEncoding {
  Mode mode = Mode::Scalable;
  PageWalk walk = PageWalk::NonCoherent;
  u8 widest_levels = 0;  // 0: this unit knows no pass-through

  [[nodiscard]] EntryPieces encode(const iommu::EntrySpec& spec) const;
  /// @p pieces: as many as the entry of the mode has.
  [[nodiscard]] std::optional<iommu::EntrySpec> decode(std::span<const Quad> pieces) const;
};

/// A root half or a PASID directory entry: both are a table pointer and a present bit in one word.
[[nodiscard]] constexpr u64 encode_table_pointer(PhysAddr table) { return table.value | present_bit; }
/// Nothing when a reserved bit is set. FPD of a directory entry counts as one: we never set it.
[[nodiscard]] constexpr std::optional<PhysAddr> decode_table_pointer(u64 word) {
  if ((word & ~table_pointer_mask) != present_bit) return std::nullopt;
  return PhysAddr(word & table_pointer_mask);
}

}  // namespace holdfast::vtd

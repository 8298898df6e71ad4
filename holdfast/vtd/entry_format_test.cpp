// Golden values are typed from the manual (VT-d 5.0, 9.3, 9.4, 9.6), not computed by the code under test.
#include "holdfast/vtd/entry_format.hpp"

#include <gtest/gtest.h>

namespace holdfast::vtd {
namespace {

using iommu::EntrySpec;

const EntrySpec sample{.top = PhysAddr(0x12345000), .levels = 4, .did = DomainId(0x77)};
const EntrySpec first_stage{sample.top, 4, sample.did, pt::Format::X86FirstStage};
const EntrySpec five_levels{sample.top, 5, sample.did, pt::Format::X86FirstStage};

TEST(EntryFormat, LegacyContextEntryHasItsGoldenValue) {
  EXPECT_EQ(encode_legacy_context(sample), (Quad{0x12345001, 0x7702}));
  EXPECT_EQ(encode_legacy_context({PhysAddr(0xfffff000), 3, DomainId(0xffff)}), (Quad{0xfffff001, 0xffff01}));
}

TEST(EntryFormat, ScalableContextEntryHasItsGoldenValue) {
  const PasidDirectory directory{.base = PhysAddr(0x6000), .pdts = one_page_pdts};
  EXPECT_EQ(encode_scalable_context({directory, 0}), (Quad{0x6401, 0}));
  EXPECT_EQ(encode_scalable_context({directory, 0x41}), (Quad{0x6401, 0x41}));
  EXPECT_EQ(encode_scalable_context({directory, 0xfffff}), (Quad{0x6401, 0xfffff}));
  EXPECT_EQ((PasidDirectory{PhysAddr(0x6000), one_page_pdts}).max_pasid(), 32768u);
  EXPECT_EQ((PasidDirectory{PhysAddr(0x6000), one_page_pdts}).size_bytes(), page_size_bytes);
}

TEST(EntryFormat, PasidEntryHasItsGoldenValue) {
  // P, AW = 2 (bits 4:2), PGTT = 2 (bits 8:6); DID in bits 79:64, PWSNP bit 87.
  EXPECT_EQ(encode_pasid_entry(sample, PageWalk::NonCoherent), (EntryPieces{Quad{0x12345000 | 0x80 | 0x8 | 1, 0x77}}));
  EXPECT_EQ(encode_pasid_entry(sample, PageWalk::Coherent), (EntryPieces{Quad{0x12345089, 0x800077}}));
}

TEST(EntryFormat, FirstStagePasidEntryHasItsGoldenValue) {
  // P, AW = 2, PGTT = 1; DID, PWSNP; FSPTPTR in bits 191:140 and FSPM in 131:130; no pointer of a second stage.
  EXPECT_EQ(encode_pasid_entry(first_stage, PageWalk::NonCoherent),
            (EntryPieces{Quad{0x40 | 0x8 | 1, 0x77}, Quad{0x12345000, 0}}));
  EXPECT_EQ(encode_pasid_entry(five_levels, PageWalk::Coherent),
            (EntryPieces{Quad{0x40 | 0xc | 1, 0x800077}, Quad{0x12345004, 0}}));
}

TEST(EntryFormat, AFirstStageEntryWhoseDepthsDifferIsForeign) {
  EntryPieces pieces = encode_pasid_entry(first_stage, PageWalk::Coherent);
  pieces[1].lo |= 4;
  EXPECT_EQ(decode_pasid_entry(pieces, PageWalk::Coherent), std::nullopt);
}

TEST(EntryFormat, WhatIsEncodedDecodesToTheSame) {
  EXPECT_EQ(decode_legacy_context(encode_legacy_context(sample)), sample);
  const std::array<Quad, 4> pasid{encode_pasid_entry(sample, PageWalk::Coherent)};
  EXPECT_EQ(decode_pasid_entry(pasid, PageWalk::Coherent), sample);
  for (const EntrySpec& spec : {first_stage, five_levels})
    EXPECT_EQ(decode_pasid_entry(encode_pasid_entry(spec, PageWalk::Coherent), PageWalk::Coherent), spec);
  const ScalableContext wanted{.directory = {PhysAddr(0x40000), 5}, .rid_pasid = 0xa5a5a};
  const std::array<Quad, 2> context{encode_scalable_context(wanted)};
  EXPECT_EQ(decode_scalable_context(context), wanted);
}

// Bits whose change makes another, equally plain entry: pointer, width code and id.
bool is_value_bit(unsigned bit, unsigned width_high, unsigned width_low, unsigned did_low) {
  return (bit >= 12 && bit < 64) || (bit <= width_high && bit >= width_low) || (bit >= did_low && bit < did_low + 16);
}

TEST(EntryFormat, EveryBitThatIsNotOursMakesAnEntryForeign) {
  for (unsigned bit = 0; bit < 128; ++bit) {
    Quad entry = encode_legacy_context(sample);
    (bit < 64 ? entry.lo : entry.hi) ^= u64{1} << (bit % 64);
    const bool plain = is_value_bit(bit, 66, 64, 72);
    EXPECT_EQ(decode_legacy_context(entry).has_value(), plain) << "context bit " << bit;
  }
  for (unsigned bit = 0; bit < 512; ++bit) {
    std::array<Quad, 4> pieces{encode_pasid_entry(sample, PageWalk::Coherent)};
    Quad& piece = pieces[bit / 128];
    (bit % 128 < 64 ? piece.lo : piece.hi) ^= u64{1} << (bit % 64);
    const bool plain = bit < 128 && is_value_bit(bit, 4, 2, 64);
    EXPECT_EQ(decode_pasid_entry(pieces, PageWalk::Coherent).has_value(), plain) << "PASID bit " << bit;
  }
  for (unsigned bit = 0; bit < 512; ++bit) {
    EntryPieces pieces = encode_pasid_entry(first_stage, PageWalk::Coherent);
    Quad& piece = pieces[bit / 128];
    (bit % 128 < 64 ? piece.lo : piece.hi) ^= u64{1} << (bit % 64);
    // AW says two levels or eight, for which FSPM has no word: the unit's limits refuse them.
    const bool plain = bit == 3 || bit == 4 || (bit >= 64 && bit < 80) || (bit >= 140 && bit < 192);
    EXPECT_EQ(decode_pasid_entry(pieces, PageWalk::Coherent).has_value(), plain) << "first-stage bit " << bit;
  }
  for (unsigned bit = 0; bit < 256; ++bit) {
    std::array<Quad, 2> pieces{encode_scalable_context({{PhysAddr(0x6000), one_page_pdts}, 0x41})};
    Quad& piece = pieces[bit / 128];
    (bit % 128 < 64 ? piece.lo : piece.hi) ^= u64{1} << (bit % 64);
    const bool plain = bit >= 9 && bit < 64 + 20;  // PDTS, pointer, RID_PASID
    EXPECT_EQ(decode_scalable_context(pieces).has_value(), plain) << "scalable context bit " << bit;
  }
}

TEST(EntryFormat, PassThroughEntriesHaveTheirGoldenValues) {
  // Context entry: P, TT = 2 (bits 3:2); AW (bits 66:64), DID in bits 87:72.
  EXPECT_EQ(encode_legacy_pass_through(DomainId(0x77), 4), (Quad{0x9, 0x7702}));
  EXPECT_EQ(encode_legacy_pass_through(DomainId(0xffff), 3), (Quad{0x9, 0xffff01}));
  // PASID entry: P, AW (bits 4:2), PGTT = 4 (bits 8:6); DID in bits 79:64.
  EXPECT_EQ(encode_pasid_pass_through(DomainId(0x77), 4), (Quad{0x109, 0x77}));
  EXPECT_EQ(encode_pasid_pass_through(DomainId(0xffff), 5), (Quad{0x10d, 0xffff}));
}

TEST(EntryFormat, OnlyTheIdOfAPassThroughEntryMayVary) {
  const auto spec = EntrySpec::pass_through(sample.did);
  for (const Mode mode : {Mode::Legacy, Mode::Scalable}) {
    const EntryEncoding encoding{mode, PageWalk::Coherent, 4};
    const EntryPieces golden = encoding.encode(spec);
    const std::size_t count = mode == Mode::Legacy ? 1 : golden.size();
    const auto decode = [&](const EntryPieces& pieces, const EntryEncoding& by) {
      return by.decode(std::span(pieces).first(count));
    };
    EXPECT_EQ(decode(golden, encoding), spec);
    EXPECT_EQ(decode(golden, {mode, PageWalk::Coherent, 5}), std::nullopt) << "not the widest";
    EXPECT_EQ(decode(golden, {mode, PageWalk::Coherent, 0}), std::nullopt) << "not on this unit";
    const unsigned did_low = mode == Mode::Legacy ? 72 : 64;
    for (unsigned bit = 0; bit < 128 * count; ++bit) {
      EntryPieces pieces = golden;
      Quad& piece = pieces[bit / 128];
      (bit % 128 < 64 ? piece.lo : piece.hi) ^= u64{1} << (bit % 64);
      const auto found = decode(pieces, encoding);
      const bool passes = found && found->kind == iommu::EntryKind::PassThrough;
      EXPECT_EQ(passes, bit >= did_low && bit < did_low + 16) << "bit " << bit;
    }
  }
}

TEST(EntryFormat, TablesAndPassThroughAreNeverTakenForEachOther) {
  for (const Mode mode : {Mode::Legacy, Mode::Scalable}) {
    const EntryEncoding encoding{mode, PageWalk::Coherent, 4};
    for (const EntrySpec& spec : {sample, EntrySpec::pass_through(sample.did)})
      EXPECT_EQ(encoding.decode(encoding.encode(spec)), spec);
  }
  EXPECT_NE(sample.tag(), EntrySpec::pass_through(sample.did).tag());
}

TEST(EntryFormat, APasidIsSixBitsOfATableAndTheRestOfADirectory) {
  EXPECT_EQ(directory_index(0), 0u);
  EXPECT_EQ(table_index(0), 0u);
  EXPECT_EQ(directory_index(63), 0u);
  EXPECT_EQ(table_index(63), 63u);
  EXPECT_EQ(directory_index(0x41), 1u);
  EXPECT_EQ(table_index(0x41), 1u);
  EXPECT_EQ(directory_index(rid_pasid_limit - 1), 511u);
  EXPECT_EQ(table_index(rid_pasid_limit - 1), 63u);
}

TEST(EntryFormat, TablePointersWithReservedBitsAreRefused) {
  EXPECT_EQ(decode_table_pointer(0x7001), PhysAddr(0x7000));
  EXPECT_EQ(decode_table_pointer(0x7000), std::nullopt);
  for (unsigned bit = 1; bit < 12; ++bit) EXPECT_EQ(decode_table_pointer(0x7001 | u64{1} << bit), std::nullopt) << bit;
}

}  // namespace
}  // namespace holdfast::vtd

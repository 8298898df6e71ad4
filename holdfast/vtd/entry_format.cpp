#include "holdfast/vtd/entry_format.hpp"

#include <algorithm>

namespace holdfast::vtd {

namespace {

constexpr u64 width_code(u8 levels) { return u64{levels} - 2; }
constexpr u8 levels_of(u64 code) { return static_cast<u8>(code + 2); }

bool rest_is_zero(std::span<const Quad> pieces) {
  for (const Quad& piece : pieces.subspan(1))
    if (piece != Quad{}) return false;
  return true;
}

}  // namespace

Quad encode_legacy_context(const iommu::EntrySpec& spec) {
  namespace f = hw::vtd::context_entry;
  const auto entry = hw::vtd::ContextEntry()
                         .with<f::Did>(spec.did.value)
                         .with<f::Aw>(width_code(spec.levels))
                         .with<f::Ssptptr>(Pfn(spec.top).value)
                         .with<f::Tt>(static_cast<u64>(hw::vtd::TranslationType::Untranslated))
                         .with<f::P>(1);
  return {entry.words()[0], entry.words()[1]};
}

std::optional<iommu::EntrySpec> decode_legacy_context(Quad entry) {
  namespace f = hw::vtd::context_entry;
  const hw::vtd::ContextEntry bits({entry.lo, entry.hi});
  const iommu::EntrySpec spec{.top = Pfn(bits.get<f::Ssptptr>()).address(),
                              .levels = levels_of(bits.get<f::Aw>()),
                              .did = DomainId(static_cast<u16>(bits.get<f::Did>()))};
  if (encode_legacy_context(spec) != entry) return std::nullopt;
  return spec;
}

Quad encode_scalable_context(const ScalableContext& context) {
  namespace f = hw::vtd::scalable_context_entry;
  const auto entry = hw::vtd::ScalableContextEntry()
                         .with<f::RidPasid>(context.rid_pasid)
                         .with<f::PasidDirPtr>(Pfn(context.directory.base).value)
                         .with<f::Pdts>(context.directory.pdts)
                         .with<f::P>(1);
  return {entry.words()[0], entry.words()[1]};
}

std::optional<ScalableContext> decode_scalable_context(std::span<const Quad> pieces) {
  namespace f = hw::vtd::scalable_context_entry;
  const hw::vtd::ScalableContextEntry bits({pieces[0].lo, pieces[0].hi, pieces[1].lo, pieces[1].hi});
  const ScalableContext context{
      .directory = {.base = Pfn(bits.get<f::PasidDirPtr>()).address(), .pdts = static_cast<u8>(bits.get<f::Pdts>())},
      .rid_pasid = static_cast<u32>(bits.get<f::RidPasid>())};
  if (encode_scalable_context(context) != pieces[0] || !rest_is_zero(pieces)) return std::nullopt;
  return context;
}

EntryPieces encode_pasid_entry(const iommu::EntrySpec& spec, PageWalk walk) {
  namespace f = hw::vtd::pasid_entry;
  auto entry = hw::vtd::PasidEntry()
                   .with<f::Pwsnp>(walk == PageWalk::Coherent ? 1 : 0)
                   .with<f::Did>(spec.did.value)
                   .with<f::Aw>(width_code(spec.levels))
                   .with<f::P>(1);
  if (spec.format == pt::Format::X86FirstStage)
    entry = entry.with<f::Pgtt>(static_cast<u64>(hw::vtd::Pgtt::FirstStage))
                .with<f::Fspm>(spec.levels == 5 ? 1 : 0)
                .with<f::Fsptptr>(Pfn(spec.top).value);
  else
    entry = entry.with<f::Pgtt>(static_cast<u64>(hw::vtd::Pgtt::SecondStage)).with<f::Ssptptr>(Pfn(spec.top).value);
  EntryPieces pieces{};
  for (u64 i = 0; i < pieces.size(); ++i) pieces[i] = {entry.words()[2 * i], entry.words()[2 * i + 1]};
  return pieces;
}

std::optional<iommu::EntrySpec> decode_pasid_entry(std::span<const Quad> pieces, PageWalk walk) {
  namespace f = hw::vtd::pasid_entry;
  const hw::vtd::PasidEntry bits({pieces[0].lo, pieces[0].hi, pieces[1].lo, pieces[1].hi, 0, 0, 0, 0});
  const bool first_stage = bits.get<f::Pgtt>() == static_cast<u64>(hw::vtd::Pgtt::FirstStage);
  const iommu::EntrySpec spec{.top = Pfn(first_stage ? bits.get<f::Fsptptr>() : bits.get<f::Ssptptr>()).address(),
                              .levels = levels_of(bits.get<f::Aw>()),
                              .did = DomainId(static_cast<u16>(bits.get<f::Did>())),
                              .format = first_stage ? pt::Format::X86FirstStage : pt::Format::VtdSecondStage};
  const EntryPieces same = encode_pasid_entry(spec, walk);
  if (!std::equal(same.begin(), same.end(), pieces.begin(), pieces.end())) return std::nullopt;
  return spec;
}

Quad encode_legacy_pass_through(DomainId did, u8 widest_levels) {
  namespace f = hw::vtd::context_entry;
  const auto entry = hw::vtd::ContextEntry()
                         .with<f::Did>(did.value)
                         .with<f::Aw>(width_code(widest_levels))
                         .with<f::Tt>(static_cast<u64>(hw::vtd::TranslationType::PassThrough))
                         .with<f::P>(1);
  return {entry.words()[0], entry.words()[1]};
}

Quad encode_pasid_pass_through(DomainId did, u8 widest_levels) {
  namespace f = hw::vtd::pasid_entry;
  const auto entry = hw::vtd::PasidEntry()
                         .with<f::Did>(did.value)
                         .with<f::Aw>(width_code(widest_levels))
                         .with<f::Pgtt>(static_cast<u64>(hw::vtd::Pgtt::PassThrough))
                         .with<f::P>(1);
  return {entry.words()[0], entry.words()[1]};
}

EntryPieces EntryEncoding::encode(const iommu::EntrySpec& spec) const {
  if (spec.kind == iommu::EntryKind::PassThrough)
    return {mode == Mode::Legacy ? encode_legacy_pass_through(spec.did, widest_levels)
                                 : encode_pasid_pass_through(spec.did, widest_levels)};
  return mode == Mode::Legacy ? EntryPieces{encode_legacy_context(spec)} : encode_pasid_entry(spec, walk);
}

std::optional<iommu::EntrySpec> EntryEncoding::decode(std::span<const Quad> pieces) const {
  if (const auto tables = mode == Mode::Legacy ? decode_legacy_context(pieces[0]) : decode_pasid_entry(pieces, walk))
    return tables;
  if (widest_levels == 0) return std::nullopt;
  const u64 did = mode == Mode::Legacy
                      ? hw::vtd::ContextEntry({pieces[0].lo, pieces[0].hi}).get<hw::vtd::context_entry::Did>()
                      : hw::vtd::PasidEntry({pieces[0].lo, pieces[0].hi}).get<hw::vtd::pasid_entry::Did>();
  const auto spec = iommu::EntrySpec::pass_through(DomainId(static_cast<u16>(did)));
  if (encode(spec).front() != pieces[0] || !rest_is_zero(pieces)) return std::nullopt;
  return spec;
}

}  // namespace holdfast::vtd

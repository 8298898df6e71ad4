#include "holdfast/vtd/replacement.hpp"

namespace holdfast::vtd {

namespace {

constexpr unsigned id_piece = 0;       // P, type, width and id; the pointer of a second stage
constexpr unsigned pointer_piece = 1;  // pointer and depth of a first stage

}  // namespace

Replacement::Replacement(const EntryEncoding& encoding, const iommu::EntrySpec& from, const iommu::EntrySpec& to,
                         DomainId private_id)
    : x_entry(encoding.encode(from)), x_tag(from.tag()) {
  const EntryPieces target = encoding.encode(to);
  if (needs_private_id(from, to)) {
    iommu::EntrySpec hidden = from;
    hidden.did = private_id;
    add(id_piece, encoding.encode(hidden), hidden.tag());
    add(pointer_piece, target, hidden.tag());
  } else if (to.format == pt::Format::X86FirstStage) {
    add(pointer_piece, target, from.tag());
  }
  add(id_piece, target, to.tag());
  if (x_entry[pointer_piece] != target[pointer_piece]) add(pointer_piece, target, to.tag());
}

void Replacement::add(unsigned piece, const EntryPieces& value, const iommu::CacheTag& after) {
  x_steps[x_count++] = {.piece = piece, .value = value[piece], .undo = x_entry[piece], .before = x_tag, .after = after};
  x_entry[piece] = value[piece];
  x_tag = after;
}

}  // namespace holdfast::vtd

// What this kernel image can read: a list of compatible strings and versions, in the image itself as the ELF note
// "Holdfast", so that a running kernel can ask the image it is about to jump into before it is too late.
//
// The descriptor is NUL-terminated strings one after the other, in no particular order. A string is either a compatible
// string of a layout ("kho-v2") or a name, ':' and a version in decimal ("iommu-liveupdate:1"); "holdfast-pt:" and the
// number of a page-table format for each beside the first, which every image reads.
#pragma once

#include <span>
#include <string_view>

#include "holdfast/base/result.hpp"

namespace holdfast::kernel {

inline constexpr u64 largest_note_bytes = 512;

/// True when the descriptor @p note names @p layout.
[[nodiscard]] bool note_names(std::string_view note, std::string_view layout);

/// What a running kernel writes only sometimes. All else that its own note names it writes every time.
struct Written {
  bool first_stage = false;  // page tables of pt::Format::X86FirstStage
};
/// Everything this kernel writes is something the image behind @p note reads. @p missing: the first that is not.
/// Errors: UnknownVersion.
Status check_next_image(std::string_view note, const Written& written, std::string_view& missing);

/// The descriptor of this image.
[[nodiscard]] std::string_view own_note();

}  // namespace holdfast::kernel

#include "holdfast/kernel/image_note.hpp"

#include "holdfast/abi/iommu.hpp"
#include "holdfast/base/words.hpp"

namespace holdfast::kernel {
namespace {

/// Every layout that crosses a jump.
constexpr char descriptor[] =
    "kho-v2\0luo-v1\0luo-session-v2\0luo-flb-v1\0memfd-v2\0iommu-liveupdate:1\0iommu-liveupdate:1212547073\0"
    "holdfast-iommufd-v1\0holdfast-vfio-pci-v1\0holdfast-pci-v1\0holdfast-attest-v1\0holdfast-pt:2";

static_assert(abi::iommu::version_pages == 1 && abi::iommu::version_arenas == 1212547073);

constexpr std::string_view first_stage_tables = "holdfast-pt:2";

/// Elf64_Nhdr with name and descriptor, padded to 4 bytes (System V ABI, Note Section).
struct alignas(4) Note {
  u32 name_size = sizeof name;
  u32 descriptor_size = sizeof descriptor;
  u32 type = 1;
  char name[12] = "Holdfast";
  char padded[(sizeof descriptor + 3) / 4 * 4]{};

  constexpr Note() {
    name_size = 9;
    for (u64 i = 0; i < sizeof descriptor; ++i) padded[i] = descriptor[i];
  }
};

[[gnu::section(".note.holdfast"), gnu::used, gnu::retain]] constexpr Note note;

}  // namespace

bool note_names(std::string_view text, std::string_view layout) {
  while (!text.empty())
    if (take_until(text, '\0') == layout) return true;
  return false;
}

Status check_next_image(std::string_view next, const Written& written, std::string_view& missing) {
  for (std::string_view rest = own_note(); !rest.empty();) {
    const std::string_view entry = take_until(rest, '\0');
    if (entry == first_stage_tables && !written.first_stage) continue;
    if (!note_names(next, entry)) return missing = entry, Code::UnknownVersion;
  }
  return {};
}

std::string_view own_note() { return {note.padded, sizeof descriptor - 1}; }

}  // namespace holdfast::kernel

// A kernel image as a file: where it is loaded, and copies with something wrong in them, for kernels to refuse.
//
// Failure: RunError when the image cannot be read or is not what is expected (an ELF64 program with the note).
#pragma once

#include <filesystem>
#include <string_view>

#include "holdfast/base/types.hpp"

namespace metal_test {

using namespace holdfast;  // NOLINT: a test of the library

/// Whole pages from the first to the last byte that is loaded of it.
[[nodiscard]] PhysRange loaded_range(const std::filesystem::path& image);

/// Its note "Holdfast" names another layout in place of @p layout.
void copy_without_layout(const std::filesystem::path& image, const std::filesystem::path& to, std::string_view layout);
/// Its last segment wants a GiB of memory.
void copy_too_large(const std::filesystem::path& image, const std::filesystem::path& to);
/// It ends in the middle of what is to be loaded.
void copy_cut_off(const std::filesystem::path& image, const std::filesystem::path& to);
/// It is no program at all.
void write_text_in_place_of_image(const std::filesystem::path& to);

}  // namespace metal_test

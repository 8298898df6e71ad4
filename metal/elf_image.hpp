// Loading the next image: a position-independent ELF64 program of ours, put where there is room for it.
//
// The file is untrusted: every offset and size is checked before it is used, and nothing outside the given place is
// written. It relocates itself when it is entered. Source: System V ABI, gABI chapters 4 and 5.
#pragma once

#include <span>

#include "host/elf_note.hpp"

namespace metal {

using namespace holdfast;  // NOLINT: a world of the library

/// Copies what the image loads to @p place, clears the rest of what it occupies, and returns its entry as an offset
/// into @p place. Errors: Invalid (not such a program, or it contradicts itself), TooBig (@p place is too small), Io
/// (the file is shorter than it says).
Result<u64> load_image(host::ImageReader& file, std::span<std::byte> place);

}  // namespace metal

// The ELF note "Holdfast" of an image: what the next kernel says it can read, found before anything depends on it.
//
// ELF64 little endian for x86-64 (System V ABI, gABI chapters 4 and 5). Notes are looked for in PT_NOTE segments, then
// in SHT_NOTE sections. The file is untrusted: every offset and size is checked, every loop is bounded.
#pragma once

#include <span>
#include <string_view>

#include "holdfast/base/result.hpp"

namespace host {

using namespace holdfast;

/// Where the bytes of an image come from.
class ImageReader {
 public:
  /// All of @p to, from @p offset of the file. False when the file is shorter or cannot be read.
  virtual bool read(u64 offset, std::span<std::byte> to) = 0;

 protected:
  ~ImageReader() = default;
};

/// Copies the descriptor of the first note named @p name to @p descriptor and returns its length in bytes.
/// Errors: Invalid (not an ELF image of this kind, or without that note), TooBig (@p descriptor is too small).
Result<u64> read_elf_note(ImageReader& image, std::string_view name, std::span<std::byte> descriptor);

/// Bytes in memory as an image.
class MemoryImage final : public ImageReader {
 public:
  explicit MemoryImage(std::span<const std::byte> bytes) : x_bytes(bytes) {}
  bool read(u64 offset, std::span<std::byte> to) override;

 private:
  std::span<const std::byte> x_bytes;
};

}  // namespace host

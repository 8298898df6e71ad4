// Files that QEMU hands to its guest (fw_cfg, DMA interface; QEMU docs/specs/fw_cfg): here, the next image.
//
// Threads: one. Failure: NotFound, Io; a machine without fw_cfg has no files. A device that once did not answer in time
// is not asked again: it may still write where it was told to.
#pragma once

#include <string_view>

#include "host/elf_note.hpp"

namespace metal {

using namespace holdfast;  // NOLINT: a world of the library

class FwCfgFile final : public host::ImageReader {
 public:
  /// Errors: NotFound, Io (the device has no DMA interface, refuses, or does not answer).
  static Result<FwCfgFile> open(std::string_view name);
  /// @p to is identity-mapped: the device writes it. False: beyond the end, or the device refuses or does not answer.
  bool read(u64 offset, std::span<std::byte> to) override;
  [[nodiscard]] u64 size_bytes() const { return x_size; }

 private:
  FwCfgFile(u16 selector, u64 size) : x_selector(selector), x_size(size) {}
  friend class Result<FwCfgFile>;

  u16 x_selector;
  u64 x_size;
};

}  // namespace metal

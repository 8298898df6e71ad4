// Where the next image comes from: the module that the machine's loader left in RAM, or the fw_cfg file
// "opt/holdfast/next-image", which every generation can ask for again.
#pragma once

#include <optional>

#include "metal/fw_cfg.hpp"

namespace metal {

class NextImage {
 public:
  /// @p module empty: fw_cfg is asked. Errors: NotFound, Io.
  static Result<NextImage> open(std::span<const std::byte> module);
  [[nodiscard]] host::ImageReader& file() {
    return x_fw_cfg ? static_cast<host::ImageReader&>(*x_fw_cfg) : static_cast<host::ImageReader&>(x_memory);
  }

  explicit NextImage(std::span<const std::byte> module) : x_memory(module) {}
  explicit NextImage(const FwCfgFile& file) : x_memory({}), x_fw_cfg(file) {}

 private:
  host::MemoryImage x_memory;
  std::optional<FwCfgFile> x_fw_cfg;
};

}  // namespace metal

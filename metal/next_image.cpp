#include "metal/next_image.hpp"

namespace metal {

Result<NextImage> NextImage::open(std::span<const std::byte> module) {
  if (!module.empty()) return NextImage(module);
  TRY_ASSIGN(const FwCfgFile file, FwCfgFile::open("opt/holdfast/next-image"));
  return NextImage(file);
}

}  // namespace metal

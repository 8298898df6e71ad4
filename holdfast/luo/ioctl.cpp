// The part of a size-first argument beyond its first member: see ioctl.hpp.
#include "holdfast/luo/ioctl.hpp"

#include <array>

namespace holdfast::luo {

Status read_sized(CallContext& call, u64 address, u32 size, std::span<std::byte> to) {
  // The tail first: a structure that is too new is TooBig whatever its known part says.
  std::array<std::byte, 256> chunk;
  for (u64 at = to.size(); at < size;) {
    const auto part = std::span(chunk).first(std::min<u64>(chunk.size(), size - at));
    TRY(call.user.read(address + at, part));
    for (std::byte b : part)
      if (b != std::byte{0}) return Code::TooBig;
    at += part.size();
  }
  return call.user.read(address, to.first(std::min<u64>(size, to.size())));
}

}  // namespace holdfast::luo

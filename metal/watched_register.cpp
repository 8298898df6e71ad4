#include "metal/watched_register.hpp"

#include "holdfast/base/checked.hpp"

namespace metal {

Result<SourceId> find_function(const pci::ConfigSpace& config, u16 vendor, u16 device) {
  constexpr u32 functions = 0x10000;
  for (u32 id = 0; id < functions; ++id) {
    const SourceId function(static_cast<u16>(id));
    if (config.read<u16>(0, function, hw::pci::vendor_id_offset) == vendor &&
        config.read<u16>(0, function, hw::pci::device_id_offset) == device)
      return function;
  }
  return Code::NotFound;
}

Result<PhysAddr> register_in_bar(u32 low, u32 high, u32 offset, u64 limit) {
  namespace bar = hw::pci::bar;
  constexpr u64 type_64_bit = 2;
  const hw::pci::Bar first(low);
  if (first.get<bar::IoSpace>() != 0) return Code::NoAddress;
  const u64 upper = first.get<bar::Type>() == type_64_bit ? u64{high} << 32 : 0;
  const u64 base = upper | first.get<bar::Address>() << bar::Address::low;
  if (base == 0) return Code::NoAddress;
  const auto end = checked_add(base, u64{offset} + sizeof(u32));
  if (!end || *end > limit) return Code::OutOfRange;
  return PhysAddr(base + offset);
}

}  // namespace metal

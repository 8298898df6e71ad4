#include "metal/fw_cfg.hpp"

#include <array>
#include <bit>

#include "metal/cpu.hpp"

namespace metal {
namespace {

// Ports of the selector, of data byte by byte, and of the DMA address (its write of the low half starts the transfer).
constexpr u16 selector_port = 0x510;
constexpr u16 data_port = 0x511;
constexpr u16 dma_high_port = 0x514;
constexpr u16 dma_low_port = 0x518;
constexpr u16 signature_selector = 0x0000;
constexpr u16 features_selector = 0x0001;
constexpr u32 has_dma = 1 << 1;
constexpr u16 directory_selector = 0x0019;
constexpr u32 largest_transfer = u32{1} << 30;

enum Control : u32 { Error = 1, Read = 2, Skip = 4, Select = 8 };

/// All big endian.
struct Access {
  u32 control = 0;
  u32 length = 0;
  u64 address = 0;
};
struct DirectoryEntry {
  u32 size = 0;
  u16 selector = 0;
  u16 reserved = 0;
  std::array<char, 56> name{};
};

bool is_there() {
  out16(selector_port, signature_selector);
  for (const char c : {'Q', 'E', 'M', 'U'})
    if (in8(data_port) != static_cast<u8>(c)) return false;
  return true;
}

/// Little endian, alone among the numbers here.
bool can_do_dma() {
  out16(selector_port, features_selector);
  u32 features = 0;
  for (u32 byte = 0; byte < sizeof features; ++byte) features |= u32{in8(data_port)} << 8 * byte;
  return (features & has_dma) != 0;
}

volatile Access access;  // where a late answer hits nothing else
bool is_silent = false;

bool transfer(u32 control, u32 length, const void* to) {
  if (is_silent) return false;
  access.length = std::byteswap(length);
  access.address = std::byteswap(reinterpret_cast<u64>(to));
  access.control = std::byteswap(control);
  const u64 at = reinterpret_cast<u64>(&access);
  out32(dma_high_port, std::byteswap(static_cast<u32>(at >> 32)));
  out32(dma_low_port, std::byteswap(static_cast<u32>(at)));
  constexpr u64 most_polls = 100'000'000;  // seconds; the device answers within the write of its port
  for (u64 i = 0; i < most_polls; ++i) {
    if ((access.control & ~std::byteswap(u32{Error})) == 0) return access.control == 0;
    asm volatile("pause");
  }
  is_silent = true;
  return false;
}

bool select(u16 selector) { return transfer(Select | u32{selector} << 16, 0, nullptr); }

template <class T>
bool read_next(T& value) {
  return transfer(Read, sizeof value, &value);
}

bool has_name(const DirectoryEntry& entry, std::string_view name) {
  if (name.size() >= entry.name.size() || entry.name[name.size()] != '\0') return false;
  return std::string_view(entry.name.data(), name.size()) == name;
}

}  // namespace

Result<FwCfgFile> FwCfgFile::open(std::string_view name) {
  constexpr u32 most_files = 4096;
  static u32 count;
  static DirectoryEntry entry;  // the device writes both
  if (!is_there()) return Code::NotFound;
  if (!can_do_dma() || !select(directory_selector) || !read_next(count)) return Code::Io;
  for (u32 i = 0; i < std::byteswap(count) && i < most_files; ++i) {
    if (!read_next(entry)) return Code::Io;
    if (has_name(entry, name)) return FwCfgFile(std::byteswap(entry.selector), std::byteswap(entry.size));
  }
  return Code::NotFound;
}

bool FwCfgFile::read(u64 offset, std::span<std::byte> to) {
  if (offset > x_size || to.size() > x_size - offset || x_size > largest_transfer) return false;
  if (!select(x_selector)) return false;
  if (offset != 0 && !transfer(Skip, static_cast<u32>(offset), nullptr)) return false;
  return transfer(Read, static_cast<u32>(to.size()), to.data());
}

}  // namespace metal

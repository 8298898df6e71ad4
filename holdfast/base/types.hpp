// Integers with a meaning, and the page geometry everything else is built on.
//
// Each type is a plain value with explicit construction; two of them never mix by accident.
// Threads: values. Failure: none; arithmetic that can overflow goes through base/checked.hpp.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>

namespace holdfast {

using u8 = std::uint8_t;
using u16 = std::uint16_t;
using u32 = std::uint32_t;
using u64 = std::uint64_t;
using i32 = std::int32_t;
using i64 = std::int64_t;

inline constexpr unsigned page_lg2 = 12;
inline constexpr u64 page_size_bytes = u64{1} << page_lg2;
inline constexpr unsigned max_order = 10;  // largest buddy block: 2^10 pages = 4 MiB

/// A byte address in one address space. Differences are u64 bytes; different spaces do not compare.
template <class Space>
struct Address {
  u64 value = 0;

  constexpr Address() = default;
  constexpr explicit Address(u64 raw) : value(raw) {}

  constexpr auto operator<=>(const Address&) const = default;
  friend constexpr Address operator+(Address a, u64 bytes) { return Address(a.value + bytes); }
  friend constexpr Address operator-(Address a, u64 bytes) { return Address(a.value - bytes); }
  friend constexpr u64 operator-(Address a, Address b) { return a.value - b.value; }
  constexpr Address& operator+=(u64 bytes) { return value += bytes, *this; }

  /// @p alignment is a power of two, in bytes.
  [[nodiscard]] constexpr bool is_aligned(u64 alignment) const { return (value & (alignment - 1)) == 0; }
};

using PhysAddr = Address<struct PhysSpace>;  // machine physical address
using Iova = Address<struct IovaSpace>;      // address that a device puts on the bus

/// A number that only names something: no arithmetic.
template <class Tag, class Rep>
struct Id {
  Rep value = 0;

  constexpr Id() = default;
  constexpr explicit Id(Rep raw) : value(raw) {}
  constexpr auto operator<=>(const Id&) const = default;
};

using DomainId = Id<struct DomainIdTag, u16>;  // VT-d DID: tag of cached translations, per unit
using Level = Id<struct LevelTag, u8>;         // 0 = smallest pages
using ObjectId = Id<struct ObjectIdTag, u32>;  // iommufd object

/// Page frame number.
struct Pfn {
  u64 value = 0;

  constexpr Pfn() = default;
  constexpr explicit Pfn(u64 raw) : value(raw) {}
  constexpr explicit Pfn(PhysAddr address) : value(address.value >> page_lg2) {}
  constexpr auto operator<=>(const Pfn&) const = default;
  [[nodiscard]] constexpr PhysAddr address() const { return PhysAddr(value << page_lg2); }
};

/// PCI requester id: bus 15:8, device 7:3, function 2:0.
struct SourceId {
  u16 value = 0;

  constexpr SourceId() = default;
  constexpr explicit SourceId(u16 raw) : value(raw) {}
  constexpr SourceId(u8 bus, u8 device, u8 function)
      : value(static_cast<u16>(unsigned{bus} << 8 | (device & 0x1fu) << 3 | (function & 7u))) {}
  constexpr auto operator<=>(const SourceId&) const = default;

  [[nodiscard]] constexpr u8 bus() const { return static_cast<u8>(value >> 8); }
  [[nodiscard]] constexpr u8 devfn() const { return static_cast<u8>(value & 0xff); }
  [[nodiscard]] constexpr u8 device() const { return static_cast<u8>(value >> 3 & 0x1f); }
  [[nodiscard]] constexpr u8 function() const { return static_cast<u8>(value & 7); }
};

/// [start, start + size_bytes) of machine memory.
struct PhysRange {
  PhysAddr start;
  u64 size_bytes = 0;

  constexpr bool operator==(const PhysRange&) const = default;
  /// True when all of @p size bytes from @p address lie inside. No overflow for any input.
  [[nodiscard]] constexpr bool contains(PhysAddr address, u64 size) const {
    return address >= start && address - start <= size_bytes && size <= size_bytes - (address - start);
  }
  [[nodiscard]] constexpr bool overlaps(const PhysRange& other) const {
    return size_bytes != 0 && other.size_bytes != 0 && start.value <= other.start.value + (other.size_bytes - 1) &&
           other.start.value <= start.value + (size_bytes - 1);
  }
};

/// A naturally aligned power-of-two block of page frames: 2^order pages from @p start.
struct Block {
  PhysAddr start;
  u32 order = 0;

  constexpr bool operator==(const Block&) const = default;
  [[nodiscard]] constexpr u64 size_bytes() const { return page_size_bytes << order; }
};

}  // namespace holdfast

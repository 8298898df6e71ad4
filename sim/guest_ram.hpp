// The machine's RAM as devices and the unit see it: physical addresses, nothing cached, every access checked.
//
// The owner of the machine supplies the bytes: physical address a stands at base + a, for every a inside the memory map.
// Threads: any; entries are read with single-copy atomic loads because a kernel may store them at the same time.
#pragma once

#include <cstring>
#include <optional>
#include <vector>

#include "holdfast/base/boot_info.hpp"
#include "holdfast/base/types.hpp"

namespace sim {

using namespace holdfast;  // NOLINT: the model speaks the library's basic types

/// Memory that may be read by physical address; a capture file is one as well.
class PhysicalMemory {
 public:
  /// The bytes [address, address + size), or null when not all of them are there in one piece.
  [[nodiscard]] virtual const std::byte* find(PhysAddr address, u64 size) const = 0;

  /// One naturally aligned little-endian word.
  [[nodiscard]] std::optional<u64> load64(PhysAddr address) const {
    const std::byte* at = address.is_aligned(8) ? find(address, 8) : nullptr;
    if (at == nullptr) return std::nullopt;
    return __atomic_load_n(reinterpret_cast<const u64*>(at), __ATOMIC_ACQUIRE);
  }

 protected:
  ~PhysicalMemory() = default;
};

/// Sixteen bytes that the unit fetches at once.
struct alignas(16) Quad {
  u64 lo = 0;
  u64 hi = 0;
  constexpr bool operator==(const Quad&) const = default;
};

/// What the owner supplies.
struct RamView {
  std::byte* base = nullptr;            // of physical address 0
  std::vector<MemoryRange> memory_map;  // sorted, disjoint
};

class GuestRam final : public PhysicalMemory {
 public:
  explicit GuestRam(RamView view) : x_base(view.base), x_map(std::move(view.memory_map)) {
    for (const MemoryRange& part : x_map) {  // adjoining parts of the map are one piece of RAM
      if (!x_pieces.empty() && x_pieces.back().start + x_pieces.back().size_bytes == part.range.start)
        x_pieces.back().size_bytes += part.range.size_bytes;
      else
        x_pieces.push_back(part.range);
    }
  }

  [[nodiscard]] const std::byte* find(PhysAddr address, u64 size) const override { return at(address, size); }
  [[nodiscard]] std::byte* at(PhysAddr address, u64 size) const {
    for (const PhysRange& piece : x_pieces)
      if (piece.contains(address, size)) return x_base + address.value;
    return nullptr;
  }

  /// One aligned 16-byte piece, as the unit fetches it. No plain C++ load promises that no store can tear it, so this is
  /// a compare-and-exchange that stores back what it found (the memory must be writable for that).
  [[nodiscard]] std::optional<Quad> fetch_quad(PhysAddr address) const {
    std::byte* where = address.is_aligned(16) ? at(address, 16) : nullptr;
    if (where == nullptr) return std::nullopt;
    Quad value;
    asm volatile("lock cmpxchg16b %[target]"
                 : [target] "+m"(*reinterpret_cast<Quad*>(where)), "+a"(value.lo), "+d"(value.hi)
                 : "b"(value.lo), "c"(value.hi)
                 : "cc", "memory");
    return value;
  }

  [[nodiscard]] const std::vector<MemoryRange>& memory_map() const { return x_map; }
  /// First address behind the last byte of RAM.
  [[nodiscard]] u64 end() const { return x_pieces.empty() ? 0 : (x_pieces.back().start + x_pieces.back().size_bytes).value; }

 private:
  std::byte* x_base;
  std::vector<MemoryRange> x_map;
  std::vector<PhysRange> x_pieces;
};

}  // namespace sim

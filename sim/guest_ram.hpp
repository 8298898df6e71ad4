// The machine's RAM as devices and the unit see it: physical addresses, nothing cached, every access checked.
//
// The owner of the machine supplies the bytes: physical address a stands at base + a, for every a inside the memory
// map. Threads: any; entries are read with single-copy atomic loads because a kernel may store them at the same time.
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

  virtual ~PhysicalMemory() = default;

 protected:
  PhysicalMemory() = default;
  PhysicalMemory(const PhysicalMemory&) = default;
  PhysicalMemory& operator=(const PhysicalMemory&) = default;
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

  /// One aligned 16-byte piece, as the unit fetches it: no store can tear it.
  [[nodiscard]] std::optional<Quad> fetch_quad(PhysAddr address) const {
    std::byte* where = address.is_aligned(16) ? at(address, 16) : nullptr;
    if (where == nullptr) return std::nullopt;
    return load_quad(reinterpret_cast<Quad*>(where));
  }

  [[nodiscard]] const std::vector<MemoryRange>& memory_map() const { return x_map; }
  /// First address behind the last byte of RAM.
  [[nodiscard]] u64 end() const {
    return x_pieces.empty() ? 0 : (x_pieces.back().start + x_pieces.back().size_bytes).value;
  }

 private:
  // No plain C++ load promises 16 bytes at once. Processors with AVX do for aligned vector loads (Intel SDM volume 3,
  // 9.1.1); on others it takes a compare-and-exchange, which stores back what it found.
  static Quad load_quad(Quad* where) {
    static const bool vector_loads_are_atomic = __builtin_cpu_supports("avx") != 0;
    Quad value;
    if (vector_loads_are_atomic) {
      asm volatile("movdqa %[source], %%xmm0\n\tmovdqa %%xmm0, %[value]"
                   : [value] "=m"(value)
                   : [source] "m"(*where)
                   : "xmm0", "memory");
      return value;
    }
    asm volatile("lock cmpxchg16b %[target]"
                 : [target] "+m"(*where), "+a"(value.lo), "+d"(value.hi)
                 : "b"(value.lo), "c"(value.hi)
                 : "cc", "memory");
    return value;
  }

  std::byte* x_base;
  std::vector<MemoryRange> x_map;
  std::vector<PhysRange> x_pieces;
};

}  // namespace sim

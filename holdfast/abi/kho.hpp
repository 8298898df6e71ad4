// KHO, generation "kho-v2": how one kernel tells the next which memory is preserved. This interface is a contract.
//
// Contents: the names and properties of the root FDT, the scratch array, and the key arithmetic of the radix map.
// Records are naturally aligned and have no padding. Numbers inside FDT properties are raw native-endian u64, not FDT
// big-endian. Layout only: no behaviour, no failure.
#pragma once

#include <bit>
#include <cstddef>
#include <optional>
#include <string_view>

#include "holdfast/base/types.hpp"

namespace holdfast::abi::kho {

inline constexpr std::string_view compatible = "kho-v2";
inline constexpr std::string_view memory_map_property = "preserved-memory-map";  // u64: address of the radix root
inline constexpr std::string_view subtree_property = "preserved-data";           // u64: address of the subtree's blob
inline constexpr u64 root_fdt_bytes = page_size_bytes;

/// One element of the scratch array: memory from which alone the next kernel allocates until it knows the map.
struct ScratchRegion {
  u64 address;
  u64 size_bytes;
};
static_assert(sizeof(ScratchRegion) == 16);
static_assert(offsetof(ScratchRegion, address) == 0);
static_assert(offsetof(ScratchRegion, size_bytes) == 8);

/// The radix map: six levels; level 0 is a page used as a bitmap, levels 1..5 are pages of 512 child addresses (0:
/// none).
namespace radix {

inline constexpr unsigned levels = 6;
inline constexpr unsigned bitmap_lg2 = 15;  // bits of a level-0 page
inline constexpr unsigned node_lg2 = 9;     // entries of a page of level 1..5
inline constexpr unsigned order_0_bit = 64 - page_lg2;

struct Node {
  u64 child[512];
};
static_assert(sizeof(Node) == page_size_bytes);
static_assert(offsetof(Node, child) == 0);

struct Bitmap {
  u64 word[512];  // key bits 5:0 select the bit, 14:6 the word
};
static_assert(sizeof(Bitmap) == page_size_bytes);
static_assert(offsetof(Bitmap, word) == 0);

/// Order and frame in one integer: the highest set bit (52 - order) tells the order, the rest is frame >> order.
[[nodiscard]] constexpr u64 key_of(Block block) {
  return u64{1} << (order_0_bit - block.order) | block.start.value >> (page_lg2 + block.order);
}

/// The block that a key names; nothing for a key that names none (marker outside the orders that exist).
[[nodiscard]] constexpr std::optional<Block> block_of(u64 key) {
  const auto width = static_cast<unsigned>(std::bit_width(key));  // marker at bit width - 1
  if (width > order_0_bit + 1 || width + max_order < order_0_bit + 1) return std::nullopt;
  const u32 order = order_0_bit + 1 - width;
  const u64 frame = key ^ (u64{1} << (width - 1));
  return Block{PhysAddr(frame << (page_lg2 + order)), order};
}

/// Which child of a node of @p level (1..5) leads to @p key.
[[nodiscard]] constexpr unsigned child_index(u64 key, unsigned level) {
  return static_cast<unsigned>(key >> (bitmap_lg2 + node_lg2 * (level - 1)) & 511);
}
[[nodiscard]] constexpr unsigned word_index(u64 key) { return static_cast<unsigned>(key >> 6 & 511); }
[[nodiscard]] constexpr u64 word_bit(u64 key) { return u64{1} << (key & 63); }

}  // namespace radix

}  // namespace holdfast::abi::kho

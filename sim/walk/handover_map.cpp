#include "sim/walk/handover_map.hpp"

#include <libfdt.h>

#include <bit>
#include <cstring>
#include <unordered_set>

namespace sim::walk {
namespace {

constexpr u64 node_bytes = 4096;
constexpr unsigned bitmap_key_bits = 15;  // a leaf is 32768 bits
constexpr unsigned node_key_bits = 9;
constexpr unsigned top_depth = 5;  // five levels of nodes above the bitmap
constexpr u64 max_scratch_entries = 4096;
constexpr u64 max_fdt_bytes = u64{1} << 20;

class Reader {
 public:
  Reader(const PhysicalMemory& memory, HandoverMap& map) : x_memory(memory), x_map(map) {}

  void read(const Handover& handover) {
    read_scratch(handover);
    if (x_map.ok()) read_fdt(handover);
  }

 private:
  void fail(std::string what) {
    if (x_map.error.empty()) x_map.error = std::move(what);
  }

  void read_scratch(const Handover& handover) {
    const u64 entry_bytes = 16;  // {address, size}
    if (handover.scratch_size_bytes % entry_bytes != 0 ||
        handover.scratch_size_bytes / entry_bytes > max_scratch_entries)
      return fail("the scratch array has an impossible size");
    for (u64 at = 0; at < handover.scratch_size_bytes; at += entry_bytes) {
      const auto start = x_memory.load64(PhysAddr(handover.scratch + at));
      const auto size = x_memory.load64(PhysAddr(handover.scratch + at + 8));
      if (!start || !size) return fail("the scratch array is not in memory");
      if (*start + *size < *start) return fail("a scratch region wraps");
      x_map.scratch.push_back({PhysAddr(*start), *size});
    }
    x_map.bookkeeping.push_back({PhysAddr(handover.scratch), handover.scratch_size_bytes});
  }

  void read_fdt(const Handover& handover) {
    if (handover.fdt_size_bytes < sizeof(fdt_header) || handover.fdt_size_bytes > max_fdt_bytes)
      return fail("the root FDT has an impossible size");
    const std::byte* fdt = x_memory.find(PhysAddr(handover.fdt), handover.fdt_size_bytes);
    if (fdt == nullptr) return fail("the root FDT is not in memory");
    x_map.bookkeeping.push_back({PhysAddr(handover.fdt), handover.fdt_size_bytes});
    if (fdt_check_full(fdt, handover.fdt_size_bytes) != 0) return fail("the root FDT is not a flat device tree");
    if (fdt_node_check_compatible(fdt, 0, "kho-v2") != 0) return fail("the root FDT is not compatible with kho-v2");
    for (int node = fdt_first_subnode(fdt, 0); node >= 0; node = fdt_next_subnode(fdt, node)) {
      const auto data = property(fdt, node, "preserved-data");
      const char* name = fdt_get_name(fdt, node, nullptr);
      if (!data || name == nullptr) return fail("a subtree has no preserved-data");
      x_map.subtrees.push_back({name, PhysAddr(*data)});
    }
    const auto root = property(fdt, 0, "preserved-memory-map");
    if (!root) return fail("the root FDT has no preserved-memory-map");
    read_node(PhysAddr(*root), top_depth, 0);
  }

  static std::optional<u64> property(const void* fdt, int node, const char* name) {
    int size = 0;
    const void* value = fdt_getprop(fdt, node, name, &size);
    if (value == nullptr || size != sizeof(u64)) return std::nullopt;
    u64 number = 0;
    std::memcpy(&number, value, sizeof number);  // native order, not the device tree's
    return number;
  }

  void read_node(PhysAddr node, unsigned depth, u64 key) {
    if (!x_map.ok()) return;
    if (!node.is_aligned(node_bytes) || x_memory.find(node, node_bytes) == nullptr)
      return fail("a node of the preserved-memory map is not in memory");
    if (!x_nodes_met.insert(node.value).second) return fail("a node of the preserved-memory map is met twice");
    x_map.bookkeeping.push_back({node, node_bytes});
    for (u64 index = 0; index < node_bytes / 8 && x_map.ok(); ++index) {
      const u64 word = x_memory.load64(node + index * 8).value_or(0);
      if (word == 0) continue;
      if (depth == 0)
        read_bits(key << bitmap_key_bits | index << 6, word);
      else
        read_node(PhysAddr(word), depth - 1, key << node_key_bits | index);
    }
  }

  void read_bits(u64 key, u64 word) {
    for (unsigned bit = 0; bit < 64; ++bit)
      if ((word >> bit & 1) != 0) read_key(key | bit);
  }

  // The position of the highest bit tells the order, the rest is the page frame number without its order zero bits.
  void read_key(u64 key) {
    if (key == 0) return fail("the preserved-memory map contains key 0");
    const unsigned top = static_cast<unsigned>(std::bit_width(key)) - 1;
    if (top > 52) return fail("the preserved-memory map contains an impossible key");
    const u32 order = 52 - top;
    x_map.preserved.push_back({PhysAddr((key ^ u64{1} << top) << (12 + order)), order});
  }

  const PhysicalMemory& x_memory;
  HandoverMap& x_map;
  std::unordered_set<u64> x_nodes_met;  // bounds the walk by the size of memory
};

}  // namespace

HandoverMap read_handover(const PhysicalMemory& memory, const Handover& handover) {
  HandoverMap map;
  Reader(memory, map).read(handover);
  return map;
}

}  // namespace sim::walk

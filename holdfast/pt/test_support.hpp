// Test support for pt/ (hosted; never part of the library): a naive walker written from the manual, a set of blocks,
// guest memory, and a jump to a next kernel over the same RAM.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <vector>

#include "holdfast/memory/test_world.hpp"
#include "holdfast/pt/restored_table.hpp"
#include "holdfast/pt/table.hpp"

namespace holdfast::pt {

/// What hardware finds, page by page. Page number of an IOVA -> page address | permission bits.
using PageModel = std::map<u64, u64>;

/// VT-d 5.0, 3.7: second-stage walk, one entry at a time, with raw numbers. Nothing where a walk would fault.
inline std::optional<u64> naive_walk(const TestWorld& world, PhysAddr top, unsigned levels, u64 iova) {
  u64 table = top.value;
  u64 permissions = 3;
  for (unsigned shift = 12 + 9 * (levels - 1);; shift -= 9) {
    if (table + 4096 > world.ram_bytes()) return std::nullopt;
    u64 entry = 0;
    std::memcpy(&entry, world.direct_map() + table + (iova >> shift & 511) * 8, 8);
    permissions &= entry;
    if ((entry & 3) == 0) return std::nullopt;
    const bool leaf = shift == 12 || ((entry & 0x80) != 0 && (shift == 21 || shift == 30));
    const u64 address = entry & 0x000f'ffff'ffff'f000;
    if (leaf)
      return (address & ~((u64{1} << shift) - 1)) + (iova & ((u64{1} << shift) - 1) & ~u64{0xfff}) + (permissions & 3);
    table = address;
  }
}

/// The blocks that a kernel hands over.
class SetSink final : public BlockSink {
 public:
  Status preserve(Block block) override {
    if (blocks.size() == fail_at) return Code::NoMemory;
    blocks.insert({block.start.value, block.order});
    return {};
  }
  void unpreserve(Block block) override { blocks.erase({block.start.value, block.order}); }
  bool contains(Block block) const override { return blocks.contains({block.start.value, block.order}); }

  std::set<std::pair<u64, u32>> blocks;
  std::size_t fail_at = ~std::size_t{0};
};

class FrameRestorer final : public BlockRestorer {
 public:
  explicit FrameRestorer(Memory& memory) : x_memory(memory) {}
  Result<Block> restore(PhysAddr start) override { return x_memory.frames.take_incoming(start); }

 private:
  Memory& x_memory;
};

/// Maps and completes the gather at once, as a caller whose hardware forgets immediately.
inline Status map_now(Table& table, Iova iova, std::span<const PhysRange> runs, Prot prot, Iova* collision = nullptr) {
  Gather gather;
  const Status status = table.map(iova, runs, prot, gather, collision);
  gather.complete(table);
  return status;
}
inline Status map_now(Table& table, u64 iova, u64 address, u64 size, Prot prot = Prot::ReadWrite) {
  const PhysRange run{PhysAddr(address), size};
  return map_now(table, Iova(iova), {&run, 1}, prot);
}
inline Result<u64> unmap_now(Table& table, u64 iova, u64 size) {
  Gather gather;
  auto bytes = table.unmap(Iova(iova), size, gather);
  gather.complete(table);
  return bytes;
}

inline PageModel model_of(const Reader& reader) {
  PageModel model;
  reader.for_each_leaf([&](Iova from, const Translation& to) {
    for (u64 offset = 0; offset < to.page_size; offset += page_size_bytes)
      model[(from.value + offset) >> 12] = (to.address.value + offset) | static_cast<u64>(to.prot);
  });
  return model;
}

/// The kernel after a jump: same RAM, seen elsewhere; what @p handed names is incoming, everything else is overwritten.
struct NextKernel {
  NextKernel(const TestWorld& before, const SetSink& handed)
      : world(before, AfterJump{}), host(world, TestOpen::Later) {
    for (const auto& [start, order] : handed.blocks)
      if (!host.memory.mark_incoming({PhysAddr(start), order}).ok()) throw std::runtime_error("handed blocks overlap");
    host.memory.open();
    std::vector<PhysAddr> all;
    for (auto page = host.memory.buddy.allocate(0); page.ok(); page = host.memory.buddy.allocate(0))
      all.push_back(*page);
    for (const PhysAddr page : all) {
      std::memset(host.memory.map.bytes(page), 0xff, page_size_bytes);
      host.memory.buddy.release(page, 0);
    }
  }
  TestWorld world;
  TestMemory host;
  Memory& memory = host.memory;
  FrameRestorer restorer{host.memory};
};

}  // namespace holdfast::pt

// Which tables of an arena are unused. See table_blocks.hpp.
#include "holdfast/memory/table_blocks.hpp"

#include <algorithm>
#include <bit>

namespace holdfast {

namespace {

/// Room for @p size elements in @p grown, which takes those of @p items over. Error: NoMemory.
template <class T>
Status copy_with_room(const Vec<T>& items, std::size_t size, Vec<T>& grown) {
  if (!grown.reserve(size).ok()) return Code::NoMemory;
  for (const T& item : items) MUST(grown.push_back(item), "room was reserved");
  return {};
}

}  // namespace

std::size_t TableBlocks::find(PhysAddr page) const {
  const std::span<const Block> blocks = span();
  const auto contains = [&](std::size_t i) { return page - blocks[i].start < blocks[i].size_bytes(); };
  if (x_last < blocks.size() && contains(x_last)) return x_last;
  const auto above = std::upper_bound(blocks.begin(), blocks.end(), page,
                                      [](PhysAddr address, const Block& block) { return address < block.start; });
  if (above == blocks.begin()) return none;
  const auto index = static_cast<std::size_t>(above - blocks.begin()) - 1;
  if (!contains(index)) return none;
  return x_last = index;
}

Status TableBlocks::make_room(std::size_t count) {
  const std::size_t size = x_blocks.size() + count;
  if (size > std::min({x_blocks.capacity(), x_use.capacity(), x_unused.capacity()})) {
    // Larger arrays stand beside the old ones until nothing can fail any more: a failure leaves no trace.
    Vec<Block> blocks = x_blocks.alike();
    Vec<Use> use = x_use.alike();
    Vec<Bits> unused = x_unused.alike();
    TRY(copy_with_room(x_blocks, size, blocks));
    TRY(copy_with_room(x_use, size, use));
    TRY(copy_with_room(x_unused, size, unused));
    x_blocks = std::move(blocks);
    x_use = std::move(use);
    x_unused = std::move(unused);
  }
  for (std::size_t i = 0; i < count; ++i) {
    MUST(x_blocks.push_back({}), "room was made");
    MUST(x_use.push_back({}), "room was made");
    MUST(x_unused.push_back({}), "room was made");
  }
  x_blocks.shrink_to_fit();
  x_use.shrink_to_fit();
  x_unused.shrink_to_fit();
  return {};
}

void TableBlocks::place(std::size_t index, Block block, Holds holds) {
  const u64 unused = holds == Holds::Top ? 0 : block.size_bytes() >> x_table_lg2;
  const u64 tables = std::max<u64>(unused, 1);
  x_blocks[index] = block;
  x_use[index] = {.tables = static_cast<u16>(tables), .unused = static_cast<u16>(unused)};
  Bits& bits = x_unused[index];
  bits = {};
  for (u64 table = 0; table < unused; table += 64) bits[table / 64] = unused < 64 ? (u64{1} << unused) - 1 : ~u64{0};
  x_table_count += tables;
  x_unused_count += unused;
}

Status TableBlocks::add(PhysAddr highest, std::size_t count, Holds holds) {
  std::size_t old = x_blocks.size();
  std::size_t at = old + count;
  TRY(make_room(count));
  // From the end, so that each element moves once.
  for (PhysAddr start = highest; at != old;) {
    --at;
    if (old != 0 && x_blocks[old - 1].start > start) {
      --old;
      x_blocks[at] = x_blocks[old];
      x_use[at] = x_use[old];
      x_unused[at] = x_unused[old];
      continue;
    }
    const Frame& head = x_frames.at(start);
    place(at, {start, head.order}, holds);
    start = PhysAddr(head.link);
  }
  x_hint = std::min(x_hint, at);
  return {};
}

void TableBlocks::draw(u64 count, TablePages& to) {
  verify_invariant(count <= x_unused_count, "drew more tables than are unused");
  x_unused_count -= count;
  while (count != 0) {
    while (x_use[x_hint].unused == 0) ++x_hint;
    const u64 here = std::min<u64>(count, x_use[x_hint].unused);
    draw_from(x_hint, here, to);
    count -= here;
  }
}

void TableBlocks::draw_from(std::size_t index, u64 count, TablePages& to) {
  const PhysAddr start = x_blocks[index].start;
  x_use[index].unused = static_cast<u16>(x_use[index].unused - count);
  Bits& bits = x_unused[index];
  for (std::size_t word = 0; count != 0; ++word) {
    u64 unused = bits[word];
    for (; unused != 0 && count != 0; --count, unused &= unused - 1) {
      const u64 table = word * 64 + static_cast<unsigned>(std::countr_zero(unused));
      to.push_back(start + (table << x_table_lg2));
    }
    bits[word] = unused;
  }
}

std::optional<Block> TableBlocks::release(PhysAddr table) {
  const std::size_t index = find(table);
  verify_invariant(index != none, "released a table of another arena");
  const u64 offset = table - x_blocks[index].start;
  const u64 number = offset >> x_table_lg2;
  Use& use = x_use[index];
  verify_invariant(number << x_table_lg2 == offset && number < use.tables, "released an address inside a table");
  u64& word = x_unused[index][number / 64];
  const u64 bit = u64{1} << (number % 64);
  verify_invariant((word & bit) == 0, "released a table twice");
  word |= bit;
  ++use.unused;
  ++x_unused_count;
  if (use.unused == use.tables) return remove(index);
  x_hint = std::min(x_hint, index);
  return std::nullopt;
}

Block TableBlocks::remove(std::size_t index) {
  const Block block = x_blocks[index];
  x_table_count -= x_use[index].tables;
  x_unused_count -= x_use[index].unused;
  x_blocks.erase(index);
  x_use.erase(index);
  x_unused.erase(index);
  if (x_hint > index) --x_hint;
  return block;
}

}  // namespace holdfast

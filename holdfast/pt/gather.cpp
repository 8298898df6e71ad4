// Gathers. See gather.hpp.
#include "holdfast/pt/gather.hpp"

#include <algorithm>
#include <utility>

#include "holdfast/pt/table.hpp"

namespace holdfast::pt {

namespace {

/// [first, last], cut to what a size can say.
IovaRange closed(Iova first, Iova last) {
  const u64 span = last - first;
  return {first, span == ~u64{0} ? span : span + 1};
}

IovaRange cover(const IovaRange& a, const IovaRange& b) {
  return closed(std::min(a.start, b.start), std::max(a.last(), b.last()));
}

/// Overlapping, or with nothing between them.
bool touch(const IovaRange& a, const IovaRange& b) {
  if (a.last() < b.start) return b.start - a.last() == 1;
  if (b.last() < a.start) return a.start - b.last() == 1;
  return true;
}

}  // namespace

Gather::Gather(Gather&& other) noexcept
    : x_count(std::exchange(other.x_count, 0)),
      x_leaf_levels(std::exchange(other.x_leaf_levels, 0)),
      x_table_levels(std::exchange(other.x_table_levels, 0)),
      x_flusher(other.x_flusher),
      x_tables(std::exchange(other.x_tables, 0)),
      x_first(other.x_first),
      x_frames(std::exchange(other.x_frames, nullptr)),
      x_owner(std::exchange(other.x_owner, nullptr)) {
  std::copy_n(other.x_ranges.at, x_count, x_ranges.at);
}

void Gather::add_further(IovaRange range) {
  if (x_flusher != nullptr)
    add_disjoint(range);
  else
    x_ranges.at[0] = cover(x_ranges.at[0], range);
}

void Gather::add_disjoint(IovaRange range) {
  // Everything that touches the new range becomes part of it; the rest keeps its order.
  IovaRange* end = std::remove_if(x_ranges.at, x_ranges.at + x_count, [&](const IovaRange& known) {
    if (!touch(known, range)) return false;
    range = cover(known, range);
    return true;
  });
  x_count = static_cast<u32>(end - x_ranges.at);
  if (x_count == max_ranges) {
    x_flusher->flush(*this);
    x_count = 0;
  }
  end = x_ranges.at + x_count++;
  IovaRange* place = std::find_if(x_ranges.at, end, [&](const IovaRange& known) { return range.start < known.start; });
  std::copy_backward(place, end, end + 1);
  *place = range;
}

void Gather::add_table(const Table& table, FrameTable& frames, PhysAddr page) {
  verify_invariant(x_owner == nullptr || x_owner == &table, "one gather was used for two tables");
  x_owner = &table;
  x_frames = &frames;
  frames.at(page).link = x_first.value;
  x_first = page;
  ++x_tables;
}

void Gather::free_tables(Table& table) {
  verify_invariant(x_owner == nullptr || x_owner == &table, "a gather was completed on another table");
  for (; x_tables != 0; --x_tables) {
    const PhysAddr page = x_first;
    x_first = PhysAddr(std::exchange(x_frames->at(page).link, 0));
    table.free_table(page);
  }
  x_owner = nullptr;
}

}  // namespace holdfast::pt

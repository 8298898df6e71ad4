// Gathers. See gather.hpp.
#include "holdfast/pt/gather.hpp"

#include <algorithm>
#include <utility>

#include "holdfast/pt/table.hpp"

namespace holdfast::pt {

Gather::Gather(Gather&& other) noexcept
    : x_ranges(other.x_ranges),
      x_count(std::exchange(other.x_count, 0)),
      x_tables(std::exchange(other.x_tables, 0)),
      x_first(other.x_first),
      x_frames(std::exchange(other.x_frames, nullptr)),
      x_owner(std::exchange(other.x_owner, nullptr)) {}

void Gather::add_range(IovaRange range) {
  if (x_count == 0) {
    x_ranges[x_count++] = range;
    return;
  }
  IovaRange& all = x_ranges[0];
  const Iova last = std::max(all.last(), range.last());
  all.start = std::min(all.start, range.start);
  all.size_bytes = last - all.start + 1;
}

void Gather::add_table(const Table& table, FrameTable& frames, PhysAddr page) {
  verify_invariant(x_owner == nullptr || x_owner == &table, "one gather was used for two tables");
  x_owner = &table;
  x_frames = &frames;
  frames.at(page).link = x_first.value;
  x_first = page;
  ++x_tables;
}

void Gather::complete(Table& table) {
  verify_invariant(x_owner == nullptr || x_owner == &table, "a gather was completed on another table");
  for (; x_tables != 0; --x_tables) {
    const PhysAddr page = x_first;
    x_first = PhysAddr(std::exchange(x_frames->at(page).link, 0));
    table.free_table(page);
  }
  x_count = 0;
  x_owner = nullptr;
}

}  // namespace holdfast::pt

#include "sim/grants.hpp"

#include <algorithm>
#include <bit>

namespace sim {
namespace {

u64 count(const std::vector<u64>& words) {
  u64 sum = 0;
  for (u64 word : words) sum += static_cast<u64>(std::popcount(word));
  return sum;
}

}  // namespace

void Grants::set(PhysRange range, GuestMemory what) {
  const u64 first = std::min(range.start.value / page_size_bytes, x_pages);
  const u64 wanted = (range.size_bytes + page_size_bytes - 1) / page_size_bytes;
  const u64 end = first + std::min(wanted, x_pages - first);
  for (u64 page = first; page < end; ++page) {
    const u64 bit = u64{1} << (page % 64);
    u64& granted = x_granted[page / 64];
    u64& preserved = x_preserved[page / 64];
    switch (what) {
      case GuestMemory::Granted: granted |= bit; break;
      case GuestMemory::Preserved: granted |= bit, preserved |= bit; break;
      case GuestMemory::Unpreserved: preserved &= ~bit; break;
      case GuestMemory::Revoked: granted &= ~bit, preserved &= ~bit; break;
    }
  }
}

void Grants::end_of_blackout() { x_granted = x_preserved; }

u64 Grants::granted_pages() const { return count(x_granted); }
u64 Grants::preserved_pages() const { return count(x_preserved); }

}  // namespace sim

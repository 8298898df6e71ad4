// Which memory the machine's owner gave to devices, page by page: the ground truth behind "wild".
//
// Every DMA write that lands outside counts; it is carried out all the same. Preserved is a promise that outlives
// Phase::AdoptionDone, where grants without it end: before, a new kernel uses scratch alone, and a device whose old
// kernel died before it was blocked still writes what was its own. The promise stays until it is taken back, over any
// boots.
#pragma once

#include <vector>

#include "holdfast/base/world.hpp"

namespace sim {

using namespace holdfast;  // NOLINT

class Grants {
 public:
  explicit Grants(u64 ram_end)
      : x_pages((ram_end + page_size_bytes - 1) / page_size_bytes),
        x_granted((x_pages + 63) / 64),
        x_preserved((x_pages + 63) / 64) {}

  void set(PhysRange range, GuestMemory what);
  void end_of_blackout();

  [[nodiscard]] bool granted(PhysAddr address) const {
    const u64 page = address.value / page_size_bytes;
    return page < x_pages && (x_granted[page / 64] >> (page % 64) & 1) != 0;
  }
  void count_write(PhysAddr address) {
    if (!granted(address)) ++x_wild;
  }
  [[nodiscard]] u64 wild() const { return x_wild; }
  [[nodiscard]] u64 granted_pages() const;
  [[nodiscard]] u64 preserved_pages() const;

 private:
  u64 x_pages;
  std::vector<u64> x_granted;
  std::vector<u64> x_preserved;
  u64 x_wild = 0;
};

}  // namespace sim

// TablePages: a private list of page-table pages that are not in any table yet (TableArena::take).
//
// It is chained through Frame::link. Move-only; dropping one that is not empty panics, because its pages would be lost.
// Threads: the owner's. Failure: none.
#pragma once

#include <utility>

#include "holdfast/memory/frame_table.hpp"

namespace holdfast {

class [[nodiscard]] TablePages {
 public:
  TablePages() = default;
  explicit TablePages(FrameTable& frames) : x_frames(&frames) {}
  TablePages(TablePages&& other) noexcept { *this = std::move(other); }
  /// Of a list that is empty.
  TablePages& operator=(TablePages&& other) noexcept {
    verify_invariant(empty(), "page-table pages were dropped");
    x_frames = other.x_frames;
    x_first = std::exchange(other.x_first, PhysAddr());
    x_count = std::exchange(other.x_count, 0);
    return *this;
  }
  TablePages(const TablePages&) = delete;
  TablePages& operator=(const TablePages&) = delete;
  ~TablePages() { verify_invariant(empty(), "page-table pages were dropped"); }

  [[nodiscard]] bool empty() const { return x_count == 0; }
  [[nodiscard]] u64 count() const { return x_count; }

  [[nodiscard]] PhysAddr pop() {
    verify_invariant(x_count != 0, "took a page-table page that nobody had asked for");
    const PhysAddr page = x_first;
    x_first = PhysAddr(std::exchange(x_frames->at(page).link, 0));
    --x_count;
    return page;
  }
  void push(PhysAddr page) {
    x_frames->at(page).link = x_first.value;
    x_first = page;
    ++x_count;
  }

 private:
  FrameTable* x_frames = nullptr;
  PhysAddr x_first;  // meaningful when x_count != 0
  u64 x_count = 0;
};

}  // namespace holdfast

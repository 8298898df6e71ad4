// TablePages: table pages in one owner's hand, on their way into a tree or out of it. A list through Frame::link, in
// the order in which they came; it owns nothing but the promise that somebody takes them: dropping one that is not
// empty panics.
//
// Threads: the owner's. Failure: none.
#pragma once

#include <utility>

#include "holdfast/memory/frame_table.hpp"

namespace holdfast {

class [[nodiscard]] TablePages {
 public:
  /// Empty, and nothing can be pushed: a place to move one to.
  TablePages() = default;
  explicit TablePages(const FrameTable& frames) : x_frames(&frames) {}
  TablePages(TablePages&& other) noexcept { swap(other); }
  /// This one must be empty.
  TablePages& operator=(TablePages&& other) noexcept {
    verify_invariant(empty() || this == &other, "table pages were overwritten");
    swap(other);
    return *this;
  }
  TablePages(const TablePages&) = delete;
  TablePages& operator=(const TablePages&) = delete;
  ~TablePages() { verify_invariant(empty(), "table pages were dropped"); }

  [[nodiscard]] bool empty() const { return x_count == 0; }
  [[nodiscard]] u64 count() const { return x_count; }

  PhysAddr pop() {
    verify_invariant(!empty(), "took more table pages than there are");
    --x_count;
    return std::exchange(x_first, PhysAddr(x_frames->at(x_first).link));
  }
  /// The next one to be popped.
  void push(PhysAddr page) {
    verify_invariant(x_frames != nullptr, "pushed a table page to no list");
    x_frames->at(page).link = x_first.value;
    if (empty()) x_last = page;
    x_first = page;
    ++x_count;
  }
  /// The last one to be popped.
  void push_back(PhysAddr page) {
    if (empty()) return push(page);
    x_frames->at(x_last).link = page.value;
    x_last = page;
    ++x_count;
  }

 private:
  void swap(TablePages& other) noexcept {
    std::swap(x_frames, other.x_frames);
    std::swap(x_first, other.x_first);
    std::swap(x_last, other.x_last);
    std::swap(x_count, other.x_count);
  }

  const FrameTable* x_frames = nullptr;
  PhysAddr x_first;  // the links of x_count frames from here on mean something
  PhysAddr x_last;
  u64 x_count = 0;
};

}  // namespace holdfast
